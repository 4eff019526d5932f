//! A language for streams of spans: `a1@0s` is span 1 of trace a, a root, arriving at 0 s;
//! `a2<1` is a child of span 1; `a2<1[5..9]` starts at 5 ns and ends at 9; `+` joins spans into
//! one request; `tick@30s` takes what is done. Traces are shown as `trace a: 1(2 3(4))`.

use std::fmt::Write;
use std::num::{NonZeroU64, NonZeroU128};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::trace::{SpanId, SpanKind, SpanRecord, StatusCode, Symbol, Trace, TraceId};

fn settings() -> AssemblerSettings {
    AssemblerSettings {
        min_quiet: Duration::from_secs(1),
        initial_quiet: Duration::from_secs(5),
        max_open_traces: 100,
        max_spans_per_trace: 50,
        ..AssemblerSettings::default()
    }
}

fn record(trace: u128, span: u64, parent: Option<u64>, (start, end): (u64, u64)) -> SpanRecord {
    let id = |number| SpanId::from_number(NonZeroU64::new(number).unwrap());
    SpanRecord {
        trace_id: TraceId::from_number(NonZeroU128::new(trace).unwrap()),
        span_id: id(span),
        parent: parent.map(id),
        service: Symbol(1),
        operation: Symbol(span),
        profile: Symbol(0),
        kind: SpanKind::Server,
        status: StatusCode::Unset,
        start,
        end,
        links: None,
    }
}

/// `a2<1[5..9]~3`: span 2 of trace a, child of 1, from 5 to 9, linked to span 3.
fn parse(text: &str) -> SpanRecord {
    let (text, link) = text
        .split_once('~')
        .map_or((text, None), |(t, l)| (t, Some(l)));
    let (text, times) = match text.split_once('[') {
        Some((text, times)) => (text, times.trim_end_matches(']').split_once("..")),
        None => (text, None),
    };
    let (text, parent) = text
        .split_once('<')
        .map_or((text, None), |(t, p)| (t, Some(p)));
    let number = |text: &str| text.parse::<u64>().unwrap();
    let span = number(&text[1..]);
    let times = times.map_or((span * 10, span * 10 + 5), |(s, e)| (number(s), number(e)));
    let trace = u128::from(text.as_bytes()[0]);
    let mut record = record(trace, span, parent.map(number), times);
    record.links =
        link.map(|to| vec![SpanId::from_number(NonZeroU64::new(number(to)).unwrap())].into());
    record
}

fn show(trace: &Trace) -> String {
    let mut out = String::new();
    let mut open: Vec<u32> = Vec::new();
    for (at, span) in (0..).zip(trace.spans()) {
        let depth = span
            .parent
            .map_or(0, |p| open.iter().position(|&o| o == p).unwrap() + 1);
        let closed = open.len() - depth;
        if at > 0 && closed == 0 {
            out.push('(');
        }
        out.push_str(&")".repeat(closed.saturating_sub(1)));
        if closed > 0 {
            out.push(' ');
        }
        write!(out, "{}", span.operation.0).unwrap();
        open.truncate(depth);
        open.push(at);
    }
    out.push_str(&")".repeat(open.len() - 1));
    for link in trace.links() {
        let name = |at: u32| trace.spans()[at as usize].operation.0;
        write!(out, " {}~{}", name(link.from), name(link.to)).unwrap();
    }
    out
}

fn show_done(done: &[Done], events: &mut Vec<String>) {
    for done in done {
        let name = char::from(done.id.number() as u8);
        events.push(match &done.trace {
            Ok(trace) => format!("trace {name}: {}", show(trace)),
            Err(reason) => format!("partial {name}: {}", reason.word()),
        });
    }
}

fn assert_balanced(counts: &AssemblerCounts) {
    let ends = counts.complete + counts.partial + counts.late + counts.duplicate;
    let rest = counts.evicted + counts.oversized + counts.open;
    assert_eq!(counts.received, ends + rest, "{counts:?}");
}

fn run(assembler: &mut Assembler, stream: &str) -> String {
    let mut events = Vec::new();
    for step in stream.split_whitespace() {
        let (what, at) = step.split_once('@').unwrap();
        let now =
            Duration::from_millis((at.trim_end_matches('s').parse::<f64>().unwrap() * 1e3) as u64);
        let before = assembler.counts();
        match what {
            "tick" => show_done(&assembler.take_done(now), &mut events),
            "end" => show_done(&assembler.finish(now), &mut events),
            spans => assembler.add(spans.split('+').map(parse), now),
        }
        let after = assembler.counts();
        let names = what.split(['<', '[']).next().unwrap();
        for (word, old, new) in [
            ("late", before.late, after.late),
            ("oversized", before.traces_oversized, after.traces_oversized),
            ("duplicate", before.duplicate, after.duplicate),
        ] {
            if new > old {
                events.push(format!("{word}: {names}"));
            }
        }
        if after.evicted > before.evicted {
            events.push(format!("evicted: {}", after.evicted - before.evicted));
        }
        assert_balanced(&after);
    }
    events.join("; ")
}

#[track_caller]
fn check_with(settings: AssemblerSettings, stream: &str, expected: &str) {
    assert_eq!(
        run(&mut Assembler::new(settings), stream),
        expected,
        "{stream}"
    );
}

#[track_caller]
fn check(stream: &str, expected: &str) {
    check_with(settings(), stream, expected);
}

#[test]
fn a_trace_is_done_when_its_root_and_parents_are_there_and_it_has_been_quiet() {
    check("a1@0s tick@4.9s tick@5.1s", "trace a: 1");
    check("a2<1@0s a1@1s tick@5.9s tick@6.1s", "trace a: 1(2)");
    check(
        "a1+a2<1+a3<2@0s a4<1@3s tick@7.9s tick@8.1s",
        "trace a: 1(2(3) 4)",
    );
    check(
        "a1@0s b1@0s a2<1@0s b2<1@1s tick@30s",
        "trace a: 1(2); trace b: 1(2)",
    );
}

#[test]
fn a_trace_that_is_not_whole_waits_longer_and_is_partial_at_max_wait() {
    check(
        "a1+a3<2@0s tick@29.9s a2<1@29.9s tick@30s",
        "trace a: 1(2(3))",
    );
    check("a1+a3<2@0s tick@29.9s tick@30s", "partial a: orphans");
    check("a2<1@0s tick@30s", "partial a: no_root");
    check("a1+a2@0s tick@30s", "partial a: roots");
    check("a1+a3<2@0s a2<1@6s tick@12s tick@16.1s", "trace a: 1(2(3))");
}

#[test]
fn late_spans_are_counted_and_open_nothing() {
    check("a1@0s tick@30s a2<1@31s tick@70s", "trace a: 1; late: a2");
    check("a2<1@0s tick@30s a1@31s", "partial a: no_root; late: a1");
}

#[test]
fn a_never_ending_trace_ends_at_max_wait() {
    let spans: String = (2..=40)
        .map(|n| format!("a{n}<1@{n}s tick@{n}s "))
        .collect();
    let late: Vec<_> = (31..=40).map(|n| format!("late: a{n}")).collect();
    let tree: Vec<_> = (2..=30).map(|n| n.to_string()).collect();
    // The span of the 30th second came before the tick of it.
    let expected = format!("trace a: 1({}); {}", tree.join(" "), late.join("; "));
    check(&format!("a1@0s {spans}"), &expected);
}

#[test]
fn duplicates_count_once_and_the_earliest_is_kept() {
    check("a1+a1@0s a1@1s tick@7s", "trace a: 1; duplicate: tick");
    check(
        "a1+a2<1[9..9]+a3<1[5..9]+a2<1[1..2]@0s end@1s",
        "trace a: 1(2 3); duplicate: end",
    );
}

#[test]
fn cycles_are_broken_at_their_earliest_span() {
    check("a1<2+a2<1@0s end@1s", "trace a: 1(2)");
    check("a1<3+a2<1+a3<2+a4<3@0s end@1s", "trace a: 1(2(3(4)))");
    check("a1<1@0s end@1s", "trace a: 1");
    check("a9+a1<2+a2<1@0s end@1s", "partial a: roots");
    check(
        "a2<1+a1<3[70..80]+a3<2[50..60]@0s end@1s",
        "trace a: 2(3(1))",
    );
}

#[test]
fn siblings_stand_by_start_and_links_within_the_trace_are_kept() {
    check(
        "a1+a2<1[9..9]+a3<1[5..9]+a4<1[5..8]@0s end@1s",
        "trace a: 1(4 3 2)",
    );
    check("a1+a2<1~1+a3<1~9+a4<1~4@0s end@1s", "trace a: 1(2 3 4) 2~1");
}

#[test]
fn absurd_times_are_not_learnt_and_an_end_before_the_start_is_no_duration() {
    check("a1[9..5]@0s end@1s", "trace a: 1");
    check(
        "a1[1700000000000000000..1700000000000000009]+a2<1[0..5]@0s end@1s",
        "partial a: times",
    );
    check("a1[5..18446744073709551615]@0s end@1s", "partial a: times");
    check("a1[18446744073709551615..0]@0s end@1s", "trace a: 1");
}

#[test]
fn the_oldest_traces_make_room_and_their_later_spans_are_late() {
    let two = AssemblerSettings {
        max_open_traces: 2,
        ..settings()
    };
    check_with(
        two,
        "a1@0s b1@1s c1@2s a2<1@3s tick@40s",
        "evicted: 1; late: a2; trace b: 1; trace c: 1",
    );
}

#[test]
fn a_trace_with_too_many_spans_is_counted_and_not_learnt() {
    let few = AssemblerSettings {
        max_spans_per_trace: 3,
        ..settings()
    };
    check_with(
        few.clone(),
        "a1+a2<1+a3<1@0s a4<1@1s a5<1@2s tick@31s a6@32s",
        "oversized: a4; late: a6",
    );
    check_with(
        few,
        "a1+a1+a1+a1+a1+a1@0s tick@9s",
        "duplicate: a1+a1+a1+a1+a1+a1; trace a: 1; duplicate: tick",
    );
}

#[test]
fn the_quiet_time_is_learnt_and_late_spans_lengthen_it() {
    let mut assembler = Assembler::new(AssemblerSettings {
        max_open_traces: 100_000,
        ..settings()
    });
    for at in 0..100_u64 {
        assembler.add(
            [record(1000 + u128::from(at), 1, None, (1, 2))],
            Duration::from_secs(at),
        );
        assembler.take_done(Duration::from_secs(at));
    }
    assembler.take_done(Duration::from_secs(200));
    assert_eq!(run(&mut assembler, "a1@300s tick@301.1s"), "trace a: 1");
    for at in 0..100_u64 {
        let id = 5000 + u128::from(at);
        let second = |s: u64| Duration::from_millis(400_000 + at * 10_000 + s * 1000);
        assembler.add([record(id, 1, None, (1, 2))], second(0));
        assembler.take_done(second(4));
        assembler.add([record(id, 2, Some(1), (1, 2))], second(4));
    }
    assembler.finish(Duration::from_secs(1_400));
    assert_eq!(
        run(&mut assembler, "b1@1500s tick@1504s tick@1509s"),
        "trace b: 1"
    );
    let late = assembler.counts().late;
    assert!(
        (1..=5).contains(&late),
        "a few late spans are enough to wait longer: {late}"
    );
}

#[test]
fn a_flood_of_one_span_traces_stays_within_its_bytes() {
    let mut assembler = Assembler::new(AssemblerSettings {
        max_bytes: 1 << 20,
        max_open_traces: 1 << 20,
        ..settings()
    });
    for at in 1..=50_000_u64 {
        assembler.add(
            [record(u128::from(at), 1, None, (1, 2))],
            Duration::from_micros(at),
        );
        assert!(assembler.counts().bytes_open <= 1 << 20);
    }
    let counts = assembler.counts();
    assert_balanced(&counts);
    assert!(
        counts.traces_open > 1000 && counts.traces_evicted > 40_000,
        "{counts:?}"
    );
}

#[test]
fn a_chain_and_a_star_of_a_hundred_thousand_spans_are_built_without_recursion() {
    for chain in [true, false] {
        let mut assembler = Assembler::new(AssemblerSettings {
            max_spans_per_trace: 100_000,
            ..settings()
        });
        let parent = |n: u64| if chain { n - 1 } else { 1 };
        let spans = (1..=100_000).map(|n| record(1, n, (n > 1).then(|| parent(n)), (n, n + 5)));
        assembler.add(spans, Duration::ZERO);
        let done = assembler.take_done(Duration::from_secs(30));
        assert_eq!(done[0].trace.as_ref().unwrap().spans().len(), 100_000);
    }
}

#[test]
fn a_cycle_of_a_hundred_thousand_spans_is_broken_in_linear_time() {
    let mut assembler = Assembler::new(AssemblerSettings {
        max_spans_per_trace: 100_000,
        ..settings()
    });
    let spans = (1..=100_000).map(|n| record(1, n, Some(n % 100_000 + 1), (n, n + 5)));
    assembler.add(spans, Duration::ZERO);
    let done = assembler.take_done(Duration::from_secs(30));
    assert_eq!(done[0].trace.as_ref().unwrap().spans().len(), 100_000);
    assert_eq!(assembler.counts().cycles, 1);
}

prop_compose! {
    /// Up to twelve spans whose parents are any of twelve, none, or missing; times collide.
    fn spans()(parts in prop::collection::vec((1..12_u64, prop::option::of(1..12_u64), 0..6_u64, 0..6_u64), 1..14)) -> Vec<SpanRecord> {
        parts.into_iter().map(|(span, parent, start, end)| record(1, span, parent, (start, end))).collect()
    }
}

proptest! {
    #[test]
    fn any_order_and_any_split_of_the_same_spans_give_the_same_trace(
        spans in spans(),
        shuffled in Just(()).prop_perturb(|(), mut rng| rng.next_u64()),
    ) {
        let finish = |spans: Vec<SpanRecord>, split: usize| {
            let mut assembler = Assembler::new(settings());
            for (at, part) in spans.chunks(split).enumerate() {
                assembler.add(part.to_vec(), Duration::from_millis(at as u64));
            }
            let done = assembler.finish(Duration::from_secs(1));
            assert_balanced(&assembler.counts());
            (done, assembler.counts())
        };
        let mut other = spans.clone();
        other.sort_by_key(|s| (s.span_id.number() ^ s.start.rotate_left(7)).wrapping_mul(shuffled | 1));
        let split = (shuffled % 5 + 1) as usize;
        prop_assert_eq!(finish(spans, 100), finish(other, split));
    }

    #[test]
    fn whatever_comes_the_counters_add_up_and_nothing_stays_open(
        stream in prop::collection::vec((1..6_u128, 1..9_u64, prop::option::of(1..9_u64), 0..9_000_u64), 0..80),
    ) {
        let mut assembler = Assembler::new(AssemblerSettings {
            max_open_traces: 3,
            max_spans_per_trace: 5,
            ..settings()
        });
        let mut now = Duration::ZERO;
        let mut whole = 0;
        let mut seen = 0;
        for (trace, span, parent, pause) in stream {
            now += Duration::from_millis(pause);
            assembler.add([record(trace, span, parent, (span, span + 1))], now);
            for done in assembler.take_done(now) {
                whole += done.trace.as_ref().map_or(0, |trace| trace.spans().len() as u64);
            }
            seen += 1;
            assert_balanced(&assembler.counts());
        }
        for done in assembler.finish(now) {
            whole += done.trace.as_ref().map_or(0, |trace| trace.spans().len() as u64);
        }
        let counts = assembler.counts();
        assert_balanced(&counts);
        prop_assert_eq!(counts.received, seen);
        prop_assert_eq!(counts.complete, whole);
        prop_assert_eq!((counts.open, counts.traces_open, counts.bytes_open), (0, 0, 0));
    }
}
