//! The hierarchical graph VAE.
//!
//! z_G is a code of the whole execution (`codebook`), chosen by an encoder that passes messages
//! over the DAG; z_v is inverse-CDF noise (decision 3), one uniform number per choice. The decoder
//! has two networks: one tells the structure (token, status, attribute profile, number of
//! children, link, span by span in depth-first pre-order), the other the times once the whole structure is known.
//!
//! Call it from one thread that has entered [`one_core`], in a process whose environment says
//! `RAYON_NUM_THREADS=1` (the program's `cli::alone` sees to it): candle's matrix products use
//! rayon and its other operations a pool of threads that spin, and both would take every core.
//! Results are the same either way.

mod adam;
mod batch;
mod codebook;
mod decoder;
mod encoder;
mod gru;
mod lesson;
mod net;
mod nll;
mod params;
mod pool;
mod posterior;
mod profiles;
mod recall;
mod settings;
mod specs;
#[cfg(test)]
mod tests;
mod tree;
mod weights;

use std::iter;

use candle_core::{Device, Tensor};

use crate::model::{Example, Nats};
use batch::{Structures, Times};
use codebook::Codebook;
use decoder::TimingLogits;
use net::Net;
use params::{Param, take};
use posterior::{Seen, heard, merge, places, straight_through};
use specs::{CODE_ROWS, Part, Spec, specs};

pub use lesson::{Lesson, Terms};
pub use params::Tensors;
pub use profiles::ProfileRows;
pub use settings::{LANES, PLAN_SUM, VaeSettings};
pub use tree::{LABEL_TABLES, LABELS, LINKS, SLOT_FEATURES, Slot, Tree, link_class};
pub use weights::Weights;

/// The token of each row of the profile tables, in a checkpoint.
const PROFILES: &str = "profiles.owners";

/// How many spans a trace has, in a checkpoint, and how much of it is the newest step's.
const SPANS: &str = "schedule.spans";
const SPANS_RATE: f32 = 0.01;

/// Traces scored at a time.
const SCORED: usize = 64;
/// A training whose end is known leaves codes where they are once one in so many of its steps is taken:
/// what a rare one stands for is then learnt for as long again.
const SETTLED: u32 = 2;
/// Traces encoded at a time.
const ENCODED: usize = 512;

/// Why a VAE can't do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum VaeError {
    /// The settings make no network.
    #[error("{0}")]
    Settings(&'static str),
    /// There is nothing to learn from or to score.
    #[error("there is no lesson, or one without spans")]
    Empty,
    /// A lesson does not fit the settings or the vocabulary.
    #[error("a lesson does not fit the model: {0}")]
    Lesson(&'static str),
    /// A checkpoint's tensors do not fit the settings.
    #[error("the model's tensors are damaged: {0}")]
    Damaged(String),
    /// A tensor operation failed.
    #[error("a tensor operation failed")]
    Tensor(#[from] candle_core::Error),
}

/// Why a step was not taken.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The objective or a gradient was not finite. The model is as it was before.
    #[error("the objective or a gradient is not finite; the step was undone")]
    NotFinite,
    /// The step could not be tried. The model is as it was before.
    #[error(transparent)]
    Impossible(#[from] VaeError),
}

impl From<candle_core::Error> for StepError {
    fn from(error: candle_core::Error) -> Self {
        Self::Impossible(error.into())
    }
}

/// What each timing network has.
fn of_timing(specs: &[Spec]) -> impl Iterator<Item = &Spec> {
    specs.iter().filter(|spec| spec.part == Part::Timing)
}

/// What the tensors' names of a timing network begin with, in a checkpoint: so many are before it.
fn beside_name(before: usize) -> String {
    format!("beside{before}.")
}

/// Keeps the matrix products of the calling thread on this thread, as long as it lives: to be
/// called once, first thing, by the thread that owns a [`Vae`]. None if the thread belongs to a
/// pool of rayon's already.
pub fn one_core() -> Option<OneCore> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .use_current_thread();
    pool.build().ok().map(OneCore)
}

/// See [`one_core`].
#[derive(Debug)]
pub struct OneCore(
    #[expect(dead_code, reason = "held for as long as the thread learns")] rayon::ThreadPool,
);

/// A model in training. Its state is plain numbers: the same calls with the same generator give
/// the same model.
#[derive(Debug, Clone, PartialEq)]
pub struct Vae {
    settings: VaeSettings,
    tokens: usize,
    profiles: ProfileRows,
    params: Vec<Param>,
    /// The timing networks beside the one in `params`.
    beside: Vec<Vec<Param>>,
    codebook: Codebook,
    steps: u32,
    /// Spans of a trace, a decayed average over the steps so far; 0 before the first.
    spans: f32,
}

impl Vae {
    /// A model that knows nothing but the size of the vocabulary.
    pub fn new(
        settings: VaeSettings,
        tokens: u32,
        rng: &mut impl rand::Rng,
    ) -> Result<Self, VaeError> {
        if let Some(fault) = settings.fault() {
            return Err(VaeError::Settings(fault));
        }
        let tokens = tokens as usize;
        if tokens == 0 {
            return Err(VaeError::Settings("there must be at least one token"));
        }
        let profiles = ProfileRows::default();
        let specs = specs(&settings, tokens, profiles.count());
        let params = specs.iter().map(|spec| Param::new(spec.clone(), rng));
        let params = params.collect();
        let beside = (1..settings.timing_networks).map(|_| {
            let specs = of_timing(&specs);
            specs.map(|spec| Param::new(spec.clone(), rng)).collect()
        });
        Ok(Self {
            params,
            beside: beside.collect(),
            codebook: Codebook::new(&settings),
            steps: 0,
            spans: 0.0,
            tokens,
            profiles,
            settings,
        })
    }

    /// Sizes and rates.
    pub fn settings(&self) -> &VaeSettings {
        &self.settings
    }

    /// Size of the vocabulary.
    pub fn tokens(&self) -> u32 {
        self.tokens as u32
    }

    /// Steps taken.
    pub fn steps(&self) -> u32 {
        self.steps
    }

    /// Number of trained numbers.
    pub fn size(&self) -> usize {
        self.params.iter().map(|param| param.value.len()).sum()
    }

    /// Takes in new tokens. Old ones keep their weights and, but for a sliver, their shares; a
    /// smaller number than before changes nothing.
    pub fn grow(&mut self, tokens: u32, rng: &mut impl rand::Rng) -> Result<(), VaeError> {
        let tokens = tokens as usize;
        if tokens > self.tokens {
            self.tokens = tokens;
            self.grow_params(rng);
        }
        Ok(())
    }

    /// Takes in how many attribute profiles each token has, from the first token on; those beyond
    /// have one. What was known keeps its weights and, but for a sliver, its shares; smaller
    /// numbers than before change nothing.
    pub fn grow_profiles(&mut self, slots: &[u32], rng: &mut impl rand::Rng) {
        let slots = &slots[..slots.len().min(self.tokens)];
        let late = self.profiles.grow(slots);
        if late.is_empty() {
            return;
        }
        self.grow_params(rng);
        let bias = |param: &&mut Param| param.spec.name == "structure.profile_out_bias";
        if self.steps > 0
            && let Some(bias) = self.params.iter_mut().find(bias)
        {
            bias.begin_late(&late);
        }
    }

    fn grow_params(&mut self, rng: &mut impl rand::Rng) {
        let specs = specs(&self.settings, self.tokens, self.profiles.count());
        for (param, spec) in self.params.iter_mut().zip(&specs) {
            param.grow(spec, rng);
        }
        for params in &mut self.beside {
            for (param, spec) in params.iter_mut().zip(of_timing(&specs)) {
                param.grow(spec, rng);
            }
        }
    }

    /// One optimiser step: structures of examples and lessons, equal ones merged, and times of the
    /// lessons. Both are drawn alike; a structure costs little next to times, so there may be
    /// many. Nothing changes unless everything is finite.
    pub fn step(
        &mut self,
        structures: &[&Example],
        lessons: &[&Lesson],
        rng: &mut impl rand::Rng,
    ) -> Result<Terms, StepError> {
        self.check(lessons)?;
        self.check_structures(structures)?;
        let settings = &self.settings;
        let timed = lessons.iter().map(|lesson| &lesson.example);
        let examples: Vec<&Example> = structures.iter().copied().chain(timed).collect();
        let mut codebook = self.codebook.clone();
        let seen = Seen::new(&self.params, settings, &examples)?;
        codebook.begin(seen.encoded(), rng);
        let coded = seen.choose(&codebook, settings, examples.len());

        let net = Net::trained(&self.params)?;
        let groups = merge(&examples, &coded.code);
        let timed = structures.len()..examples.len();
        let told: Vec<usize> = groups
            .iter()
            .map(|group| group[0])
            .chain(timed.clone())
            .collect();
        let places = places(&codebook, settings, &coded, &told)?;
        let of_told: Vec<&Example> = told.iter().map(|&at| examples[at]).collect();
        let (places, commitment) = straight_through(&net, settings, places, &of_told)?;
        let codes = heard(&net, settings, places, &coded, &told)?;

        let first: Vec<&Example> = groups.iter().map(|group| examples[group[0]]).collect();
        let structures = Structures::new(&first, settings, &self.profiles);
        let part = |&of: &u32| groups[of as usize].len() as f32 / examples.len() as f32;
        let parts: Vec<f32> = structures.sequence.iter().map(part).collect();
        let parts = Tensor::new(parts.as_slice(), &Device::Cpu)?;
        let nats = decoder::structure(&net, &codes.narrow(0, 0, groups.len())?, &structures)?;
        let node = (nats.node * &parts)?.sum_all()?;
        let edge = (nats.edge * &parts)?.sum_all()?;

        let times = Times::new(lessons, settings);
        let codes = codes.narrow(0, groups.len(), timed.len())?;
        let spans = self.spans_with(&examples);
        let mut beside = Vec::new();
        for params in &self.beside {
            let net = Net::trained(params)?;
            let told = decoder::timing(&net, settings, &codes.detach(), &times)?;
            let scale = f64::from(settings.beta_node / spans) / timed.len() as f64;
            let store = (told.nats(settings, &times)?.sum_all()? * scale)?.backward()?;
            beside.push(adam::gradients(&net, params, &store, settings)?);
        }
        let told = decoder::timing(&net, settings, &codes, &times)?;
        let times = told.nats(settings, &times)?.sum_all()?;
        let times = (times / timed.len() as f64)?;

        let (lambda, beta) = (
            f64::from(settings.lambda_edge),
            f64::from(settings.beta_node),
        );
        let nats = ((&node + (&edge * lambda)?)? + (&times * beta)?)?;
        let objective = ((nats * (1.0 / f64::from(spans)))? + commitment)?;
        let store = objective.backward()?;
        let gradients = adam::gradients(&net, &self.params, &store, settings)?;

        let number = |tensor: &Tensor| tensor.to_scalar::<f32>().map(f64::from);
        let beyond = structures.beyond.iter().zip(&structures.sequence);
        let beyond: f64 = beyond.map(|(nats, of)| nats * f64::from(part(of))).sum();
        let mut terms = Terms {
            total: 0.0,
            node: number(&node)?,
            edge: number(&edge)? + beyond,
            kl_graph: coded.kl.iter().sum::<f64>() / examples.len() as f64,
            kl_node: number(&times)?,
        };
        terms.total = terms.node
            + lambda * terms.edge
            + f64::from(settings.beta_graph) * terms.kl_graph
            + beta * terms.kl_node;
        let sound = terms.total.is_finite() && number(&objective)?.is_finite();
        let Some(gradients) = gradients.filter(|_| sound) else {
            return Err(StepError::NotFinite);
        };
        let Some(beside) = beside.into_iter().collect::<Option<Vec<_>>>() else {
            return Err(StepError::NotFinite);
        };
        adam::descend(&mut self.params, &gradients, settings, self.steps);
        for (params, gradients) in self.beside.iter_mut().zip(beside) {
            adam::descend(params, &gradients, settings, self.steps);
        }
        let settled = settings.horizon > 0 && self.steps >= settings.horizon / SETTLED;
        seen.teach(&mut codebook, &coded, (self.steps, settled));
        self.codebook = codebook;
        self.spans = spans;
        self.steps = self.steps.saturating_add(1);
        Ok(terms)
    }

    /// [`Vae::spans`] with those of one more step. What a step weighs must not hang on how
    /// long its own traces are: the longer ones would count for less, and come too seldom.
    fn spans_with(&self, examples: &[&Example]) -> f32 {
        let spans: usize = examples.iter().map(|example| example.len()).sum();
        let spans = spans as f32 / examples.len().max(1) as f32;
        let rate = SPANS_RATE.max(1.0 / (self.steps as f32 + 1.0));
        self.spans + (spans - self.spans) * rate
    }

    /// An upper bound of -log p of each trace, by the averaged weights and the events that
    /// [`crate::model::Grammar::nats`] counts. KL_G is part of the structure's nats.
    pub fn nats(&self, lessons: &[&Lesson]) -> Result<Vec<Nats>, VaeError> {
        let mut all = Vec::with_capacity(lessons.len());
        let net = Net::averaged(&self.params)?;
        let beside: Result<Vec<Net>, VaeError> = self.beside.iter().map(Net::averaged).collect();
        let beside = beside?;
        for lessons in lessons.chunks(SCORED) {
            self.check(lessons)?;
            let settings = &self.settings;
            let examples: Vec<&Example> = lessons.iter().map(|lesson| &lesson.example).collect();
            let seen = Seen::new(&self.params, settings, &examples)?;
            let coded = seen.choose(&self.codebook, settings, examples.len());
            let mut nats = vec![Nats::default(); lessons.len()];

            let groups = merge(&examples, &coded.code);
            let first: Vec<usize> = groups.iter().map(|group| group[0]).collect();
            let chosen = places(&self.codebook, settings, &coded, &first)?;
            let chosen = heard(&net, settings, chosen, &coded, &first)?;
            let first: Vec<&Example> = first.iter().map(|&at| examples[at]).collect();
            let structures = Structures::new(&first, settings, &self.profiles);
            let told = decoder::structure(&net, &chosen, &structures)?;
            let told = (told.node + told.edge)?.to_vec1::<f32>()?;
            for ((&of, told), beyond) in
                structures.sequence.iter().zip(told).zip(&structures.beyond)
            {
                for &at in &groups[of as usize] {
                    nats[at].structure += f64::from(told) + beyond;
                }
            }
            for (nats, kl) in nats.iter_mut().zip(&coded.kl) {
                nats.structure += kl;
            }

            let every: Vec<usize> = (0..lessons.len()).collect();
            let chosen = places(&self.codebook, settings, &coded, &every)?;
            let chosen = heard(&net, settings, chosen, &coded, &every)?;
            let times = Times::new(lessons, settings);
            let networks = iter::once(&net).chain(&beside);
            let told: Result<Vec<TimingLogits>, VaeError> = networks
                .map(|net| decoder::timing(net, settings, &chosen, &times))
                .collect();
            let told = TimingLogits::mean(&told?)?;
            let told = told.nats(settings, &times)?.to_vec1::<f32>()?;
            for (&of, told) in times.sequence.iter().zip(told) {
                nats[of as usize].timing += f64::from(told);
            }
            all.extend(nats);
        }
        Ok(all)
    }

    /// The code that the encoder chooses for each trace: the whole of q(z_G|G). 0 where the model
    /// has no z_G.
    pub fn codes(&self, lessons: &[&Lesson]) -> Result<Vec<u32>, VaeError> {
        let mut codes = Vec::with_capacity(lessons.len());
        for lessons in lessons.chunks(SCORED) {
            self.check(lessons)?;
            let examples: Vec<&Example> = lessons.iter().map(|lesson| &lesson.example).collect();
            let seen = Seen::new(&self.params, &self.settings, &examples)?;
            let coded = seen.choose(&self.codebook, &self.settings, examples.len());
            codes.extend(coded.code);
        }
        Ok(codes)
    }

    /// Sets the prior of z_G to the aggregate posterior of traces that stand for so many each: in
    /// training it follows few traces at a time, and what is rare comes in few of them. What has labels
    /// that the networks don't know yet is left out.
    pub fn refit_prior(&mut self, traces: &[(&Example, f32)]) -> Result<(), VaeError> {
        if self.settings.codes == 0 {
            return Ok(());
        }
        let known = |example: &Example| self.check_structures(&[example]).is_ok();
        let traces = traces.iter().copied();
        let (examples, weights): (Vec<&Example>, Vec<f32>) =
            traces.filter(|(example, _)| known(example)).unzip();
        let (mut encoded, mut sums) = (Vec::new(), Vec::new());
        for (examples, weights) in examples.chunks(ENCODED).zip(weights.chunks(ENCODED)) {
            let seen = Seen::new(&self.params, &self.settings, examples)?;
            encoded.extend(seen.encoded());
            sums.extend(seen.weights(weights));
        }
        self.codebook.refit(&encoded, &sums);
        Ok(())
    }

    /// The prior of z_G: a share per code; one share where the model has no z_G.
    pub fn shares(&self) -> Vec<f32> {
        match self.settings.codes {
            0 => vec![1.0],
            _ => self.codebook.prior(),
        }
    }

    /// Everything that [`Vae::load`] needs to go on bit for bit.
    pub fn dump(&self) -> Tensors {
        let mut tensors = Tensors::new();
        for param in &self.params {
            param.save("", &mut tensors);
        }
        for (params, before) in self.beside.iter().zip(1..) {
            for param in params {
                param.save(&beside_name(before), &mut tensors);
            }
        }
        self.codebook.save(&mut tensors);
        let halves = [self.steps >> 16, self.steps & 0xffff].map(|half| half as f32);
        let owners = self.profiles.owners().iter().map(|&token| token as f32);
        let owners: Vec<f32> = owners.collect();
        tensors.insert(PROFILES.into(), (vec![owners.len()], owners));
        tensors.insert("schedule.steps".into(), (vec![2], halves.to_vec()));
        tensors.insert(SPANS.into(), (vec![1], vec![self.spans]));
        tensors
    }

    /// The model that was dumped. Tensors of other names are left alone.
    pub fn load(settings: VaeSettings, mut tensors: Tensors) -> Result<Self, VaeError> {
        if let Some(fault) = settings.fault() {
            return Err(VaeError::Settings(fault));
        }
        let out = tensors.get("structure.token_out_bias");
        let tokens = out.map_or(0, |(_, numbers)| numbers.len());
        if tokens == 0 {
            return Err(VaeError::Damaged("it knows no token".into()));
        }
        let rows = tensors.get(PROFILES).map_or(0, |(_, owners)| owners.len());
        let owners = take(&mut tensors, PROFILES, &[rows])?.into_iter();
        let owners: Vec<u32> = owners.map(|token| token as u32).collect();
        let profiles = ProfileRows::of_owners(owners)
            .ok_or_else(|| VaeError::Damaged("a token has one profile to choose from".into()))?;
        let specs = specs(&settings, tokens, profiles.count());
        let params: Result<_, _> = specs
            .iter()
            .map(|spec| Param::restore(spec.clone(), "", &mut tensors))
            .collect();
        let beside: Result<_, _> = (1..settings.timing_networks)
            .map(|before| {
                let name = beside_name(before);
                of_timing(&specs)
                    .map(|spec| Param::restore(spec.clone(), &name, &mut tensors))
                    .collect()
            })
            .collect();
        let halves = take(&mut tensors, "schedule.steps", &[2])?;
        let spans = take(&mut tensors, SPANS, &[1])?[0];
        Ok(Self {
            params: params?,
            beside: beside?,
            codebook: Codebook::restore(&settings, &mut tensors)?,
            steps: (halves[0] as u32) << 16 | halves[1] as u32,
            spans,
            tokens,
            profiles,
            settings,
        })
    }

    /// What serving needs: averaged weights without the encoder, the codes and their prior.
    pub fn weights(&self) -> Weights {
        let served = |param: &&Param| param.spec.part != Part::Encoder;
        let tensor = |param: &Param| {
            let Param { spec, average, .. } = param;
            (spec.name.to_owned(), (spec.shape.clone(), average.clone()))
        };
        let tensors: Tensors = self.params.iter().filter(served).map(tensor).collect();
        let beside = self.beside.iter();
        let beside = beside.map(|params| params.iter().map(tensor).collect());
        let codes = match self.settings.codes {
            0 => vec![0.0; self.settings.code_size],
            _ => self.heard_codes(),
        };
        Weights::new(
            self.settings.clone(),
            (self.tokens, self.profiles.clone()),
            (tensors, beside.collect()),
            (codes, self.shares()),
        )
    }

    /// What the averaged decoder hears of each code, one after another.
    fn heard_codes(&self) -> Vec<f32> {
        let rows = self.params.iter().find(|it| it.spec.name == CODE_ROWS);
        let rows = rows.map_or(&[][..], |rows| &rows.average);
        let places = self.codebook.codes().iter();
        places.zip(rows).map(|(place, row)| place + row).collect()
    }

    fn check_structures(&self, examples: &[&Example]) -> Result<(), VaeError> {
        for example in examples {
            if example.is_empty() {
                return Err(VaeError::Empty);
            }
            if let Some(fault) = lesson::example_fault(example, self.tokens, &self.profiles) {
                return Err(VaeError::Lesson(fault));
            }
        }
        Ok(())
    }

    fn check(&self, lessons: &[&Lesson]) -> Result<(), VaeError> {
        if lessons.is_empty() || lessons.iter().any(|lesson| lesson.example.is_empty()) {
            return Err(VaeError::Empty);
        }
        let faults = lessons
            .iter()
            .filter_map(|lesson| lesson.fault(&self.settings, self.tokens, &self.profiles));
        faults
            .map(VaeError::Lesson)
            .map(Err)
            .next()
            .unwrap_or(Ok(()))
    }
}
