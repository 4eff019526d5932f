//! The exact posterior of z_v, and decoding from it: what reconstruction through the latents is.
//!
//! A coordinate of z_v decides one choice, by inverse CDF (decision 3). Given a trace and its z_G,
//! its posterior is the prior cut down to the cell that decodes to what the trace has; [`Told`]
//! draws from it. [`Replay`] decodes from such draws and sees nothing else of the trace.

use std::collections::VecDeque;

use rand::{RngExt as _, SeedableRng as _};

use super::choice::{Choose, Event, Outcome};
use crate::chance::Rng;
use crate::model::Example;

/// Coordinates of z_v of one trace, as levels of the prior (from 0 to 1), in the decoder's order.
pub(super) type Levels = VecDeque<f64>;

/// Makes every choice as the examples have it, and draws the levels that decode to it.
pub(super) struct Told<'a> {
    examples: &'a [Example],
    arities: usize,
    rngs: Vec<Rng>,
    /// The last choice of each trace: what a further number belongs to.
    last: Vec<(Event, usize)>,
    pub(super) levels: Vec<Levels>,
}

impl<'a> Told<'a> {
    pub(super) fn new(examples: &'a [Example], arities: usize, rng: &mut Rng) -> Self {
        let mut stream = || Rng::seed_from_u64(rng.random());
        Self {
            examples,
            arities,
            rngs: examples.iter().map(|_| stream()).collect(),
            last: vec![(Event::Token, 0); examples.len()],
            levels: vec![Levels::new(); examples.len()],
        }
    }
}

impl Choose for Told<'_> {
    fn choose(
        &mut self,
        trace: usize,
        at: usize,
        event: Event,
        weights: &[f32],
        allowed: &dyn Fn(usize) -> bool,
    ) -> usize {
        let outcome = Outcome {
            example: &self.examples[trace],
            arities: self.arities,
        }
        .of(event, at);
        let share = |outcome: usize| match allowed(outcome) {
            true => f64::from(weights[outcome]),
            false => 0.0,
        };
        let total: f64 = (0..weights.len()).map(share).sum();
        let low: f64 = (0..outcome.min(weights.len())).map(share).sum();
        let own = weights.get(outcome).map_or(0.0, |_| share(outcome));
        // Not at the cell's very edges, where rounding decides.
        let within = 0.01 + 0.98 * self.rngs[trace].random::<f64>();
        self.levels[trace].push_back((low + within * own) / total.max(f64::MIN_POSITIVE));
        self.last[trace] = (event, at);
        outcome
    }

    fn number(&mut self, trace: usize) -> f64 {
        let (event, at) = self.last[trace];
        let example = &self.examples[trace];
        let level = match event {
            Event::StartBin => example.start[at].within,
            Event::EndBin => example.end[at].within,
            Event::Link => {
                let to = example.links.iter().find(|link| link.0 as usize == at);
                (f64::from(to.map_or(0, |link| link.1)) + 0.5) / at.max(1) as f64
            }
            // Numbers of children beyond the last class: see `Structure::shape`.
            _ => {
                let beyond = f64::from(example.arity[at]) - (self.arities as f64 - 1.0);
                1.0 - 1.0 / (beyond.max(0.0) + 1.5)
            }
        };
        self.levels[trace].push_back(level);
        level
    }
}

/// Decodes from levels; where they run out, from chance.
pub(super) struct Replay {
    levels: Vec<Levels>,
    rng: Rng,
}

impl Replay {
    pub(super) fn new(levels: Vec<Levels>, rng: &mut Rng) -> Self {
        Self {
            levels,
            rng: Rng::seed_from_u64(rng.random()),
        }
    }
}

impl Choose for Replay {
    fn number(&mut self, trace: usize) -> f64 {
        let level = self.levels[trace].pop_front();
        level.unwrap_or_else(|| self.rng.random())
    }
}
