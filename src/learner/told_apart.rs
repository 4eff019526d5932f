//! When drawn traces are told from observed ones, and what comes of it.

use std::sync::Arc;

use super::core::FIRST_STEP;
use super::{Learner, Published, Serving};
use crate::features::{Discriminator, Sampled};

/// Steps before drawn traces are first told from observed ones.
const FIRST_TOLD: u64 = 100;
/// Steps after which that is learnt anew, at most: sooner once they have doubled.
const TOLD_AGAIN: u64 = 5_000;
/// Where codes were fitted anew it is learnt at once, and again once the VAE has learnt the codes:
/// after this part of its steps so far, and so many at least.
const AFTER_FIT: (u64, u64) = (20, 100);
/// Traces drawn for that: of each that is kept so many, and at most so many.
const DRAWN: (u64, u64) = (5, 16_000);

/// What tells the traces that the VAE draws from observed ones.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(super) struct Told {
    /// None before the first, and after codes were fitted anew.
    pub(super) by: Option<Arc<Discriminator>>,
    /// Steps that the VAE has taken when the next one is due. A checkpoint of before this was kept
    /// has it due at once.
    #[serde(default)]
    due: u64,
    /// Whether codes were fitted anew since the last one.
    #[serde(default)]
    anew: bool,
}

impl Default for Told {
    fn default() -> Self {
        Self {
            by: None,
            due: FIRST_TOLD,
            anew: false,
        }
    }
}

impl Told {
    /// Codes were fitted anew: traces are no longer drawn as they were.
    pub(super) fn forget(&mut self) {
        self.by = None;
        self.due = FIRST_TOLD;
        self.anew = true;
    }
}

impl Learner {
    /// How many traces of what was published last to draw, all of them kept, so that
    /// [`Learner::tell_apart`] learns from them which to keep. None if that is not due: it is when a
    /// VAE serves and has taken twice the steps of the last time, or codes were fitted anew.
    pub fn to_tell_apart(&self) -> Option<usize> {
        let serves = self.status.serving == Serving::Vae;
        if !self.settings.discriminator || !serves || self.status.steps < self.told.due {
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
        let steps = self.status.steps;
        let (part, least) = AFTER_FIT;
        let growth = match self.told.anew {
            true => (steps / part).max(least),
            false => steps,
        };
        self.told = Told {
            by: by.clone(),
            due: steps + growth.min(TOLD_AGAIN),
            anew: false,
        };
        Published {
            discriminator: by,
            ..published.clone()
        }
    }
}
