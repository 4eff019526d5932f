//! The wire walk: one pass over the protobuf in place, nothing allocated per span.

use bytes::Bytes;

use crate::trace::{SpanId, SpanKind, StatusCode, TraceId};

/// What one request may ask of us before anything is built from it.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Resources, scopes, spans, events, links, attributes and nested values together.
    pub elements: usize,
    /// How deep `AnyValue`s may nest.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            elements: 4_000_000,
            depth: 64,
        }
    }
}

/// A resource, in place.
#[derive(Debug, Clone, Copy)]
pub struct ResourceView<'a> {
    /// `service.name`; empty where the resource does not say.
    pub service: &'a str,
    /// The whole `Resource` message.
    pub raw: &'a [u8],
}

/// A good span, in place.
#[derive(Debug, Clone, Copy)]
pub struct SpanView<'a> {
    /// Trace id.
    pub trace_id: TraceId,
    /// Span id.
    pub span_id: SpanId,
    /// Parent; none where absent, all zero or the span itself.
    pub parent: Option<SpanId>,
    /// Name.
    pub name: &'a str,
    /// Kind.
    pub kind: SpanKind,
    /// Start, ns since the epoch.
    pub start: u64,
    /// End, ns since the epoch.
    pub end: u64,
    /// Status code.
    pub status: StatusCode,
    /// How many links it carries (their bytes are found in `raw` by `links()`).
    pub links: u32,
    /// The whole `Span` message.
    pub raw: &'a [u8],
}

/// Called for what the walk meets, in the order of the bytes, a resource before its spans.
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

/// Walks a request.
pub fn walk(_bytes: &[u8], _limits: &Limits, _visit: &mut impl Visit) -> Result<Walked, WalkError> {
    Err(WalkError::Malformed("not built yet".to_owned()))
}

/// The same request without its bad spans; everything else stays as it was, byte for byte.
pub fn cut(_bytes: &[u8], _limits: &Limits) -> Result<Bytes, WalkError> {
    Err(WalkError::Malformed("not built yet".to_owned()))
}
