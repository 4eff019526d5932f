//! Small traces, written down.

use rand::RngExt as _;

use crate::chance::stream;
use crate::features::Interner;
use crate::trace::{Span, SpanKind, StatusCode, Symbol, Trace};

/// The trace of a text like `a(b c(d))`: every letter is a span, its operation, and it has its
/// children in brackets. A span starts at its position and takes 100.
pub(super) fn tree(text: &str) -> Trace {
    let (mut spans, mut open, mut last): (Vec<Span>, Vec<u32>, u32) = (Vec::new(), Vec::new(), 0);
    for letter in text.chars() {
        match letter {
            '(' => open.push(last),
            ')' => drop(open.pop()),
            ' ' => {}
            letter => {
                last = spans.len() as u32;
                spans.push(Span {
                    parent: open.last().copied(),
                    service: Symbol(1),
                    operation: Symbol(u64::from(u32::from(letter))),
                    profile: Symbol(0),
                    kind: SpanKind::Server,
                    status: StatusCode::Unset,
                    start: spans.len() as i64,
                    duration: 100,
                });
            }
        }
    }
    Trace::new(spans, Vec::new()).unwrap()
}

/// The trace with the times (start, duration) of its spans.
pub(super) fn timed(text: &str, times: &[(i64, u64)]) -> Trace {
    let mut spans = tree(text).spans().to_vec();
    for (span, &(start, duration)) in spans.iter_mut().zip(times) {
        (span.start, span.duration) = (start, duration);
    }
    Trace::new(spans, Vec::new()).unwrap()
}

/// One of two requests, each with its own number of calls in a row.
pub(super) fn system(texts: &Interner, count: usize, seed: u64) -> Vec<Trace> {
    let mut rng = stream(seed, "system");
    let one = |at: usize| {
        let (name, calls) = [("a", 2), ("b", 5)][usize::from(at.is_multiple_of(3))];
        let span = |parent, operation: &str, start, duration| Span {
            parent,
            service: texts.symbol(name),
            operation: texts.symbol(operation),
            profile: Symbol(0),
            kind: SpanKind::Server,
            status: StatusCode::Unset,
            start,
            duration,
        };
        let mut spans = vec![span(None, "root", 0, 0)];
        for call in 0..calls {
            let duration = 1_000 + rng.random_range(0..500);
            spans.push(span(Some(0), "call", 100 + 1_600 * call, duration));
        }
        spans[0].duration = 1_600 * calls as u64 + 200;
        Trace::new(spans, Vec::new()).unwrap()
    };
    (0..count).map(one).collect()
}
