//! The wire walk: one pass over the protobuf in place, nothing allocated per span.
//!
//! What the walk calls good, any protobuf library downstream decodes: it checks all that
//! prost or a Collector would refuse a whole request for (structure, wire types, UTF-8,
//! lengths of ids, nesting), and lays each fault at the door of the span it belongs to.

mod attribute;
mod budget;
mod cut;
mod fault;
mod group;
mod span;
mod split;
#[cfg(test)]
mod tests;

use crate::otlp::wire::Reader;
use budget::Budget;
use fault::{Fault, Named, Stop};
use group::{REQUEST, RESOURCE_SPANS, SCOPE_SPANS, SPANS, check_group, check_scope_group};
use span::check_span;

pub use attribute::{Attributes, RawAttribute, ValueView, Whole};
pub use cut::cut;
pub use group::ResourceView;
pub use span::{Carried, Carry, EventView, Events, Links, SpanView};
pub use split::{Part, split};

/// What one request may ask of us before anything is built from it.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Resources, scopes, spans, events, links, attributes and nested values together.
    pub elements: usize,
    /// How deep `AnyValue`s may nest; an attribute's own value is 1 deep. More than 28 reads
    /// as 28, because deeper values make receivers downstream refuse the request.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            elements: 4_000_000,
            depth: budget::DEEPEST,
        }
    }
}

/// Called for what the walk meets, in the order of the bytes, a resource before its spans.
///
/// If the walk ends in a [`WalkError`], all that was visited belongs to a request that is
/// turned away, and is to be thrown away with it.
pub trait Visit {
    /// A resource whose spans follow.
    fn resource(&mut self, _resource: &ResourceView<'_>) {}
    /// A good span of the last resource.
    fn span(&mut self, _span: &SpanView<'_>) {}
}

impl Visit for () {}

/// What the walk found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Walked {
    /// Good spans.
    pub spans: usize,
    /// Bad spans, to be cut out.
    pub rejected: usize,
    /// The first bad span's fault, for `partial_success.error_message`.
    pub reason: Option<String>,
    /// Whether the bytes must go through [`cut`] before anyone else sees them: there are
    /// rejected spans, or a bad resource or scope that has none.
    pub needs_cut: bool,
}

/// Why a whole request is turned away.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WalkError {
    /// No protobuf of an `ExportTraceServiceRequest`.
    #[error("can't be decoded: {0}")]
    Malformed(String),
    /// Over [`Limits::elements`].
    #[error("holds more than {0} elements")]
    TooManyElements(usize),
}

/// Walks a request: checks every byte of it and shows what is good to `visit`.
///
/// Linear in the bytes, and allocates nothing but the first fault's sentence.
pub fn walk(bytes: &[u8], limits: &Limits, visit: &mut impl Visit) -> Result<Walked, WalkError> {
    let mut walk = Walk {
        budget: Budget::new(limits),
        spans: 0,
        rejected: 0,
        first: None,
        poisoned: false,
    };
    walk.request(bytes, visit)
        .map_err(|stop| turned_away(stop, limits))?;
    let total = walk.spans + walk.rejected;
    Ok(Walked {
        spans: walk.spans,
        rejected: walk.rejected,
        reason: walk
            .first
            .map(|(number, fault)| format!("span {number} of {total}: {fault}")),
        needs_cut: walk.rejected > 0 || walk.poisoned,
    })
}

fn turned_away(stop: Stop, limits: &Limits) -> WalkError {
    match stop {
        Stop::Fault(fault) => WalkError::Malformed(fault.to_string()),
        Stop::TooMany => WalkError::TooManyElements(limits.elements),
    }
}

struct Walk {
    budget: Budget,
    spans: usize,
    rejected: usize,
    /// Number of the first bad span, from 1, and its fault.
    first: Option<(usize, Fault)>,
    poisoned: bool,
}

impl Walk {
    fn request(&mut self, bytes: &[u8], visit: &mut impl Visit) -> Result<(), Stop> {
        const MESSAGE: &str = "request";
        let mut reader = Reader::new(bytes);
        while let Some(key) = reader.key().of(MESSAGE)? {
            match key {
                RESOURCE_SPANS => self.group(reader.bytes().of(MESSAGE)?, visit)?,
                _ => reader.unknown(key, REQUEST).of(MESSAGE)?,
            }
        }
        Ok(())
    }

    fn group(&mut self, group: &[u8], visit: &mut impl Visit) -> Result<(), Stop> {
        const MESSAGE: &str = "ResourceSpans";
        let (resource, fault) = check_group(group, &mut self.budget)?;
        self.poisoned |= fault.is_some();
        if fault.is_none() {
            visit.resource(&resource);
        }
        let mut reader = Reader::new(group);
        while let Some(key) = reader.key().of(MESSAGE)? {
            match key {
                SCOPE_SPANS => self.scope_group(reader.bytes().of(MESSAGE)?, fault, visit)?,
                _ => reader.pass(key).of(MESSAGE)?,
            }
        }
        Ok(())
    }

    fn scope_group(
        &mut self,
        group: &[u8],
        above: Option<Fault>,
        visit: &mut impl Visit,
    ) -> Result<(), Stop> {
        const MESSAGE: &str = "ScopeSpans";
        let fault = check_scope_group(group, &mut self.budget)?;
        self.poisoned |= fault.is_some();
        let fault = above.or(fault);
        let mut reader = Reader::new(group);
        while let Some(key) = reader.key().of(MESSAGE)? {
            if key != SPANS {
                reader.pass(key).of(MESSAGE)?;
                continue;
            }
            let raw = reader.bytes().of(MESSAGE)?;
            self.budget.take()?;
            if let Some(fault) = fault {
                self.reject(fault);
                continue;
            }
            match check_span(raw, &mut self.budget) {
                Ok(span) => {
                    self.spans += 1;
                    visit.span(&span);
                }
                Err(Stop::Fault(fault)) => self.reject(fault),
                Err(stop) => return Err(stop),
            }
        }
        Ok(())
    }

    #[cold]
    fn reject(&mut self, fault: Fault) {
        self.rejected += 1;
        if self.first.is_none() {
            self.first = Some((self.spans + self.rejected, fault));
        }
    }
}
