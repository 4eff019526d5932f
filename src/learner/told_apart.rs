//! When drawn traces are told from observed ones, and what comes of it.

use std::sync::Arc;

use super::core::FIRST_STEP;
use super::{Learner, Published, Serving};
use crate::features::{Discriminator, Sampled};

/// Steps before drawn traces are first told from observed ones.
const FIRST_TOLD: u64 = 100;
/// Steps after which that is learnt anew, at most: sooner once they have doubled.
const TOLD_AGAIN: u64 = 5_000;
/// Where codes were fitted anew, the VAE has this part of its steps so far to learn them before it
/// is, and so many at least and at most: a change of the traffic is not to wait for long. As long
/// does what serves serve at least before a newer VAE does.
const A_WHILE: (u64, u64, u64) = (20, 40, 500);
/// Traces drawn for that: of each that is kept so many, and at most so many.
const DRAWN: (u64, u64) = (5, 16_000);
/// Which part of them is enough to say anew how many of a newer VAE's are kept.
const FOR_BOUNDS: usize = 2;

/// What tells the traces that the VAE draws from observed ones.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(super) struct Told {
    /// None before the first, and after codes were fitted anew.
    pub(super) by: Option<Arc<Discriminator>>,
    /// Steps that the VAE has taken when the next one is due. A checkpoint of before this was kept
    /// has it due at once.
    #[serde(default)]
    due: u64,
    /// Whether what serves has one that no newer VAE can have, since codes were fitted anew.
    #[serde(default)]
    stays: bool,
    /// Steps that the VAE that serves had taken.
    #[serde(default)]
    served: u64,
}

/// What is to be done with traces of what was published last, all of them kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Telling {
    /// From so many it is learnt what tells them from observed ones.
    Anew(usize),
    /// That is known from an earlier VAE. So many say how many to keep of those that this one draws:
    /// else its mix would be another.
    Bounds(usize),
}

impl Telling {
    /// Traces to draw.
    pub fn count(self) -> usize {
        match self {
            Self::Anew(count) | Self::Bounds(count) => count,
        }
    }
}

fn a_while(steps: u64) -> u64 {
    let (part, least, most) = A_WHILE;
    (steps / part).clamp(least, most)
}

impl Default for Told {
    fn default() -> Self {
        Self {
            by: None,
            due: FIRST_TOLD,
            stays: false,
            served: 0,
        }
    }
}

impl Told {
    /// Codes were fitted anew after so many steps: traces are no longer drawn as they were.
    pub(super) fn forget(&mut self, steps: u64) {
        self.stays |= self.by.is_some();
        self.by = None;
        self.due = (steps + a_while(steps)).max(FIRST_TOLD);
    }

    /// Whether the VAE that serves goes on serving after so many steps, however good a newer one is:
    /// it has a discriminator, and the newer one would have none, as long as it learns codes that were
    /// fitted anew, or differs too little to be worth the bounds.
    pub(super) fn stays(&self, steps: u64) -> bool {
        let served_little = steps < self.served + a_while(self.served);
        (self.stays && steps < self.due) || (self.by.is_some() && served_little)
    }
}

impl Learner {
    /// What [`Learner::tell_apart`] is to do with traces of what was published last. It learns anew
    /// when a VAE serves and has taken twice the steps of the last time, or has learnt codes that were
    /// fitted anew; in between, bounds alone. None where nothing is to be done yet.
    pub fn to_tell_apart(&self) -> Option<Telling> {
        let anew = self.status.steps >= self.told.due;
        let serves = self.status.serving == Serving::Vae;
        if !self.settings.discriminator || !serves || !(anew || self.told.by.is_some()) {
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
        let count = count as usize;
        (kept >= FIRST_STEP as u64).then_some(match anew {
            true => Telling::Anew(count),
            false => Telling::Bounds(count / FOR_BOUNDS),
        })
    }

    /// Learns to tell drawn traces from those kept to learn from, or how many of them to keep, and
    /// returns the snapshot that was published last with that.
    pub fn tell_apart(
        &mut self,
        published: &Published,
        telling: Telling,
        drawn: &[Sampled],
    ) -> Published {
        let observed = self.replay.weighted();
        let observed = observed.map(|(kept, weight)| (&kept.trace, &*kept.tokens, weight));
        let steps = self.status.steps;
        self.told.by = match (telling, self.told.by.as_deref()) {
            (Telling::Bounds(_), Some(by)) => Some(by.with_bounds(observed, drawn)),
            // None where nothing tells them apart, as of traces of one span that always takes as long.
            _ => {
                self.told.due = steps + steps.min(TOLD_AGAIN);
                Discriminator::fit(observed, drawn).ok()
            }
        }
        .map(Arc::new);
        self.told.stays = false;
        self.told.served = steps;
        let by = self.told.by.clone();
        self.status.drawn_kept = by.as_deref().map(Discriminator::kept);
        Published {
            discriminator: by,
            ..published.clone()
        }
    }
}
