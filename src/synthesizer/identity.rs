//! Fresh ids.

use std::num::{NonZeroU64, NonZeroU128};

use rand::Rng as _;

use crate::chance;
use crate::trace::{SpanId, TraceId};

/// The step of SplitMix64 (Steele, Lea, Flood 2014): odd, so that 2^64 steps meet every number.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Makes ids: random, never zero, and within a trace never twice.
///
/// A trace id is 128 bits of the generator. Span ids run from a place that the generator draws
/// for each trace, through a one-to-one mixing of 64 bits: no two can be equal until all 2^64
/// were given, and it takes a third of the time of drawing each.
#[derive(Debug, Clone)]
pub struct Identity {
    rng: chance::Rng,
    state: u64,
}

impl Identity {
    /// Ids drawn from a generator of their own, so that they tell nothing of any other draw.
    pub fn new(mut rng: chance::Rng) -> Self {
        let state = rng.next_u64();
        Self { rng, state }
    }

    /// The id of a new trace; span ids begin anew.
    pub fn trace_id(&mut self) -> TraceId {
        self.state = self.rng.next_u64();
        loop {
            let number = u128::from(self.rng.next_u64()) << 64 | u128::from(self.rng.next_u64());
            if let Some(number) = NonZeroU128::new(number) {
                return TraceId::from_number(number);
            }
        }
    }

    /// The id of a new span of the trace that was begun last.
    #[inline]
    pub fn span_id(&mut self) -> SpanId {
        loop {
            self.state = self.state.wrapping_add(STEP);
            // One number of 2^64 mixes to zero.
            if let Some(number) = NonZeroU64::new(mixed(self.state)) {
                return SpanId::from_number(number);
            }
        }
    }

    /// A number from [0, 1), for what is placed by chance in the trace that was begun last. No
    /// span id tells it.
    #[inline]
    pub fn share(&mut self) -> f64 {
        self.state = self.state.wrapping_add(STEP);
        (mixed(self.state) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// SplitMix64's finaliser: one-to-one, because each of its steps can be undone.
#[inline]
fn mixed(mut number: u64) -> u64 {
    number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_ids_and_another_gives_none_of_them() {
        let ids = |seed| {
            let mut identity = Identity::new(chance::stream(seed, "ids"));
            let mut ids = Vec::new();
            for _ in 0..100 {
                let trace = identity.trace_id();
                ids.extend((0..50).map(|_| (trace, identity.span_id())));
            }
            ids
        };
        assert_eq!(ids(1), ids(1));
        let all: HashSet<_> = [ids(1), ids(2)].concat().into_iter().collect();
        assert_eq!(all.len(), 10_000);
        let spans: HashSet<_> = all.iter().map(|(_, span)| span).collect();
        assert_eq!(spans.len(), 10_000);
    }

    #[test]
    fn no_id_is_zero_where_the_mixing_gives_zero() {
        let mut identity = Identity {
            rng: chance::stream(1, "ids"),
            // The next step lands on zero, and zero mixes to zero.
            state: 0_u64.wrapping_sub(STEP),
        };
        assert_eq!(mixed(0), 0);
        assert_eq!(identity.span_id().number(), mixed(STEP));
    }

    #[test]
    fn each_bit_of_the_ids_is_set_half_of_the_time() {
        let mut identity = Identity::new(chance::stream(7, "ids"));
        let mut set = [0_u32; 64];
        for _ in 0..100 {
            identity.trace_id();
            for _ in 0..100 {
                let number = identity.span_id().number();
                for (bit, count) in set.iter_mut().enumerate() {
                    *count += u32::from(number >> bit & 1 == 1);
                }
            }
        }
        // Ten thousand fair draws: 5,000 give or take five standard deviations of 50.
        assert!(set.iter().all(|count| (4_750..=5_250).contains(count)));
    }
}
