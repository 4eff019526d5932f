//! When drawn traces are told from observed ones, and what comes of it.

use std::sync::Arc;

use super::core::FIRST_STEP;
use super::{Learner, Published, Serving};
use crate::features::{Discriminator, Sampled};

/// Steps before drawn traces are first told from observed ones.
const FIRST_TOLD: u64 = 100;
/// How much the steps grow, as a share, until that is learnt anew, and where what was learnt is no
/// longer so; and by how many steps at most.
const TOLD_AGAIN: ([f64; 2], u64) = ([1.0, 0.25], 5_000);
/// Traces drawn for that: of each that is kept so many, and at most so many.
const DRAWN: (u64, u64) = (5, 16_000);

/// What tells the traces that the VAE draws from observed ones.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub(super) struct Told {
    /// None before the first, and after codes were fitted anew.
    pub(super) by: Option<Arc<Discriminator>>,
    /// Steps that the VAE had taken when the last one was learnt.
    steps: u64,
}

impl Learner {
    /// How many traces of what was published last to draw, all of them kept, so that
    /// [`Learner::tell_apart`] learns from them which to keep. None if that is not due: it is when a
    /// VAE serves and has taken twice the steps of the last time.
    pub fn to_tell_apart(&self) -> Option<usize> {
        let Told { by, steps } = &self.told;
        let (growth, most) = TOLD_AGAIN;
        let growth = growth[usize::from(by.is_none())];
        let due = steps + ((*steps as f64 * growth) as u64).min(most);
        let serves = self.status.serving == Serving::Vae;
        if !self.settings.discriminator || !serves || self.status.steps < due.max(FIRST_TOLD) {
            return None;
        }
        let kept = self.replay.len() as u64;
        let spans: u64 = self
            .replay
            .iter()
            .map(|kept| kept.tokens.len() as u64)
            .sum();
        let (each, most) = DRAWN;
        let most_spans = self.settings.spans_told_apart as u64;
        let long = (spans / kept.max(1)).max(1);
        let count = (kept * each).min(most).min(most_spans / long);
        (kept >= FIRST_STEP as u64).then_some(count as usize)
    }

    /// Learns to tell drawn traces from those kept to learn from, and returns the snapshot that was
    /// published last with that.
    pub fn tell_apart(&mut self, published: &Published, drawn: &[Sampled]) -> Published {
        let observed = self.replay.weighted();
        let observed = observed.map(|(kept, weight)| (&kept.trace, &*kept.tokens, weight));
        // None where nothing tells them apart, as of traces of one span that always takes as long.
        let by = Discriminator::fit(observed, drawn).ok().map(Arc::new);
        self.status.drawn_kept = by.as_deref().map(Discriminator::kept);
        self.told = Told {
            by: by.clone(),
            steps: self.status.steps,
        };
        Published {
            discriminator: by,
            ..published.clone()
        }
    }
}
