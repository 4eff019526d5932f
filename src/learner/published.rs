//! What a learner publishes: all that is needed to draw synthetic traces, and no observed trace.

use std::sync::Arc;

use super::Serving;
use crate::features::timing::Coder;
use crate::features::{Discriminator, Word};
use crate::model::{Grammar, Weights};

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
