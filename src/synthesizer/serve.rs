//! A published snapshot, made ready to draw from.

use std::sync::Arc;

use super::sampler::{Growing, VaeSampler};
use crate::chance::Rng;
use crate::features::timing::Coder;
use crate::features::{Sampled, decode};
use crate::learner::{Generator, Published};
use crate::model::{Example, Grammar, VaeError};

/// Draws synthetic traces from whatever serves. The same snapshot and chance draw the same.
#[derive(Debug)]
pub struct Sampler(Kind);

#[derive(Debug)]
enum Kind {
    Grammar(Arc<Grammar>, Arc<Coder>),
    Vae(Box<VaeSampler>),
}

/// What structures are drawn for; those that can't come to it are given up early.
#[derive(Debug, Clone, Default)]
pub(super) struct Limits {
    /// Spans of every structure, exactly.
    pub(super) size: Option<usize>,
    /// Spans at most.
    pub(super) most: Option<usize>,
    /// Whether a trace may begin with this token.
    pub(super) roots: Option<Arc<[bool]>>,
}

impl Limits {
    /// Whether an example's root is one of these.
    pub(super) fn begins_with(&self, example: &Example) -> bool {
        let Some(roots) = &self.roots else {
            return true;
        };
        let root = example.tokens.first().map(|&token| token as usize);
        root.and_then(|root| roots.get(root))
            .is_some_and(|asked| *asked)
    }
}

/// A structure that still lacks times, unless a table grammar drew it.
#[derive(Debug)]
pub(super) enum Structure {
    Grammar(Example),
    Vae(Growing),
}

impl Structure {
    pub(super) fn example(&self) -> &Example {
        match self {
            Self::Grammar(example) => example,
            Self::Vae(growing) => &growing.example,
        }
    }

    /// Whether it was drawn to its end.
    pub(super) fn is_whole(&self) -> bool {
        match self {
            Self::Grammar(_) => true,
            Self::Vae(growing) => growing.is_whole(),
        }
    }
}

impl Sampler {
    /// Compiles a snapshot. Fails if its weights are not those of a whole network.
    pub fn new(published: &Published) -> Result<Self, VaeError> {
        let coder = published.coder.clone();
        Ok(Self(match &published.generator {
            Generator::Grammar(grammar) => Kind::Grammar(grammar.clone(), coder),
            Generator::Vae(weights) => {
                let services = published.services.clone();
                Kind::Vae(Box::new(VaeSampler::new(weights, coder, services)?))
            }
        }))
    }

    /// Each example through its latents and back, given the code that the encoder chose for it;
    /// and, beside it, what is drawn from that code alone. None where no VAE serves.
    pub fn reconstruct(
        &mut self,
        rng: &mut Rng,
        examples: &[Example],
        codes: &[u32],
    ) -> Option<[Vec<Sampled>; 2]> {
        match &mut self.0 {
            Kind::Vae(sampler) => {
                let rebuilt = sampler.reconstruct(rng, examples, codes);
                Some([rebuilt, sampler.of_codes(rng, codes)])
            }
            Kind::Grammar(..) => None,
        }
    }

    /// Draws so many traces with z_v at its median, so that only z_G differs: an ablation, not for
    /// serving. None where no VAE serves.
    pub fn sample_medians(&mut self, rng: &mut Rng, count: usize) -> Option<Vec<Sampled>> {
        match &mut self.0 {
            Kind::Vae(sampler) => Some(sampler.sample_medians(rng, count)),
            Kind::Grammar(..) => None,
        }
    }

    /// Draws so many traces, each of exactly `size` spans if one is given.
    pub fn sample_many(
        &mut self,
        rng: &mut Rng,
        count: usize,
        size: Option<usize>,
    ) -> Vec<Sampled> {
        match (&mut self.0, size) {
            (Kind::Vae(sampler), size) => sampler.sample_many(rng, count, size),
            (Kind::Grammar(grammar, coder), size) => (0..count)
                .map(|_| decode(&grammar.sample(rng, size), coder))
                .collect(),
        }
    }

    /// Draws so many structures. Those of a VAE that come to nothing under the limits are not
    /// whole; those of a grammar may be beyond them.
    pub(super) fn structures(
        &mut self,
        rng: &mut Rng,
        count: usize,
        limits: &Limits,
    ) -> Vec<Structure> {
        match &mut self.0 {
            Kind::Vae(sampler) => {
                let drawn = sampler.structures(rng, count, limits);
                drawn.into_iter().map(Structure::Vae).collect()
            }
            Kind::Grammar(grammar, _) => (0..count)
                .map(|_| Structure::Grammar(grammar.sample(rng, limits.size)))
                .collect(),
        }
    }

    /// Gives structures of this sampler their times.
    pub(super) fn finish(&mut self, rng: &mut Rng, drawn: Vec<Structure>) -> Vec<Sampled> {
        match &mut self.0 {
            Kind::Vae(sampler) => {
                let grown = drawn.into_iter().filter_map(|drawn| match drawn {
                    Structure::Vae(growing) => Some(growing),
                    Structure::Grammar(_) => None,
                });
                let grown: Vec<Growing> = grown.collect();
                sampler.finish(rng, &grown)
            }
            Kind::Grammar(_, coder) => {
                let drawn = drawn.iter();
                drawn.map(|drawn| decode(drawn.example(), coder)).collect()
            }
        }
    }
}
