//! How the outcome of each choice is found: by chance, or (in tests) as an example has it.

use rand::{RngExt as _, SeedableRng as _};

use crate::chance::Rng;

/// What is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    Token,
    Status,
    Profile,
    Arity,
    Link,
    StartMode,
    StartBin,
    EndMode,
    EndBin,
}

/// Finds outcomes for many traces abreast.
pub(super) trait Choose {
    /// An outcome of the span at `at` of a trace. `weights` are shares but for a common factor.
    fn choose(
        &mut self,
        trace: usize,
        at: usize,
        event: Event,
        weights: &[f32],
        allowed: &dyn Fn(usize) -> bool,
    ) -> usize;

    /// A number from [0, 1).
    fn number(&mut self, trace: usize) -> f64;
}

/// Chance: a generator for each trace, so that a trace does not depend on those beside it.
pub(super) struct Draw(Vec<Rng>);

impl Draw {
    pub(super) fn new(traces: usize, rng: &mut Rng) -> Self {
        Self(
            (0..traces)
                .map(|_| Rng::seed_from_u64(rng.random()))
                .collect(),
        )
    }
}

impl Choose for Draw {
    fn choose(
        &mut self,
        trace: usize,
        _at: usize,
        _event: Event,
        weights: &[f32],
        allowed: &dyn Fn(usize) -> bool,
    ) -> usize {
        let mut total = 0.0;
        for (outcome, weight) in weights.iter().enumerate() {
            if allowed(outcome) {
                total += weight;
            }
        }
        let mut left = self.0[trace].random::<f32>() * total;
        let mut last = None;
        for (outcome, &weight) in weights.iter().enumerate() {
            if weight > 0.0 && allowed(outcome) {
                last = Some(outcome);
                left -= weight;
                if left < 0.0 {
                    break;
                }
            }
        }
        // Where nothing allowed has a share, the first that is allowed.
        last.unwrap_or_else(|| (0..weights.len()).find(|&o| allowed(o)).unwrap_or(0))
    }

    fn number(&mut self, trace: usize) -> f64 {
        self.0[trace].random()
    }
}
