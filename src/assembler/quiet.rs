//! How long to wait for more spans of a trace that looks whole: learnt per root operation.

use std::time::Duration;

use hashbrown::HashMap;

/// Root operations with a memory of their own; the rest share one.
const ROOTS: usize = 4_096;
/// Bins of pauses: below 1 ms, then doubling, the last from 2^22 ms (70 minutes) up.
const BINS: usize = 24;
/// Traces to have seen before the memory is trusted.
const ENOUGH: u32 = 20;
/// Traces after which the memory fades by half.
const FADE: u32 = 1_024;

/// The longest pauses between arrivals of a trace's spans, counted in bins that double.
#[derive(Debug, Clone, Default)]
struct Pauses {
    counts: [u16; BINS],
    total: u32,
}

/// The waits of all root operations.
#[derive(Debug)]
pub(super) struct Quiet {
    roots: HashMap<u64, Pauses, foldhash::fast::FixedState>,
    all: Pauses,
    initial: Duration,
    least: Duration,
    most: Duration,
}

impl Quiet {
    /// Waits `initial` until enough was seen, and never less than `least` or more than `most`.
    pub(super) fn new(initial: Duration, least: Duration, most: Duration) -> Self {
        Self {
            roots: HashMap::default(),
            all: Pauses::default(),
            initial,
            least,
            most,
        }
    }

    /// How long a trace with this root operation must have been quiet to be done.
    pub(super) fn wait(&self, root: u64) -> Duration {
        let own = self.roots.get(&root).and_then(Pauses::enough);
        own.or_else(|| self.all.enough())
            .unwrap_or(self.initial)
            .clamp(self.least.min(self.most), self.most)
    }

    /// A trace with this root operation had this longest pause between its arrivals.
    pub(super) fn learn(&mut self, root: u64, pause: Duration) {
        self.all.add(pause);
        if self.roots.len() < ROOTS || self.roots.contains_key(&root) {
            self.roots.entry(root).or_default().add(pause);
        }
    }
}

impl Pauses {
    fn add(&mut self, pause: Duration) {
        let millis = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        let bin = (u64::BITS - millis.leading_zeros()) as usize;
        self.counts[bin.min(BINS - 1)] += 1;
        self.total += 1;
        if self.total > FADE {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.total = self.counts.iter().map(|&count| u32::from(count)).sum();
        }
    }

    /// Twice the upper edge of the bin below which 99% of the pauses lie.
    fn enough(&self) -> Option<Duration> {
        if self.total < ENOUGH {
            return None;
        }
        let mut beyond = self.total;
        let bin = self.counts.iter().position(|&count| {
            beyond -= u32::from(count);
            beyond * 100 <= self.total
        })?;
        Some(Duration::from_millis(2 << bin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_wait_follows_the_pauses_of_its_root_operation() {
        let mut quiet = Quiet::new(ms(5_000), ms(100), ms(30_000));
        assert_eq!(quiet.wait(1), ms(5_000));
        (0..50).for_each(|_| quiet.learn(1, ms(0)));
        (0..50).for_each(|_| quiet.learn(2, ms(700)));
        assert_eq!(quiet.wait(1), ms(100));
        assert_eq!(quiet.wait(2), ms(2_048));
        assert_eq!(quiet.wait(3), ms(2_048), "an unknown root waits as all do");
        (0..20).for_each(|_| quiet.learn(1, ms(3_600_000)));
        assert_eq!(quiet.wait(1), ms(30_000));
        (0..20_000).for_each(|_| quiet.learn(1, ms(0)));
        assert_eq!(quiet.wait(1), ms(100), "what was long ago fades");
    }
}
