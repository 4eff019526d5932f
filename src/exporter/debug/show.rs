//! Requests as text.

use std::fmt::Write;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;

/// A line for each span: name, ids, attributes.
pub(super) fn lines(request: &ExportTraceServiceRequest) -> String {
    written(|text| {
        for span in spans(request) {
            write!(
                text,
                "{} {} {}",
                span.name,
                hex(&span.trace_id),
                hex(&span.span_id)
            )?;
            for pair in &span.attributes {
                write!(text, " {}={}", pair.key, value(pair.value.as_ref()))?;
            }
            writeln!(text)?;
        }
        Ok(())
    })
}

/// Every field of every span.
pub(super) fn details(request: &ExportTraceServiceRequest) -> String {
    written(|text| {
        for resource in &request.resource_spans {
            writeln!(text, "Resource")?;
            if let Some(resource) = &resource.resource {
                attributes(text, "  ", &resource.attributes)?;
            }
            for scope in &resource.scope_spans {
                if let Some(scope) = &scope.scope {
                    writeln!(text, "Scope {} {}", scope.name, scope.version)?;
                    attributes(text, "  ", &scope.attributes)?;
                }
                for one in &scope.spans {
                    span(text, one)?;
                }
            }
        }
        Ok(())
    })
}

fn span(text: &mut String, span: &Span) -> std::fmt::Result {
    writeln!(text, "Span {}", span.name)?;
    writeln!(text, "  Trace ID   {}", hex(&span.trace_id))?;
    writeln!(text, "  ID         {}", hex(&span.span_id))?;
    writeln!(text, "  Parent ID  {}", hex(&span.parent_span_id))?;
    writeln!(text, "  Kind       {:?}", span.kind())?;
    writeln!(text, "  Start      {} ns", span.start_time_unix_nano)?;
    writeln!(text, "  End        {} ns", span.end_time_unix_nano)?;
    if !span.trace_state.is_empty() {
        writeln!(text, "  TraceState {}", span.trace_state)?;
    }
    if let Some(status) = &span.status {
        writeln!(text, "  Status     {:?} {}", status.code(), status.message)?;
    }
    attributes(text, "  ", &span.attributes)?;
    for event in &span.events {
        writeln!(
            text,
            "  Event {} at {} ns",
            event.name, event.time_unix_nano
        )?;
        attributes(text, "    ", &event.attributes)?;
    }
    for link in &span.links {
        writeln!(
            text,
            "  Link to {} {}",
            hex(&link.trace_id),
            hex(&link.span_id)
        )?;
        attributes(text, "    ", &link.attributes)?;
    }
    Ok(())
}

fn attributes(text: &mut String, indent: &str, pairs: &[KeyValue]) -> std::fmt::Result {
    for pair in pairs {
        writeln!(text, "{indent}{}: {}", pair.key, value(pair.value.as_ref()))?;
    }
    Ok(())
}

/// Plain values as they are; lists and maps as their message.
fn value(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        None => String::new(),
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::BoolValue(truth)) => truth.to_string(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        Some(Value::BytesValue(bytes)) => hex(bytes),
        Some(other) => format!("{other:?}"),
    }
}

fn spans(request: &ExportTraceServiceRequest) -> impl Iterator<Item = &Span> {
    let resources = request.resource_spans.iter();
    let scopes = resources.flat_map(|resource| &resource.scope_spans);
    scopes.flat_map(|scope| &scope.spans)
}

fn hex(bytes: &[u8]) -> String {
    written(|text| bytes.iter().try_for_each(|byte| write!(text, "{byte:02x}")))
}

fn written(write: impl FnOnce(&mut String) -> std::fmt::Result) -> String {
    let mut text = String::new();
    match write(&mut text) {
        Ok(()) => text,
        // Writing to a string does not fail.
        Err(std::fmt::Error) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::exporter::sample;

    #[test]
    fn a_span_is_shown_on_a_line_or_in_full() {
        let bytes = sample::request(1, 1);
        let request = ExportTraceServiceRequest::decode(bytes.as_slice()).unwrap();
        let ids = "01010101010101010101010101010101 0000000000000001";
        assert_eq!(lines(&request), format!("GET /cart {ids}\n"));
        let shown = details(&request);
        assert!(shown.contains("Span GET /cart\n"), "{shown}");
        assert!(
            shown.contains("Start      1800000000000000000 ns\n"),
            "{shown}"
        );
    }
}
