//! The learner itself: synchronous, seeded, and the only owner of the weights.

use std::collections::VecDeque;
use std::sync::Arc;

use rand::RngExt as _;

use super::canary::{Answers, Canary, Scores, Verdict, mean};
use super::drift::Watch;
use super::held_out::{Asked, HeldOut};
use super::replay::{Kept, Replay};
use super::told_apart::Told;
use super::{LearnerSettings, Loss, Published, Serving, Status};
use crate::chance::{self, Rng};
use crate::features::context::Memory;
use crate::features::timing::{BINS, Coder, END_MODES, START_MODES};
use crate::features::{Interner, Token, Vocabulary, Word, encode, lesson};
use crate::model::{Example, Grammar, GrammarSizes, Lesson, StepError, Vae};
use crate::trace::Trace;

/// Traces that wait for a label to reach the floor, at most; the oldest is given up for a new one.
const WAITING: usize = 2_048;
/// Traces learnt before codes are fitted and anything is published.
const FIRST_FIT: u64 = 20;
/// Traces learnt up to which codes are fitted anew only when they have doubled.
const FEW: u64 = 200;
/// Traces learnt before the VAE takes its first step.
pub(super) const FIRST_STEP: usize = 64;
/// Held-out traces that a score needs, and those that it takes at most.
pub(super) const SCORED: std::ops::RangeInclusive<usize> = 20..=160;
/// Traces learnt after a change was noticed, after each of which so many codes are fitted anew:
/// few of the first are of the new regime alone.
const AFTER_DRIFT: [u64; 2] = [200, 1_000];
/// Points of the learning curve, at most; then every second one is left out.
const CURVE: usize = 600;

/// Learns from traces, one call at a time. The same settings, seed and calls give the same weights.
#[derive(Debug)]
pub struct Learner {
    pub(super) settings: LearnerSettings,
    pub(super) texts: Arc<Interner>,
    pub(super) vocabulary: Vocabulary,
    waiting: VecDeque<Trace>,
    pub(super) replay: Replay,
    pub(super) held_out: HeldOut,
    pub(super) coder: Arc<Coder>,
    pub(super) fit: Fit,
    pub(super) grammar: Grammar,
    pub(super) vae: Option<Vae>,
    memory: Memory,
    pub(super) services: Arc<[u32]>,
    pub(super) words: Arc<[Word]>,
    pub(super) chance: Streams,
    pub(super) status: Status,
    pub(super) watch: Watch,
    canary: Canary,
    /// The VAE that serves, if codes were not fitted anew since.
    pub(super) served: Option<Served>,
    /// The grammar that was published last had learnt so many traces.
    pub(super) grammar_published: u64,
    pub(super) told: Told,
}

/// A VAE that serves, kept as it was, so that it can be asked about traces that are new.
#[derive(Debug)]
pub(super) struct Served {
    vae: Vae,
    answers: Answers,
    /// Only for the rows of labels that it does not know.
    chance: Rng,
}

/// When codes were fitted last.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct Fit {
    /// Traces learnt so far.
    pub(super) learnt: u64,
    /// Traces learnt at the last fit; 0 before the first.
    pub(super) at: u64,
    /// Labels and profiles known at the last fit.
    pub(super) size: usize,
    /// Lessons that may still be drawn before further traces come.
    pub(super) lessons: u64,
    /// Traces learnt when a change of the traffic was noticed last; 0 before the first.
    #[serde(default)]
    pub(super) drifted: u64,
}

/// One stream of chance a purpose, so that one does not disturb another.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(super) struct Streams {
    held_out: Rng,
    replay: Rng,
    vae: Rng,
}

/// The learner can't go on: the tensors of its model don't fit each other.
#[derive(Debug, thiserror::Error)]
#[error("the model can't be computed: {0}")]
pub struct Broken(pub(super) String);

fn broken(fault: impl std::fmt::Display) -> Broken {
    Broken(fault.to_string())
}

impl Learner {
    /// A learner that has seen nothing. `texts` is the interner that the traces' symbols are of.
    pub fn new(settings: LearnerSettings, texts: Arc<Interner>, seed: u64) -> Self {
        Self {
            vocabulary: Vocabulary::new(settings.min_traces, settings.max_tokens),
            waiting: VecDeque::new(),
            replay: Replay::new(settings.replay, settings.recent),
            held_out: HeldOut::new(settings.held_out),
            coder: Arc::default(),
            fit: Fit::default(),
            grammar: Grammar::new(grammar_sizes(&settings)),
            vae: None,
            memory: Memory::default(),
            services: Arc::default(),
            words: Arc::default(),
            chance: Streams {
                held_out: chance::stream(seed, "held out"),
                replay: chance::stream(seed, "replay"),
                vae: chance::stream(seed, "vae"),
            },
            status: Status::default(),
            watch: Watch::default(),
            canary: Canary::default(),
            served: None,
            grammar_published: 0,
            told: Told::default(),
            settings,
            texts,
        }
    }

    /// The state of learning.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// The labels known so far.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// Takes a complete trace: holds it out, learns its labels and counts it, or has it wait.
    pub fn take(&mut self, trace: Trace) {
        self.status.traces_seen += 1;
        if trace.spans().len() > self.settings.max_spans {
            self.status.traces_unlearnable += 1;
            return;
        }
        let Status {
            traces_seen, drift, ..
        } = &mut self.status;
        if self.watch.see(&trace, *traces_seen, drift) {
            self.fit.drifted = self.fit.learnt;
        }
        if self.is_held_out() {
            self.status.traces_held_out += 1;
            self.held_out.add(trace);
            return;
        }
        self.study(trace);
    }

    /// Whether the next trace is held out.
    pub(super) fn is_held_out(&mut self) -> bool {
        self.chance.held_out.random::<f64>() < self.settings.held_out_share
    }

    /// Learns a trace's labels and counts it, or has it wait.
    pub(super) fn study(&mut self, trace: Trace) {
        let grown = self.vocabulary.observe(&trace, &self.texts);
        match self.vocabulary.tokens(&trace) {
            Ok(tokens) => self.learn(trace, tokens),
            Err(_) => self.wait(trace),
        }
        if grown > 0 {
            self.relabel();
            for trace in std::mem::take(&mut self.waiting) {
                match self.vocabulary.tokens(&trace) {
                    Ok(tokens) => self.learn(trace, tokens),
                    Err(_) => self.waiting.push_back(trace),
                }
            }
        }
        self.status.tokens = self.vocabulary.len() as u64;
        self.status.traces_waiting = self.waiting.len() as u64;
    }

    /// Fits codes anew where that is due; whether it did.
    ///
    /// Takes time in proportion to the replay; due when half as many traces again were learnt as at the
    /// last fit (of the first few, twice as many), or at least 4 replays more, and soon after the
    /// vocabulary has grown or the traffic has changed.
    pub fn refit(&mut self) -> bool {
        let Fit {
            learnt,
            at,
            size,
            drifted,
            ..
        } = self.fit;
        let since = learnt - at;
        let changed = AFTER_DRIFT
            .iter()
            .map(|after| drifted + after)
            .any(|due| drifted > 0 && at < due && due <= learnt);
        let grown = self.vocabulary.size() > size;
        let growth = if at < FEW { at } else { at / 2 };
        let due = match at {
            0 => learnt >= FIRST_FIT,
            _ if changed => true,
            _ if grown => since >= 32.max(at / 8).min(1_000),
            _ => since >= growth.min(self.settings.replay as u64 * 4),
        };
        if !due {
            return false;
        }
        let kept = self.replay.weighted();
        let coder = Coder::fit(kept.map(|(kept, _)| (&kept.trace, &*kept.tokens)));
        self.coder = Arc::new(coder);
        for kept in self.replay.iter_mut() {
            let Kept { trace, tokens, .. } = &*kept;
            let profiles = self.vocabulary.adopt(trace, tokens, &self.texts);
            let example = encode(trace, tokens, profiles, &self.coder);
            kept.example = example.ok().map(Arc::new);
        }
        // Counts are of codes, so they are counted again under the new ones.
        let mut grammar = Grammar::new(grammar_sizes(&self.settings));
        for (kept, weight) in self.replay.weighted() {
            if let Some(example) = &kept.example {
                grammar.learn(example, weight.max(1.0));
            }
        }
        self.grammar = grammar;
        self.grammar_published = 0;
        self.served = None;
        self.told.forget(self.status.steps);
        self.fit.at = learnt;
        self.fit.size = self.vocabulary.size();
        self.relabel();
        true
    }

    /// Steps that the traces so far are good for.
    pub fn steps_left(&self) -> u64 {
        self.fit.lessons / self.settings.batch.max(1) as u64
    }

    /// Says that no more than so many steps will be taken, so that their rates fall to nothing
    /// towards the end. To be called before the first step.
    pub fn end_after(&mut self, steps: u64) {
        if let Some(settings) = &mut self.settings.vae {
            settings.horizon = u32::try_from(steps).unwrap_or(u32::MAX);
        }
    }

    /// Traces that are kept to learn from.
    pub fn traces_kept(&self) -> usize {
        self.replay.len()
    }

    /// Has so many timing networks learn side by side. To be called before the first step.
    pub fn teach_abreast(&mut self, networks: usize) {
        if let Some(settings) = &mut self.settings.vae {
            settings.timing_networks = networks.max(1);
        }
    }

    /// Takes one optimiser step, if there is enough to learn from that was not learnt from often
    /// enough yet; whether it did.
    pub fn step(&mut self) -> Result<bool, Broken> {
        let enough = self.replay.len() >= FIRST_STEP && self.fit.lessons > 0;
        if self.fit.at == 0 || !enough || self.settings.vae.is_none() {
            return Ok(false);
        }
        self.fit.lessons = self.fit.lessons.saturating_sub(self.settings.batch as u64);
        self.grow()?;
        let LearnerSettings {
            batch, structures, ..
        } = self.settings;
        let drawn = self
            .replay
            .draw(batch + structures, &mut self.chance.replay);
        let examples: Vec<Arc<Example>> = drawn.iter().filter_map(|k| k.example.clone()).collect();
        let (timed, structures) = examples.split_at(batch.min(examples.len()));
        let lessons = self.lessons(timed);
        let structures: Vec<&Example> = structures.iter().map(|example| &**example).collect();
        let Some(vae) = &mut self.vae else {
            return Ok(false);
        };
        let lessons: Vec<&Lesson> = lessons.iter().collect();
        match vae.step(&structures, &lessons, &mut self.chance.vae) {
            Ok(terms) => {
                self.status.steps += 1;
                self.status.loss = Loss {
                    total: terms.total,
                    node: terms.node,
                    edge: terms.edge,
                    kl_graph: terms.kl_graph,
                    kl_node: terms.kl_node,
                };
            }
            Err(StepError::NotFinite) => self.status.steps_undone += 1,
            Err(fault) => return Err(broken(fault)),
        }
        Ok(true)
    }

    /// Scores grammar and VAE on held-out traces, and returns a snapshot if one is to be published:
    /// a VAE that needs fewer nats than the grammar (or not many more, where its traces are told from
    /// observed ones less surely) and no more than the one that serves, or else, as long as no VAE
    /// serves, the newest grammar.
    pub fn score(&mut self) -> Result<Option<Published>, Broken> {
        if self.fit.at == 0 {
            return Ok(None);
        }
        let examples =
            self.held_out
                .examples(&self.vocabulary, &self.texts, &self.coder, *SCORED.end());
        let serves = self.status.serving == Serving::Vae;
        if examples.len() < *SCORED.start() {
            // Too few to tell, as after a restart: what serves goes on serving.
            return Ok(if serves { None } else { self.publish_grammar() });
        }
        let nats = |asked: &Asked| self.grammar.nats(&asked.example).total();
        let grammar: Vec<f64> = examples.iter().map(nats).collect();
        self.status.held_out_grammar = Some(mean(&grammar));
        let Some(candidate) = self.candidate_nats(&examples)? else {
            self.status.held_out_vae = None;
            return Ok(if serves { None } else { self.publish_grammar() });
        };
        let served = self.served_nats(&examples)?;
        self.status.held_out_vae = Some(mean(&candidate));
        self.status.held_out_served = served.as_deref().map(mean);
        self.draw_curve(mean(&candidate), mean(&grammar));
        let leeway = self.told.leeway();
        let grammar: Vec<f64> = grammar.iter().map(|nats| nats * leeway).collect();
        let scores = Scores {
            candidate: &candidate,
            served: served.as_deref(),
            grammar: &grammar,
        };
        let stays = serves && self.settings.discriminator && self.told.stays(self.status.steps);
        match self.canary.judge(&scores, serves) {
            Verdict::Candidate if stays => Ok(None),
            Verdict::Candidate => {
                self.keep_served(&examples, &candidate);
                Ok(self.publish_vae())
            }
            Verdict::Grammar => Ok(self.publish_grammar()),
            Verdict::Stay => Ok(None),
        }
    }

    /// Ends a training whose newest weights are what is kept: they serve unless they lost the last score.
    /// While it runs, a VAE that won before may go on serving as it was; that one is not kept.
    pub fn settle(&mut self) {
        let Status {
            held_out_vae,
            held_out_grammar,
            serving,
            ..
        } = self.status;
        let leeway = self.told.leeway();
        let Some((vae, grammar)) = held_out_vae.zip(held_out_grammar) else {
            return;
        };
        match serving {
            Serving::Vae if vae >= grammar * leeway => {
                self.served = None;
                self.status.serving = Serving::Grammar;
            }
            Serving::Grammar if vae < grammar * leeway => self.status.serving = Serving::Vae,
            _ => {}
        }
    }

    /// The traces that it keeps to learn from, and those that wait.
    pub(super) fn into_kept(self) -> impl Iterator<Item = Trace> {
        self.replay.into_traces().chain(self.waiting)
    }

    /// Goes on from a checkpoint's model; see [`super::Checkpoint`].
    pub(super) fn begin_with(
        &mut self,
        vocabulary: Vocabulary,
        coder: Coder,
        grammar: Grammar,
        vae: Option<Vae>,
    ) {
        self.vocabulary = vocabulary;
        self.coder = Arc::new(coder);
        self.grammar = grammar;
        self.vae = vae;
        self.status.tokens = self.vocabulary.len() as u64;
        self.relabel();
    }

    fn learn(&mut self, trace: Trace, tokens: Vec<Token>) {
        self.fit.learnt += 1;
        let example = match self.fit.at {
            0 => None,
            _ => match encode(&trace, &tokens, self.adopt(&trace, &tokens), &self.coder) {
                Ok(example) => Some(Arc::new(example)),
                Err(_) => {
                    self.status.traces_unlearnable += 1;
                    return;
                }
            },
        };
        if let Some(example) = &example {
            self.grammar.learn(example, 1.0);
        }
        let kept = Kept {
            trace,
            tokens,
            example,
        };
        self.replay.add(kept, &mut self.chance.replay);
        // What is no longer kept can't be learnt from, however long training lagged behind.
        let passes = u64::from(self.settings.passes);
        let most = passes * self.replay.len() as u64;
        self.fit.lessons = (self.fit.lessons + passes).min(most);
        self.status.traces_kept = self.replay.len() as u64;
        self.status.shapes_kept = self.replay.shapes() as u64;
    }

    /// The profiles of a trace that is learnt.
    fn adopt(&mut self, trace: &Trace, tokens: &[Token]) -> Vec<u32> {
        let known = self.vocabulary.size();
        let profiles = self.vocabulary.adopt(trace, tokens, &self.texts);
        if self.vocabulary.size() > known {
            self.relabel();
        }
        profiles
    }

    fn wait(&mut self, trace: Trace) {
        if self.waiting.len() >= WAITING {
            self.waiting.pop_front();
            self.status.traces_unlearnable += 1;
        }
        self.waiting.push_back(trace);
    }

    /// What follows from the vocabulary, after it has grown.
    fn relabel(&mut self) {
        self.services = self.vocabulary.services().into();
        self.words = self.vocabulary.words().into();
    }

    /// Makes the VAE, or makes room in it for tokens that are new.
    fn grow(&mut self) -> Result<(), Broken> {
        let tokens = self.vocabulary.len() as u32;
        match (&mut self.vae, &self.settings.vae) {
            (Some(vae), _) => vae.grow(tokens, &mut self.chance.vae).map_err(broken)?,
            (none, Some(settings)) => {
                let vae = Vae::new(settings.clone(), tokens, &mut self.chance.vae);
                *none = Some(vae.map_err(broken)?);
            }
            (None, None) => {}
        }
        let slots = self.slots();
        if let Some(vae) = &mut self.vae {
            vae.grow_profiles(&slots, &mut self.chance.vae);
        }
        Ok(())
    }

    fn slots(&self) -> Vec<u32> {
        self.words.iter().map(Word::slots).collect()
    }

    fn lessons(&mut self, examples: &[Arc<Example>]) -> Vec<Lesson> {
        let (coder, services) = (&*self.coder, &*self.services);
        let memory = &mut self.memory;
        let lesson = |example: &Arc<Example>| lesson((**example).clone(), coder, services, memory);
        examples.iter().map(lesson).collect()
    }

    /// Nats of the newest VAE, if there is one that has learnt.
    pub(super) fn candidate_nats(&mut self, asked: &[Asked]) -> Result<Option<Vec<f64>>, Broken> {
        if self.vae.is_none() || self.status.steps == 0 {
            return Ok(None);
        }
        self.grow()?;
        let examples: Vec<Arc<Example>> = asked.iter().map(|a| a.example.clone()).collect();
        let lessons = self.lessons(&examples);
        let lessons: Vec<&Lesson> = lessons.iter().collect();
        let nats = self.vae.as_ref().map(|vae| vae.nats(&lessons));
        let nats = nats.transpose().map_err(broken)?;
        Ok(nats.map(|nats| nats.iter().map(|nats| nats.total()).collect()))
    }

    /// Nats of the VAE that serves, if it can be asked: only new traces are.
    fn served_nats(&mut self, asked: &[Asked]) -> Result<Option<Vec<f64>>, Broken> {
        let Some(mut served) = self.served.take() else {
            return Ok(None);
        };
        let numbers: Vec<u64> = asked.iter().map(|asked| asked.number).collect();
        let missing = served.answers.missing(&numbers);
        if !missing.is_empty() {
            let chance = &mut served.chance;
            let tokens = self.vocabulary.len() as u32;
            served.vae.grow(tokens, chance).map_err(broken)?;
            served.vae.grow_profiles(&self.slots(), chance);
            let new = missing.iter().map(|&at| asked[at].example.clone());
            let lessons = self.lessons(&new.collect::<Vec<_>>());
            let lessons: Vec<&Lesson> = lessons.iter().collect();
            let nats = served.vae.nats(&lessons).map_err(broken)?;
            for (at, nats) in missing.into_iter().zip(nats) {
                served.answers.add(numbers[at], nats.total());
            }
        }
        let answers = served.answers.only(&numbers);
        self.served = Some(served);
        Ok(answers)
    }

    /// Keeps the VAE as it is, which serves from now on.
    fn keep_served(&mut self, asked: &[Asked], nats: &[f64]) {
        let mut answers = Answers::default();
        for (asked, &nats) in asked.iter().zip(nats) {
            answers.add(asked.number, nats);
        }
        self.served = self.vae.clone().map(|vae| Served {
            vae,
            answers,
            chance: chance::stream(self.status.snapshots, "labels that it does not know"),
        });
    }

    fn draw_curve(&mut self, vae: f64, grammar: f64) {
        let status = &mut self.status;
        if status.curve.len() >= CURVE {
            let mut at = 0;
            status.curve.retain(|_| {
                at += 1;
                at % 2 == 1
            });
        }
        let point = (status.steps, status.loss.total, vae, grammar);
        status.curve.push(point);
    }
}

fn grammar_sizes(settings: &LearnerSettings) -> GrammarSizes {
    GrammarSizes {
        start_modes: START_MODES as u32,
        end_modes: END_MODES as u32,
        bins: BINS as u32,
        max_contexts: settings.max_contexts,
        max_spans: settings.max_spans,
    }
}
