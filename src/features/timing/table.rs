//! Quantile bins of one context, and the exact way between a distance and a position in a bin.
//!
//! Positions run over the bit patterns of doubles, which grow like a logarithm that is straight
//! within each octave: exact, the same on every machine, and no transcendental function.

use serde::{Deserialize, Serialize};

use super::BINS;
use super::tick::Grid;

/// Distances are below this many nanoseconds (146 years).
pub const FARTHEST: u64 = 1 << 62;

/// Quantile bins between the two escapes.
const QUANTILES: usize = BINS - 2;

/// Levels where the tails' finer bins begin and end; the rest is divided evenly.
const TAIL: [f64; 5] = [0.0, 0.002, 0.005, 0.01, 0.02];

/// Values from which on edges are moved off their levels.
const FEW: usize = 600;

/// Places to each side of its level where an edge may stand, and up to which part of the way to the next.
const STEPS: i32 = 5;
const REACH: f64 = 0.45;

/// A bin that no training value fell in is given this share of a value.
const EMPTY_SHARE: f64 = 0.02;

/// Parts of as many values each that a bin is cut into at most, and how many values one must hold.
const PIECES: (usize, usize) = (16, 8);

/// Values that a part of a bin must hold to be told from what is empty.
const CLUSTER: usize = 4;

/// How much wider than the widest gap to expect by chance one must be to count as empty.
const EMPTY_WIDTH: f64 = 4.0;

/// Share of a bin at least that counts as empty.
const EMPTY_PART: f64 = 0.125;

/// Share of a bin's values that an empty part is given.
const EMPTY_VALUES: f64 = 0.02;

/// An empty part that spans so many octaves is given a share of one: with less, doubles could not
/// tell its nanoseconds apart.
const OCTAVES: f64 = 64.0;

/// The first escape: for distances that the bins do not cover and that are below their middle.
pub(super) const BELOW: u8 = 0;

/// The last escape: for distances that the bins do not cover, in their middle or above.
pub(super) const ABOVE: u8 = (BINS - 1) as u8;

/// What is left of the weight of a bin that holds nothing of a grid.
const NOTHING: f64 = 1e-6;

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
    /// Where the pieces and the empty parts of bins begin and end.
    knots: Vec<Knot>,
}

/// A point within a bin: positions below `within` stand for what is below `edge`. Between two
/// points, as between a point and an edge of the bin, positions run over bit patterns.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Knot {
    bin: u8,
    within: f64,
    edge: u64,
}

/// A stretch of a bin: its positions and what they stand for.
struct Stretch {
    within: (f64, f64),
    edges: (u64, u64),
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
        let mut edges = placed(&units, (least, most + 1));
        part_atoms(&mut edges);
        let count = units.len() as f32;
        let below = edges
            .iter()
            .map(|&edge| units.partition_point(|&unit| unit < edge) as f32 / count)
            .collect();
        let knots = (1..ABOVE).flat_map(|bin| knots(bin, &units, &edges));
        Self {
            tick,
            below,
            values: u32::try_from(units.len()).unwrap_or(u32::MAX),
            knots: knots.collect(),
            edges,
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
            knots: Vec::new(),
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
            && (1..ABOVE).all(|bin| self.are_knots_sound(bin))
            && self.knots.is_sorted_by_key(|knot| knot.bin)
            && self.knots.iter().all(|knot| (1..ABOVE).contains(&knot.bin))
    }

    fn are_knots_sound(&self, bin: u8) -> bool {
        let mut stretches = self.stretches(bin);
        stretches.all(|it| it.within.0 < it.within.1 && it.edges.0 <= it.edges.1)
    }

    /// The parts of a quantile bin, in order.
    fn stretches(&self, bin: u8) -> impl Iterator<Item = Stretch> {
        let first = self.knots.partition_point(|knot| knot.bin < bin);
        let knots = self.knots[first..].iter();
        let knots = knots.take_while(move |knot| knot.bin == bin);
        let mut from = (0.0, self.edges[usize::from(bin) - 1]);
        let last = (1.0, self.edges[usize::from(bin)]);
        let ends = knots.map(|knot| (knot.within, knot.edge));
        ends.chain([last]).map(move |to| {
            let (within, edges) = ((from.0, to.0), (from.1, to.1));
            from = to;
            Stretch { within, edges }
        })
    }

    /// The bin of a distance, and the position in it of the middle of the distance's cell.
    pub(super) fn code(&self, distance: u64) -> (u8, f64) {
        let unit = distance / self.tick + 1;
        let covered = distance.is_multiple_of(self.tick)
            && unit >= self.edges[0]
            && unit < self.edges[QUANTILES];
        if covered {
            let bin = self.edges.partition_point(|&edge| edge <= unit) as u8;
            let mut stretches = self.stretches(bin);
            let within = stretches.find(|it| unit < it.edges.1);
            return (bin, within.map_or(0.0, |it| it.position(unit)));
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
        let mut stretches = self.stretches(bin);
        let unit = stretches.find(|it| within < it.within.1);
        // A position that is no number, or beyond the bin, is taken for its first.
        let unit = unit.map_or(self.edges[usize::from(bin) - 1], |it| it.at(within));
        (unit - 1).saturating_mul(self.tick).min(FARTHEST - 1)
    }

    /// Leaves of the weights of bins what they hold on a grid. Where the grid is finer than a bin that is all of
    /// it; a bin that holds nothing of the grid has next to no weight.
    pub(super) fn leave(&self, grid: Grid, weights: &mut [f32; BINS]) {
        if !self.is_finer(grid) {
            return;
        }
        for (bin, weight) in weights.iter_mut().enumerate().take(ABOVE.into()).skip(1) {
            let (low, high) = (self.edges[bin - 1] - 1, self.edges[bin] - 1);
            if high > low {
                let places = (grid.next(high) - grid.next(low)) as f64;
                let share = places / (high - low) as f64;
                *weight *= share.max(NOTHING) as f32;
            }
        }
    }

    /// The nearest distance on a grid to one that was drawn: in the same bin, if that holds any.
    pub(super) fn on_grid(&self, grid: Grid, bin: u8, within: f64) -> (u8, f64) {
        if !self.is_finer(grid) || bin == BELOW || bin >= ABOVE {
            return (bin, within);
        }
        let at = usize::from(bin);
        let (low, high) = (self.edges[at - 1] - 1, self.edges[at] - 1);
        let distance = self.distance(bin, within);
        let after = grid.next(distance);
        let before = after.checked_sub(grid.tick);
        let both = before.into_iter().chain([after]);
        let nearest = both.min_by_key(|place| {
            let outside = !(low..high).contains(place);
            (outside, place.abs_diff(distance))
        });
        nearest.map_or((bin, within), |distance| self.code(distance))
    }

    /// Whether its own values are on no grid that has to do with this one.
    fn is_finer(&self, grid: Grid) -> bool {
        self.tick == 1 && grid.tick > 1
    }

    /// A distance in the middle of a bin.
    pub(super) fn middle(&self, bin: usize) -> u64 {
        let bin = bin.clamp(1, QUANTILES);
        let unit = self.edges[bin - 1].midpoint(self.edges[bin]);
        (unit - 1).saturating_mul(self.tick)
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

impl Stretch {
    fn position(&self, unit: u64) -> f64 {
        let (low, high) = self.within;
        low + position(unit, self.edges.0, self.edges.1) * (high - low)
    }

    fn at(&self, within: f64) -> u64 {
        let (low, high) = self.within;
        at((within - low) / (high - low), self.edges.0, self.edges.1)
    }
}

/// Where the empty parts of a bin begin and end, and where those are cut that hold something.
/// `units` are sorted.
fn knots(bin: u8, units: &[u64], edges: &[u64]) -> Vec<Knot> {
    let (low, high) = (edges[usize::from(bin) - 1], edges[usize::from(bin)]);
    let first = units.partition_point(|&unit| unit < low);
    let last = units.partition_point(|&unit| unit < high);
    let held = &units[first..last];
    if held.len() < 3 * CLUSTER {
        return Vec::new();
    }
    let values = held.len() as f64;
    let width = (bits(high) - bits(low)) as f64;
    let empty = width * EMPTY_PART.max(EMPTY_WIDTH * values.ln() / values);
    let is_empty = |from: u64, to: u64| to > from && (bits(to) - bits(from)) as f64 > empty;
    // Parts that hold something, by the index of their first value and of the one after their last.
    let mut parts = vec![(0, held.len())];
    for at in 1..held.len() {
        if is_empty(held[at - 1] + 1, held[at]) {
            if let Some(part) = parts.last_mut() {
                part.1 = at;
            }
            parts.push((at, held.len()));
        }
    }
    // What holds too little counts as empty too.
    parts.retain(|(from, to)| to - from >= CLUSTER);
    let each = held.len().div_ceil(PIECES.0).max(PIECES.1);
    // Where each stretch ends, and its share in values.
    let mut stretches: Vec<(u64, f64)> = Vec::new();
    let (mut done, mut end) = (0, low);
    for &(from, to) in parts.iter().chain(&[(held.len(), held.len())]) {
        let begin = held.get(from).copied().unwrap_or(high);
        if begin > end && (from > done || is_empty(end, begin)) {
            let octaves = (bits(begin) - bits(end)) as f64 / bits_of_octave();
            let least = values * EMPTY_VALUES.max(octaves / OCTAVES);
            stretches.push((begin, least.max((from - done) as f64)));
        }
        if to > from {
            end = held[to - 1] + 1;
            pieces(&held[from..to], each, |edge, share| {
                stretches.push((edge, share))
            });
        }
        done = to;
    }
    // The last one ends where the bin does.
    let total: f64 = stretches.iter().map(|stretch| stretch.1).sum();
    stretches.pop();
    let mut within = 0.0;
    let knots = stretches.into_iter().map(|(edge, share)| {
        within += share / total;
        Knot { bin, within, edge }
    });
    knots.collect()
}

/// Cuts sorted values into pieces of about so many each: where each ends, and how many it holds. A
/// value that fills a piece has one of its own.
fn pieces(held: &[u64], each: usize, mut piece: impl FnMut(u64, f64)) {
    let count = (held.len() / each).max(1);
    let (mut begun, mut done) = (0, 0);
    for same in held.chunk_by(|a, b| a == b) {
        let alone = same.len() >= each;
        // The first of the pieces of equal size that ends behind where this one began.
        let full = done * count >= (begun * count / held.len() + 1) * held.len();
        if done > begun && (alone || full) {
            piece(same[0], (done - begun) as f64);
            begun = done;
        }
        done += same.len();
        if alone {
            piece(same[0] + 1, same.len() as f64);
            begun = done;
        }
    }
    if let Some(&last) = held.last()
        && done > begun
    {
        piece(last + 1, (done - begun) as f64);
    }
}

fn bits_of_octave() -> f64 {
    (1_u64 << 52) as f64
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

/// A place where an edge may stand.
#[derive(Clone, Copy)]
struct Way {
    edge: u64,
    /// Values below it.
    below: usize,
    /// ln likelihood of these, and which place of the edge before it that comes from.
    likelihood: f64,
    from: usize,
}

/// Where the bins of sorted values begin, and where the last one ends. Each edge stands near its level,
/// where the values of bins lie as evenly as they can (the likeliest places are found from edge to edge, as
/// by Viterbi): what many calls share, such as a timeout, then has bins to itself and no part of wider ones,
/// and a network can tell it from the values beside it.
fn placed(units: &[u64], (least, end): (u64, u64)) -> Vec<u64> {
    let steps = if units.len() < FEW { 0 } else { STEPS };
    let near = |edge: usize, step: i32| {
        let next = if step < 0 { edge - 1 } else { edge + 1 };
        let reach = (level(next) - level(edge)).abs() * REACH;
        let away = f64::from(step) / f64::from(steps.max(1));
        quantile(units, level(edge) + reach * away)
    };
    let mut ways: Vec<Vec<Way>> = Vec::with_capacity(QUANTILES + 1);
    ways.push(vec![Way {
        edge: least,
        below: 0,
        likelihood: 0.0,
        from: 0,
    }]);
    for at in 1..=QUANTILES {
        let before = &ways[at - 1];
        let way = |edge: u64| {
            let below = units.partition_point(|&unit| unit < edge);
            let mut best = Way {
                edge,
                below,
                likelihood: f64::NEG_INFINITY,
                from: 0,
            };
            for (from, way) in before.iter().enumerate() {
                let likelihood = way.likelihood + likelihood(below - way.below, (way.edge, edge));
                if likelihood > best.likelihood {
                    (best.likelihood, best.from) = (likelihood, from);
                }
            }
            best
        };
        ways.push(match at {
            QUANTILES => vec![way(end)],
            _ => (-steps..=steps).map(|step| way(near(at, step))).collect(),
        });
    }
    let mut edges = vec![end; QUANTILES + 1];
    let mut at = 0;
    for (edge, ways) in edges.iter_mut().zip(&ways).rev() {
        *edge = ways[at].edge;
        at = ways[at].from;
    }
    edges
}

/// ln likelihood of so many values between two edges, if they are even there.
fn likelihood(values: usize, (low, high): (u64, u64)) -> f64 {
    if values == 0 || high <= low {
        return 0.0;
    }
    let values = values as f64;
    values * (values / (bits(high) - bits(low)) as f64).ln()
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

pub(super) fn gcd(a: u64, b: u64) -> u64 {
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

    /// Distances that its bins stand for at even positions, each with its share.
    fn drawn(table: &Table) -> Vec<(u64, f64)> {
        let of = |bin: u8| {
            let share = f64::from(table.shares()[usize::from(bin)]) / 1_000.0;
            let draws = (0..1_000).map(|draw| (f64::from(draw) + 0.5) / 1_000.0);
            draws.map(move |within| (table.distance(bin, within), share))
        };
        (1..ABOVE).flat_map(of).collect()
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
    fn a_clock_with_coarse_ticks_leaves_of_each_bin_what_it_can_show() {
        // Even from 1 to 3 ms, and a hundredth below 20 ms.
        let table = table((0..10_000).map(|value| match value % 100 {
            0 => 3_000_000 + value * 1_699,
            _ => 1_000_000 + value * 199 + 1,
        }));
        let grid = Grid::through(1_000_000, -300_000);
        let mut weights = table.shares();
        table.leave(grid, &mut weights);
        let total: f32 = weights[1..BINS - 1].iter().sum();
        let mut places = std::collections::BTreeMap::<u64, f32>::new();
        for bin in 1..ABOVE {
            for draw in 0..100 {
                let within = (f64::from(draw) + 0.5) / 100.0;
                let (at, place) = table.on_grid(grid, bin, within);
                let distance = table.distance(at, place);
                let weight = weights[usize::from(bin)] / total / 100.0;
                *places.entry(distance).or_default() += weight;
                assert_eq!(distance % 1_000_000, 700_000);
                assert!(at == bin || weight < 1e-6, "{distance}");
                let (same, within) = table.on_grid(grid, at, place);
                assert_eq!(table.distance(same, within), distance);
            }
        }
        // Of its places the two in the even part have the same share, as the part has of all values.
        for place in [1_700_000, 2_700_000] {
            assert!((places[&place] - 0.495).abs() < 0.03, "{places:?}");
        }
        // A finer grid than the bins leaves weights as they are.
        let mut same = table.shares();
        table.leave(Grid::through(10, 3), &mut same);
        for (same, share) in same.iter().zip(table.shares()) {
            assert!((same - share).abs() <= share * 0.1, "{same} {share}");
        }
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
    fn an_empty_part_of_a_bin_is_hardly_drawn_and_what_lies_in_it_comes_back() {
        // Every twentieth value lies about 600,000, the others from 1,000 to 11,000.
        let table = table((0..10_000).map(|value| match value % 20 {
            0 => 600_000 + value,
            _ => 1_000 + value,
        }));
        for distance in [1_000, 9_999, 12_000, 200_000, 599_999, 600_020, 609_980] {
            check(&table, distance);
        }
        let drawn = drawn(&table).into_iter();
        let between = drawn.filter(|(value, _)| (20_000..500_000).contains(value));
        let between: f64 = between.map(|(_, share)| share).sum();
        assert!(between < 0.003, "{between}");
    }

    #[test]
    fn a_narrow_peak_within_a_bin_stays_narrow_and_a_value_alone_keeps_its_share() {
        // Of a twentieth, two thirds lie between 590,000 and 591,000, and the others up to 200,000
        // beyond on both sides; a fiftieth is 700,001.
        let table = table(
            (0..12_000_u64).map(|value| match (value % 20, value / 20 % 3) {
                (0, 0) => 490_000 + value * 7_919 % 200_000,
                (0, _) => 590_000 + value % 1_000,
                (7, _) if value % 50 < 20 => 700_001,
                _ => 1_000 + value,
            }),
        );
        let drawn = drawn(&table);
        let share = |range: std::ops::Range<u64>| {
            let some = drawn.iter().filter(|(value, _)| range.contains(value));
            some.map(|(_, share)| share).sum::<f64>()
        };
        let (peak, around) = (share(589_500..591_500), share(480_000..700_000));
        assert!((peak / around - 0.67).abs() < 0.06, "{peak} {around}");
        let alone = share(700_001..700_002);
        assert!((alone - 0.02).abs() < 0.003, "{alone}");
    }

    #[test]
    fn what_many_values_share_has_bins_to_itself() {
        // Three of a hundred lie about 590,000, in the middle of what lies above 300,000.
        let table = table((0..20_000_u64).map(|value| match value * 7_919 % 100 {
            0..3 => 590_000 + value % 2_000,
            3..5 => 300_000 + value * 31 % 200_000,
            5..9 => 700_000 + value * 31 % 2_000_000,
            low => 1_000 + low * 100 + value % 100,
        }));
        let peak = 590_000..592_000;
        let mut held = [[0.0; 2]; BINS];
        for draw in 0..1_000 {
            let within = (f64::from(draw) + 0.5) / 1_000.0;
            for bin in 1..ABOVE {
                let share = f64::from(table.shares()[usize::from(bin)]) / 1_000.0;
                let inside = peak.contains(&table.distance(bin, within));
                held[usize::from(bin)][usize::from(inside)] += share;
            }
        }
        let of_peak: f64 = held.iter().map(|[_, inside]| inside).sum();
        let own = held
            .iter()
            .filter(|[outside, inside]| *inside > 9.0 * outside);
        let own: f64 = own.map(|[_, inside]| inside).sum();
        assert!((of_peak - 0.03).abs() < 0.002, "{of_peak}");
        // At their levels two edges would stand a third of a bin away from where it begins and ends.
        assert!(own > 0.8 * of_peak, "{own} of {of_peak}");
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
