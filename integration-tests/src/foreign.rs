//! Whole traces written in the formats of other tools, as those tools write them. What they can't
//! hold is left out.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::{Map, Value as Json, json};

use crate::sink::hex;

type Requests = [ExportTraceServiceRequest];

/// A format: the name of its file, and how whole traces are written in it.
pub type Written = (&'static str, fn(&Requests) -> String);

/// Every format.
pub const ALL: [Written; 6] = [
    ("otlp.json", otlp),
    ("tempo.json", tempo),
    ("jaeger.json", jaeger),
    ("zipkin.json", zipkin),
    ("nezha.csv", nezha),
    ("eadro.csv", eadro),
];

/// The spans with the attributes of their process, and the name and version of their scope.
fn spans(request: &ExportTraceServiceRequest) -> impl Iterator<Item = (&Resource, &str, &Span)> {
    static NONE: Resource = Resource {
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        entity_refs: Vec::new(),
    };
    request.resource_spans.iter().flat_map(|group| {
        let resource = group.resource.as_ref().unwrap_or(&NONE);
        group.scope_spans.iter().flat_map(move |scope| {
            let name = scope.scope.as_ref().map_or("", |scope| &scope.name);
            scope.spans.iter().map(move |span| (resource, name, span))
        })
    })
}

fn service(resource: &Resource) -> &str {
    let mut attributes = resource.attributes.iter();
    let named = attributes.find(|attribute| attribute.key == "service.name");
    match named.and_then(|it| it.value.as_ref()?.value.as_ref()) {
        Some(Value::StringValue(name)) => name,
        _ => "",
    }
}

/// One OTLP/JSON document over many lines.
fn otlp(requests: &Requests) -> String {
    let groups = requests
        .iter()
        .flat_map(|request| request.resource_spans.clone());
    let all = ExportTraceServiceRequest {
        resource_spans: groups.collect(),
    };
    serde_json::to_string_pretty(&all).unwrap()
}

/// A list of what Tempo's `/api/traces/ID` answers: batches, ids in base64, names of kinds.
fn tempo(requests: &Requests) -> String {
    let base64 = |id: &mut Json| {
        let text = id.as_str().unwrap_or_default();
        let bytes: Vec<u8> = (0..text.len() / 2)
            .map(|at| u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).unwrap())
            .collect();
        *id = base64(&bytes).into();
    };
    let mut answers = Vec::new();
    for request in requests {
        let mut document = serde_json::to_value(request).unwrap();
        let mut batches = document["resourceSpans"].take();
        for batch in batches.as_array_mut().unwrap() {
            for scope in batch["scopeSpans"].as_array_mut().unwrap() {
                for span in scope["spans"].as_array_mut().unwrap() {
                    for key in ["traceId", "spanId", "parentSpanId"] {
                        base64(&mut span[key]);
                    }
                    let kinds = [
                        "UNSPECIFIED",
                        "INTERNAL",
                        "SERVER",
                        "CLIENT",
                        "PRODUCER",
                        "CONSUMER",
                    ];
                    let kind = span["kind"].as_u64().unwrap_or_default() as usize;
                    span["kind"] = format!("SPAN_KIND_{}", kinds[kind]).into();
                    if let Some(code) = span["status"]["code"].as_u64() {
                        let code = ["UNSET", "OK", "ERROR"][code as usize];
                        span["status"]["code"] = format!("STATUS_CODE_{code}").into();
                    }
                    for link in span["links"].as_array_mut().unwrap() {
                        base64(&mut link["traceId"]);
                        base64(&mut link["spanId"]);
                    }
                }
            }
        }
        answers.push(json!({ "batches": batches }));
    }
    serde_json::to_string(&answers).unwrap()
}

fn base64(bytes: &[u8]) -> String {
    const SIGNS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut padded = [0; 3];
        padded[..chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes([0, padded[0], padded[1], padded[2]]);
        for at in 0..4 {
            let sign = SIGNS[(bits >> (18 - 6 * at) & 63) as usize] as char;
            text.push(if at > chunk.len() { '=' } else { sign });
        }
    }
    text
}

/// What Jaeger's `/api/traces` answers to these traces.
fn jaeger(requests: &Requests) -> String {
    let mut data = Vec::new();
    for request in requests {
        let mut processes: Vec<&Resource> = Vec::new();
        let mut all = Vec::new();
        let mut trace_id = String::new();
        for (resource, scope, span) in spans(request) {
            let at = processes.iter().position(|known| *known == resource);
            let at = at.unwrap_or_else(|| {
                processes.push(resource);
                processes.len() - 1
            });
            trace_id = hex(&span.trace_id);
            all.push(jaeger_span(span, scope, at + 1));
        }
        let processes: Map<String, Json> = processes
            .iter()
            .enumerate()
            .map(|(at, resource)| {
                let others = resource
                    .attributes
                    .iter()
                    .filter(|it| it.key != "service.name");
                let tags: Vec<Json> = others.map(tag).collect();
                let process = json!({ "serviceName": service(resource), "tags": tags });
                (format!("p{}", at + 1), process)
            })
            .collect();
        data.push(
            json!({ "traceID": trace_id, "spans": all, "processes": processes, "warnings": null }),
        );
    }
    let answer = json!({ "data": data, "total": 0, "limit": 0, "offset": 0, "errors": null });
    serde_json::to_string(&answer).unwrap()
}

fn jaeger_span(span: &Span, scope: &str, process: usize) -> Json {
    let reference = |kind: &str, trace: &[u8], id: &[u8]| json!({ "refType": kind, "traceID": hex(trace), "spanID": hex(id) });
    let mut references = Vec::new();
    if !span.parent_span_id.is_empty() {
        references.push(reference("CHILD_OF", &span.trace_id, &span.parent_span_id));
    }
    for link in &span.links {
        references.push(reference("FOLLOWS_FROM", &link.trace_id, &link.span_id));
    }
    let string = |key: &str, value: &str| json!({ "key": key, "type": "string", "value": value });
    let mut tags: Vec<Json> = span.attributes.iter().map(tag).collect();
    tags.push(string("otel.scope.name", scope));
    let kinds = ["", "internal", "server", "client", "producer", "consumer"];
    tags.push(string("span.kind", kinds[span.kind as usize]));
    let status = span.status.clone().unwrap_or_default();
    match status.code {
        1 => tags.push(string("otel.status_code", "OK")),
        2 => {
            tags.push(string("otel.status_code", "ERROR"));
            tags.push(json!({ "key": "error", "type": "bool", "value": true }));
        }
        _ => {}
    }
    if !status.message.is_empty() {
        tags.push(string("otel.status_description", &status.message));
    }
    let logs: Vec<Json> = span
        .events
        .iter()
        .map(|event| {
            let mut fields = vec![string("event", &event.name)];
            fields.extend(event.attributes.iter().map(tag));
            json!({ "timestamp": event.time_unix_nano / 1_000, "fields": fields })
        })
        .collect();
    json!({
        "traceID": hex(&span.trace_id),
        "spanID": hex(&span.span_id),
        "operationName": span.name,
        "references": references,
        "startTime": span.start_time_unix_nano / 1_000,
        "duration": took(span),
        "tags": tags,
        "logs": logs,
        "processID": format!("p{process}"),
        "warnings": null,
    })
}

fn tag(attribute: &KeyValue) -> Json {
    let (kind, value) = match attribute
        .value
        .as_ref()
        .and_then(|value| value.value.as_ref())
    {
        Some(Value::BoolValue(truth)) => ("bool", json!(truth)),
        Some(Value::IntValue(number)) => ("int64", json!(number)),
        Some(Value::DoubleValue(number)) => ("float64", json!(number)),
        other => ("string", text(other).into()),
    };
    json!({ "key": attribute.key, "type": kind, "value": value })
}

fn text(value: Option<&Value>) -> String {
    match value {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::BoolValue(truth)) => truth.to_string(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        _ => String::new(),
    }
}

/// Microseconds between the two that a start and an end fall into.
fn took(span: &Span) -> u64 {
    span.end_time_unix_nano / 1_000 - span.start_time_unix_nano / 1_000
}

/// What Zipkin's `/api/v2/traces` answers: a list of spans for each trace.
fn zipkin(requests: &Requests) -> String {
    let traces: Vec<Vec<Json>> = requests
        .iter()
        .map(|request| {
            spans(request)
                .map(|(resource, scope, span)| zipkin_span(resource, scope, span))
                .collect()
        })
        .collect();
    serde_json::to_string(&traces).unwrap()
}

fn zipkin_span(resource: &Resource, scope: &str, span: &Span) -> Json {
    let value = |value: &Option<AnyValue>| text(value.as_ref().and_then(|it| it.value.as_ref()));
    let mut tags: BTreeMap<String, String> = span
        .attributes
        .iter()
        .map(|it| (it.key.clone(), value(&it.value)))
        .collect();
    tags.insert("otel.scope.name".to_owned(), scope.to_owned());
    let status = span.status.clone().unwrap_or_default();
    if status.code > 0 {
        let code = ["", "OK", "ERROR"][status.code as usize];
        tags.insert("otel.status_code".to_owned(), code.to_owned());
    }
    if status.code == 2 {
        let message = if status.message.is_empty() {
            "true"
        } else {
            &status.message
        };
        tags.insert("error".to_owned(), message.to_owned());
    }
    let annotations: Vec<Json> = span
        .events
        .iter()
        .map(|event| json!({ "timestamp": event.time_unix_nano / 1_000, "value": event.name }))
        .collect();
    let mut json = json!({
        "traceId": hex(&span.trace_id),
        "id": hex(&span.span_id),
        "name": span.name,
        "timestamp": span.start_time_unix_nano / 1_000,
        "duration": took(span),
        "localEndpoint": { "serviceName": service(resource) },
        "annotations": annotations,
        "tags": tags,
    });
    if !span.parent_span_id.is_empty() {
        json["parentId"] = hex(&span.parent_span_id).into();
    }
    let kind = ["", "", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"][span.kind as usize];
    if !kind.is_empty() {
        json["kind"] = kind.into();
    }
    json
}

/// A field of a row.
fn field(text: &str) -> String {
    if text.contains([',', '"', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// Rows as the Nezha data set has them; a pod for each service.
fn nezha(requests: &Requests) -> String {
    let mut rows =
        "TraceID,SpanID,ParentID,PodName,OperationName,StartTimeUnixNano,EndTimeUnixNano,Duration\n".to_owned();
    for (resource, _, span) in requests.iter().flat_map(spans) {
        let parent = match span.parent_span_id.as_slice() {
            [] => "root".to_owned(),
            id => hex(id),
        };
        let pod = format!("{}-579b9bff58-t2dbm", service(resource));
        let (start, end) = (span.start_time_unix_nano, span.end_time_unix_nano);
        rows += &format!(
            "{},{},{parent},{},{},{start},{end},{}\n",
            hex(&span.trace_id),
            hex(&span.span_id),
            field(&pod),
            field(&span.name),
            (end - start) / 1_000,
        );
    }
    rows
}

/// Rows in the columns of Eadro's data sets, in microseconds, behind a column without a name as
/// pandas writes one.
fn eadro(requests: &Requests) -> String {
    let mut rows =
        ",timestamp,service_name,span_id,parent_id,trace_id,duration,status_code,operation_name\n"
            .to_owned();
    for (at, (resource, _, span)) in requests.iter().flat_map(spans).enumerate() {
        let code = span.status.as_ref().map_or(0, |status| status.code);
        rows += &format!(
            "{at},{},{},{},{},{},{},{code},{}\n",
            span.start_time_unix_nano / 1_000,
            field(service(resource)),
            hex(&span.span_id),
            hex(&span.parent_span_id),
            hex(&span.trace_id),
            took(span),
            field(&span.name),
        );
    }
    rows
}
