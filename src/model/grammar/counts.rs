//! Counts of outcomes per context, and probabilities with interpolated back-off.

use std::collections::HashMap;

use foldhash::fast::FixedState;
use rand::RngExt;
use serde::{Deserialize, Serialize};

/// What each outcome's count gives up to the next, less specific context, where outcomes are
/// choices (absolute discounting): a context whose outcome is always the same is believed.
const DISCOUNT: f64 = 0.5;

/// The weight, in counts, of the next, less specific context where outcomes are levels (a Dirichlet
/// prior): a few of forty bins say little about the others.
const LEVEL_WEIGHT: f64 = 30.0;

/// A context, from most specific to least; the first that never occurred is skipped.
pub(super) type Chain = [u64];

/// Outcomes that a draw may have.
pub(super) type Allowed<'a> = &'a dyn Fn(u32) -> bool;

/// The probabilities of an event where no context says anything.
#[derive(Debug, Clone, Copy)]
pub(super) enum Base {
    /// So many outcomes, all alike.
    Even(u32),
    /// So many levels of a value, all alike.
    Levels(u32),
    /// Any whole number `n`, with probability 1 / ((n + 1)(n + 2)).
    Falling,
}

impl Base {
    fn probability(self, outcome: u32) -> f64 {
        match self {
            Self::Even(outcomes) | Self::Levels(outcomes) => 1.0 / f64::from(outcomes.max(1)),
            Self::Falling => {
                let number = f64::from(outcome);
                1.0 / ((number + 1.0) * (number + 2.0))
            }
        }
    }

    /// What a count says for its own outcome.
    fn own(self, count: f32) -> f64 {
        match self {
            Self::Levels(_) => f64::from(count),
            _ => (f64::from(count) - DISCOUNT).max(0.0),
        }
    }

    /// What a context adds to its counts for the next one.
    fn added(self) -> f64 {
        match self {
            Self::Levels(_) => LEVEL_WEIGHT,
            _ => 0.0,
        }
    }

    /// The first allowed outcome from a drawn one upwards, and round; 0 if none is allowed.
    fn draw(self, rng: &mut impl rand::Rng, allowed: Allowed<'_>) -> u32 {
        let drawn: f64 = rng.random();
        let (first, outcomes) = match self {
            Self::Even(outcomes) | Self::Levels(outcomes) => {
                ((drawn * f64::from(outcomes)) as u32, outcomes)
            }
            // The inverse of the distribution function n / (n + 1).
            Self::Falling => ((1.0 / (1.0 - drawn) - 1.0).min(1_000.0) as u32, 4_096),
        };
        let mut order = (0..outcomes).map(|step| (first + step) % outcomes.max(1));
        order.find(|&outcome| allowed(outcome)).unwrap_or(0)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Outcomes {
    /// (outcome, count), in the order of the first occurrence.
    counts: Vec<(u32, f32)>,
    total: f64,
}

/// Counts of all contexts. A context is a hash: two of them are taken for one with a chance of
/// about 1 in 10^9 at a hundred thousand contexts, which does no harm but to likelihood.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Counts {
    contexts: HashMap<u64, Outcomes, FixedState>,
    max_contexts: usize,
}

impl Counts {
    /// No counts; new contexts are left out once there are so many.
    pub(super) fn new(max_contexts: usize) -> Self {
        Self {
            contexts: HashMap::default(),
            max_contexts,
        }
    }

    /// Number of contexts.
    pub(super) fn len(&self) -> usize {
        self.contexts.len()
    }

    /// Counts an outcome, so many times, in every context of the chain.
    pub(super) fn add(&mut self, chain: &Chain, outcome: u32, times: f32) {
        for context in chain {
            if self.contexts.len() >= self.max_contexts && !self.contexts.contains_key(context) {
                continue;
            }
            let outcomes = self.contexts.entry(*context).or_default();
            outcomes.total += f64::from(times);
            match outcomes
                .counts
                .iter_mut()
                .find(|(known, _)| *known == outcome)
            {
                Some((_, count)) => *count += times,
                None => outcomes.counts.push((outcome, times)),
            }
        }
    }

    /// Multiplies every count and forgets what has faded away.
    pub(super) fn fade(&mut self, keep: f32) {
        self.contexts.retain(|_, outcomes| {
            outcomes.counts.retain_mut(|(_, count)| {
                *count *= keep;
                *count > 0.05
            });
            outcomes.total = outcomes
                .counts
                .iter()
                .map(|(_, count)| f64::from(*count))
                .sum();
            !outcomes.counts.is_empty()
        });
    }

    /// The probability of an outcome, never 0 for an outcome that the base allows.
    pub(super) fn probability(&self, chain: &Chain, base: Base, outcome: u32) -> f64 {
        let mut probability = base.probability(outcome);
        for context in chain.iter().rev() {
            let Some(outcomes) = self.contexts.get(context) else {
                continue;
            };
            let total = outcomes.total + base.added();
            let (mut own, mut kept) = (0.0, 0.0);
            for &(known, count) in &outcomes.counts {
                let count = base.own(count);
                kept += count;
                if known == outcome {
                    own = count;
                }
            }
            probability = (own + (total - kept) * probability) / total;
        }
        probability
    }

    /// Draws an allowed outcome: that of the first context in the chain that does not pass the
    /// draw on, of the base if all do.
    pub(super) fn draw(
        &self,
        rng: &mut impl rand::Rng,
        chain: &Chain,
        base: Base,
        allowed: Allowed<'_>,
    ) -> u32 {
        for context in chain {
            let Some(outcomes) = self.contexts.get(context) else {
                continue;
            };
            let possible = || {
                outcomes
                    .counts
                    .iter()
                    .filter(|(outcome, _)| allowed(*outcome))
            };
            let total: f64 = possible().map(|(_, count)| f64::from(*count)).sum();
            let mut drawn = rng.random::<f64>() * (total + base.added());
            for &(outcome, count) in possible() {
                let own = base.own(count);
                if drawn < own {
                    return outcome;
                }
                drawn -= own;
            }
        }
        base.draw(rng, allowed)
    }

    /// The contexts in order, for a checkpoint.
    pub(super) fn dump(&self) -> Vec<(u64, Vec<(u32, f32)>)> {
        let contexts = self.contexts.iter();
        let mut dump: Vec<_> = contexts
            .map(|(context, outcomes)| (*context, outcomes.counts.clone()))
            .collect();
        dump.sort_unstable_by_key(|(context, _)| *context);
        dump
    }

    /// Takes up what [`Counts::dump`] gave. Counts that are no positive numbers are left out.
    pub(super) fn load(&mut self, dump: Vec<(u64, Vec<(u32, f32)>)>) {
        self.contexts.clear();
        for (context, mut counts) in dump.into_iter().take(self.max_contexts) {
            counts.retain(|(_, count)| count.is_finite() && *count > 0.0);
            let total = counts.iter().map(|(_, count)| f64::from(*count)).sum();
            if total > 0.0 {
                self.contexts.insert(context, Outcomes { counts, total });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn counts(outcomes: &[(u64, u32)]) -> Counts {
        let mut counts = Counts::new(100);
        for &(context, outcome) in outcomes {
            counts.add(&[context, 0], outcome, 1.0);
        }
        counts
    }

    #[test]
    fn probabilities_add_up_to_one_and_lean_on_the_specific_context() {
        let counts = counts(&[(1, 0), (1, 0), (1, 0), (2, 1), (2, 1)]);
        for chain in [&[1, 0][..], &[2, 0], &[9, 0], &[]] {
            let total: f64 = (0..5)
                .map(|at| counts.probability(chain, Base::Even(5), at))
                .sum();
            assert!((total - 1.0).abs() < 1e-9, "{total}");
        }
        // Worked by hand: () has 3 of 0 and 2 of 1, and gives up 1 of 5 to the base of 1/5.
        let below = (2.5 + 1.0 * 0.2) / 5.0;
        let expected = (2.5 + 0.5 * below) / 3.0;
        let told = counts.probability(&[1, 0], Base::Even(5), 0);
        assert!((told - expected).abs() < 1e-9, "{told}");
    }

    #[test]
    fn draws_follow_the_probabilities_and_keep_to_what_is_allowed() {
        let counts = counts(&[(1, 0), (1, 0), (1, 3), (2, 1)]);
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        let mut drawn = [0_u32; 5];
        for _ in 0..20_000 {
            drawn[counts.draw(&mut rng, &[1, 0], Base::Even(5), &|_| true) as usize] += 1;
        }
        for (outcome, times) in (0..).zip(drawn) {
            let expected = counts.probability(&[1, 0], Base::Even(5), outcome);
            assert!((f64::from(times) / 20_000.0 - expected).abs() < 0.02);
        }
        for base in [Base::Even(5), Base::Falling] {
            assert_eq!(
                counts.draw(&mut rng, &[1, 0], base, &|outcome| outcome == 2),
                2
            );
        }
    }

    #[test]
    fn what_fades_is_forgotten_and_a_dump_loads_the_same() {
        let mut all = counts(&[(1, 0), (1, 0), (2, 1)]);
        let mut loaded = Counts::new(100);
        loaded.load(all.dump());
        assert_eq!(loaded, all);
        for _ in 0..5 {
            all.fade(0.5);
        }
        assert_eq!(all.len(), 2, "what occurred once is gone, its context too");
    }
}
