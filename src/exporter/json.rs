//! Requests as OTLP/JSON.

use std::io::Write;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;

/// Writes a request as one line of OTLP/JSON, without the newline.
pub(crate) fn write(request: &[u8], out: impl Write) -> Result<(), String> {
    let message = ExportTraceServiceRequest::decode(request).map_err(|fault| fault.to_string())?;
    serde_json::to_writer(out, &message).map_err(|fault| fault.to_string())
}
