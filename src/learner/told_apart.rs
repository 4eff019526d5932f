//! When drawn traces are told from observed ones, and what comes of it.

use std::sync::Arc;

use super::core::FIRST_STEP;
use super::{Generator, Learner, Published, Serving};
use crate::features::{Discriminator, Sampled};

/// Steps before drawn traces are first told from observed ones.
const FIRST_TOLD: u64 = 100;
/// Steps after which that is learnt anew, at most: sooner once twice as many have been taken since codes
/// were fitted. A VAE that has just begun to learn new codes gives itself away by what it soon leaves
/// behind.
const TOLD_AGAIN: u64 = 5_000;
/// Where codes were fitted anew, the VAE has this part of its steps so far to learn them before it
/// is, and so many at least and at most: a change of the traffic is not to wait for long. As long
/// does what serves serve at least before a newer VAE does.
const A_WHILE: (u64, u64, u64) = (20, 40, 500);
/// Traces drawn for that: of each that is kept so many, and at most so many.
const DRAWN: (usize, usize) = (5, 16_000);
/// Which part of them is enough to say anew how many of a newer VAE's are kept.
const FOR_BOUNDS: usize = 2;

/// The share by which the VAE may need more nats than the grammar and serve all the same, where its
/// traces are told from observed ones less surely: by so much of the area under the curve.
const LEEWAY: (f64, f64) = (0.1, 0.03);
/// Traces of each that are drawn for a trial, at most, and which part of [`LearnerSettings::spans_told_apart`].
///
/// [`LearnerSettings::spans_told_apart`]: super::LearnerSettings::spans_told_apart
const TRIED: (usize, usize) = (2_000, 4);

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
    /// Steps when codes were fitted anew last.
    #[serde(default)]
    refitted: u64,
    /// Whether the VAE's traces were told from observed ones less surely than the grammar's in the last
    /// trial, and steps when the next one is due.
    #[serde(default)]
    less_surely: bool,
    #[serde(default)]
    trial: u64,
}

/// Two that are to be tried against each other: whose traces are told from observed ones less surely?
#[derive(Debug)]
pub struct Trial {
    /// The newest VAE, and the newest grammar.
    pub contenders: [Published; 2],
    /// Traces to draw of each.
    pub count: usize,
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
            refitted: 0,
            less_surely: false,
            trial: FIRST_TOLD,
        }
    }
}

impl Told {
    /// Codes were fitted anew after so many steps: traces are no longer drawn as they were.
    pub(super) fn forget(&mut self, steps: u64) {
        self.stays |= self.by.is_some();
        self.by = None;
        self.refitted = steps;
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

impl Told {
    /// By which the grammar's nats are multiplied before the VAE's are compared with them.
    pub(super) fn leeway(&self) -> f64 {
        match self.less_surely {
            true => 1.0 + LEEWAY.0,
            false => 1.0,
        }
    }
}

impl Learner {
    /// The trial that is due, if one is: where the VAE needs more nats than the grammar but not many, nats
    /// don't decide alone. Again after half as many steps again.
    pub fn trial(&self) -> Option<Trial> {
        let (vae, grammar) = self.status.held_out_vae.zip(self.status.held_out_grammar)?;
        let close = vae >= grammar && vae < grammar * (1.0 + LEEWAY.0);
        let due = self.settings.discriminator && self.status.steps >= self.told.trial;
        if !due || !close || self.replay.len() < FIRST_STEP {
            return None;
        }
        let (most, part) = TRIED;
        let (kept, long) = self.kept();
        let vae = Generator::Vae(Arc::new(self.vae.as_ref()?.weights()));
        let grammar = Generator::Grammar(Arc::new(self.grammar.clone()));
        Some(Trial {
            contenders: [vae, grammar].map(|generator| Published {
                discriminator: None,
                ..self.published(generator)
            }),
            count: kept
                .min(most)
                .min(self.settings.spans_told_apart / part / long),
        })
    }

    /// Compares what both drew for a trial with as many of the traces that are kept to learn from. What
    /// comes of it counts at the next score.
    pub fn tried(&mut self, drawn: [&[Sampled]; 2]) {
        let steps = self.status.steps;
        self.told.trial = steps + (steps / 2).max(FIRST_TOLD);
        let apart = drawn.map(|drawn| {
            let step = self.replay.len().div_ceil(drawn.len().max(1));
            let observed = self.replay.weighted().step_by(step.max(1));
            let observed = observed.map(|(kept, weight)| (&kept.trace, &*kept.tokens, weight));
            Discriminator::apart(observed, drawn)
        });
        // Where nothing tells them apart there is nothing to choose by, and nats decide.
        let [Ok(vae), Ok(grammar)] = apart else {
            self.told.less_surely = false;
            return;
        };
        self.told.less_surely = vae < grammar - LEEWAY.1;
        self.status.tried = Some([vae, grammar]);
    }

    /// Traces kept to learn from, and their spans on average.
    fn kept(&self) -> (usize, usize) {
        let kept = self.replay.len();
        let spans = self.replay.iter().map(|kept| kept.tokens.len());
        (kept, (spans.sum::<usize>() / kept.max(1)).max(1))
    }

    /// What [`Learner::tell_apart`] is to do with traces of what was published last. It learns anew
    /// when a VAE serves and has learnt codes that were fitted anew, and each time that it has learnt
    /// them for twice as long as the last time; in between, bounds alone. None where nothing is to be
    /// done yet.
    pub fn to_tell_apart(&self) -> Option<Telling> {
        let anew = self.status.steps >= self.told.due;
        let serves = self.status.serving == Serving::Vae;
        if !self.settings.discriminator || !serves || !(anew || self.told.by.is_some()) {
            return None;
        }
        let (kept, long) = self.kept();
        let (each, most) = DRAWN;
        let count = (kept * each)
            .min(most)
            .min(self.settings.spans_told_apart / long);
        (kept >= FIRST_STEP).then_some(match anew {
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
                let since = steps.saturating_sub(self.told.refitted);
                self.told.due = steps + since.max(a_while(steps)).min(TOLD_AGAIN);
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
