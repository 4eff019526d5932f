//! A published snapshot, made ready to draw from.

use std::sync::Arc;

use super::sampler::VaeSampler;
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
}
