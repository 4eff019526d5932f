//! OTLP/JSON that is not one request a line: documents over many lines, and what Tempo's API gives
//! (`{"batches": […]}`, `{"trace": {"resourceSpans": […]}}`).
//!
//! Tempo writes ids in base64 and kinds and codes by name, and had `instrumentationLibrarySpans`
//! once; all of it is read.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::group::Observed;

#[derive(Debug, Deserialize)]
struct Group {
    #[serde(default)]
    resource: Option<Resource>,
    #[serde(alias = "scopeSpans", alias = "scope_spans", default)]
    #[serde(alias = "instrumentationLibrarySpans")]
    scopes: Vec<Scope>,
}

#[derive(Debug, Deserialize)]
struct Scope {
    #[serde(alias = "instrumentationLibrary", default)]
    scope: Option<InstrumentationScope>,
    #[serde(default)]
    spans: Vec<Value>,
}

/// The spans of an element, and what is wrong with those that can't be used.
pub(super) fn spans(
    element: &[u8],
    each: &mut dyn FnMut(Result<Observed, String>),
) -> Result<(), serde_json::Error> {
    let group: Group = serde_json::from_slice(element)?;
    let resource = Arc::new(group.resource.unwrap_or_default());
    let mut at = 0;
    for Scope { scope, spans } in group.scopes {
        let scope = scope.map(Arc::new);
        for mut span in spans {
            at += 1;
            spell(&mut span);
            let read: Result<Span, _> = serde_path_to_error::deserialize(span);
            let read = read.map_err(|fault| fault.to_string());
            let checked = read.and_then(|span| match (span.trace_id.len(), span.span_id.len()) {
                (16, 8) => Ok(span),
                (16, got) => Err(format!("spanId: has {got} bytes, expected 8")),
                (got, _) => Err(format!("traceId: has {got} bytes, expected 16")),
            });
            each(checked.map_or_else(
                |fault| Err(format!("span {at}: {fault}")),
                |span| {
                    Ok(Observed {
                        resource: resource.clone(),
                        scope: scope.clone(),
                        span,
                    })
                },
            ));
        }
    }
    Ok(())
}

/// Writes what a span has in another spelling as OTLP/JSON has it.
fn spell(span: &mut Value) {
    let Some(span) = span.as_object_mut() else {
        return;
    };
    ids(span, &["traceId", "spanId", "parentSpanId"]);
    number(
        span,
        "kind",
        "SPAN_KIND_",
        &[
            "UNSPECIFIED",
            "INTERNAL",
            "SERVER",
            "CLIENT",
            "PRODUCER",
            "CONSUMER",
        ],
    );
    if let Some(status) = span.get_mut("status").and_then(Value::as_object_mut) {
        number(status, "code", "STATUS_CODE_", &["UNSET", "OK", "ERROR"]);
    }
    let links = span.get_mut("links").and_then(Value::as_array_mut);
    for link in links.into_iter().flatten() {
        if let Some(link) = link.as_object_mut() {
            ids(link, &["traceId", "spanId"]);
        }
    }
}

/// Ids in base64 as hexadecimal ones: the lengths of the two never meet.
fn ids(object: &mut Map<String, Value>, keys: &[&str]) {
    for key in keys {
        let Some(Value::String(id)) = object.get_mut(*key) else {
            continue;
        };
        let is_base64 = match id.len() {
            24 => id.ends_with("=="),
            12 => id.ends_with('='),
            _ => false,
        };
        if is_base64 && let Ok(bytes) = STANDARD.decode(&*id) {
            *id = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        }
    }
}

/// An enumeration's name as its number.
fn number(object: &mut Map<String, Value>, key: &str, prefix: &str, names: &[&str]) {
    let value = object.get_mut(key);
    let name = value.as_ref().and_then(|value| value.as_str());
    let name = name.map(|name| name.strip_prefix(prefix).unwrap_or(name));
    let at = name.and_then(|name| names.iter().position(|known| *known == name));
    if let (Some(value), Some(at)) = (value, at) {
        *value = at.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tempos_spelling_and_that_of_the_protocol_are_the_same_span() {
        let check = |span: &str| {
            let element = format!(
                r#"{{"resource":{{"attributes":[]}},"scopeSpans":[{{"spans":[{span}]}}]}}"#
            );
            let mut seen = Vec::new();
            spans(element.as_bytes(), &mut |span| {
                seen.push(span.unwrap().span)
            })
            .unwrap();
            seen.remove(0)
        };
        let hex = check(
            r#"{"traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"0102030405060708",
            "parentSpanId":"","name":"a","kind":2,"startTimeUnixNano":"5","status":{"code":2},
            "links":[{"traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"0102030405060709"}]}"#,
        );
        let base64 = check(
            r#"{"traceId":"AQIDBAUGBwgJCgsMDQ4PEA==","spanId":"AQIDBAUGBwg=",
            "name":"a","kind":"SPAN_KIND_SERVER","startTimeUnixNano":"5",
            "status":{"code":"STATUS_CODE_ERROR"},
            "links":[{"traceId":"AQIDBAUGBwgJCgsMDQ4PEA==","spanId":"AQIDBAUGBwk="}]}"#,
        );
        assert_eq!(hex, base64);
        assert_eq!(hex.kind, 2);
    }

    #[test]
    fn a_bad_span_costs_itself_and_is_named() {
        let element = r#"{"instrumentationLibrarySpans":[{"spans":[
            {"traceId":"01","spanId":"0102030405060708","name":"a"},
            {"traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"0102030405060708","name":"b"},
            {"traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"0102030405060708","name":7}]}]}"#;
        let mut seen = Vec::new();
        spans(element.as_bytes(), &mut |span| {
            seen.push(match span {
                Ok(observed) => observed.span.name,
                Err(fault) => fault
                    .split(['`', ','])
                    .next()
                    .unwrap_or_default()
                    .to_owned(),
            });
        })
        .unwrap();
        assert_eq!(seen[0], "span 1: traceId: has 1 bytes");
        assert_eq!(seen[1], "b");
        assert!(seen[2].starts_with("span 3: name: "), "{}", seen[2]);
    }
}
