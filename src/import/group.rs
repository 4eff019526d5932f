//! Spans put together by trace, so that what comes behind a reader gets whole traces, whatever the
//! order of the file. Bounded: where too many spans are held, the trace that was begun first leaves.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;

use super::ids;

/// Spans held at once, at most: about 200 MB.
pub(super) const HELD: usize = 200_000;

/// A span as it was read, with where it came from.
#[derive(Debug, Clone)]
pub struct Observed {
    /// Its process.
    pub resource: Arc<Resource>,
    /// What made it.
    pub scope: Option<Arc<InstrumentationScope>>,
    /// Itself; its trace id has 16 bytes.
    pub span: Span,
}

/// Spans of open traces.
#[derive(Debug)]
pub struct Group {
    traces: HashMap<[u8; 16], Vec<Observed>>,
    /// Their ids, the oldest first.
    order: VecDeque<[u8; 16]>,
    held: usize,
    most: usize,
}

impl Default for Group {
    fn default() -> Self {
        Self::new(HELD)
    }
}

impl Group {
    /// Holds so many spans at most, but one trace however large it is.
    pub(super) fn new(most: usize) -> Self {
        Self {
            traces: HashMap::new(),
            order: VecDeque::new(),
            held: 0,
            most,
        }
    }

    /// Takes a span.
    pub fn add(&mut self, observed: Observed) {
        let id = ids::of(&observed.span);
        let trace = self.traces.entry(id).or_insert_with(|| {
            self.order.push_back(id);
            Vec::new()
        });
        trace.push(observed);
        self.held += 1;
    }

    /// Takes the spans of a request as they are; how many were left out because their ids are not
    /// as long as they must be.
    ///
    /// # Errors
    ///
    /// The bytes are no request.
    pub fn add_request(&mut self, request: Bytes) -> Result<u64, prost::DecodeError> {
        let request = ExportTraceServiceRequest::decode(request)?;
        let mut without = 0;
        for group in request.resource_spans {
            let resource = Arc::new(group.resource.unwrap_or_default());
            for scoped in group.scope_spans {
                let scope = scoped.scope.map(Arc::new);
                for span in scoped.spans {
                    if (span.trace_id.len(), span.span_id.len()) != (16, 8) {
                        without += 1;
                        continue;
                    }
                    self.add(Observed {
                        resource: resource.clone(),
                        scope: scope.clone(),
                        span,
                    });
                }
            }
        }
        Ok(without)
    }

    /// Takes out the oldest trace, if more is held than may be.
    pub fn overflow(&mut self) -> Option<Vec<Observed>> {
        if self.held > self.most {
            self.oldest()
        } else {
            None
        }
    }

    /// Takes out the oldest trace; nothing if there is none.
    pub fn oldest(&mut self) -> Option<Vec<Observed>> {
        let id = self.order.pop_front()?;
        let trace = self.traces.remove(&id)?;
        self.held -= trace.len();
        Some(trace)
    }
}

/// Leaves out spans that are there twice, as in answers to several queries put behind each other.
/// Two that share an id and differ are both kept.
pub(super) fn without_copies(trace: &mut Vec<Observed>) {
    let mut known: HashMap<&[u8], Vec<&Observed>> = HashMap::with_capacity(trace.len());
    let mut is_new = Vec::with_capacity(trace.len());
    for it in trace.iter() {
        let same_id = known.entry(&it.span.span_id).or_default();
        let mut others = same_id.iter();
        let copy = others.any(|other| other.span == it.span && other.resource == it.resource);
        if !copy {
            same_id.push(it);
        }
        is_new.push(!copy);
    }
    let mut new = is_new.into_iter();
    trace.retain(|_| new.next().unwrap_or(true));
}

/// A process, what made the spans in it, and the spans.
type Whose = (Arc<Resource>, Option<Arc<InstrumentationScope>>, Vec<Span>);

/// The spans as one request, by the processes that they came from.
pub fn request(trace: Vec<Observed>) -> ExportTraceServiceRequest {
    let mut groups: Vec<Whose> = Vec::new();
    for Observed {
        resource,
        scope,
        span,
    } in trace
    {
        // The same process is mostly the same allocation.
        let of_process =
            |known: &Arc<Resource>| Arc::ptr_eq(known, &resource) || *known == resource;
        let found = groups
            .iter()
            .rposition(|(known, of, _)| *of == scope && of_process(known));
        match found {
            Some(at) => groups[at].2.push(span),
            None => groups.push((resource, scope, vec![span])),
        }
    }
    let groups = groups.into_iter().map(|(resource, scope, spans)| {
        let scope = scope.map(|scope| (*scope).clone());
        ResourceSpans {
            resource: Some((*resource).clone()),
            scope_spans: vec![ScopeSpans {
                scope,
                spans,
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }
    });
    ExportTraceServiceRequest {
        resource_spans: groups.collect(),
    }
}

/// An attribute.
pub(super) fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

/// An attribute of text.
pub(super) fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

/// A process of this `service.name`.
pub(super) fn service(name: &str) -> Resource {
    Resource {
        attributes: vec![text("service.name", name)],
        ..Resource::default()
    }
}

/// The `service.name` of a process.
pub(super) fn service_of(resource: &Resource) -> &str {
    let mut attributes = resource.attributes.iter();
    let named = attributes.find(|attribute| attribute.key == "service.name");
    match named.and_then(|it| it.value.as_ref()?.value.as_ref()) {
        Some(Value::StringValue(name)) => name,
        _ => "",
    }
}

/// What a tag tells of an instrumentation scope.
pub(super) enum ScopePart {
    Name,
    Version,
}

/// Formats without scopes have them in tags of OpenTelemetry's exporters, by their present or their
/// deprecated names.
pub(super) fn scope_part(key: &str) -> Option<ScopePart> {
    match key.strip_prefix("otel.")? {
        "scope.name" | "library.name" => Some(ScopePart::Name),
        "scope.version" | "library.version" => Some(ScopePart::Version),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observed(trace: u8, id: u8) -> Observed {
        Observed {
            resource: Arc::new(service("shop")),
            scope: None,
            span: Span {
                trace_id: vec![trace; 16],
                span_id: vec![id; 8],
                ..Span::default()
            },
        }
    }

    /// Spans as `trace.span`; the traces that leave, in the order in which they do.
    fn check(most: usize, spans: &str, expected: &str) {
        let mut group = Group::new(most);
        let mut left = Vec::new();
        let mut leave = |trace: Vec<Observed>| {
            let trace = trace
                .iter()
                .map(|it| format!("{}.{}", it.span.trace_id[0], it.span.span_id[0]));
            left.push(trace.collect::<Vec<_>>().join("+"));
        };
        for span in spans.split(' ') {
            let (trace, id) = span.split_once('.').unwrap();
            group.add(observed(trace.parse().unwrap(), id.parse().unwrap()));
            while let Some(trace) = group.overflow() {
                leave(trace);
            }
        }
        while let Some(trace) = group.oldest() {
            leave(trace);
        }
        assert_eq!(left.join(" "), expected);
        assert_eq!(group.held, 0);
    }

    #[test]
    fn spans_are_put_together_in_whatever_order_they_come() {
        check(9, "1.1 2.1 1.2 2.2 1.3", "1.1+1.2+1.3 2.1+2.2");
    }

    #[test]
    fn a_span_that_is_there_twice_is_read_once() {
        let mut trace = vec![
            observed(1, 1),
            observed(1, 2),
            observed(1, 1),
            observed(1, 2),
        ];
        trace[3].resource = Arc::new(service("other"));
        without_copies(&mut trace);
        let ids: Vec<u8> = trace.iter().map(|it| it.span.span_id[0]).collect();
        assert_eq!(ids, [1, 2, 2]);
    }

    #[test]
    fn where_too_much_is_held_the_oldest_trace_leaves() {
        check(3, "1.1 2.1 2.2 2.3 1.2", "1.1 2.1+2.2+2.3 1.2");
        check(1, "1.1 1.2", "1.1+1.2");
    }
}
