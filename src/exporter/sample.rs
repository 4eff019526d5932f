//! Requests for the exporters' tests.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;

/// The bytes of a request that holds `spans` spans of trace `trace`.
pub(super) fn request(trace: u8, spans: u64) -> Vec<u8> {
    let spans = (1..=spans).map(|number| Span {
        trace_id: vec![trace; 16],
        span_id: number.to_be_bytes().to_vec(),
        name: "GET /cart".to_owned(),
        start_time_unix_nano: 1_800_000_000_000_000_000,
        end_time_unix_nano: 1_800_000_000_001_000_000,
        ..Span::default()
    });
    let scope = ScopeSpans {
        spans: spans.collect(),
        ..ScopeSpans::default()
    };
    let resource = ResourceSpans {
        scope_spans: vec![scope],
        ..ResourceSpans::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![resource],
    }
    .encode_to_vec()
}

/// Spans of a request.
pub(super) fn count(request: &ExportTraceServiceRequest) -> usize {
    request
        .resource_spans
        .iter()
        .flat_map(|resource| &resource.scope_spans)
        .map(|scope| scope.spans.len())
        .sum()
}
