//! Traces as Jaeger's query API and the download of its page have them:
//! `{"data": [{"traceID", "spans", "processes"}]}`, or such traces alone.
//!
//! What Jaeger made of OTLP when it took it in is undone: `span.kind`, `error`,
//! `otel.status_code` and their like become fields again.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::{Span, Status, status::StatusCode};
use serde::Deserialize;

use super::group::{Observed, ScopePart, attribute, scope_part, service};
use super::ids;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Trace {
    spans: Vec<serde_json::Value>,
    #[serde(default)]
    processes: HashMap<String, Process>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Process {
    service_name: String,
    tags: Option<Vec<Tag>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Read {
    #[serde(rename = "traceID")]
    trace_id: String,
    #[serde(rename = "spanID")]
    span_id: String,
    #[serde(rename = "parentSpanID", default)]
    parent_span_id: String,
    #[serde(default)]
    flags: u32,
    operation_name: String,
    #[serde(default)]
    references: Option<Vec<Reference>>,
    start_time: u64,
    #[serde(default)]
    duration: u64,
    #[serde(default)]
    tags: Option<Vec<Tag>>,
    #[serde(default)]
    logs: Option<Vec<Log>>,
    #[serde(rename = "processID", default)]
    process_id: String,
    process: Option<Process>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reference {
    ref_type: String,
    #[serde(rename = "traceID", default)]
    trace_id: String,
    #[serde(rename = "spanID")]
    span_id: String,
}

#[derive(Debug, Deserialize)]
struct Tag {
    key: String,
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    value: serde_json::Value,
}

#[derive(Debug, Deserialize)]
struct Log {
    timestamp: u64,
    #[serde(default)]
    fields: Vec<Tag>,
}

/// The spans of an element, and what is wrong with those that can't be used.
pub(super) fn spans(
    element: &[u8],
    each: &mut dyn FnMut(Result<Observed, String>),
) -> Result<(), serde_json::Error> {
    let trace: Trace = serde_json::from_slice(element)?;
    let processes: HashMap<_, _> = trace
        .processes
        .into_iter()
        .map(|(id, process)| (id, Arc::new(resource(process))))
        .collect();
    for (at, span) in trace.spans.into_iter().enumerate() {
        let read = serde_path_to_error::deserialize(span).map_err(|fault| fault.to_string());
        let span = read.and_then(|read| observed(read, &processes));
        each(span.map_err(|fault| format!("span {}: {fault}", at + 1)));
    }
    Ok(())
}

fn resource(process: Process) -> Resource {
    let mut resource = service(&process.service_name);
    let tags = process.tags.unwrap_or_default();
    let others = tags.into_iter().filter(|tag| tag.key != "service.name");
    resource.attributes.extend(others.map(|tag| pair(&tag)));
    resource
}

fn observed(read: Read, processes: &HashMap<String, Arc<Resource>>) -> Result<Observed, String> {
    let trace_id = ids::trace_id(&read.trace_id).ok_or("traceID is empty")?;
    let span_id = ids::span_id(&read.span_id).ok_or("spanID is empty")?;
    let resource = match read.process {
        Some(process) => Arc::new(resource(process)),
        None => processes
            .get(&read.process_id)
            .cloned()
            .ok_or_else(|| format!("processID: there is no process `{}`", read.process_id))?,
    };
    let (parent, links) = parent_and_links(
        (trace_id, span_id),
        &read.parent_span_id,
        read.references.unwrap_or_default(),
    );
    let start = read.start_time.saturating_mul(1_000);
    let mut told = Told::default();
    let tags = read.tags.unwrap_or_default().into_iter();
    let attributes = tags.filter_map(|tag| told.take(&tag)).collect();
    let status = told.status();
    let events = read.logs.unwrap_or_default().into_iter().map(event);
    Ok(Observed {
        resource,
        scope: told.scope.map(Arc::new),
        span: Span {
            trace_id: trace_id.to_vec(),
            span_id: span_id.to_vec(),
            parent_span_id: parent.map_or(Vec::new(), Vec::from),
            trace_state: told.state,
            name: read.operation_name,
            kind: told.kind.into(),
            start_time_unix_nano: start,
            end_time_unix_nano: start.saturating_add(read.duration.saturating_mul(1_000)),
            attributes,
            events: events.collect(),
            links,
            status,
            flags: read.flags & 0xff,
            ..Span::default()
        },
    })
}

/// The parent is the first span of the same trace that is named by `CHILD_OF`, or by the field that
/// references took the place of, or by `FOLLOWS_FROM` if nothing else names one. All other
/// references are links.
fn parent_and_links(
    (trace_id, span_id): ([u8; 16], [u8; 8]),
    field: &str,
    references: Vec<Reference>,
) -> (Option<[u8; 8]>, Vec<Link>) {
    let mut known: Vec<(bool, [u8; 16], [u8; 8])> = Vec::new();
    for reference in references {
        let of = match reference.trace_id.is_empty() {
            true => Some(trace_id),
            false => ids::trace_id(&reference.trace_id),
        };
        let named = ids::parent_id(&reference.span_id, span_id);
        if let (Some(of), Some(named)) = (of, named) {
            known.push((reference.ref_type == "CHILD_OF", of, named));
        }
    }
    let find = |child_of: bool| {
        known
            .iter()
            .position(|&(child, of, _)| child == child_of && of == trace_id)
    };
    let field = ids::parent_id(field, span_id);
    let at = match (find(true), field) {
        (None, None) => find(false),
        (at, _) => at,
    };
    let parent = at.map(|at| known.remove(at).2).or(field);
    let links = known.into_iter().map(|(_, of, named)| Link {
        trace_id: of.to_vec(),
        span_id: named.to_vec(),
        ..Link::default()
    });
    (parent, links.collect())
}

/// What tags say that OTLP has fields for.
#[derive(Debug, Default)]
struct Told {
    kind: SpanKind,
    error: bool,
    code: StatusCode,
    message: String,
    state: String,
    scope: Option<InstrumentationScope>,
}

impl Told {
    /// The tag as an attribute, unless it is told in a field.
    fn take(&mut self, tag: &Tag) -> Option<KeyValue> {
        let text = tag.value.as_str().unwrap_or_default();
        if let Some(part) = scope_part(&tag.key) {
            let scope = self.scope.get_or_insert_default();
            match part {
                ScopePart::Name => scope.name = text.to_owned(),
                ScopePart::Version => scope.version = text.to_owned(),
            }
            return None;
        }
        match tag.key.as_str() {
            "span.kind" => {
                self.kind = match text.to_ascii_lowercase().as_str() {
                    "server" => SpanKind::Server,
                    "client" => SpanKind::Client,
                    "producer" => SpanKind::Producer,
                    "consumer" => SpanKind::Consumer,
                    "internal" => SpanKind::Internal,
                    _ => SpanKind::Unspecified,
                };
            }
            // What else clients put there is an attribute of their own.
            "error" if tag.value.as_bool().is_some() || ["true", "false"].contains(&text) => {
                self.error |= tag.value.as_bool() == Some(true) || text == "true";
            }
            "otel.status_code" => {
                self.code = match text.to_ascii_uppercase().as_str() {
                    "OK" => StatusCode::Ok,
                    "ERROR" => StatusCode::Error,
                    _ => StatusCode::Unset,
                };
            }
            "otel.status_description" => self.message = text.to_owned(),
            "w3c.tracestate" => self.state = text.to_owned(),
            "internal.span.format" => {}
            _ => return Some(pair(tag)),
        }
        None
    }

    fn status(&mut self) -> Option<Status> {
        if self.error {
            self.code = StatusCode::Error;
        }
        let message = std::mem::take(&mut self.message);
        (self.code != StatusCode::Unset || !message.is_empty()).then(|| Status {
            code: self.code.into(),
            message,
        })
    }
}

/// A tag as an attribute.
fn pair(tag: &Tag) -> KeyValue {
    let text = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let value = match (&tag.value, tag.kind.as_str()) {
        (serde_json::Value::Bool(truth), _) => Value::BoolValue(*truth),
        (serde_json::Value::Number(number), "float64") => {
            Value::DoubleValue(number.as_f64().unwrap_or_default())
        }
        (serde_json::Value::Number(number), _) => match number.as_i64() {
            Some(whole) => Value::IntValue(whole),
            None => Value::DoubleValue(number.as_f64().unwrap_or_default()),
        },
        // Numbers too long for JavaScript stand as text.
        (serde_json::Value::String(digits), "int64") => match digits.parse() {
            Ok(whole) => Value::IntValue(whole),
            Err(_) => Value::StringValue(digits.clone()),
        },
        (serde_json::Value::String(bytes), "binary") => match STANDARD.decode(bytes) {
            Ok(bytes) => Value::BytesValue(bytes),
            Err(_) => Value::StringValue(bytes.clone()),
        },
        (value, _) => Value::StringValue(text(value)),
    };
    attribute(&tag.key, value)
}

/// A log as an event: its name stands in the field `event`, or in `message`, or it has none.
fn event(log: Log) -> Event {
    let mut fields = log.fields;
    let named = ["event", "message"].iter().find_map(|key| {
        fields
            .iter()
            .position(|field| field.key == *key && field.value.is_string())
    });
    let name = named.map(|at| fields.remove(at));
    let name = name.and_then(|field| field.value.as_str().map(str::to_owned));
    Event {
        time_unix_nano: log.timestamp.saturating_mul(1_000),
        name: name.unwrap_or_default(),
        attributes: fields.iter().map(pair).collect(),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// References of span 2 of trace 1 as `child:1.9`; `parent; links`.
    fn check(field: &str, references: &str, expected: &str) {
        let references = references.split_whitespace().map(|text| {
            let (kind, id) = text.split_once(':').unwrap();
            let (trace, span) = id.split_once('.').unwrap();
            Reference {
                ref_type: match kind {
                    "child" => "CHILD_OF".to_owned(),
                    _ => "FOLLOWS_FROM".to_owned(),
                },
                trace_id: trace.to_owned(),
                span_id: span.to_owned(),
            }
        });
        let own = (ids::trace_id("1").unwrap(), ids::span_id("2").unwrap());
        let (parent, links) = parent_and_links(own, field, references.collect());
        let parent = parent.map_or("-".to_owned(), |id| id[7].to_string());
        let links = links
            .iter()
            .map(|l| format!("{}.{}", l.trace_id[15], l.span_id[7]));
        let links: Vec<_> = links.collect();
        assert_eq!(format!("{parent}; {}", links.join(" ")), expected);
    }

    #[test]
    fn the_first_child_of_in_the_trace_is_the_parent_and_other_references_are_links() {
        check("", "child:1.9", "9; ");
        check("", "follows:1.8 child:1.9 child:1.7", "9; 1.8 1.7");
        check("", "child:5.9 follows:1.8", "8; 5.9");
        check("9", "follows:1.8", "9; 1.8");
        check("", "follows:5.8", "-; 5.8");
        check("0", "", "-; ");
        check("", "child:1.2", "-; ");
        check("", "child:.9", "9; ");
    }
}
