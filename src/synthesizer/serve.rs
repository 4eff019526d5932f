//! A published snapshot, made ready to draw from.

use std::sync::Arc;

use rand::RngExt as _;

use super::even::{Credit, Mix};
use super::sampler::{Growing, VaeSampler};
use crate::chance::{Rng, stream};
use crate::features::timing::Coder;
use crate::features::{Discriminator, Look, Sampled, decode};
use crate::learner::{Generator, Learner, Published, Trial};
use crate::model::{Example, Grammar, VaeError};

/// Draws in a row of which none is kept, before one is kept all the same; and where every trace has
/// a given size, for then each costs a search.
const REFUSED: [u32; 2] = [24, 4];

/// What drawn traces are to be, beyond what the model draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asking {
    /// Nothing: they are to have the model's mix.
    Nothing,
    /// They meet conditions, and have another mix.
    Conditions,
    /// They have a given size.
    Size,
}

/// Draws synthetic traces from whatever serves. The same snapshot and chance draw the same.
#[derive(Debug)]
pub struct Sampler {
    kind: Kind,
    discriminator: Option<Arc<Discriminator>>,
    /// None where draws are independent.
    credit: Option<Credit>,
    mix: Mix,
    look: Look,
    /// Traces drawn for those that were kept.
    drawn: u64,
}

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
        let kind = match &published.generator {
            Generator::Grammar(grammar) => Kind::Grammar(grammar.clone(), coder),
            Generator::Vae(weights) => {
                let services = published.services.clone();
                Kind::Vae(Box::new(VaeSampler::new(weights, coder, services)?))
            }
        };
        Ok(Self {
            kind,
            discriminator: published.discriminator.clone(),
            credit: Some(Credit::default()),
            mix: Mix::default(),
            look: Look::default(),
            drawn: 0,
        })
    }

    /// Keeps every trace that is drawn, as if the snapshot had no discriminator.
    pub fn keep_all(mut self) -> Self {
        self.discriminator = None;
        self
    }

    /// Draws each trace independently of those before it, in place of evenly: for ablations.
    pub fn independently(mut self) -> Self {
        self.credit = None;
        if let Kind::Vae(sampler) = &mut self.kind {
            sampler.draw_independently();
        }
        self
    }

    /// Draws that are no part of the others, as to get to know a model: those go on as if these had
    /// not been.
    pub(super) fn aside<T>(&mut self, draw: impl FnOnce(&mut Self) -> T) -> T {
        let levels = match &mut self.kind {
            Kind::Vae(sampler) => sampler.set_aside(),
            Kind::Grammar(..) => None,
        };
        let drawn = draw(self);
        if let Kind::Vae(sampler) = &mut self.kind {
            sampler.put_back(levels);
        }
        drawn
    }

    /// Traces drawn so far, those included that were not kept.
    pub fn drawn(&self) -> u64 {
        self.drawn
    }

    /// Each example through its latents and back, given the code that the encoder chose for it;
    /// and, beside it, what is drawn from that code alone. None where no VAE serves.
    pub fn reconstruct(
        &mut self,
        rng: &mut Rng,
        examples: &[Example],
        codes: &[u32],
    ) -> Option<[Vec<Sampled>; 2]> {
        match &mut self.kind {
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
        match &mut self.kind {
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
        let mut kept = Vec::with_capacity(count);
        let mut refused = 0;
        while kept.len() < count {
            let room = count - kept.len();
            for drawn in self.draw(rng, room, size) {
                let asked = size.map_or(Asking::Nothing, |_| Asking::Size);
                if self.keeps(rng, &drawn, refused, asked) {
                    kept.push(drawn);
                    refused = 0;
                } else {
                    refused += 1;
                }
            }
        }
        kept
    }

    /// Draws so many traces, whether they are to be kept or not.
    fn draw(&mut self, rng: &mut Rng, count: usize, size: Option<usize>) -> Vec<Sampled> {
        self.drawn += count as u64;
        match (&mut self.kind, size) {
            (Kind::Vae(sampler), size) => sampler.sample_many(rng, count, size),
            (Kind::Grammar(grammar, coder), size) => (0..count)
                .map(|_| decode(&grammar.sample(rng, size), coder))
                .collect(),
        }
    }

    /// Whether a trace that was drawn after so many refused ones is kept.
    pub(super) fn keeps(
        &mut self,
        rng: &mut Rng,
        drawn: &Sampled,
        refused: u32,
        asking: Asking,
    ) -> bool {
        let Some(discriminator) = &self.discriminator else {
            return true;
        };
        let (above, stratum) = discriminator.above(drawn, &mut self.look);
        let stratum = stratum.filter(|_| asking == Asking::Nothing && self.credit.is_some());
        // A kind that lacks traces has a lower bound: within it, those told apart least still come first.
        let lacks = stratum.map_or(0.0, |stratum| self.mix.lacks(stratum));
        let chance = (above + lacks).min(0.0).exp();
        let kept = match &mut self.credit {
            Some(credit) => credit.keeps(drawn, chance, rng),
            None => rng.random::<f32>() < chance,
        };
        let kept = kept || refused >= REFUSED[usize::from(asking == Asking::Size)];
        if let Some(stratum) = stratum.filter(|_| kept) {
            self.mix.count(stratum);
        }
        kept
    }

    /// Draws so many structures. Those of a VAE that come to nothing under the limits are not
    /// whole; those of a grammar may be beyond them.
    pub(super) fn structures(
        &mut self,
        rng: &mut Rng,
        count: usize,
        limits: &Limits,
    ) -> Vec<Structure> {
        match &mut self.kind {
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
        self.drawn += drawn.len() as u64;
        match &mut self.kind {
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

/// Has the learner tell what a snapshot draws from what was observed, if that is due: the snapshot
/// with what came of it.
pub fn tell_apart(learner: &mut Learner, published: Published) -> Published {
    let Some(telling) = learner.to_tell_apart() else {
        return published;
    };
    match all_of(&published, ("told apart", telling.count())) {
        Ok(drawn) => learner.tell_apart(&published, telling, &drawn),
        // Whoever is to draw from it says so.
        Err(_) => published,
    }
}

/// Has the learner try VAE and grammar against each other, if that is due: it counts at the next score.
pub fn try_out(learner: &mut Learner) {
    let Some(Trial { contenders, count }) = learner.trial() else {
        return;
    };
    let drawn = contenders.map(|contender| all_of(&contender, ("tried", count)));
    if let [Ok(vae), Ok(grammar)] = &drawn {
        learner.tried([vae, grammar]);
    }
}

/// So many traces of a snapshot, none refused.
fn all_of(
    published: &Published,
    (purpose, count): (&str, usize),
) -> Result<Vec<Sampled>, VaeError> {
    let rng = &mut stream(published.number, purpose);
    let sampler = Sampler::new(published)?;
    Ok(sampler.keep_all().sample_many(rng, count, None))
}
