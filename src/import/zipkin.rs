//! Spans as Zipkin's API (v2) has them: a list of spans, or a list of traces, each a list of spans.

use std::collections::HashMap;
use std::sync::Arc;

use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, SpanKind};
use opentelemetry_proto::tonic::trace::v1::{Span, Status, status::StatusCode};
use serde::Deserialize;

use super::group::{Observed, ScopePart, scope_part, service_of, text};
use super::ids;
use super::rows::Processes;

/// Marks, within a trace that is read, the half that took part in a caller's span.
const SHARED: u32 = 1 << 31;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Read {
    trace_id: String,
    id: String,
    #[serde(default)]
    parent_id: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    kind: Option<String>,
    timestamp: u64,
    #[serde(default)]
    duration: Option<u64>,
    #[serde(default)]
    local_endpoint: Option<Endpoint>,
    #[serde(default)]
    remote_endpoint: Option<Endpoint>,
    #[serde(default)]
    annotations: Option<Vec<Annotation>>,
    #[serde(default)]
    tags: Option<HashMap<String, String>>,
    #[serde(default)]
    shared: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint {
    #[serde(default)]
    service_name: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Annotation {
    timestamp: u64,
    value: String,
}

/// The span of an element.
pub(super) fn span(element: &[u8], processes: &mut Processes) -> Result<Observed, String> {
    let mut reader = serde_json::Deserializer::from_slice(element);
    let read: Read =
        serde_path_to_error::deserialize(&mut reader).map_err(|fault| fault.to_string())?;
    let trace_id = ids::trace_id(&read.trace_id).ok_or("traceId is empty")?;
    let span_id = ids::span_id(&read.id).ok_or("id is empty")?;
    let parent = read.parent_id.unwrap_or_default();
    let start = read.timestamp.saturating_mul(1_000);
    let took = read.duration.unwrap_or_default().saturating_mul(1_000);
    let kind = read.kind.unwrap_or_default();
    let mut tags: Vec<_> = read.tags.unwrap_or_default().into_iter().collect();
    tags.sort();
    let mut take = |key: &str| {
        let at = tags.iter().position(|(name, _)| name == key)?;
        Some(tags.remove(at).1)
    };
    // The two that OpenTelemetry's exporters add; any `error` at all is a failure.
    let code = take("otel.status_code");
    let error = take("error");
    let status = match (code.as_deref(), error) {
        (Some("OK"), _) => Some((StatusCode::Ok, String::new())),
        (_, Some(message)) => Some((StatusCode::Error, message)),
        (Some("ERROR"), None) => Some((StatusCode::Error, String::new())),
        _ => None,
    };
    let status = status.map(|(code, message)| Status {
        code: code.into(),
        // What says nothing but that it failed is no message.
        message: if message == "true" {
            String::new()
        } else {
            message
        },
    });
    let (mut scope, mut version) = (None, None);
    // In order of their keys: the present name of a tag comes after its old one, and stays.
    tags.retain(|(key, value)| {
        let part = match scope_part(key) {
            None => return true,
            Some(ScopePart::Name) => &mut scope,
            Some(ScopePart::Version) => &mut version,
        };
        *part = Some(value.clone());
        false
    });
    let scope = scope.map(|name| {
        Arc::new(InstrumentationScope {
            name,
            version: version.unwrap_or_default(),
            ..InstrumentationScope::default()
        })
    });
    let mut attributes: Vec<_> = tags.iter().map(|(key, value)| text(key, value)).collect();
    let named = |endpoint: Option<Endpoint>| endpoint.and_then(|it| it.service_name);
    if let Some(peer) = named(read.remote_endpoint).filter(|peer| !peer.is_empty())
        && !tags.iter().any(|(key, _)| key == "peer.service")
    {
        attributes.push(text("peer.service", &peer));
    }
    let service = named(read.local_endpoint).unwrap_or_default();
    let events = read.annotations.unwrap_or_default().into_iter();
    let shared = read.shared.unwrap_or_default();
    Ok(Observed {
        resource: processes.of(&service, || match service.as_str() {
            "" => Resource::default(),
            name => super::group::service(name),
        }),
        scope,
        span: Span {
            trace_id: trace_id.to_vec(),
            span_id: span_id.to_vec(),
            parent_span_id: ids::parent_id(&parent, span_id).map_or(Vec::new(), Vec::from),
            name: read.name.unwrap_or_default(),
            kind: match kind.to_ascii_uppercase().as_str() {
                "CLIENT" => SpanKind::Client,
                "SERVER" => SpanKind::Server,
                "PRODUCER" => SpanKind::Producer,
                "CONSUMER" => SpanKind::Consumer,
                _ => SpanKind::Internal,
            }
            .into(),
            start_time_unix_nano: start,
            end_time_unix_nano: start.saturating_add(took),
            attributes,
            events: events.map(event).collect(),
            status,
            flags: if shared { SHARED } else { 0 },
            ..Span::default()
        },
    })
}

/// An annotation as an event: its value is the event's name. OpenTelemetry's exporters write
/// `"name": {attributes}`, of which the name is kept.
fn event(annotation: Annotation) -> Event {
    let value = annotation.value;
    let quoted = value
        .strip_prefix('"')
        .and_then(|rest| rest.split_once("\": {"));
    let name = match quoted {
        Some((name, _)) => name.to_owned(),
        None => value,
    };
    Event {
        time_unix_nano: annotation.timestamp.saturating_mul(1_000),
        name,
        ..Event::default()
    }
}

/// Takes spans apart that a caller and a callee share: the callee's half gets an id of its own, the
/// caller's half as its parent, and the children that are of the callee's service.
pub(super) fn take_apart(trace: &mut [Observed]) {
    let callers: HashMap<Vec<u8>, String> = trace
        .iter()
        .filter(|it| it.span.flags & SHARED == 0)
        .map(|it| (it.span.span_id.clone(), service_of(&it.resource).to_owned()))
        .collect();
    let mut halves: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
    for it in trace.iter_mut() {
        if it.span.flags & SHARED == 0 {
            continue;
        }
        it.span.flags &= !SHARED;
        // Where the caller's half is not there, the callee's stands for both.
        if let (true, Ok(id)) = (
            callers.contains_key(&it.span.span_id),
            <[u8; 8]>::try_from(it.span.span_id.as_slice()),
        ) {
            let half = ids::half(id).to_vec();
            it.span.parent_span_id = std::mem::replace(&mut it.span.span_id, half.clone());
            halves.insert(it.span.parent_span_id.clone(), half);
        }
    }
    for it in trace {
        let parent = &it.span.parent_span_id;
        if let (Some(half), Some(caller)) = (halves.get(parent), callers.get(parent))
            && *half != it.span.span_id
            && caller != service_of(&it.resource)
        {
            it.span.parent_span_id = half.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spans as `service id parent kind`, a `*` behind those that are shared; `id<parent` of each
    /// afterwards, callee's halves as their caller's id and a quote.
    fn check(spans: &[&str], expected: &str) {
        let mut processes = Processes::default();
        let mut trace: Vec<_> = spans
            .iter()
            .map(|text| {
                let words: Vec<_> = text.split(' ').collect();
                let [service, id, parent, kind] = words[..] else {
                    panic!("{text}")
                };
                let shared = kind.ends_with('*');
                let kind = kind.trim_end_matches('*');
                let json = format!(
                    r#"{{"traceId":"1","id":"{id}","parentId":"{parent}","kind":"{kind}",
                    "timestamp":1,"localEndpoint":{{"serviceName":"{service}"}},"shared":{shared}}}"#
                );
                span(json.as_bytes(), &mut processes).unwrap()
            })
            .collect();
        take_apart(&mut trace);
        let halves: HashMap<_, _> = (1..=9_u8)
            .map(|id| (ids::half([0, 0, 0, 0, 0, 0, 0, id]).to_vec(), id))
            .collect();
        let name = |id: &[u8]| match halves.get(id) {
            Some(id) => format!("{id}'"),
            None => id.last().map_or("-".to_owned(), u8::to_string),
        };
        let seen = trace.iter().map(|it| {
            assert_eq!(it.span.flags, 0);
            format!(
                "{}<{}",
                name(&it.span.span_id),
                name(&it.span.parent_span_id)
            )
        });
        assert_eq!(seen.collect::<Vec<_>>().join(" "), expected);
    }

    #[test]
    fn a_span_that_two_share_becomes_two_and_children_stay_with_their_service() {
        check(
            &[
                "web 1 0 SERVER",
                "web 2 1 CLIENT",
                "shop 2 1 SERVER*",
                "shop 3 2 CLIENT",
                "web 4 1 LOCAL",
            ],
            "1<- 2<1 2'<2 3<2' 4<1",
        );
        check(&["shop 2 1 SERVER*", "shop 3 2 CLIENT"], "2<1 3<2");
        check(
            &["web 2 0 CLIENT", "shop 2 0 SERVER*", "web 3 2 LOCAL"],
            "2<- 2'<2 3<2",
        );
        check(
            &["shop 3 2 CLIENT", "shop 2 1 SERVER*", "web 2 1 CLIENT"],
            "3<2' 2'<2 2<1",
        );
    }
}
