//! A synthetic trace before it gets ids and a place in time.

use crate::trace::{Link, StatusCode};

/// A dense label that stands for one (service, operation, kind) of the vocabulary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u32);

/// One synthetic span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampledSpan {
    /// Position of the parent; none for the root.
    pub parent: Option<u32>,
    /// Service, operation and kind.
    pub token: Token,
    /// Status code.
    pub status: StatusCode,
    /// Which of its token's attribute profiles it has: a position in [`super::Word::profiles`].
    pub profile: u32,
    /// Nanoseconds after the root's start.
    pub start: i64,
    /// Nanoseconds from start to end.
    pub duration: u64,
}

/// One synthetic trace: spans in depth-first pre-order, root first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sampled {
    /// The spans.
    pub spans: Vec<SampledSpan>,
    /// Links between them.
    pub links: Vec<Link>,
}
