//! Played spans as OTLP: names, kinds, attributes by the semantic conventions, hosts and clocks.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use rand::RngExt as _;
use rand_distr::{Distribution as _, StandardNormal};

use super::plan::{Plan, Protocol, StoreKind};
use super::play::{Deed, Fault, Place, Played};
use crate::chance::{self, Rng};
use crate::trace::{SpanKind, StatusCode};

/// Hosts of a system.
const HOSTS: usize = 8;

/// Gives played spans ids, a place in time, and the look of what an SDK sends.
#[derive(Debug)]
pub(super) struct Writer {
    rng: Rng,
    hosts: Vec<Host>,
}

#[derive(Debug)]
struct Host {
    name: String,
    /// How far its clock is ahead, in nanoseconds.
    ahead: i64,
}

impl Writer {
    pub(super) fn new(plan: &Plan, seed: u64) -> Self {
        let mut clocks = chance::stream(seed, "clocks of hosts");
        let hosts = (0..HOSTS).map(|number| {
            let noise: f64 = StandardNormal.sample(&mut clocks);
            // NTP keeps most within a tenth of a millisecond of each other, and one not so well.
            let spread = if number == HOSTS - 1 { 6e5 } else { 6e4 };
            Host {
                name: format!("{}-host-{number}", plan.name),
                ahead: (noise * spread) as i64,
            }
        });
        Self {
            rng: chance::stream(seed, "ids and texts"),
            hosts: hosts.collect(),
        }
    }

    /// A whole trace, its spans by the process that made them.
    pub(super) fn write(
        &mut self,
        plan: &Plan,
        played: &[Played],
        start_unix_nano: u64,
    ) -> ExportTraceServiceRequest {
        let trace_id = self.rng.random::<u128>().max(1).to_be_bytes().to_vec();
        let mut ids: Vec<[u8; 8]> = Vec::with_capacity(played.len());
        for _ in played {
            ids.push(self.rng.random::<u64>().max(1).to_be_bytes());
        }
        let mut order: Vec<Place> = Vec::new();
        let mut spans: BTreeMap<Place, Vec<Span>> = BTreeMap::new();
        for (at, span) in played.iter().enumerate() {
            let group = spans.entry(span.place).or_insert_with(|| {
                order.push(span.place);
                Vec::new()
            });
            let clock = start_unix_nano.saturating_add_signed(self.host(span.place).ahead);
            let link = span.link.map(|to| Link {
                trace_id: trace_id.clone(),
                span_id: ids[to].to_vec(),
                ..Link::default()
            });
            group.push(Span {
                trace_id: trace_id.clone(),
                span_id: ids[at].to_vec(),
                parent_span_id: span.parent.map_or_else(Vec::new, |up| ids[up].to_vec()),
                flags: 1,
                name: name(span.deed),
                kind: kind(span.deed) as i32,
                start_time_unix_nano: clock + span.start,
                end_time_unix_nano: clock + span.end,
                attributes: self.attributes(plan, span),
                events: self.events(span, clock).into_iter().collect(),
                links: link.into_iter().collect(),
                status: status(span),
                ..Span::default()
            });
        }
        let groups = order.into_iter().map(|place| {
            let spans = spans.remove(&place).unwrap_or_default();
            self.resource_spans(plan, place, spans)
        });
        ExportTraceServiceRequest {
            resource_spans: groups.collect(),
        }
    }

    fn host(&self, place: Place) -> &Host {
        &self.hosts[(place.service * 3 + place.instance * 5) % HOSTS]
    }

    fn resource_spans(&self, plan: &Plan, place: Place, spans: Vec<Span>) -> ResourceSpans {
        let service = &plan.services[place.service];
        let instance = format!("{}-{}", service.name, place.instance);
        ResourceSpans {
            resource: Some(Resource {
                attributes: vec![
                    text("service.name", service.name),
                    text("service.namespace", plan.name),
                    text("service.instance.id", instance),
                    text("host.name", self.host(place).name.as_str()),
                    text("telemetry.sdk.language", service.language),
                ],
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans {
                scope: Some(InstrumentationScope {
                    name: format!("{}.instrumentation", service.language),
                    version: "1.4.0".to_owned(),
                    ..InstrumentationScope::default()
                }),
                spans,
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }
    }

    fn attributes(&mut self, plan: &Plan, span: &Played) -> Vec<KeyValue> {
        let mut found = Vec::with_capacity(6);
        match span.deed {
            Deed::Serve(operation) => {
                let service = &plan.services[span.place.service];
                match service.protocol {
                    Protocol::Http => {
                        let (method, route) = halves(operation, ' ');
                        found.push(text("http.request.method", method));
                        found.push(text("http.route", route));
                        found.push(text("url.path", self.filled(route)));
                        found.push(number("http.response.status_code", http_status(span)));
                    }
                    Protocol::Grpc => rpc(&mut found, operation, span),
                }
                if span.parent.is_none() {
                    let visitor = self.rng.random_range(1_u32..40_000);
                    found.push(text("enduser.id", format!("visitor-{visitor}")));
                }
            }
            Deed::Call(Protocol::Http, service, operation) => {
                http_call(&mut found, service, operation, span);
            }
            Deed::Call(Protocol::Grpc, service, operation) => {
                rpc(&mut found, operation, span);
                found.push(text("server.address", service));
            }
            Deed::Query(store, request) => {
                let store = &plan.stores[store];
                match store.kind {
                    StoreKind::Outside => http_call(&mut found, store.name, request, span),
                    StoreKind::Database(system) => {
                        let (verb, target) = halves(request, ' ');
                        found.push(text("db.system", system));
                        found.push(text("db.operation.name", verb));
                        if !target.is_empty() {
                            found.push(text("db.collection.name", target));
                        }
                        found.push(text("server.address", store.name));
                    }
                }
            }
            Deed::Publish(topic) | Deed::Process(topic) => {
                let sends = matches!(span.deed, Deed::Publish(_));
                let deed = if sends { "send" } else { "process" };
                found.push(text("messaging.system", plan.broker));
                found.push(text("messaging.destination.name", topic));
                found.push(text("messaging.operation.type", deed));
            }
            Deed::Inside(_) => {}
        }
        match span.fault {
            None => {}
            Some(Fault::Declined(_)) if kind(span.deed) != SpanKind::Client => {}
            Some(Fault::Declined(status)) => found.push(text("error.type", status.to_string())),
            Some(Fault::Broke(exception)) => found.push(text("error.type", exception)),
            Some(Fault::TimedOut(_)) => found.push(text("error.type", "timeout")),
        }
        if span.attempt > 0 && matches!(span.deed, Deed::Call(Protocol::Http, ..)) {
            found.push(number("http.request.resend_count", span.attempt.into()));
        }
        found
    }

    /// A route with numbers in its holes, as a URL has them.
    fn filled(&mut self, route: &str) -> String {
        let mut path = String::with_capacity(route.len() + 8);
        let mut rest = route;
        while let Some((before, after)) = rest.split_once('{') {
            path.push_str(before);
            path.push_str(&self.rng.random_range(100_u32..100_000).to_string());
            rest = after.split_once('}').map_or("", |(_, after)| after);
        }
        path + rest
    }

    /// The exception where it was thrown, with the kind of message that must not get out.
    fn events(&mut self, span: &Played, clock: u64) -> Option<Event> {
        let (exception, message) = match span.fault {
            Some(Fault::Broke(exception)) if span.origin => {
                let visitor = self.rng.random_range(1_u32..40_000);
                (
                    exception,
                    format!("{exception} while serving visitor-{visitor}"),
                )
            }
            Some(Fault::TimedOut(limit)) if span.origin => {
                let answer = format!("no answer to {} within {limit} ms", name(span.deed));
                ("TimeoutException", answer)
            }
            _ => return None,
        };
        Some(Event {
            time_unix_nano: clock + span.end,
            name: "exception".to_owned(),
            attributes: vec![
                text("exception.type", exception),
                text("exception.message", message),
            ],
            ..Event::default()
        })
    }
}

fn name(deed: Deed) -> String {
    match deed {
        Deed::Publish(topic) => format!("send {topic}"),
        Deed::Process(topic) => format!("process {topic}"),
        Deed::Serve(name) | Deed::Call(_, _, name) | Deed::Query(_, name) | Deed::Inside(name) => {
            name.to_owned()
        }
    }
}

fn kind(deed: Deed) -> SpanKind {
    match deed {
        Deed::Serve(_) => SpanKind::Server,
        Deed::Call(..) | Deed::Query(..) => SpanKind::Client,
        Deed::Publish(_) => SpanKind::Producer,
        Deed::Process(_) => SpanKind::Consumer,
        Deed::Inside(_) => SpanKind::Internal,
    }
}

fn status(span: &Played) -> Option<Status> {
    let message = match span.fault? {
        // A server that declines works as it should; its caller did not get what it wanted.
        Fault::Declined(_) if kind(span.deed) != SpanKind::Client => return None,
        Fault::Declined(_) => String::new(),
        Fault::Broke(exception) => exception.to_owned(),
        Fault::TimedOut(limit) => format!("no answer within {limit} ms"),
    };
    Some(Status {
        message,
        code: StatusCode::Error as i32,
    })
}

fn http_status(span: &Played) -> i64 {
    match span.fault {
        None => 200,
        Some(Fault::Declined(status)) => status.into(),
        Some(Fault::Broke(_)) => 500,
        Some(Fault::TimedOut(_)) => 504,
    }
}

/// The code that gRPC's mapping gives an HTTP status.
fn grpc_status(span: &Played) -> i64 {
    match span.fault {
        None => 0,
        Some(Fault::Declined(400)) => 3,
        Some(Fault::Declined(404)) => 5,
        Some(Fault::Declined(409)) => 10,
        Some(Fault::Declined(429)) => 8,
        Some(Fault::Declined(401)) => 16,
        Some(Fault::Declined(403)) => 7,
        Some(Fault::Declined(_)) => 9,
        Some(Fault::Broke(_)) => 13,
        Some(Fault::TimedOut(_)) => 4,
    }
}

fn rpc(found: &mut Vec<KeyValue>, operation: &str, span: &Played) {
    let (service, method) = halves(operation, '/');
    found.push(text("rpc.system", "grpc"));
    found.push(text("rpc.service", service));
    found.push(text("rpc.method", method));
    found.push(number("rpc.grpc.status_code", grpc_status(span)));
}

fn http_call(found: &mut Vec<KeyValue>, server: &str, operation: &str, span: &Played) {
    let (method, _) = halves(operation, ' ');
    found.push(text("http.request.method", method));
    found.push(text("server.address", server));
    // Who does not wait for the answer does not know its status.
    if !matches!(span.fault, Some(Fault::TimedOut(_))) {
        found.push(number("http.response.status_code", http_status(span)));
    }
}

fn halves(text: &str, at: char) -> (&str, &str) {
    text.split_once(at).unwrap_or((text, ""))
}

fn text(key: &str, value: impl Into<String>) -> KeyValue {
    attribute(key, Value::StringValue(value.into()))
}

fn number(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}
