//! Observed spans at other times and under other ids.

use opentelemetry_proto::tonic::trace::v1::Span;
use rand::Rng as _;

use crate::chance::Rng;

/// Moves a span and its events by so many nanoseconds.
pub(super) fn shift(span: &mut Span, offset: i64) {
    let moved = |time: u64| time.saturating_add_signed(offset);
    span.start_time_unix_nano = moved(span.start_time_unix_nano);
    span.end_time_unix_nano = moved(span.end_time_unix_nano);
    for event in &mut span.events {
        // An event without a time stays without one.
        if event.time_unix_nano > 0 {
            event.time_unix_nano = moved(event.time_unix_nano);
        }
    }
}

/// New ids for old ones: a one-to-one mixing under keys that are drawn, so that nothing has to be
/// remembered, no two ids become one, and whatever names an id, in this trace or another, names it
/// still.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ids {
    trace: u128,
    span: u64,
}

impl Ids {
    /// Draws the keys.
    pub(super) fn draw(rng: &mut Rng) -> Self {
        let high = u128::from(rng.next_u64()) << 64;
        Self {
            trace: high | u128::from(rng.next_u64()),
            span: rng.next_u64(),
        }
    }

    /// Gives a span, its parent and its links their new ids. What has the wrong length is no id,
    /// and stays.
    pub(super) fn rewrite(&self, span: &mut Span) {
        self.trace(&mut span.trace_id);
        self.span(&mut span.span_id);
        self.span(&mut span.parent_span_id);
        for link in &mut span.links {
            self.trace(&mut link.trace_id);
            self.span(&mut link.span_id);
        }
    }

    fn trace(&self, id: &mut [u8]) {
        if let Ok(bytes) = <[u8; 16]>::try_from(&*id) {
            let mix = |number: u128| {
                // Each step can be undone: none makes one of two.
                let mixed = (number ^ self.trace).wrapping_mul(ODD);
                let mixed = (mixed ^ (mixed >> 67)).wrapping_mul(ODD);
                mixed ^ (mixed >> 67)
            };
            let number = u128::from_be_bytes(bytes);
            if number != 0 {
                // Zero is no id; what would become it takes the place that zero would have.
                let new = match mix(number) {
                    0 => mix(0),
                    new => new,
                };
                id.copy_from_slice(&new.to_be_bytes());
            }
        }
    }

    fn span(&self, id: &mut [u8]) {
        if let Ok(bytes) = <[u8; 8]>::try_from(&*id) {
            let mix = |number: u64| {
                let mixed = (number ^ self.span).wrapping_mul(ODD as u64);
                let mixed = (mixed ^ (mixed >> 31)).wrapping_mul(ODD as u64);
                mixed ^ (mixed >> 31)
            };
            let number = u64::from_be_bytes(bytes);
            if number != 0 {
                let new = match mix(number) {
                    0 => mix(0),
                    new => new,
                };
                id.copy_from_slice(&new.to_be_bytes());
            }
        }
    }
}

/// The multiplier of a well-tried generator (PCG): odd, its bits well spread.
const ODD: u128 = 0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};

    use super::*;
    use crate::chance::stream;

    fn span(trace: u8, id: u64, parent: u64) -> Span {
        let bytes = |number: u64| match number {
            0 => Vec::new(),
            number => number.to_be_bytes().to_vec(),
        };
        Span {
            trace_id: vec![trace; 16],
            span_id: bytes(id),
            parent_span_id: bytes(parent),
            links: vec![Link {
                trace_id: vec![trace; 16],
                span_id: bytes(id + 1),
                ..Link::default()
            }],
            start_time_unix_nano: 1_000,
            end_time_unix_nano: 2_000,
            events: vec![Event {
                time_unix_nano: 1_500,
                ..Event::default()
            }],
            ..Span::default()
        }
    }

    #[test]
    fn new_ids_name_what_the_old_ones_did_and_hang_on_the_seed() {
        let rewritten = |seed: u64, mut span: Span| {
            Ids::draw(&mut stream(seed, "replay")).rewrite(&mut span);
            span
        };
        let (parent, child) = (rewritten(1, span(7, 1, 0)), rewritten(1, span(7, 2, 1)));
        assert_eq!(parent.parent_span_id, Vec::<u8>::new());
        assert_eq!(child.parent_span_id, parent.span_id);
        assert_eq!(child.trace_id, parent.trace_id);
        assert_eq!(parent.links[0].span_id, child.span_id);
        assert_eq!(parent.links[0].trace_id, child.trace_id);
        assert_ne!(parent.trace_id, vec![7; 16]);
        assert_ne!(parent.span_id, span(7, 1, 0).span_id);
        assert_eq!(parent, rewritten(1, span(7, 1, 0)));
        assert_ne!(parent.span_id, rewritten(2, span(7, 1, 0)).span_id);
    }

    #[test]
    fn no_two_ids_become_one_and_none_becomes_zero() {
        let ids = Ids::draw(&mut stream(1, "replay"));
        let mut seen = HashSet::new();
        // Among them the one whose image would be zero.
        for number in (1..50_000_u64).chain([ids.span]) {
            let mut id = number.to_be_bytes();
            ids.span(&mut id);
            assert!(id != [0; 8] && seen.insert(id), "{number}");
        }
        let mut id = ids.trace.to_be_bytes();
        ids.trace(&mut id);
        assert_ne!(id, [0; 16]);
    }

    #[test]
    fn a_shift_moves_a_span_and_its_events() {
        let check = |offset: i64, expected: [u64; 3]| {
            let mut span = span(1, 1, 0);
            shift(&mut span, offset);
            let event = span.events[0].time_unix_nano;
            assert_eq!(
                [span.start_time_unix_nano, event, span.end_time_unix_nano],
                expected
            );
        };
        check(10, [1_010, 1_510, 2_010]);
        check(-1_000, [0, 500, 1_000]);
        check(-5_000, [0, 0, 0]);
    }
}
