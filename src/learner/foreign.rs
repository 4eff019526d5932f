//! Models that another learner made: how far one is, what held-out traces say of it, and going on
//! from it.
//!
//! Nats under different codes can't be compared, so that a model is asked the question that its own
//! learner asked it, on traces that this one held out: does the VAE need more nats than the grammar
//! of the same codes? And it must have words for these traces.

use std::fmt;

use super::canary::{difference, mean};
use super::core::SCORED;
use super::{Broken, Checkpoint, Learner, Published, Serving};
use crate::trace::Trace;

/// A VAE may need so many standard errors more than the grammar of its codes.
const ERRORS: f64 = 3.0;

/// How far a model is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// Which sampler serves with it.
    pub serving: Serving,
    /// Traces that it has learnt, those of the models that it went on from included.
    pub learnt: u64,
}

impl Standing {
    /// Whether a model that stands so may serve in the place of another: one whose sampler is no
    /// worse and that has learnt four fifths as much. The newer of two that are about as far is to
    /// serve, and not the one that happens to have seen a few traces more.
    pub fn may_replace(self, other: Self) -> bool {
        self.serving != Serving::Nothing
            && self.serving >= other.serving
            && self.learnt.saturating_mul(5) >= other.learnt.saturating_mul(4)
    }

    /// Whether a learner that stands so does better to go on from the other: it has learnt less
    /// than a quarter as much.
    pub fn is_far_behind(self, other: Self) -> bool {
        other.serving != Serving::Nothing && self.learnt.saturating_mul(4) < other.learnt
    }
}

/// What is said of a model that came from elsewhere.
#[derive(Debug)]
pub enum Judgement {
    /// It may serve.
    Good(Box<Published>),
    /// It publishes nothing.
    Empty,
    /// It has no words for too many of the traces held out here.
    Speechless {
        /// Those that it has words for.
        known: usize,
        /// Those that it was asked about.
        asked: usize,
    },
    /// Its VAE needs more nats than the grammar of its codes on the traces held out here.
    Worse {
        /// Of the VAE, a trace.
        vae: f64,
        /// Of the grammar, a trace.
        grammar: f64,
    },
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Good(_) => write!(f, "it may serve"),
            Self::Empty => write!(f, "it has nothing to serve with"),
            Self::Speechless { known, asked } => write!(
                f,
                "it has words for {known} of {asked} traces that were held out here"
            ),
            Self::Worse { vae, grammar } => write!(
                f,
                "its VAE needs {vae:.1} nats for a trace that was held out here, its grammar {grammar:.1}"
            ),
        }
    }
}

impl Checkpoint {
    /// How far its model is.
    pub fn standing(&self) -> Standing {
        Standing {
            serving: self.status().serving,
            learnt: self.learnt(),
        }
    }
}

impl Learner {
    /// How far its model is.
    pub fn standing(&self) -> Standing {
        Standing {
            serving: self.status.serving,
            learnt: self.fit.learnt,
        }
    }

    /// Takes a trace only to judge models by, if it is of those that are held out.
    pub fn hold_out(&mut self, trace: Trace) {
        self.status.traces_seen += 1;
        let short = trace.spans().len() <= self.settings.max_spans;
        if short && self.is_held_out() {
            self.status.traces_held_out += 1;
            self.held_out.add(trace);
        }
    }

    /// Asks a model from elsewhere about the traces held out here. Too few of them say nothing
    /// against it.
    pub fn judge(&self, checkpoint: &Checkpoint) -> Result<Judgement, Broken> {
        let mut other = checkpoint.learner(self.settings.clone(), self.texts.clone())?;
        if other.status.serving == Serving::Nothing {
            return Ok(Judgement::Empty);
        }
        let (most, enough) = (*SCORED.end(), *SCORED.start());
        let examples = self
            .held_out
            .examples(&other.vocabulary, &self.texts, &other.coder, most);
        let asked = self.held_out.asked(most);
        if asked >= enough {
            // As many as the words of this learner are for, but for a fifth; who has no words of
            // its own asks for half of all.
            let own = self
                .held_out
                .examples(&self.vocabulary, &self.texts, &self.coder, most);
            let wanted = match own.len() {
                0 => asked.div_ceil(2),
                own => own * 4 / 5,
            };
            if examples.len() < wanted {
                return Ok(Judgement::Speechless {
                    known: examples.len(),
                    asked,
                });
            }
        }
        if other.status.serving == Serving::Vae && examples.len() >= enough {
            let grammar = examples
                .iter()
                .map(|asked| other.grammar.nats(&asked.example));
            let leeway = other.told.leeway();
            let grammar: Vec<f64> = grammar.map(|nats| nats.total() * leeway).collect();
            if let Some(vae) = other.candidate_nats(&examples)? {
                let (behind, error) = difference(&vae, &grammar);
                if behind > ERRORS * error {
                    return Ok(Judgement::Worse {
                        vae: mean(&vae),
                        grammar: mean(&grammar) / leeway,
                    });
                }
            }
        }
        Ok(match other.snapshot() {
            Some(published) => Judgement::Good(Box::new(published)),
            None => Judgement::Empty,
        })
    }

    /// Goes on from a model from elsewhere as from one of its own: what it has kept and held out
    /// stays, and what was kept is learnt anew.
    pub fn go_on_from(&mut self, checkpoint: &Checkpoint) -> Result<(), Broken> {
        let mut other = checkpoint.learner(self.settings.clone(), self.texts.clone())?;
        std::mem::swap(&mut other.held_out, &mut self.held_out);
        std::mem::swap(&mut other.watch, &mut self.watch);
        let before = std::mem::replace(self, other);
        for trace in before.into_kept() {
            self.study(trace);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rand::RngExt as _;

    use super::*;
    use crate::chance;
    use crate::features::Interner;
    use crate::learner::LearnerSettings;
    use crate::trace::{Span, SpanKind, StatusCode, Symbol};

    fn trace(texts: &Interner, operation: &str, rng: &mut chance::Rng) -> Trace {
        let span = |at: u32, operation: &str, start: i64, duration: u64| Span {
            parent: (at > 0).then_some(0),
            service: texts.symbol("shop"),
            operation: texts.symbol(operation),
            profile: Symbol(0),
            kind: SpanKind::Server,
            status: StatusCode::Unset,
            start,
            duration,
        };
        let call = rng.random_range(10_000..90_000);
        let spans = vec![span(0, operation, 0, 200_000), span(1, "call", 1_000, call)];
        Trace::new(spans, Vec::new()).unwrap()
    }

    /// A learner in another process: with texts of its own.
    fn taught(operation: &str, traces: usize) -> Learner {
        let settings = LearnerSettings {
            min_traces: 5,
            vae: None,
            ..LearnerSettings::default()
        };
        let texts = Arc::new(Interner::default());
        let mut learner = Learner::new(settings, texts.clone(), 3);
        let rng = &mut chance::stream(9, "traces");
        for _ in 0..traces {
            learner.take(trace(&texts, operation, rng));
            learner.refit();
        }
        learner.score().unwrap();
        learner
    }

    fn standing(serving: Serving, learnt: u64) -> Standing {
        Standing { serving, learnt }
    }

    #[test]
    fn the_newer_of_two_that_are_about_as_far_serves() {
        use Serving::{Grammar, Nothing, Vae};
        let check = |newer: (Serving, u64), present: (Serving, u64), replaces, far_behind| {
            let newer = standing(newer.0, newer.1);
            let present = standing(present.0, present.1);
            assert_eq!(
                newer.may_replace(present),
                replaces,
                "{newer:?} {present:?}"
            );
            assert_eq!(
                present.is_far_behind(newer),
                far_behind,
                "{newer:?} {present:?}"
            );
        };
        check((Grammar, 20), (Nothing, 0), true, true);
        check((Nothing, 20), (Nothing, 0), false, false);
        check((Vae, 900), (Vae, 1_000), true, false);
        check((Vae, 700), (Vae, 1_000), false, false);
        check((Grammar, 9_000), (Vae, 1_000), false, true);
        check((Vae, 4_100), (Vae, 1_000), true, true);
    }

    #[test]
    fn a_model_without_words_for_what_is_seen_here_is_turned_down() {
        let check = |judge: &Learner, of: &Learner, expected: &str| {
            let bytes = Checkpoint::of(of).to_bytes().unwrap();
            let checkpoint = Checkpoint::from_bytes(&bytes).unwrap();
            let told = judge.judge(&checkpoint).unwrap().to_string();
            assert!(told.starts_with(expected), "{told}");
        };
        let (cart, other) = (taught("GET /cart", 400), taught("GET /other", 400));
        check(&cart, &taught("GET /cart", 100), "it may serve");
        check(&cart, &other, "it has words for 0 of ");
        check(
            &cart,
            &taught("GET /cart", 1),
            "it has nothing to serve with",
        );
        // Who has seen nothing yet has nothing to say against anybody.
        check(&taught("GET /cart", 0), &other, "it may serve");
    }

    #[test]
    fn one_that_follows_judges_by_what_it_holds_out() {
        let texts = Arc::new(Interner::default());
        let settings = taught("x", 0).settings;
        let mut follower = Learner::new(settings, texts.clone(), 4);
        let rng = &mut chance::stream(2, "traces");
        for _ in 0..600 {
            follower.hold_out(trace(&texts, "GET /cart", rng));
        }
        assert_eq!(follower.standing(), Standing::default());
        let told = |of: &str| follower.judge(&Checkpoint::of(&taught(of, 200))).unwrap();
        assert!(matches!(told("GET /cart"), Judgement::Good(_)));
        assert!(matches!(
            told("GET /other"),
            Judgement::Speechless { known: 0, .. }
        ));
    }

    #[test]
    fn going_on_from_a_model_keeps_its_words_and_learns_what_was_kept() {
        let mut newcomer = taught("GET /new", 60);
        let kept = newcomer.standing().learnt;
        let old = taught("GET /cart", 400);
        newcomer.go_on_from(&Checkpoint::of(&old)).unwrap();
        assert_eq!(newcomer.standing().learnt, old.standing().learnt + kept);
        let words = newcomer.vocabulary().words().iter();
        let mut words: Vec<_> = words.map(|word| word.operation.to_string()).collect();
        words.sort();
        assert_eq!(words, ["GET /cart", "GET /new", "call"]);
    }
}
