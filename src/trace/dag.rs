//! A trace: a rooted tree of spans with further links, checked once when it is made.

use super::{SpanKind, StatusCode, Symbol};

/// One span of a [`Trace`]. It has no id: a position names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Position of the parent, which is smaller than the span's own; none for the root.
    pub parent: Option<u32>,
    /// `service.name`.
    pub service: Symbol,
    /// Span name.
    pub operation: Symbol,
    /// Attribute profile.
    pub profile: Symbol,
    /// Kind.
    pub kind: SpanKind,
    /// Status code.
    pub status: StatusCode,
    /// Start in nanoseconds after the root's start; negative where a clock was skewed.
    pub start: i64,
    /// Nanoseconds from start to end.
    pub duration: u64,
}

/// A further dependency inside one trace: span `from` carries a link to span `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link {
    /// Position of the span that carries the link.
    pub from: u32,
    /// Position of the span it names.
    pub to: u32,
}

/// A whole trace: spans in depth-first pre-order, siblings by start time.
///
/// Invariants, checked by [`Trace::new`]: at least one span; the first is the only root and
/// starts at 0; every other span's parent is an ancestor-or-previous position such that the
/// order is a pre-order walk; links name two different spans of the trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    spans: Box<[Span]>,
    links: Box<[Link]>,
}

/// Why spans and links make no trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// There is no span.
    #[error("has no span")]
    Empty,
    /// The first span has a parent, or a later one has none.
    #[error("span {at} is not where a root belongs")]
    Root {
        /// Position of the span.
        at: usize,
    },
    /// The parent is not among the spans still open at this point of the pre-order walk.
    #[error("span {at} names a parent that is not open")]
    Order {
        /// Position of the span.
        at: usize,
    },
    /// A link names a span that isn't there, or itself.
    #[error("link {at} names a span that is not there, or itself")]
    Link {
        /// Position of the link.
        at: usize,
    },
}

impl Trace {
    /// Checks the invariants; linear time, no recursion.
    pub fn new(spans: Vec<Span>, links: Vec<Link>) -> Result<Self, Invalid> {
        if spans.is_empty() {
            return Err(Invalid::Empty);
        }
        let mut open: Vec<u32> = Vec::new();
        for (at, span) in spans.iter().enumerate() {
            match span.parent {
                None if at == 0 && span.start == 0 => {}
                None => return Err(Invalid::Root { at }),
                Some(_) if at == 0 => return Err(Invalid::Root { at }),
                Some(parent) => {
                    while open.last().is_some_and(|&last| last != parent) {
                        open.pop();
                    }
                    if open.is_empty() {
                        return Err(Invalid::Order { at });
                    }
                }
            }
            open.push(u32::try_from(at).map_err(|_| Invalid::Order { at })?);
        }
        let count = spans.len();
        let bad = links.iter().position(|link| {
            link.from == link.to || link.from as usize >= count || link.to as usize >= count
        });
        match bad {
            Some(at) => Err(Invalid::Link { at }),
            None => Ok(Self {
                spans: spans.into(),
                links: links.into(),
            }),
        }
    }

    /// The spans, root first, in depth-first pre-order.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// The links between spans of this trace.
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// The root.
    pub fn root(&self) -> &Span {
        &self.spans[0]
    }

    /// Bytes held, for bounded tables.
    pub fn footprint(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.spans) + size_of_val(&*self.links)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(parent: Option<u32>) -> Span {
        Span {
            parent,
            service: Symbol(1),
            operation: Symbol(2),
            profile: Symbol(0),
            kind: SpanKind::Server,
            status: StatusCode::Unset,
            start: 0,
            duration: 1,
        }
    }

    fn check(parents: &[Option<u32>]) -> Result<(), Invalid> {
        Trace::new(parents.iter().map(|&p| span(p)).collect(), Vec::new()).map(|_| ())
    }

    #[test]
    fn spans_stand_in_pre_order_below_one_root() {
        assert_eq!(check(&[]), Err(Invalid::Empty));
        assert_eq!(check(&[None, Some(0), Some(1), Some(0)]), Ok(()));
        assert_eq!(
            check(&[None, Some(0), Some(0), Some(1)]),
            Err(Invalid::Order { at: 3 })
        );
        assert_eq!(check(&[None, None]), Err(Invalid::Root { at: 1 }));
        assert_eq!(check(&[Some(0)]), Err(Invalid::Root { at: 0 }));
        assert_eq!(check(&[None, Some(1)]), Err(Invalid::Order { at: 1 }));
    }

    #[test]
    fn a_chain_of_a_hundred_thousand_is_checked_without_recursion() {
        let parents: Vec<_> = (0..100_000_u32).map(|at| at.checked_sub(1)).collect();
        assert_eq!(check(&parents), Ok(()));
    }
}
