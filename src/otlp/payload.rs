//! A request on its way through a pipeline.

use bytes::Bytes;

/// Protobuf bytes of an `ExportTraceServiceRequest` whose every span passed the walk,
/// and how many spans they hold. Cloning shares the bytes.
#[derive(Debug, Clone)]
pub struct Payload {
    bytes: Bytes,
    spans: usize,
}

impl Payload {
    /// Bytes that were walked (or written by us) and found to hold `spans` good spans.
    pub fn new(bytes: Bytes, spans: usize) -> Self {
        Self { bytes, spans }
    }

    /// The protobuf bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Number of spans.
    pub fn spans(&self) -> usize {
        self.spans
    }
}
