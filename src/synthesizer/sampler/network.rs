//! One timing network, compiled.

use super::choice::Event;
use super::layer::{First, Input, Layer, Rows, matrix, relu};
use super::timing::{Drawing, Timed};
use crate::features::Token;
use crate::features::context::FEATURES;
use crate::features::timing::{BINS, END_MODES, START_MODES};
use crate::model::dense::{exponents, gru_step};
use crate::model::vae::PLAN_SUM;
use crate::model::{VaeError, Weights};

/// A timing network, compiled.
#[derive(Debug)]
pub(super) struct Network {
    hidden: usize,
    /// How a span looks back at earlier ones: by its own label and by its parent's.
    queries: [Rows; 2],
    keys: [Rows; 2],
    recall_heads: usize,
    plan_token: Rows,
    plan_hidden: Layer,
    gates: First,
    recurrent: Layer,
    /// Hidden layers of start and end, side by side: their inputs' part, and the state's part.
    heads: First,
    states: Layer,
    /// What each token makes of the hidden layers of start and end.
    gains: [Rows; 2],
    start_mode_out: Layer,
    start_mode: Rows,
    start_bin_out: Layer,
    end_start_mode: Rows,
    end_start_bin: Rows,
    end_mode_out: Layer,
    end_mode: Rows,
    end_bin_out: Layer,
}

/// What one network makes of the traces abreast. Nothing is allocated once its buffers have grown.
#[derive(Debug, Default)]
pub(super) struct Abreast {
    /// [traces * hidden].
    state: Vec<f32>,
    gates: Vec<f32>,
    heads: Vec<f32>,
    features: Vec<f32>,
    projected: Vec<f32>,
    layer: Vec<f32>,
    /// [traces * outcomes, padded], of the choice that was asked about last.
    pub(super) logits: Vec<f32>,
    recalling: Recalling,
    /// One for each trace.
    heard: Vec<Heard>,
}

/// What one network has heard of a trace.
#[derive(Debug)]
struct Heard {
    /// What its code and its plan add to every span's gates and heads.
    gates: Vec<f32>,
    heads: Vec<f32>,
    /// The keys of its spans so far.
    keys: Vec<f32>,
}

/// Buffers of a look back.
#[derive(Debug, Default)]
struct Recalling {
    query: Vec<f32>,
    weights: Vec<f32>,
}

impl Network {
    pub(super) fn new(weights: &Weights) -> Result<Self, VaeError> {
        let hidden = weights.settings().timing_hidden;
        let sizes = weights.settings();
        if (
            sizes.features,
            sizes.start_modes,
            sizes.end_modes,
            sizes.bins,
        ) != (FEATURES, START_MODES, END_MODES, BINS)
        {
            return Err(VaeError::Settings("its time codes are not this program's"));
        }
        let named = |name| matrix(weights, name);
        let inputs = [
            Input::Features(FEATURES + 2 * sizes.recall_heads),
            Input::Label("timing.token"),
            Input::Label("timing.token"),
            Input::Label("timing.token"),
            Input::Label("timing.token"),
            Input::Label("timing.token"),
            Input::Label("timing.token"),
            Input::Plan(sizes.plan),
            Input::Code,
        ];
        let heads = [
            ("timing.start_hidden", "timing.start_hidden_bias"),
            ("timing.end_hidden", "timing.end_hidden_bias"),
        ];
        let mut states = Vec::new();
        for (weight, _) in heads {
            let weight = named(weight)?;
            let inputs = weight.rows.saturating_sub(hidden);
            states.push(weight.part(inputs..weight.rows)?);
        }
        let out = |weight, bias| -> Result<Layer, VaeError> {
            Ok(Layer::new(&[named(weight)?], &[named(bias)?]))
        };
        let rows = |name| -> Result<Rows, VaeError> { Ok(Rows::new(&named(name)?)) };
        Ok(Self {
            hidden,
            queries: [rows("timing.query")?, rows("timing.query_parent")?],
            keys: [rows("timing.key")?, rows("timing.key_parent")?],
            recall_heads: sizes.recall_heads,
            plan_token: rows("timing.plan_token")?,
            plan_hidden: out("timing.plan_hidden", "timing.plan_hidden_bias")?,
            gates: First::new(weights, &inputs, &[("timing.gates", "timing.gates_bias")])?,
            recurrent: Layer::new(&[named("timing.recurrent")?], &[]),
            heads: First::new(weights, &inputs, &heads)?,
            states: Layer::new(&states, &[]),
            gains: [rows("timing.start_gain")?, rows("timing.end_gain")?],
            start_mode_out: out("timing.start_mode_out", "timing.start_mode_out_bias")?,
            start_mode: rows("timing.start_mode")?,
            start_bin_out: out("timing.start_bin_out", "timing.start_bin_out_bias")?,
            end_start_mode: rows("timing.end_start_mode")?,
            end_start_bin: rows("timing.end_start_bin")?,
            end_mode_out: out("timing.end_mode_out", "timing.end_mode_out_bias")?,
            end_mode: rows("timing.end_mode")?,
            end_bin_out: out("timing.end_bin_out", "timing.end_bin_out_bias")?,
        })
    }

    /// Begins with traces of which nothing is timed yet.
    pub(super) fn begin(&self, timed: &[Timed]) -> Abreast {
        let heard = |timed: &Timed| self.hear(timed.code, &timed.tokens);
        Abreast {
            state: vec![0.0; timed.len() * self.hidden],
            heard: timed.iter().map(heard).collect(),
            ..Abreast::default()
        }
    }

    /// What z_G and the plan of the whole structure say to the gates and heads of every span.
    fn hear(&self, code: usize, tokens: &[Token]) -> Heard {
        let width = self.plan_token.cols();
        let mut both = vec![0.0; 2 * width];
        for token in tokens {
            self.plan_token.add(token.0 as usize, &mut both[..width]);
        }
        let spans = tokens.len().max(1) as f32;
        let (mean, sum) = both.split_at_mut(width);
        for (mean, sum) in mean.iter_mut().zip(sum) {
            *mean /= spans;
            *sum = *mean * (spans * PLAN_SUM);
        }
        let mut plan = Vec::new();
        self.plan_hidden.run(&both, &mut plan);
        plan.iter_mut().for_each(|number| *number = number.max(0.0));
        let (mut gates, mut heads) = (Vec::new(), Vec::new());
        self.gates.base(code, &plan[..width], &mut gates);
        self.heads.base(code, &plan[..width], &mut heads);
        let keys = Vec::new();
        Heard { gates, heads, keys }
    }

    /// Adds to the features what the next span sees looking back at these scores, and gives its own
    /// key to those that come after.
    fn recall(
        &self,
        heard: &mut Heard,
        labels: [u32; 2],
        scores: &[[f32; 2]],
        (buffers, features): (&mut Recalling, &mut Vec<f32>),
    ) {
        let cols = self.queries[0].cols();
        let width = cols / self.recall_heads;
        let scale = 1.0 / (width as f32).sqrt();
        let Recalling { query, weights } = buffers;
        query.clear();
        query.resize(cols, 0.0);
        for (queries, label) in self.queries.iter().zip(labels) {
            queries.add(label as usize, query);
        }
        for (head, query) in query.chunks_exact(width).enumerate() {
            weights.clear();
            weights.extend(heard.keys.chunks_exact(cols).map(|key| {
                let key = &key[head * width..(head + 1) * width];
                query.iter().zip(key).map(|(q, k)| q * k).sum::<f32>() * scale
            }));
            weights.push(0.0);
            exponents(weights);
            let total: f32 = weights.iter().sum();
            let mut sums = [0.0; 2];
            for (weight, scores) in weights.iter().zip(scores) {
                for (sum, score) in sums.iter_mut().zip(scores) {
                    *sum += weight * score;
                }
            }
            features.extend(sums.map(|sum| sum / total));
        }
        let from = heard.keys.len();
        heard.keys.resize(from + cols, 0.0);
        for (keys, label) in self.keys.iter().zip(labels) {
            keys.add(label as usize, &mut heard.keys[from..]);
        }
    }

    /// Takes in the next span of each trace, of which so much is told (`[traces * FEATURES]`).
    pub(super) fn advance(
        &self,
        drawings: &[Drawing<'_>],
        at: usize,
        told: &[f32],
        abreast: &mut Abreast,
    ) {
        let hidden = self.hidden;
        let Abreast {
            state,
            gates,
            heads,
            features,
            projected,
            recalling,
            heard,
            ..
        } = abreast;
        state.truncate(drawings.len() * hidden);
        gates.resize(drawings.len() * self.gates.cols(), 0.0);
        heads.resize(drawings.len() * self.heads.cols(), 0.0);
        features.clear();
        let rows = gates
            .chunks_exact_mut(self.gates.cols())
            .zip(heads.chunks_exact_mut(self.heads.cols()));
        let traces = drawings.iter().zip(told.chunks_exact(FEATURES)).zip(heard);
        for (((drawing, told), heard), (gates, heads)) in traces.zip(rows) {
            features.extend_from_slice(told);
            let labels = &drawing.labels;
            self.gates.begin_at(&heard.gates, labels, gates);
            self.heads.begin_at(&heard.heads, labels, heads);
            let scores = drawing.walk.scores();
            let own = [labels[0], labels[1]];
            self.recall(heard, own, scores, (recalling, features));
        }
        self.gates.add(features, gates);
        self.heads.add(features, heads);
        self.recurrent.run(state, projected);
        gru_step(gates, projected, state, hidden);
        self.states.add(state, heads);

        let cols = self.heads.cols();
        for (drawing, heads) in drawings.iter().zip(heads.chunks_exact_mut(cols)) {
            let token = drawing.tokens[at].0 as usize;
            for (gain, heads) in self.gains.iter().zip(heads.chunks_exact_mut(hidden)) {
                gain.gain(token, heads);
            }
        }
    }

    /// Says how likely each outcome of a choice is.
    pub(super) fn say(&self, choice: Event, abreast: &mut Abreast) {
        let hidden = self.hidden;
        let (part, out) = match choice {
            Event::StartMode => (0..hidden, &self.start_mode_out),
            Event::StartBin => (0..hidden, &self.start_bin_out),
            Event::EndMode => (hidden..2 * hidden, &self.end_mode_out),
            Event::EndBin => (hidden..2 * hidden, &self.end_bin_out),
            _ => return abreast.logits.clear(),
        };
        relu(&abreast.heads, self.heads.cols(), part, &mut abreast.layer);
        out.run(&abreast.layer, &mut abreast.logits);
    }

    /// Hears what was chosen for a trace.
    pub(super) fn chosen(
        &self,
        choice: Event,
        trace: usize,
        outcome: usize,
        abreast: &mut Abreast,
    ) {
        let hidden = self.hidden;
        let heads = &mut abreast.heads[trace * self.heads.cols()..];
        let (starts, ends) = heads[..2 * hidden].split_at_mut(hidden);
        match choice {
            Event::StartMode => {
                self.start_mode.add(outcome, starts);
                self.end_start_mode.add(outcome, ends);
            }
            Event::StartBin => self.end_start_bin.add(outcome, ends),
            Event::EndMode => self.end_mode.add(outcome, ends),
            _ => {}
        }
    }
}
