//! What a span costs on its way to bytes and back: each figure is for a request of a thousand
//! spans, so that its microseconds are nanoseconds a span.

#![allow(missing_docs, reason = "a benchmark is read, not called")]

use std::sync::Arc;
use std::time::Duration;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use doppelspan::assembler::{Tap, TapSettings};
use doppelspan::chance;
use doppelspan::features::{Interner, InternerSettings, Sampled, SampledSpan, Token, Word};
use doppelspan::otlp::Payload;
use doppelspan::otlp::view::{Limits, walk};
use doppelspan::simulate::{Simulator, System};
use doppelspan::synthesizer::{Identity, Writer};
use doppelspan::trace::{SpanKind, StatusCode};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;

const SPANS: usize = 1_000;
const SPANS_PER_TRACE: u32 = 25;
const START: u64 = 1_800_000_000_000_000_000;

fn main() {
    divan::main();
}

/// Twelve services with eight operations each.
fn words() -> Vec<Word> {
    (0..96)
        .map(|number| Word {
            service: format!("service-{}", number % 12).into(),
            operation: format!("GET /api/v1/things/{{thing}}/parts/{number}").into(),
            kind: SpanKind::ALL[1 + number % 5],
            profiles: Vec::new(),
        })
        .collect()
}

fn trace(seed: u32) -> Sampled {
    let span = |at: u32| SampledSpan {
        parent: at.checked_sub(1).map(|before| before / 3),
        token: Token((seed * 31 + at * 7) % 96),
        status: StatusCode::ALL[(at % 7 / 5) as usize],
        profile: 0,
        start: i64::from(at) * 1_000_003,
        duration: u64::from(at) * 777_777 + 5_000,
    };
    Sampled {
        spans: (0..SPANS_PER_TRACE).map(span).collect(),
        links: Vec::new(),
    }
}

fn traces() -> Vec<Sampled> {
    (0..SPANS as u32 / SPANS_PER_TRACE).map(trace).collect()
}

fn identity() -> Identity {
    Identity::new(chance::stream(1, "ids"))
}

fn written() -> Payload {
    let mut writer = Writer::new(&words());
    let mut identity = identity();
    for trace in traces() {
        assert!(writer.add(&trace, START, &mut identity));
    }
    let payload = writer.take();
    assert_eq!(payload.spans(), SPANS);
    payload
}

#[divan::bench]
fn templates(bencher: Bencher<'_, '_>) {
    let mut writer = Writer::new(&words());
    let mut identity = identity();
    let traces = traces();
    bencher.counter(ItemsCount::new(SPANS)).bench_local(|| {
        for trace in &traces {
            writer.add(black_box(trace), START, &mut identity);
        }
        writer.take()
    });
}

#[divan::bench]
fn ids(bencher: Bencher<'_, '_>) {
    let mut identity = identity();
    bencher.counter(ItemsCount::new(SPANS)).bench_local(|| {
        for _ in 0..SPANS as u32 / SPANS_PER_TRACE {
            black_box(identity.trace_id());
            for _ in 0..SPANS_PER_TRACE {
                black_box(identity.span_id());
            }
        }
    });
}

#[divan::bench]
fn copy(bencher: Bencher<'_, '_>) {
    let payload = written();
    bencher
        .counter(ItemsCount::new(SPANS))
        .bench_local(|| black_box(payload.bytes()).to_vec());
}

#[divan::bench]
fn prost_encode(bencher: Bencher<'_, '_>) {
    let request = ExportTraceServiceRequest::decode(written().bytes().clone()).unwrap();
    bencher
        .counter(ItemsCount::new(SPANS))
        .bench_local(|| black_box(&request).encode_to_vec());
}

#[divan::bench]
fn prost_decode(bencher: Bencher<'_, '_>) {
    let payload = written();
    bencher
        .counter(ItemsCount::new(SPANS))
        .bench_local(|| ExportTraceServiceRequest::decode(black_box(payload.bytes()).clone()));
}

#[divan::bench]
fn walk_in_place(bencher: Bencher<'_, '_>) {
    let payload = written();
    bencher
        .counter(ItemsCount::new(SPANS))
        .bench_local(|| walk(black_box(payload.bytes()), &Limits::default(), &mut ()));
}

/// A request of about a thousand spans as SDKs send them, with six attributes each or so.
fn observed() -> (Vec<u8>, usize) {
    let mut simulator = Simulator::new(System::SocialNetwork, 1);
    let mut request = ExportTraceServiceRequest::default();
    let mut spans = 0;
    while spans < SPANS {
        let trace = simulator.next_trace(START);
        let scopes = trace
            .resource_spans
            .iter()
            .flat_map(|group| &group.scope_spans);
        spans += scopes.map(|scope| scope.spans.len()).sum::<usize>();
        request.resource_spans.extend(trace.resource_spans);
    }
    (request.encode_to_vec(), spans)
}

#[divan::bench]
fn walk_observed(bencher: Bencher<'_, '_>) {
    let (bytes, spans) = observed();
    bencher
        .counter(ItemsCount::new(spans))
        .bench_local(|| walk(black_box(&bytes), &Limits::default(), &mut ()));
}

/// The walk with records taken for learning, without and with attribute profiles.
#[divan::bench(args = [false, true])]
fn tap_observed(bencher: Bencher<'_, '_>, profiles: bool) {
    let (bytes, spans) = observed();
    let mut settings = InternerSettings::default();
    if !profiles {
        settings.attributes.clear();
    }
    let tap = TapSettings {
        shards: 1,
        waiting_spans: usize::MAX / 2,
        max_wait: Duration::from_secs(30),
    };
    let (tap, _feeds) = Tap::new(&tap, Arc::new(Interner::new(settings)));
    bencher.counter(ItemsCount::new(spans)).bench_local(|| {
        let mut batch = tap.begin();
        walk(black_box(&bytes), &Limits::default(), &mut batch)
    });
}
