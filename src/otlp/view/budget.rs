//! What is left of a request's allowance while it is checked.

use super::Limits;
use super::fault::Stop;

/// How deep values may nest whatever [`Limits::depth`] says. prost refuses a request of more
/// than 100 nested messages; a key-value list takes three of them a level, and request,
/// resource, scope, span, event and groups nobody knows take the rest. JSON parsers that stop
/// at 128 are satisfied too.
pub(crate) const DEEPEST: usize = 28;

/// Elements that the request may still hold, and how deep its values may nest.
#[derive(Debug)]
pub(super) struct Budget {
    left: usize,
    depth: usize,
}

impl Budget {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            left: limits.elements,
            depth: limits.depth.min(DEEPEST),
        }
    }

    /// How deep values may nest.
    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    /// Pays for one element.
    #[inline]
    pub(super) fn take(&mut self) -> Result<(), Stop> {
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(Stop::TooMany),
        }
    }
}
