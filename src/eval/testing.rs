//! Small traces, written down.

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
