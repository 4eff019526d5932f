//! Quantile bins of one context, and the exact way between a distance and a position in a bin.
//!
//! Positions run over the bit patterns of doubles, which grow like a logarithm that is straight
//! within each octave: exact, the same on every machine, and no transcendental function.

use serde::{Deserialize, Serialize};

use super::BINS;

/// Distances are below this many nanoseconds (146 years).
pub const FARTHEST: u64 = 1 << 62;

/// Quantile bins between the two escapes.
const QUANTILES: usize = BINS - 2;

/// Levels where the tails' finer bins begin and end; the rest is divided evenly.
const TAIL: [f64; 5] = [0.0, 0.002, 0.005, 0.01, 0.02];

/// A bin that no training value fell in is given this share of a value.
const EMPTY_SHARE: f64 = 0.02;

/// The first escape: for distances that the bins do not cover and that are below their middle.
pub(super) const BELOW: u8 = 0;

/// The last escape: for distances that the bins do not cover, in their middle or above.
pub(super) const ABOVE: u8 = (BINS - 1) as u8;

/// The bins of one context.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Table {
    /// Nanoseconds that every training value is a multiple of.
    tick: u64,
    /// Edges of the quantile bins in ticks plus one (so that zero has a logarithm): bin `i + 1`
    /// holds what is at least `edges[i]` and less than `edges[i + 1]`. Never decreasing.
    edges: Vec<u64>,
    /// Share of the training values below each edge.
    below: Vec<f32>,
    /// Number of training values.
    values: u32,
}

impl Table {
    /// The bins of these training values, which get sorted.
    pub(super) fn fit(values: &mut [u64]) -> Self {
        values.sort_unstable();
        let tick = values
            .iter()
            .fold(0, |divisor, &value| gcd(divisor, value))
            .max(1);
        let units: Vec<u64> = values.iter().map(|value| value / tick + 1).collect();
        let (Some(&least), Some(&most)) = (units.first(), units.last()) else {
            return Self::unfitted();
        };
        let mut edges: Vec<u64> = (0..=QUANTILES)
            .map(|at| quantile(&units, level(at)))
            .collect();
        edges[0] = least;
        edges[QUANTILES] = most + 1;
        part_atoms(&mut edges);
        let count = units.len() as f32;
        let below = edges
            .iter()
            .map(|&edge| units.partition_point(|&unit| unit < edge) as f32 / count)
            .collect();
        Self {
            tick,
            edges,
            below,
            values: u32::try_from(units.len()).unwrap_or(u32::MAX),
        }
    }

    /// Bins for a context without any value: evenly in the logarithm, from zero to 18 minutes.
    pub(super) fn unfitted() -> Self {
        let edges = (0..=QUANTILES as u64).map(|at| 1 << at).collect();
        let below = (0..=QUANTILES)
            .map(|at| at as f32 / QUANTILES as f32)
            .collect();
        Self {
            tick: 1,
            edges,
            below,
            values: 0,
        }
    }

    /// Whether it has the numbers of edges that this program works with, in order.
    pub(super) fn is_sound(&self) -> bool {
        self.tick > 0
            && self.edges.len() == QUANTILES + 1
            && self.below.len() == QUANTILES + 1
            && self.edges[0] > 0
            && self.edges.is_sorted()
            && self.edges[QUANTILES] <= FARTHEST
    }

    /// The bin of a distance, and the position in it of the middle of the distance's cell.
    pub(super) fn code(&self, distance: u64) -> (u8, f64) {
        let unit = distance / self.tick + 1;
        let covered = distance.is_multiple_of(self.tick)
            && unit >= self.edges[0]
            && unit < self.edges[QUANTILES];
        if covered {
            let bin = self.edges.partition_point(|&edge| edge <= unit);
            let within = position(unit, self.edges[bin - 1], self.edges[bin]);
            return (bin as u8, within);
        }
        let middle = self.edges[QUANTILES / 2];
        let bin = if unit < middle { BELOW } else { ABOVE };
        (bin, position(distance + 1, 1, FARTHEST + 1))
    }

    /// The distance at a position in a bin; whatever they are, it is less than [`FARTHEST`].
    pub(super) fn distance(&self, bin: u8, within: f64) -> u64 {
        if bin == BELOW || bin >= ABOVE {
            return at(within, 1, FARTHEST + 1) - 1;
        }
        let bin = usize::from(bin);
        let unit = at(within, self.edges[bin - 1], self.edges[bin]);
        (unit - 1).saturating_mul(self.tick).min(FARTHEST - 1)
    }

    /// How high a code is among the training values: the share of them that is lower.
    pub(super) fn level(&self, bin: u8, within: f64) -> f32 {
        match bin {
            BELOW => 0.0,
            bin if bin >= ABOVE => 1.0,
            bin => {
                let bin = usize::from(bin);
                let (low, high) = (self.below[bin - 1], self.below[bin]);
                // One value alone in its bin has one level, wherever in its cell it was drawn.
                let single = self.edges[bin] <= self.edges[bin - 1] + 1;
                let share = if single { 0.5 } else { within as f32 };
                low + share.clamp(0.0, 1.0) * (high - low)
            }
        }
    }

    /// Share of training values in each bin, none of them zero.
    pub(super) fn shares(&self) -> [f32; BINS] {
        let values = f64::from(self.values.max(1));
        let total = values + EMPTY_SHARE * BINS as f64;
        let mut shares = [(EMPTY_SHARE / total) as f32; BINS];
        for (bin, share) in shares.iter_mut().enumerate().take(ABOVE.into()).skip(1) {
            let held = f64::from(self.below[bin] - self.below[bin - 1]) * values;
            *share = ((held + EMPTY_SHARE) / total) as f32;
        }
        shares
    }
}

/// The level at which a quantile bin begins.
fn level(edge: usize) -> f64 {
    let fine = TAIL.len() - 1;
    let even = QUANTILES - 2 * fine;
    if edge <= fine {
        TAIL[edge]
    } else if edge >= QUANTILES - fine {
        1.0 - TAIL[QUANTILES - edge]
    } else {
        TAIL[fine] + (1.0 - 2.0 * TAIL[fine]) * (edge - fine) as f64 / even as f64
    }
}

/// The value at a level of sorted values, which are not empty; straight between two of them.
fn quantile(sorted: &[u64], level: f64) -> u64 {
    let rank = level * (sorted.len() - 1) as f64;
    let low = sorted[rank as usize];
    let high = sorted[(rank as usize + 1).min(sorted.len() - 1)];
    low + ((high - low) as f64 * rank.fract()) as u64
}

/// Gives a value that fills whole bins a bin of its own, so that it is not spread over what lies
/// above it.
fn part_atoms(edges: &mut [u64]) {
    let mut at = 0;
    while at + 1 < edges.len() {
        let atom = edges[at];
        let same = edges[at..].iter().take_while(|&&edge| edge == atom).count();
        for edge in &mut edges[at + 1..at + same] {
            *edge = atom + 1;
        }
        at += same.max(1);
    }
}

/// A level as about the number of standard deviations from the middle (a logistic curve in place of
/// the normal one). Between -5 and 5.
pub(super) fn score(level: f32) -> f32 {
    let level = level.clamp(3e-4, 1.0 - 3e-4);
    (level / (1.0 - level)).ln() / 1.702
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn bits(unit: u64) -> u64 {
    (unit as f64).to_bits()
}

/// Where between two edges the middle of a whole number's cell lies.
fn position(unit: u64, low: u64, high: u64) -> f64 {
    let (low, high) = (bits(low), bits(high));
    let cell = bits(unit + 1) - bits(unit);
    ((bits(unit) - low + cell / 2) as f64 / (high - low) as f64).clamp(0.0, 1.0 - f64::EPSILON)
}

/// The whole number at a position between two edges.
fn at(within: f64, low: u64, high: u64) -> u64 {
    if high <= low {
        return low;
    }
    // A position that is no number becomes step 0: the cast says so.
    let steps = (within.clamp(0.0, 1.0) * (bits(high) - bits(low)) as f64) as u64;
    (f64::from_bits(bits(low) + steps) as u64).clamp(low, high - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table(values: impl IntoIterator<Item = u64>) -> Table {
        let table = Table::fit(&mut values.into_iter().collect::<Vec<_>>());
        assert!(table.is_sound());
        table
    }

    fn check(table: &Table, distance: u64) {
        let (bin, within) = table.code(distance);
        assert!((0.0..1.0).contains(&within), "{within}");
        assert_eq!(
            table.distance(bin, within),
            distance,
            "bin {bin} at {within}"
        );
        assert!(score(table.level(bin, within)).abs() <= 5.0);
    }

    proptest! {
        #[test]
        fn every_distance_up_to_nine_hours_comes_back_to_the_nanosecond(
            values in prop::collection::vec((0_u64..60, any::<u64>()).prop_map(|(s, v)| v >> (s + 4)), 0..200),
            // Below 2^45.
            distances in prop::collection::vec((19_u64..64, any::<u64>()).prop_map(|(s, v)| v >> s), 1..50),
        ) {
            let table = table(values.iter().map(|value| value % FARTHEST));
            for distance in distances.into_iter().chain(values.into_iter().filter(|&v| v < 1 << 45)) {
                check(&table, distance);
            }
        }

        #[test]
        fn longer_ones_come_back_to_one_part_in_ten_billion(distance in 0..FARTHEST) {
            let table = table([1, 2, 3]);
            let (bin, within) = table.code(distance);
            let back = table.distance(bin, within);
            prop_assert!(back.abs_diff(distance) as f64 <= distance as f64 * 1e-10);
        }

        #[test]
        fn any_bin_and_position_is_a_distance(bin in any::<u8>(), within in any::<f64>()) {
            for table in [table([]), table([0; 9]), table((0..99).map(|v| v * v * 256))] {
                prop_assert!(table.distance(bin, within) < FARTHEST);
                prop_assert!(score(table.level(bin, within)).abs() <= 5.0);
            }
        }
    }

    #[test]
    fn what_a_bin_draws_keeps_to_the_clock_and_the_range_of_the_training_values() {
        let table = table((0..500).map(|value| 256 * (value + 7)));
        for bin in 1..ABOVE {
            for share in 0..50 {
                let distance = table.distance(bin, f64::from(share) / 50.0);
                assert!(distance.is_multiple_of(256) && (7 * 256..507 * 256).contains(&distance));
            }
        }
        check(&table, 256 * 20 + 1);
    }

    #[test]
    fn a_value_that_half_of_the_training_values_have_keeps_its_share() {
        let table = table((0..1000).map(|value| if value % 2 == 0 { 5_000 } else { value }));
        let (bin, _) = table.code(5_000);
        let share = table.shares()[usize::from(bin)];
        assert!((share - 0.5).abs() < 0.01, "{share}");
        assert_eq!(table.distance(bin, 0.01), 5_000);
        assert_eq!(table.distance(bin, 0.99), 5_000);
    }

    #[test]
    fn shares_of_the_bins_add_up_to_one_and_the_middle_scores_zero() {
        let table = table((0..10_000).map(|value| value * 3));
        let total: f32 = table.shares().iter().sum();
        assert!((total - 1.0).abs() < 1e-3, "{total}");
        let (bin, within) = table.code(15_000);
        assert!(score(table.level(bin, within)).abs() < 0.05);
    }
}
