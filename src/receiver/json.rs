//! JSON to protobuf until `otlp::json` does it without building messages.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;

pub(crate) fn to_protobuf(json: &[u8]) -> Result<Bytes, serde_json::Error> {
    let request: ExportTraceServiceRequest = serde_json::from_slice(json)?;
    Ok(request.encode_to_vec().into())
}
