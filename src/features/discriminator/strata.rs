//! How many of the drawn traces are kept, by their root operation and how long they take.
//!
//! Ratios without a bound can't be met by keeping some of what is drawn: the largest are cut. They
//! are cut most where traces are told apart best, which are the long and the slow ones, and those
//! would become too few. So each kind of traces has a bound of its own, at which it becomes as
//! frequent as it was observed to be.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Where the observed traces of a root operation are cut by how long they take, as shares of them.
const CUTS: [f64; 9] = [0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 1.0];
/// Observed traces that a kind has at least.
const FEW: usize = 20;
/// Traces by which what was counted is pulled towards as many observed as drawn ones.
const PULL: f64 = 4.0;
/// What is kept of the drawn traces on average, if no kind lacks too many.
const KEPT: f64 = 0.3;
/// What is kept of those of a kind at most and at least.
const BOUNDS: (f64, f64) = (0.02, 0.95);

/// What decides of which kind a trace is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Root {
    pub(super) token: u32,
    /// ln(1 + nanoseconds).
    pub(super) long: f32,
}

/// What is kept of a kind of traces.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bound {
    /// Up to how long they take.
    most: f32,
    /// From which log-odds on all are kept.
    odds: f32,
    /// How many of the observed traces are of this kind.
    share: f32,
    /// Counts the kinds of all roots.
    number: u32,
}

/// A kind that drawn traces are to come from at its share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stratum {
    /// From 0, of all kinds of a discriminator.
    pub number: u32,
    /// Its share of the observed traces that are of any kind.
    pub share: f32,
}

/// From which log-odds on all traces of a kind are kept.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Strata {
    /// By root, the shortest first.
    kinds: BTreeMap<u32, Vec<Bound>>,
    /// Of all others.
    others: f32,
    /// What is kept on average.
    pub(super) kept: f64,
}

impl Strata {
    /// Cuts traces into kinds by those observed, each with how much it counts. `told` are drawn
    /// traces with their log-odds of being observed, `drawn` are those and more.
    pub(super) fn of(observed: &[(Root, f32)], drawn: &[Root], told: &[(Root, f32)]) -> Self {
        let total: f64 = observed.iter().map(|(_, weight)| f64::from(*weight)).sum();
        let scale = drawn.len() as f64 / total.max(f64::MIN_POSITIVE);
        let mut roots: BTreeMap<u32, Vec<(f32, f64)>> = BTreeMap::new();
        for &(root, weight) in observed {
            let of = roots.entry(root.token).or_default();
            of.push((root.long, f64::from(weight) * scale));
        }
        let every: Vec<f32> = told.iter().map(|&(_, odds)| odds).collect();
        // The drawn ones of each kind, and how many were observed for each of them.
        let mut all = Vec::new();
        for (token, observed) in roots {
            if observed.len() < FEW {
                continue;
            }
            let mut least = f32::NEG_INFINITY;
            for (most, weight) in kinds(observed) {
                let of =
                    |root: &Root| root.token == token && root.long > least && root.long <= most;
                let count = drawn.iter().filter(|root| of(root)).count() as f64;
                let odds = told.iter().filter(|(root, _)| of(root));
                let odds: Vec<f32> = odds.map(|&(_, odds)| odds).collect();
                all.push((token, most, odds, (weight + PULL) / (count + PULL), weight));
                least = most;
            }
        }
        let most = all.iter().map(|kind| kind.3).fold(1.0, f64::max);
        let (lowest, highest) = BOUNDS;
        let kept = KEPT.min(highest / most).max(KEPT / 2.0);
        let mut strata = Self {
            others: bound(&every, kept),
            ..Self::default()
        };
        let every: f64 = all.iter().map(|kind| kind.4).sum();
        for ((token, most, odds, ratio, weight), number) in all.into_iter().zip(0..) {
            let share = (kept * ratio).clamp(lowest, highest);
            let bound = match odds.len() {
                0 => strata.others,
                _ => bound(&odds, share),
            };
            strata.kinds.entry(token).or_default().push(Bound {
                most,
                odds: bound,
                share: (weight / every.max(f64::MIN_POSITIVE)) as f32,
                number,
            });
        }
        let chances = told
            .iter()
            .map(|&(root, odds)| f64::from(strata.above(root, odds).0.min(0.0).exp()));
        strata.kept = chances.sum::<f64>() / told.len().max(1) as f64;
        strata
    }

    /// By how much a trace of these log-odds is above the bound of its kind, which is the logarithm of the
    /// chance that it is kept, unless above 0; and its kind, if it is of any.
    pub(super) fn above(&self, root: Root, odds: f32) -> (f32, Option<Stratum>) {
        let bound = self.kinds.get(&root.token).and_then(|kinds| {
            let at = kinds.partition_point(|kind| kind.most < root.long);
            kinds.get(at)
        });
        let from = bound.map_or(self.others, |bound| bound.odds);
        let stratum = bound.map(|&Bound { number, share, .. }| Stratum { number, share });
        (odds - from, stratum)
    }
}

/// Of observed traces, how long each takes and what it weighs: up to how long those of each kind
/// take, and what they weigh together. The last kind has no end.
fn kinds(mut observed: Vec<(f32, f64)>) -> Vec<(f32, f64)> {
    observed.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let mut kinds: Vec<(f32, f64)> = Vec::new();
    let (mut from, count) = (0, observed.len());
    for cut in CUTS {
        let mut to = (cut * count as f64).ceil() as usize;
        // Traces that take as long are of one kind, and so are the last few.
        while to < count && observed[to].0 == observed[to - 1].0 {
            to += 1;
        }
        if count - to < FEW {
            to = count;
        }
        if to < from + FEW {
            continue;
        }
        let weight = observed[from..to].iter().map(|(_, weight)| weight);
        kinds.push((observed[to - 1].0, weight.sum()));
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

    fn root(token: u32, long: f32) -> Root {
        Root { token, long }
    }

    /// A thousand traces, so many of which are of other roots and take long; those are told apart well.
    fn traces(slow: usize) -> Vec<(Root, f32)> {
        let trace = |at: usize| match at < slow {
            true => (
                root(at as u32 % 2, 9.0 + (at % 7) as f32 * 0.1),
                if at.is_multiple_of(5) { 6.0 } else { -6.0 },
            ),
            false => (root(2, 1.0 + (at % 11) as f32 * 0.1), (at % 3) as f32 * 0.1),
        };
        (0..1_000).map(trace).collect()
    }

    /// What such traces are, and that each counts as much.
    fn seen(told: &[(Root, f32)]) -> (Vec<(Root, f32)>, Vec<Root>) {
        let roots = told.iter().map(|&(root, _)| root);
        (
            roots.clone().map(|root| (root, 2.0)).collect(),
            roots.collect(),
        )
    }

    /// The share of slow ones among what is kept.
    fn slow(strata: &Strata, drawn: &[(Root, f32)]) -> f64 {
        let sum = |slow: bool| {
            let some = drawn.iter().filter(|(root, _)| (root.long > 5.0) == slow);
            some.map(|&(root, odds)| f64::from(strata.above(root, odds).0.min(0.0).exp()))
                .sum::<f64>()
        };
        sum(true) / (sum(true) + sum(false))
    }

    #[test]
    fn each_kind_becomes_as_frequent_as_it_was_observed_to_be() {
        for (observed, drawn) in [(300, 300), (300, 200), (200, 300)] {
            let drawn = traces(drawn);
            let strata = Strata::of(&seen(&traces(observed)).0, &seen(&drawn).1, &drawn);
            let got = slow(&strata, &drawn);
            assert!((got - observed as f64 / 1_000.0).abs() < 0.05, "{got}");
            assert!((0.2..0.45).contains(&strata.kept), "{}", strata.kept);
        }
    }

    #[test]
    fn what_was_not_observed_or_too_rarely_has_the_bound_of_all() {
        let drawn = traces(300);
        let (observed, roots) = seen(&drawn);
        let strata = Strata::of(&observed, &roots, &drawn);
        let (above, stratum) = strata.above(root(9, 2.0), 100.0);
        assert!(above > 0.0 && stratum.is_none());
        assert!(strata.above(root(9, 2.0), -100.0).0 < -20.0);
        assert_eq!(
            Strata::of(&[], &[], &[]).above(root(9, 2.0), 0.0),
            (0.0, None)
        );
    }

    #[test]
    fn durations_that_are_all_alike_are_one_kind_without_end() {
        let alike = vec![(2.0, 1.0); 100];
        assert_eq!(kinds(alike), [(f32::MAX, 100.0)]);
    }
}
