//! A bounded memory of traces that lost spans: two generations of Bloom filters.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// Words of each generation: 2^20 bits, which at 50,000 traces call one in 2,000 others shed too.
const WORDS: usize = 1 << 14;

/// Forgets nothing for a whole generation, whatever comes in; takes no lock; 256 KiB.
#[derive(Debug)]
pub(super) struct Filter {
    generations: [Box<[AtomicU64]>; 2],
    newest: AtomicUsize,
    used: AtomicBool,
}

impl Default for Filter {
    fn default() -> Self {
        let empty = || (0..WORDS).map(|_| AtomicU64::new(0)).collect();
        Self {
            generations: [empty(), empty()],
            newest: AtomicUsize::new(0),
            used: AtomicBool::new(false),
        }
    }
}

impl Filter {
    /// Remembers a hash until two turns from now.
    pub(super) fn insert(&self, hash: u64) {
        self.used.store(true, Ordering::Release);
        let words = &self.generations[self.newest.load(Ordering::Acquire) % 2];
        for (word, bit) in bits(hash) {
            words[word].fetch_or(bit, Ordering::AcqRel);
        }
    }

    /// Whether a hash may have been inserted.
    pub(super) fn contains(&self, hash: u64) -> bool {
        self.used.load(Ordering::Acquire)
            && self.generations.iter().any(|words| {
                bits(hash).all(|(word, bit)| words[word].load(Ordering::Acquire) & bit != 0)
            })
    }

    /// Forgets the older generation and begins a new one.
    pub(super) fn turn(&self) {
        if !self.used.load(Ordering::Acquire) {
            return;
        }
        let newest = self.newest.load(Ordering::Acquire);
        for word in &self.generations[(newest + 1) % 2] {
            word.store(0, Ordering::Release);
        }
        self.newest.store((newest + 1) % 2, Ordering::Release);
    }
}

/// Four places for a hash.
fn bits(hash: u64) -> impl Iterator<Item = (usize, u64)> {
    let step = hash.rotate_left(32) | 1;
    (0..4_u64).map(move |round| {
        let mixed = hash.wrapping_add(step.wrapping_mul(round));
        ((mixed >> 20) as usize % WORDS, 1 << (mixed >> 50 & 63))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u64) -> u64 {
        number
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29)
            .wrapping_mul(0xbf58_476d_1ce4_e5b9)
    }

    #[test]
    fn what_was_inserted_is_remembered_for_a_turn_and_forgotten_after_two() {
        let filter = Filter::default();
        assert!(!filter.contains(hash(1)));
        for number in 1..10_000 {
            filter.insert(hash(number));
        }
        assert!((1..10_000).all(|number| filter.contains(hash(number))));
        let wrong = (10_000..30_000)
            .filter(|&n| filter.contains(hash(n)))
            .count();
        assert!(wrong < 40, "{wrong} of 20,000 others are called shed");
        filter.turn();
        assert!(filter.contains(hash(1)));
        filter.turn();
        assert!(!filter.contains(hash(1)));
    }
}
