//! The measures on traces of a small made-up system.

use rand::RngExt;

use super::*;
use crate::chance::{Rng, stream};
use crate::features::{Interner, Sampled, Vocabulary};
use crate::trace::{Span, SpanKind, StatusCode, Symbol, Trace};

/// A request: a root and some calls in a row, each with its own duration.
fn request(operation: u64, calls: u64, rng: &mut Rng) -> Trace {
    let span = |parent, operation, start, duration| Span {
        parent,
        service: Symbol(operation / 10),
        operation: Symbol(operation),
        profile: Symbol(0),
        kind: SpanKind::Server,
        status: StatusCode::Unset,
        start,
        duration,
    };
    let mut spans = vec![span(None, operation, 0, 0)];
    let mut now = 100_i64;
    for call in 0..calls {
        let duration = 1_000 + rng.random_range(0..500) * (1 + call);
        spans.push(span(Some(0), operation + 1 + call, now, duration));
        now += duration as i64 + 50;
    }
    spans[0].duration = now as u64;
    Trace::new(spans, Vec::new()).unwrap()
}

fn system(count: usize, seed: u64) -> Vec<Trace> {
    let rng = &mut stream(seed, "eval tests");
    let kind = |at: usize| {
        if at.is_multiple_of(3) {
            (20, 5)
        } else {
            (10, 2)
        }
    };
    (0..count)
        .map(|at| {
            let (operation, calls) = kind(at);
            request(operation, calls, rng)
        })
        .collect()
}

#[test]
fn a_sample_is_exactly_like_itself() {
    let traces = system(60, 1);
    let report = fidelity(&traces, &traces);
    assert!((report.overall - 1.0).abs() < 1e-9, "{report:?}");
    assert_eq!(
        (
            report.shape_distance,
            report.shape_coverage,
            report.shape_novelty
        ),
        (0.0, 1.0, 0.0)
    );
    assert_eq!(
        (report.outside_difference, report.operation_durations),
        (0.0, 0.0)
    );
    let RootLatency { p50, p95, p99 } = report.root_latency;
    assert_eq!([p50, p95, p99], [1.0; 3]);
}

#[test]
fn another_sample_of_the_system_is_the_ceiling_and_chance_is_far_below_it() {
    let (training, held_out, second) = (system(90, 1), system(90, 2), system(90, 3));
    let synthetic = system(90, 4);
    let told = controlled(
        &training,
        &held_out,
        &second,
        &synthetic,
        &mut stream(5, "control"),
    );
    for good in [told.ceiling, told.copier, told.synthetic] {
        assert!(good.overall > 0.93, "{good:?}");
        assert!(good.shape_distance < 0.2, "{good:?}");
    }
    assert!(told.random.overall < told.ceiling.overall, "{told:?}");
    assert!(told.random.edges < 0.5, "{told:?}");
    assert!(told.random.shape_distance > 0.9);
}

#[test]
fn what_was_never_observed_is_not_valid() {
    let observed = system(30, 1);
    let strange = vec![request(900, 2, &mut stream(1, "strange"))];
    let report = fidelity(&observed, &strange);
    assert_eq!(
        (report.semantics.valid, report.semantics.services),
        (0.0, 0.0)
    );
    assert_eq!((report.shape_distance, report.shape_novelty), (1.0, 1.0));
}

#[test]
fn children_that_leave_their_parents_are_matched_not_forbidden() {
    let late = |traces: Vec<Trace>| -> Vec<Trace> {
        let late = |trace: Trace| {
            let mut spans = trace.spans().to_vec();
            spans[0].duration = 10;
            Trace::new(spans, Vec::new()).unwrap()
        };
        traces.into_iter().map(late).collect()
    };
    let report = fidelity(&late(system(30, 1)), &late(system(30, 2)));
    assert_eq!(
        (report.outside, report.outside_difference),
        ([1.0, 1.0], 0.0)
    );
    assert_eq!(
        fidelity(&late(system(30, 1)), &system(30, 2)).outside_difference,
        1.0
    );
}

#[test]
fn a_shape_is_the_same_whatever_the_order_of_siblings() {
    let mut trace = system(1, 1).remove(0).spans().to_vec();
    let one = Trace::new(trace.clone(), Vec::new()).unwrap();
    trace.swap(1, 2);
    let other = Trace::new(trace, Vec::new()).unwrap();
    assert_eq!(fidelity(&[one], &[other]).shape_distance, 0.0);
}

#[test]
fn drawn_traces_are_valid_only_with_known_tokens_and_siblings_in_order() {
    let texts = Interner::default();
    let mut vocabulary = Vocabulary::new(1, 10);
    let symbol = texts.symbol("shop");
    let mut span = system(1, 1).remove(0).spans()[0].clone();
    (span.service, span.operation) = (symbol, symbol);
    vocabulary.observe(&Trace::new(vec![span], Vec::new()).unwrap(), &texts);
    let drawn = |starts: [i64; 3], token: u32| Sampled {
        spans: starts
            .iter()
            .enumerate()
            .map(|(at, &start)| crate::features::SampledSpan {
                parent: (at > 0).then_some(0),
                token: crate::features::Token(token),
                status: StatusCode::Unset,
                profile: 0,
                start,
                duration: 1,
            })
            .collect(),
        links: Vec::new(),
    };
    let all = [
        drawn([0, 1, 2], 0),
        drawn([0, 2, 1], 0),
        drawn([0, 1, 2], 7),
        drawn([3, 4, 5], 0),
    ];
    assert_eq!(validity(&all, &vocabulary), 0.25);
    assert_eq!(validity(&[], &vocabulary), 1.0);
}
