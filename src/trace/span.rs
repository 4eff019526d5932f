//! A span as it leaves the wire: ids, times and symbols, no text.

use super::{SpanId, TraceId};

/// OTLP `Span.SpanKind`; a number the protocol does not know reads as `Unspecified`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(u8)]
pub enum SpanKind {
    /// Not said.
    #[default]
    Unspecified = 0,
    /// Inside one service.
    Internal = 1,
    /// Serves a remote call.
    Server = 2,
    /// Makes a remote call.
    Client = 3,
    /// Hands a message to a broker.
    Producer = 4,
    /// Takes a message from a broker.
    Consumer = 5,
}

/// OTLP `Status.StatusCode`; a number the protocol does not know reads as `Unset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(u8)]
pub enum StatusCode {
    /// Not said.
    #[default]
    Unset = 0,
    /// Said to be fine.
    Ok = 1,
    /// Failed.
    Error = 2,
}

impl SpanKind {
    /// Every kind, in the order of its number.
    pub const ALL: [Self; 6] = [
        Self::Unspecified,
        Self::Internal,
        Self::Server,
        Self::Client,
        Self::Producer,
        Self::Consumer,
    ];

    /// Reads the protocol's number.
    pub fn from_number(number: u64) -> Self {
        usize::try_from(number)
            .ok()
            .and_then(|index| Self::ALL.get(index).copied())
            .unwrap_or_default()
    }
}

impl StatusCode {
    /// Every code, in the order of its number.
    pub const ALL: [Self; 3] = [Self::Unset, Self::Ok, Self::Error];

    /// Reads the protocol's number.
    pub fn from_number(number: u64) -> Self {
        usize::try_from(number)
            .ok()
            .and_then(|index| Self::ALL.get(index).copied())
            .unwrap_or_default()
    }
}

/// A keyed 64-bit hash that stands for a text of the observed system.
///
/// The text itself lives in `features::Interner` only; nothing that handles records
/// or traces can print what was observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Symbol(pub u64);

/// One observed span on its way to the assembler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpanRecord {
    /// The trace it belongs to.
    pub trace_id: TraceId,
    /// Its own id.
    pub span_id: SpanId,
    /// The parent's id; none for a root (absent, zero, or the span itself).
    pub parent: Option<SpanId>,
    /// `service.name` of its resource.
    pub service: Symbol,
    /// Its name.
    pub operation: Symbol,
    /// The allow-listed attributes it carries, as one symbol.
    pub profile: Symbol,
    /// Its kind.
    pub kind: SpanKind,
    /// Its status code.
    pub status: StatusCode,
    /// Start, nanoseconds since the epoch.
    pub start: u64,
    /// End, nanoseconds since the epoch; may lie before the start when clocks are wrong.
    pub end: u64,
    /// Spans of the same trace that it links to; none for nearly every span.
    pub links: Option<Box<[SpanId]>>,
}
