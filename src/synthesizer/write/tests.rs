use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::span::Event as SentEvent;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};
use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::chance;
use crate::features::{Event, SampledSpan, Token};
use crate::otlp::testing::any_attribute;
use crate::otlp::view::{Limits, Walked, walk};
use crate::trace::{SpanKind, StatusCode};

const START: u64 = 1_700_000_000_000_000_000;

/// Names of every length about which a length prefix or a length in a length changes its width.
const LENGTHS: [usize; 16] = [
    0, 1, 2, 61, 63, 64, 67, 68, 73, 74, 77, 78, 127, 128, 300, 16_400,
];

/// Three services, one of them without a name.
fn words() -> Vec<Word> {
    let name = |length| "é/x".chars().rev().cycle().take(length).collect::<String>();
    LENGTHS
        .into_iter()
        .enumerate()
        .map(|(number, length)| Word {
            service: ["shop", "bank", ""][number % 3].into(),
            operation: match number % 2 {
                0 => "x".repeat(length).into(),
                _ => name(length).into(),
            },
            kind: SpanKind::ALL[number % 6],
            profiles: profiles(number),
        })
        .collect()
}

/// Profiles of a word: none, the bare one, or one of everything and a large one too.
fn profiles(number: usize) -> Vec<Arc<Profile>> {
    let long = "v".repeat([1, 60, 127][number / 3 % 3]);
    let pair = |key: &str, value| (Arc::from(key), value);
    let all = vec![
        pair("a.text", Value::Text("GET".into())),
        pair("b.int", Value::Int(-404)),
        pair("c.bool", Value::Bool(false)),
        pair("d.double", Value::Double(0.25_f64.to_bits())),
        pair("e.long", Value::Text(long.into())),
        pair("f.empty", Value::Text("".into())),
    ];
    let event = |name: &str, at, attributes| Event {
        name: name.into(),
        at,
        attributes,
    };
    let events = vec![
        event("first", Moment::Begin, Vec::new()),
        event("retry", Moment::Within, all[..2].to_vec()),
        event("exception", Moment::End, all[4..].to_vec()),
    ];
    let profiles = match number % 3 {
        0 => Vec::new(),
        1 => vec![Profile::default()],
        _ => vec![
            Profile::new(all.clone(), Vec::new()),
            Profile::new(all, events.clone()),
            Profile::new(Vec::new(), events),
        ],
    };
    profiles.into_iter().map(Arc::new).collect()
}

/// Attributes as prost has them.
fn sent(pairs: &[(Arc<str>, Value)]) -> Vec<KeyValue> {
    let value = |value: &Value| match value {
        Value::Text(text) => Any::StringValue(text.to_string()),
        Value::Int(number) => Any::IntValue(*number),
        Value::Bool(truth) => Any::BoolValue(*truth),
        Value::Double(bits) => Any::DoubleValue(f64::from_bits(*bits)),
    };
    let pair = |(key, any): &(Arc<str>, Value)| any_attribute(key, value(any));
    pairs.iter().map(pair).collect()
}

fn identity() -> Identity {
    Identity::new(chance::stream(3, "ids"))
}

fn span(parent: Option<u32>, token: u32) -> SampledSpan {
    SampledSpan {
        parent,
        token: Token(token),
        status: StatusCode::Unset,
        profile: 0,
        start: 0,
        duration: 5,
    }
}

fn service(group: &ResourceSpans) -> &str {
    let attributes = &group.resource.as_ref().unwrap().attributes;
    let value = |at: usize| attributes[at].value.as_ref().unwrap().value.as_ref();
    assert_eq!(attributes.len(), 2);
    assert_eq!(attributes[1].key, "doppelspan.synthetic");
    assert_eq!(value(1), Some(&Any::BoolValue(true)));
    assert_eq!(attributes[0].key, "service.name");
    match value(0) {
        Some(Any::StringValue(name)) => name,
        other => panic!("service.name is {other:?}"),
    }
}

/// The spans that traces mean, by service, in the order in which they are written.
fn meant(traces: &[Sampled], start: u64, ids: &mut Identity) -> BTreeMap<String, Vec<Span>> {
    let words = words();
    let mut services: BTreeMap<String, Vec<Span>> = BTreeMap::new();
    for trace in traces {
        let trace_id = ids.trace_id().to_bytes().to_vec();
        let spans = trace.spans.iter();
        let span_ids: Vec<_> = spans.map(|_| ids.span_id().to_bytes().to_vec()).collect();
        for (at, sampled) in trace.spans.iter().enumerate() {
            let word = &words[sampled.token.0 as usize];
            let mut targets: Vec<u32> = trace
                .links
                .iter()
                .filter(|link| link.from as usize == at)
                .map(|link| link.to)
                .collect();
            targets.sort_unstable();
            let begin = start.saturating_add_signed(sampled.start);
            let links =
                targets
                    .iter()
                    .map(|&to| opentelemetry_proto::tonic::trace::v1::span::Link {
                        trace_id: trace_id.clone(),
                        span_id: span_ids[to as usize].clone(),
                        ..Default::default()
                    });
            let status = (sampled.status != StatusCode::Unset).then(|| {
                opentelemetry_proto::tonic::trace::v1::Status {
                    code: sampled.status as i32,
                    ..Default::default()
                }
            });
            let end = begin.saturating_add(sampled.duration);
            let profile = word.profiles.get(sampled.profile as usize);
            let profile = profile.cloned().unwrap_or_default();
            let mut times: Vec<u64> = Vec::new();
            for event in profile.events() {
                let gone = event.at.share(ids.share()) * (end - begin) as f64;
                times.push(begin.saturating_add(gone as u64).min(end));
            }
            times.sort_unstable();
            let events = profile
                .events()
                .iter()
                .zip(times)
                .map(|(event, time)| SentEvent {
                    time_unix_nano: time,
                    name: event.name.to_string(),
                    attributes: sent(&event.attributes),
                    ..SentEvent::default()
                });
            let parent = sampled.parent;
            let span = Span {
                attributes: sent(profile.attributes()),
                events: events.collect(),
                trace_id: trace_id.clone(),
                span_id: span_ids[at].clone(),
                parent_span_id: parent.map_or_else(Vec::new, |at| span_ids[at as usize].clone()),
                name: word.operation.to_string(),
                kind: word.kind as i32,
                start_time_unix_nano: begin,
                end_time_unix_nano: begin.saturating_add(sampled.duration),
                links: links.collect(),
                status,
                ..Span::default()
            };
            let service = services.entry(word.service.to_string()).or_default();
            service.push(span);
        }
    }
    services
}

/// Writes traces, and checks that prost reads what was meant, and that the walk takes it all.
fn check(traces: &[Sampled], start: u64) {
    let mut writer = Writer::new(&words());
    // A writer that was used before writes as a new one does.
    assert!(writer.add(
        &Sampled {
            spans: vec![span(None, 1)],
            links: Vec::new(),
        },
        START,
        &mut identity()
    ));
    writer.take();
    let mut ids = identity();
    for trace in traces {
        assert!(writer.add(trace, start, &mut ids));
    }
    let spans: usize = traces.iter().map(|trace| trace.spans.len()).sum();
    assert_eq!(writer.spans(), spans);
    let length = writer.bytes();
    let payload = writer.take();
    assert_eq!((payload.spans(), payload.bytes().len()), (spans, length));
    assert_eq!((writer.spans(), writer.bytes()), (0, 0));

    let all_good = Walked {
        spans,
        ..Walked::default()
    };
    assert_eq!(
        walk(payload.bytes(), &Limits::default(), &mut ()),
        Ok(all_good)
    );
    let request = ExportTraceServiceRequest::decode(payload.bytes().clone()).unwrap();
    let mut read = BTreeMap::new();
    for group in &request.resource_spans {
        assert_eq!(group.scope_spans.len(), 1);
        let scope = &group.scope_spans[0];
        assert_eq!(scope.scope.as_ref().unwrap().name, "doppelspan");
        let twice = read.insert(service(group).to_owned(), scope.spans.clone());
        assert_eq!(twice, None, "a service has one resource in a request");
    }
    assert_eq!(read, meant(traces, start, &mut identity()));
    if start == START {
        assert_eq!(&request.encode_to_vec(), payload.bytes());
    }
}

prop_compose! {
    fn a_span(at: u32)(
        parent in 0..at.max(1),
        token in 0..LENGTHS.len() as u32,
        profile in 0..3_u32,
        status in 0..3_usize,
        start in prop_oneof![0..1_000_000_i64, -1_000_000..0_i64],
        duration in prop_oneof![Just(0), 0..10_000_000_000_u64],
    ) -> SampledSpan {
        SampledSpan {
            parent: (at > 0).then_some(parent),
            token: Token(token),
            status: StatusCode::ALL[status],
            profile: profile % words()[token as usize].slots(),
            start: if at == 0 { 0 } else { start },
            duration,
        }
    }
}

fn a_trace() -> impl Strategy<Value = Sampled> {
    (1..40_u32).prop_flat_map(|length| {
        let spans: Vec<_> = (0..length).map(a_span).collect();
        let link = (0..length, 0..length).prop_map(|(from, to)| Link { from, to });
        let links = prop_oneof![Just(Vec::new()), prop::collection::vec(link, 0..20)];
        (spans, links).prop_map(|(spans, links)| Sampled { spans, links })
    })
}

proptest! {
    #[test]
    fn what_is_written_is_what_is_meant(traces in prop::collection::vec(a_trace(), 0..6)) {
        check(&traces, START);
    }
}

#[test]
fn times_before_the_epoch_and_after_its_last_nanosecond_stop_there() {
    let mut spans = vec![span(None, 0), span(Some(0), 1), span(Some(0), 2)];
    spans[1].start = -7;
    spans[2].duration = u64::MAX;
    let trace = Sampled {
        spans,
        links: Vec::new(),
    };
    check(std::slice::from_ref(&trace), 0);
    check(std::slice::from_ref(&trace), 6);
    check(&[trace], u64::MAX);
}

#[test]
fn an_empty_request_is_no_bytes() {
    check(&[], START);
    assert!(Writer::new(&[]).take().bytes().is_empty());
}

#[test]
fn a_trace_that_can_t_be_written_leaves_nothing_behind() {
    let check = |spans: Vec<SampledSpan>, link: Option<(u32, u32)>| {
        let links = link.map(|(from, to)| Link { from, to });
        let trace = Sampled {
            spans,
            links: links.into_iter().collect(),
        };
        let mut writer = Writer::new(&words());
        assert!(!writer.add(&trace, START, &mut identity()));
        assert_eq!((writer.spans(), writer.bytes()), (0, 0));
    };
    check(vec![span(None, 0), span(Some(0), 16)], None);
    let other = SampledSpan {
        profile: 3,
        ..span(Some(0), 2)
    };
    check(vec![span(None, 0), other], None);
    check(vec![span(None, 0), span(Some(1), 1)], None);
    check(vec![span(None, 0)], Some((0, 1)));
    check(vec![span(None, 0)], Some((1, 0)));
}
