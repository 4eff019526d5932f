//! Requests for tests, built the slow and certain way: as prost messages.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};

/// A string attribute.
pub(crate) fn attribute(key: &str, value: &str) -> KeyValue {
    any_attribute(key, Value::StringValue(value.to_owned()))
}

/// An attribute of any type.
pub(crate) fn any_attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

/// A root span named `GET /` of trace `trace`, whose id is made of `id`; it lasts a millisecond.
pub(crate) fn span(trace: u8, id: u8) -> Span {
    const START: u64 = 1_700_000_000_000_000_000;
    Span {
        trace_id: vec![trace; 16],
        span_id: vec![id; 8],
        name: "GET /".to_owned(),
        kind: 2,
        start_time_unix_nano: START,
        end_time_unix_nano: START + 1_000_000,
        ..Span::default()
    }
}

/// The same span as a child of the span whose id is made of `parent`.
pub(crate) fn child(trace: u8, id: u8, parent: u8) -> Span {
    Span {
        parent_span_id: vec![parent; 8],
        ..span(trace, id)
    }
}

/// Spans of one service.
pub(crate) fn service(name: &str, spans: Vec<Span>) -> ResourceSpans {
    ResourceSpans {
        resource: Some(Resource {
            attributes: vec![attribute("service.name", name)],
            ..Resource::default()
        }),
        scope_spans: vec![ScopeSpans {
            scope: Some(InstrumentationScope {
                name: "tests".to_owned(),
                ..InstrumentationScope::default()
            }),
            spans,
            ..ScopeSpans::default()
        }],
        ..ResourceSpans::default()
    }
}

/// A request of several services.
pub(crate) fn request(resource_spans: Vec<ResourceSpans>) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest { resource_spans }
}
