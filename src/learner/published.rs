//! What a learner publishes: all that is needed to draw synthetic traces, and no observed trace.

use std::sync::Arc;

use super::core::FIRST_STEP;
use super::{Learner, Serving};
use crate::features::timing::Coder;
use crate::features::{Discriminator, Word};
use crate::model::{Example, Grammar, Weights};

/// A published snapshot. Never changed; readers keep it for as long as they like.
#[derive(Debug, Clone)]
pub struct Published {
    /// Counts up from 1 within one learner.
    pub number: u64,
    /// What tokens stand for.
    pub words: Arc<[Word]>,
    /// The service of each token, as a small number.
    pub services: Arc<[u32]>,
    /// What time codes stand for.
    pub coder: Arc<Coder>,
    /// What draws.
    pub generator: Generator,
    /// Which of the drawn traces to keep; none keeps all.
    pub discriminator: Option<Arc<Discriminator>>,
}

/// What draws codes.
#[derive(Debug, Clone)]
pub enum Generator {
    /// The table grammar, which serves at cold start.
    Grammar(Arc<Grammar>),
    /// The VAE.
    Vae(Arc<Weights>),
}

impl Published {
    /// Which sampler serves with it.
    pub fn serving(&self) -> Serving {
        match self.generator {
            Generator::Grammar(_) => Serving::Grammar,
            Generator::Vae(_) => Serving::Vae,
        }
    }
}

impl Learner {
    /// A snapshot of the newest weights, or counts, whatever their score: for a caller that asked
    /// for a model after so many steps and takes what there is.
    pub fn snapshot(&mut self) -> Option<Published> {
        match self.status.serving {
            Serving::Nothing => None,
            Serving::Grammar => {
                Some(self.published(Generator::Grammar(Arc::new(self.grammar.clone()))))
            }
            Serving::Vae => self.publish_vae(),
        }
    }

    /// The newest grammar, if it has learnt a good deal more than the one published last.
    pub(super) fn publish_grammar(&mut self) -> Option<Published> {
        let learnt = self.fit.learnt;
        let due = self.grammar_published == 0
            || learnt >= self.grammar_published + self.grammar_published / 4
            || self.status.serving == Serving::Vae;
        if !due || self.grammar.traces() == 0 {
            return None;
        }
        self.grammar_published = learnt;
        self.served = None;
        self.status.snapshots += 1;
        self.status.serving = Serving::Grammar;
        Some(self.published(Generator::Grammar(Arc::new(self.grammar.clone()))))
    }

    /// The newest VAE, its prior fitted anew to the traces that are kept to learn from.
    pub(super) fn publish_vae(&mut self) -> Option<Published> {
        let vae = self.vae.as_mut()?;
        if self.replay.len() >= FIRST_STEP {
            let kept = self.replay.weighted();
            let kept = kept.filter_map(|(kept, weight)| Some((kept.example.as_deref()?, weight)));
            let kept: Vec<(&Example, f32)> = kept.collect();
            // If it fails, the prior is what the last steps had.
            let _refitted = vae.refit_prior(&kept);
        }
        let weights = vae.weights();
        self.status.snapshots += 1;
        self.status.serving = Serving::Vae;
        Some(self.published(Generator::Vae(Arc::new(weights))))
    }

    pub(super) fn published(&self, generator: Generator) -> Published {
        let drawn_by_vae = matches!(generator, Generator::Vae(_));
        Published {
            discriminator: self.told.by.clone().filter(|_| drawn_by_vae),
            number: self.status.snapshots,
            words: self.words.clone(),
            services: self.services.clone(),
            coder: self.coder.clone(),
            generator,
        }
    }
}
