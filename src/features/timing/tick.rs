//! Clocks with coarse ticks.
//!
//! Some instrumentations read the clock in whole milliseconds when a server's span starts, and time what it does to
//! the nanosecond from there. Such starts lie on a grid, which no distance from a caller's start shows.

use super::table::{FARTHEST, gcd};
use crate::features::Token;
use crate::trace::Trace;

/// Ticks that are coarse enough to matter, in nanoseconds, and spans that it takes to be sure of them.
const COARSE: u64 = 1_000;
const TICKED: u32 = 100;

/// Distances that are a whole number of ticks from each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Grid {
    /// Nanoseconds, at least 1.
    pub(super) tick: u64,
    /// The least of the distances.
    first: u64,
}

impl Grid {
    /// That with this distance, or one of the others with it.
    pub(super) fn through(tick: u64, distance: i64) -> Self {
        let tick = tick.clamp(1, FARTHEST);
        Self {
            tick,
            first: distance.rem_euclid(tick as i64) as u64,
        }
    }

    /// The least distance that is not below this one.
    pub(super) fn next(self, distance: u64) -> u64 {
        let behind = distance.saturating_sub(self.first);
        self.first + behind.div_ceil(self.tick) * self.tick
    }
}

/// The greatest common divisor of the starts with each token, after their roots'; 1 where that is finer than
/// is worth knowing, or known of too few spans. Clocks that are read in whole milliseconds, as those of servers
/// of some instrumentations are, show nothing in between.
pub(super) fn fit<'a>(traces: impl Iterator<Item = (&'a Trace, &'a [Token])>) -> Vec<u64> {
    let mut starts: Vec<(u64, u32)> = Vec::new();
    for (trace, tokens) in traces {
        for (span, token) in trace.spans().iter().zip(tokens).skip(1) {
            let at = token.0 as usize;
            if starts.len() <= at {
                starts.resize(at + 1, (0, 0));
            }
            let (tick, spans) = &mut starts[at];
            (*tick, *spans) = (gcd(*tick, span.start.unsigned_abs()), *spans + 1);
        }
    }
    let coarse = |&(tick, spans): &(u64, u32)| tick >= COARSE && spans >= TICKED;
    let tick = |it: (u64, u32)| if coarse(&it) { it.0 } else { 1 };
    starts.into_iter().map(tick).collect()
}
