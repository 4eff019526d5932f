//! OTLP spans as Jaeger's query API would tell them.

use std::collections::{BTreeMap, BTreeSet};

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;

use crate::jaeger::{Seen, linked};
use crate::sink::{hex, is_synthetic};
use crate::traffic::Request;

/// What [`Seen`] should say of each span of these requests.
pub fn told(requests: &[Request]) -> BTreeSet<Seen> {
    let mut spans = BTreeSet::new();
    for resource in requests.iter().flat_map(|request| &request.resource_spans) {
        let synthetic = is_synthetic(resource);
        let attributes = resource.resource.iter().flat_map(|r| &r.attributes);
        let service = text_of(attributes, "service.name");
        for scope in &resource.scope_spans {
            let named = scope.scope.as_ref();
            let of_scope = [
                ("otel.scope.name", named.map_or("", |scope| &scope.name)),
                (
                    "otel.scope.version",
                    named.map_or("", |scope| &scope.version),
                ),
            ];
            for span in &scope.spans {
                let mut told = told_of(span, &service, synthetic);
                for (key, value) in of_scope.iter().filter(|(_, value)| !value.is_empty()) {
                    told.attributes
                        .insert((*key).to_owned(), (*value).to_owned());
                }
                spans.insert(told);
            }
        }
    }
    spans
}

fn told_of(span: &Span, service: &str, synthetic: bool) -> Seen {
    let micros = |nanos: u64| nanos / 1000;
    let status = span.status.clone().unwrap_or_default();
    let status_code = ["", "OK", "ERROR"][usize::try_from(status.code).unwrap_or(0).min(2)];
    let kinds = ["", "internal", "server", "client", "producer", "consumer"];
    let mut attributes: BTreeMap<String, String> = span.attributes.iter().map(pair).collect();
    if status_code == "ERROR" {
        attributes.insert("error".to_owned(), "true".to_owned());
    }
    let events = span.events.iter();
    let mut events: Vec<_> = events
        .map(|event| (micros(event.time_unix_nano), event.name.clone()))
        .collect();
    events.sort();
    let links = span.links.iter();
    let links: BTreeSet<_> = links
        .map(|link| (hex(&link.trace_id), hex(&link.span_id)))
        .collect();
    let trace = hex(&span.trace_id);
    let parent = match span.parent_span_id.as_slice() {
        [] => "-".to_owned(),
        id => hex(id),
    };
    let replaced = parent == "-" || links.contains(&(trace.clone(), parent.clone()));
    let in_place = linked(&trace, &links).filter(|_| replaced);
    Seen {
        parent: in_place.unwrap_or(parent),
        trace,
        span: hex(&span.span_id),
        service: service.to_owned(),
        name: span.name.clone(),
        kind: kinds[usize::try_from(span.kind).unwrap_or(0).min(5)].to_owned(),
        status: (status_code.to_owned(), status.message),
        start: micros(span.start_time_unix_nano),
        length: micros(
            span.end_time_unix_nano
                .saturating_sub(span.start_time_unix_nano),
        ),
        events,
        links,
        attributes,
        synthetic,
    }
}

fn text_of<'a>(attributes: impl IntoIterator<Item = &'a KeyValue>, key: &str) -> String {
    let mut attributes = attributes.into_iter();
    let found = attributes.find(|attribute| attribute.key == key);
    found.map(|attribute| pair(attribute).1).unwrap_or_default()
}

fn pair(attribute: &KeyValue) -> (String, String) {
    let value = match attribute
        .value
        .as_ref()
        .and_then(|AnyValue { value, .. }| value.as_ref())
    {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::BoolValue(value)) => value.to_string(),
        Some(Value::IntValue(value)) => value.to_string(),
        Some(Value::DoubleValue(value)) => value.to_string(),
        other => format!("{other:?}"),
    };
    (attribute.key.clone(), value)
}
