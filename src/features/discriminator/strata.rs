//! How many of the drawn traces are kept, by their root operation and how long they take.
//!
//! Ratios without a bound can't be met by keeping some of what is drawn: the largest are cut. They
//! are cut most where traces are told apart best, which are the long and the slow ones, and those
//! would become too few. So each kind of traces has a bound of its own, at which it becomes as
//! frequent as it was observed to be.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Where the observed traces of a root operation are cut by how long they take, as shares of them.
const CUTS: [f64; 8] = [0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 1.0];
/// Observed traces that a kind has at least.
const FEW: usize = 30;
/// Traces by which what was counted is pulled towards as many observed as drawn ones.
const PULL: f64 = 4.0;
/// What is kept of the drawn traces on average, if no kind lacks too many.
const KEPT: f64 = 0.3;
/// What is kept of those of a kind at most and at least.
const BOUNDS: (f64, f64) = (0.02, 0.95);

/// A trace that was looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    /// The token of the root.
    pub(super) root: u32,
    /// ln(1 + nanoseconds) of the root.
    pub(super) long: f32,
    /// The log-odds of being observed.
    pub(super) odds: f32,
    /// How much it counts.
    pub(super) weight: f32,
}

/// From which log-odds on all traces of a kind are kept.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Strata {
    /// By root: up to how long, the shortest first, and the log-odds.
    bounds: BTreeMap<u32, Vec<(f32, f32)>>,
    /// Of all others.
    others: f32,
    /// What is kept on average.
    pub(super) kept: f64,
}

impl Strata {
    /// Cuts observed and drawn traces into kinds. The weights of each sum up to as much.
    pub(super) fn of(observed: &[Told], drawn: &[Told]) -> Self {
        let mut roots: BTreeMap<u32, Vec<Told>> = BTreeMap::new();
        for told in observed {
            roots.entry(told.root).or_default().push(*told);
        }
        let cut: BTreeMap<u32, Vec<(f32, f64)>> = roots
            .into_iter()
            .filter(|(_, told)| told.len() >= FEW)
            .map(|(root, told)| (root, kinds(told)))
            .collect();
        // The drawn ones of each kind, and how many were observed for each of them.
        let mut all = Vec::new();
        for (&root, kinds) in &cut {
            let mut least = f32::NEG_INFINITY;
            for &(most, weight) in kinds {
                let of = |told: &&Told| told.root == root && told.long > least && told.long <= most;
                let odds: Vec<f32> = drawn.iter().filter(of).map(|told| told.odds).collect();
                let ratio = (weight + PULL) / (odds.len() as f64 + PULL);
                all.push((root, most, odds, ratio));
                least = most;
            }
        }
        let most = all.iter().map(|kind| kind.3).fold(1.0, f64::max);
        let (lowest, highest) = BOUNDS;
        let kept = KEPT.min(highest / most).max(KEPT / 2.0);
        let others: Vec<f32> = drawn.iter().map(|told| told.odds).collect();
        let mut strata = Self {
            others: bound(&others, kept),
            ..Self::default()
        };
        for (root, most, odds, ratio) in all {
            let share = (kept * ratio).clamp(lowest, highest);
            let bound = match odds.len() {
                0 => strata.others,
                _ => bound(&odds, share),
            };
            strata.bounds.entry(root).or_default().push((most, bound));
        }
        let chances = drawn.iter().map(|told| f64::from(strata.keeps(told)));
        strata.kept = chances.sum::<f64>() / drawn.len().max(1) as f64;
        strata
    }

    /// The chance that a trace is kept.
    pub(super) fn keeps(&self, told: &Told) -> f32 {
        let bound = self.bounds.get(&told.root).and_then(|kinds| {
            let at = kinds.partition_point(|&(most, _)| most < told.long);
            kinds.get(at)
        });
        let bound = bound.map_or(self.others, |&(_, bound)| bound);
        (told.odds - bound).min(0.0).exp()
    }
}

/// Up to how long the traces of each kind take, and what those observed weigh; the last has no end.
fn kinds(mut observed: Vec<Told>) -> Vec<(f32, f64)> {
    observed.sort_unstable_by(|a, b| a.long.total_cmp(&b.long));
    let mut kinds: Vec<(f32, f64)> = Vec::new();
    let (mut from, count) = (0, observed.len());
    for cut in CUTS {
        let mut to = (cut * count as f64).ceil() as usize;
        // Traces that take as long are of one kind, and so are the last few.
        while to < count && observed[to].long == observed[to - 1].long {
            to += 1;
        }
        if count - to < FEW {
            to = count;
        }
        if to < from + FEW {
            continue;
        }
        let weight = observed[from..to].iter().map(|told| f64::from(told.weight));
        kinds.push((observed[to - 1].long, weight.sum()));
        from = to;
    }
    if let Some(last) = kinds.last_mut() {
        last.0 = f32::MAX;
    }
    kinds
}

/// The log-odds from which on all are kept where this share is kept on average.
fn bound(odds: &[f32], share: f64) -> f32 {
    let kept = |bound: f32| {
        let chances = odds
            .iter()
            .map(|odds| f64::from((odds - bound).min(0.0).exp()));
        chances.sum::<f64>() / odds.len().max(1) as f64
    };
    let least = odds.iter().copied().fold(f32::INFINITY, f32::min);
    let most = odds.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if !least.is_finite() || !most.is_finite() {
        return 0.0;
    }
    // At the first all are kept, at the last fewer than any share in bounds.
    let (mut low, mut high) = (least, most + 8.0);
    for _ in 0..40 {
        let middle = (low + high) / 2.0;
        if kept(middle) > share {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(root: u32, long: f32, odds: f32) -> Told {
        Told {
            root,
            long,
            odds,
            weight: 1.0,
        }
    }

    /// A thousand traces, so many of which are of other roots and take long; those are told apart well.
    fn traces(slow: usize) -> Vec<Told> {
        let trace = |at: usize| match at < slow {
            true => told(
                at as u32 % 2,
                9.0 + (at % 7) as f32 * 0.1,
                if at.is_multiple_of(5) { 6.0 } else { -6.0 },
            ),
            false => told(2, 1.0 + (at % 11) as f32 * 0.1, (at % 3) as f32 * 0.1),
        };
        (0..1_000).map(trace).collect()
    }

    /// The share of slow ones among what is kept.
    fn slow(strata: &Strata, drawn: &[Told]) -> f64 {
        let sum = |slow: bool| {
            let some = drawn.iter().filter(|told| (told.long > 5.0) == slow);
            some.map(|told| f64::from(strata.keeps(told))).sum::<f64>()
        };
        sum(true) / (sum(true) + sum(false))
    }

    #[test]
    fn each_kind_becomes_as_frequent_as_it_was_observed_to_be() {
        for (observed, drawn) in [(300, 300), (300, 200), (200, 300)] {
            let drawn = traces(drawn);
            let strata = Strata::of(&traces(observed), &drawn);
            let got = slow(&strata, &drawn);
            assert!((got - observed as f64 / 1_000.0).abs() < 0.05, "{got}");
            assert!((0.2..0.45).contains(&strata.kept), "{}", strata.kept);
        }
    }

    #[test]
    fn what_was_not_observed_or_too_rarely_has_the_bound_of_all() {
        let strata = Strata::of(&traces(300), &traces(300));
        assert_eq!(strata.keeps(&told(9, 2.0, 100.0)), 1.0);
        assert!(strata.keeps(&told(9, 2.0, -100.0)) < 1e-6);
        assert_eq!(Strata::of(&[], &[]).keeps(&told(9, 2.0, 0.0)), 1.0);
    }

    #[test]
    fn durations_that_are_all_alike_are_one_kind_without_end() {
        let alike: Vec<Told> = (0..100).map(|_| told(1, 2.0, 0.0)).collect();
        assert_eq!(kinds(alike), [(f32::MAX, 100.0)]);
    }
}
