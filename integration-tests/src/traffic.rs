//! Plain traffic: requests of small traces, sent over gRPC one after the other.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;

/// A request as the protocol's own types have it.
pub type Request = ExportTraceServiceRequest;

/// The spans of a request.
pub fn spans(request: &Request) -> impl Iterator<Item = &Span> {
    let scopes = request.resource_spans.iter().flat_map(|r| &r.scope_spans);
    scopes.flat_map(|scope| &scope.spans)
}

/// The spans of a request, to be changed.
pub fn spans_mut(request: &mut Request) -> impl Iterator<Item = &mut Span> {
    let groups = request.resource_spans.iter_mut();
    let scopes = groups.flat_map(|r| &mut r.scope_spans);
    scopes.flat_map(|scope| &mut scope.spans)
}

/// Every span of some requests by itself with its resource and scope, as protobuf, in the order of
/// those bytes: the same for two lists of requests that carry the same, however it is grouped. A
/// resource, scope or status that is not there says what an empty one says.
pub fn singles(requests: &[Request]) -> Vec<Vec<u8>> {
    let mut singles = Vec::new();
    for group in requests.iter().flat_map(|request| &request.resource_spans) {
        for scope in &group.scope_spans {
            for span in &scope.spans {
                let mut span = span.clone();
                span.status.get_or_insert_default();
                let scope_spans = vec![ScopeSpans {
                    scope: Some(scope.scope.clone().unwrap_or_default()),
                    spans: vec![span],
                    schema_url: scope.schema_url.clone(),
                }];
                let single = ResourceSpans {
                    resource: Some(group.resource.clone().unwrap_or_default()),
                    scope_spans,
                    schema_url: group.schema_url.clone(),
                };
                singles.push(single.encode_to_vec());
            }
        }
    }
    singles.sort();
    singles
}

/// What became of the spans that were sent.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Spans whose request was answered with OK, less those rejected.
    pub accepted: usize,
    /// Spans whose request was answered with `UNAVAILABLE`.
    pub refused: usize,
    /// Such answers that carried details (`RetryInfo`).
    pub retry_hints: usize,
}

/// `count` requests of `spans` spans each: traces of one root and four children.
pub fn requests(count: u64, spans: u64) -> Vec<ExportTraceServiceRequest> {
    let mut requests = Vec::new();
    for request in 0..count {
        let spans = (0..spans).map(|at| span(request * spans + at)).collect();
        requests.push(ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(Resource {
                    attributes: vec![text("service.name", "shop")],
                    ..Resource::default()
                }),
                scope_spans: vec![ScopeSpans {
                    spans,
                    ..ScopeSpans::default()
                }],
                ..ResourceSpans::default()
            }],
        });
    }
    requests
}

fn text(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(Value::StringValue(value.to_owned())),
        }),
        ..KeyValue::default()
    }
}

fn span(number: u64) -> Span {
    let (trace, at) = (number / 5, number % 5);
    let trace_id = (u128::from(trace) + 1).to_be_bytes().to_vec();
    let id = |at: u64| (trace * 5 + at + 1).to_be_bytes().to_vec();
    let start = 1_700_000_000_000_000_000 + trace * 1_000_000 + at * 1_000;
    Span {
        trace_id,
        span_id: id(at),
        parent_span_id: if at == 0 { Vec::new() } else { id(0) },
        name: format!("operation {at}"),
        kind: 2,
        start_time_unix_nano: start,
        end_time_unix_nano: start + 500_000 - at * 10_000,
        ..Span::default()
    }
}

/// Sends the requests and counts the answers; any answer but OK and `UNAVAILABLE` is an error.
pub async fn send(address: &str, requests: Vec<ExportTraceServiceRequest>) -> anyhow::Result<Sent> {
    let mut client = TraceServiceClient::connect(format!("http://{address}")).await?;
    let mut sent = Sent::default();
    for request in requests {
        let spans = spans(&request).count();
        match client.export(request).await {
            Ok(answer) => {
                let rejected = answer.into_inner().partial_success;
                let rejected = rejected.map_or(0, |partial| partial.rejected_spans);
                sent.accepted += spans - usize::try_from(rejected)?;
            }
            Err(status) if status.code() == tonic::Code::Unavailable => {
                sent.refused += spans;
                sent.retry_hints += usize::from(!status.details().is_empty());
            }
            Err(status) => anyhow::bail!("{status}"),
        }
    }
    Ok(sent)
}
