//! Attributes and events of synthetic spans: they hang together as the observed ones do, and nothing
//! below the floor or beyond the allowed keys gets out.

use std::collections::BTreeMap;
use std::sync::Arc;

use doppelspan::chance;
use doppelspan::features::{Interner, Moment};
use doppelspan::learner::{Checkpoint, Learner, LearnerSettings, Published};
use doppelspan::model::{Example, Lesson, VaeSettings};
use doppelspan::simulate::{Simulator, System};
use doppelspan::synthesizer::{Identity, Sampler, Writer};
use doppelspan::trace::Trace;
use integration_tests::observed::{Corpus, traces};
use integration_tests::traffic::{Request, spans, spans_mut};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::Event;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message as _;
use rand::RngExt as _;

const START: u64 = 1_800_000_000_000_000_000;
const SERVER: i32 = 2;
const CLIENT: i32 = 3;
const ERROR: i32 = 2;

fn pair(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    pair(key, Value::StringValue(value.to_owned()))
}

fn value<'a>(span: &'a Span, key: &str) -> Option<&'a Value> {
    let found = span.attributes.iter().find(|pair| pair.key == key)?;
    found.value.as_ref()?.value.as_ref()
}

fn is_error(span: &Span) -> bool {
    span.status
        .as_ref()
        .is_some_and(|status| status.code == ERROR)
}

/// Shares that must be alike on both sides, each with the number that it is a share of.
fn shares(requests: &[Request]) -> BTreeMap<&'static str, (f64, f64)> {
    let mut shares: BTreeMap<&'static str, (f64, f64)> = BTreeMap::new();
    let mut count = |name, truth: bool| {
        let share = shares.entry(name).or_default();
        share.0 += f64::from(u8::from(truth));
        share.1 += 1.0;
    };
    let all: Vec<&Span> = requests.iter().flat_map(spans).collect();
    let by_id: BTreeMap<_, _> = all
        .iter()
        .map(|span| ((&span.trace_id, &span.span_id), *span))
        .collect();
    for span in &all {
        let thrown = span.events.iter().any(|event| event.name == "exception");
        let typed = value(span, "error.type").is_some();
        if is_error(span) {
            count("errors with an exception", thrown);
            count("errors with a type", typed);
        } else {
            count("others with an exception", thrown);
            count("others with a type", typed);
        }
        let caller = by_id.get(&(&span.trace_id, &span.parent_span_id));
        let Some(caller) = caller.filter(|up| (up.kind, span.kind) == (CLIENT, SERVER)) else {
            continue;
        };
        for (same, both, key) in [
            (
                "calls of one status",
                "calls with a status",
                "http.response.status_code",
            ),
            (
                "calls of one code",
                "calls with a code",
                "rpc.grpc.status_code",
            ),
            ("calls of one method", "calls with a method", "rpc.method"),
        ] {
            if let Some(told) = value(span, key) {
                count(both, value(caller, key).is_some());
                if let Some(asked) = value(caller, key) {
                    count(same, asked == told);
                }
            }
        }
    }
    shares
}

/// Compares the shares of both sides, each within four standard errors of their difference.
fn check_alike(observed: &[Request], synthetic: &[Request]) {
    let (observed, synthetic) = (shares(observed), shares(synthetic));
    assert!(observed.len() > 4, "{observed:?}");
    for (name, (times, of)) in observed {
        let (other_times, other_of) = synthetic.get(name).copied().unwrap_or_default();
        let (share, other) = (times / of, other_times / other_of.max(1.0));
        let both = (times + other_times) / (of + other_of);
        let error = (both * (1.0 - both) * (1.0 / of + 1.0 / other_of.max(1.0))).sqrt();
        println!("{name}: {share:.4} of {of}, synthetic {other:.4} of {other_of}");
        assert!(
            (share - other).abs() <= 4.0 * error + 0.01,
            "{name}: {share:.4}, {other:.4}"
        );
    }
}

fn bytes(requests: &[Request]) -> impl Iterator<Item = bytes::Bytes> {
    requests
        .iter()
        .map(|request| request.encode_to_vec().into())
}

/// Draws traces and reads them back as any receiver would.
fn drawn(published: &Published, count: usize) -> Vec<Request> {
    let mut sampler = Sampler::new(published).unwrap();
    let mut writer = Writer::new(&published.words);
    let mut identity = Identity::new(chance::stream(1, "ids"));
    for trace in sampler.sample_many(&mut chance::stream(1, "draws"), count, None) {
        assert!(writer.add(&trace, START, &mut identity));
    }
    vec![Request::decode(writer.take().bytes().clone()).unwrap()]
}

/// A learner without a VAE that has learnt these traces.
fn taught(traces: Vec<Trace>, texts: Arc<Interner>, min_traces: u32) -> Learner {
    let settings = LearnerSettings {
        min_traces,
        vae: None,
        ..LearnerSettings::default()
    };
    let mut learner = Learner::new(settings, texts, 1);
    for trace in traces {
        learner.take(trace);
    }
    learner.refit();
    learner.score().unwrap();
    learner
}

#[test]
fn the_grammar_gives_errors_their_types_and_calls_their_statuses() {
    for system in [System::TicketOffice, System::SocialNetwork] {
        let mut simulator = Simulator::new(system, 3);
        let request = |at: u64| simulator.next_trace(START + at * 100_000_000);
        let observed: Vec<Request> = (0..1_500).map(request).collect();
        let (whole, texts) = traces(bytes(&observed));
        // Without a floor: rare errors lose their types to it, as they should.
        let mut learner = taught(whole, texts, 1);
        let published = learner.snapshot().unwrap();
        check_alike(&observed, &drawn(&published, 1_500));
    }
}

/// A request to a shop that calls a bank, which answers well, declines, or breaks; then the shop
/// asks its cache.
fn call(number: u64, rng: &mut chance::Rng) -> Request {
    let outcome = rng.random_range(0..10);
    let (status, broke) = match outcome {
        0..6 => (200, false),
        6..8 => (404, false),
        _ => (500, true),
    };
    let start = START + number * 100_000_000;
    let length = rng.random_range(1_000_000..2_000_000);
    let span = |at: u64, kind: i32, name: &str| Span {
        trace_id: u128::from(number + 1).to_be_bytes().to_vec(),
        span_id: (number * 4 + at + 1).to_be_bytes().to_vec(),
        parent_span_id: match at {
            0 => Vec::new(),
            3 => (number * 4 + 1).to_be_bytes().to_vec(),
            at => (number * 4 + at).to_be_bytes().to_vec(),
        },
        name: name.to_owned(),
        kind,
        start_time_unix_nano: start + at * 100_000,
        end_time_unix_nano: start + 3 * length - at * 200_000,
        ..Span::default()
    };
    let told = |mut span: Span| {
        span.attributes = vec![
            text("http.request.method", "POST"),
            pair("http.response.status_code", Value::IntValue(status)),
        ];
        if broke {
            span.attributes.push(text("error.type", "500"));
            span.status = Some(Status {
                code: ERROR,
                message: "a secret of ann's".to_owned(),
            });
        }
        span
    };
    let shop = told(span(0, SERVER, "POST /checkout"));
    let asks = told(span(1, CLIENT, "POST"));
    let mut bank = told(span(2, SERVER, "POST /payments"));
    if broke {
        bank.events.push(Event {
            time_unix_nano: bank.end_time_unix_nano,
            name: "exception".to_owned(),
            attributes: vec![
                text("exception.type", "OutOfMoney"),
                text("exception.message", "a secret of ann's"),
            ],
            ..Event::default()
        });
    }
    let mut cache = span(3, CLIENT, "GET cart");
    cache.attributes = vec![text("db.system", "redis"), text("db.operation.name", "GET")];
    let group = |service: &str, spans| ResourceSpans {
        resource: Some(Resource {
            attributes: vec![text("service.name", service)],
            ..Resource::default()
        }),
        scope_spans: vec![ScopeSpans {
            spans,
            ..ScopeSpans::default()
        }],
        ..ResourceSpans::default()
    };
    Request {
        resource_spans: vec![
            group("shop", vec![shop, asks, cache]),
            group("bank", vec![bank]),
        ],
    }
}

#[test]
fn the_vae_gives_a_call_the_status_of_its_server_and_an_error_its_exception() {
    let rng = &mut chance::stream(5, "calls");
    let observed: Vec<Request> = (0..600).map(|number| call(number, rng)).collect();
    let (whole, texts) = traces(bytes(&observed));
    let corpus = Corpus::new(whole, &texts);
    let settings = VaeSettings {
        structure_hidden: 32,
        timing_hidden: 16,
        choice_hidden: 32,
        embedding: 8,
        codes: 4,
        arities: 8,
        ..VaeSettings::default()
    };
    let mut vae = corpus.vae(settings, rng);
    for _ in 0..250 {
        let some: Vec<&Lesson> = (0..32)
            .map(|_| &corpus.training[rng.random_range(0..corpus.training.len())])
            .collect();
        let (timed, others) = some.split_at(2);
        let others: Vec<&Example> = others.iter().map(|lesson| &lesson.example).collect();
        vae.step(&others, timed, rng).unwrap();
    }
    let synthetic = drawn(&corpus.published(&vae), 1_000);
    check_alike(&observed, &synthetic);
    let thrown = synthetic.iter().flat_map(spans).flat_map(|span| {
        let moment = |event: &Event| {
            let (start, end) = (span.start_time_unix_nano, span.end_time_unix_nano);
            Moment::of(event.time_unix_nano, start, end)
        };
        span.events.iter().map(moment).collect::<Vec<_>>()
    });
    let thrown: Vec<Moment> = thrown.collect();
    assert!(thrown.len() > 50);
    assert!(thrown.iter().all(|moment| *moment == Moment::End));
}

#[test]
fn canaries_below_the_floor_and_beyond_the_allowed_keys_never_get_out() {
    let rng = &mut chance::stream(6, "calls");
    let mut observed: Vec<Request> = (0..400).map(|number| call(number, rng)).collect();
    for (number, request) in observed.iter_mut().enumerate() {
        for span in spans_mut(request) {
            // Not allowed, in every span; allowed, once, ten times and often.
            span.attributes.push(text("enduser.id", "canary-user"));
            span.attributes
                .push(text("url.full", "https://shop/canary-url"));
            span.status.get_or_insert_default().message = "canary-status".to_owned();
            span.trace_state = "canary=state".to_owned();
            let route = match number {
                100 => "canary-once",
                200..210 => "canary-ten",
                _ => "/often",
            };
            span.attributes.push(text("http.route", route));
            for event in &mut span.events {
                event
                    .attributes
                    .push(text("exception.stacktrace", "canary-stack"));
                event
                    .attributes
                    .push(text("exception.message", "canary-message"));
            }
            if number == 7 || number == 8 {
                span.events.push(Event {
                    name: "canary-event".to_owned(),
                    ..Event::default()
                });
            }
        }
    }
    let (whole, texts) = traces(bytes(&observed));
    let mut learner = taught(whole, texts, 20);
    let published = learner.snapshot().unwrap();
    let synthetic = drawn(&published, 2_000);
    let words = Checkpoint::of(&learner);
    let words = serde_json::to_string(words.words()).unwrap();
    let written = format!("{synthetic:?}{words}");
    assert!(written.contains("/often") && written.contains("OutOfMoney"));
    for gone in ["canary", "secret", "ann's"] {
        assert!(!written.contains(gone), "{gone}");
    }
}
