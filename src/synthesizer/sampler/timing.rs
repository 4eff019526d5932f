//! Times: start and end of each span, once the whole structure is known.

use super::choice::{Choose, Event};
use super::layer::{First, Input, Layer, Rows, matrix, relu};
use crate::features::context::{FEATURES, Memory, Walk};
use crate::features::timing::{
    BINS, Coder, DRAWN, END_MODES, EndMode, Hearing, START_MODES, StartMode,
};
use crate::features::{Skeleton, Token};
use crate::model::dense::{exponents, gru_step};
use crate::model::vae::PLAN_SUM;
use crate::model::{Example, TimeCode, VaeError, Weights};

/// The timing network, compiled.
#[derive(Debug)]
pub(super) struct Timing {
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

/// A trace whose structure is known.
#[derive(Debug, Default)]
pub(super) struct Timed {
    /// Which generator its choices are drawn with.
    pub(super) number: usize,
    pub(super) code: usize,
    pub(super) skeleton: Skeleton,
    pub(super) tokens: Vec<Token>,
    /// Start and end of each span, once they were drawn.
    pub(super) times: Vec<(i64, i64)>,
}

impl Timed {
    pub(super) fn new(number: usize, code: usize, example: &Example) -> Self {
        let skeleton = Skeleton::of_example(example);
        Self {
            number,
            code,
            skeleton,
            tokens: example.tokens.iter().copied().map(Token).collect(),
            ..Self::default()
        }
    }

    /// Tokens of the span, its parent, its previous and its next sibling, its grandparent and its
    /// first child, each plus one; 0 for none.
    fn labels(skeleton: &Skeleton, tokens: &[Token], at: usize) -> [u32; 6] {
        let place = &skeleton.places()[at];
        let token = |at: Option<u32>| at.map_or(0, |at| tokens[at as usize].0 + 1);
        let above = place
            .parent
            .and_then(|at| skeleton.places()[at as usize].parent);
        let child = tokens.get(at + 1).filter(|_| place.children > 0);
        [
            tokens[at].0 + 1,
            token(place.parent),
            token(place.previous),
            token(place.next),
            token(above),
            child.map_or(0, |token| token.0 + 1),
        ]
    }
}

#[derive(Debug, Default)]
struct Buffers {
    gates: Vec<f32>,
    heads: Vec<f32>,
    features: Vec<f32>,
    projected: Vec<f32>,
    layer: Vec<f32>,
    logits: Vec<f32>,
    starts: Vec<TimeCode>,
    recalling: Recalling,
}

/// Buffers of a look back.
#[derive(Debug, Default)]
struct Recalling {
    query: Vec<f32>,
    weights: Vec<f32>,
}

impl Timing {
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

    /// Draws the times of traces, all abreast. The longest trace comes first; there are as many
    /// memories as traces, or more.
    pub(super) fn draw(
        &self,
        coder: &Coder,
        services: &[u32],
        (timed, memories): (&mut [Timed], &mut [Memory]),
        choose: &mut impl Choose,
    ) {
        let hidden = self.hidden;
        let mut state = vec![0.0; timed.len() * hidden];
        let mut buffers = Buffers::default();
        let mut active = timed.len();
        let mut walks: Vec<Drawing<'_>> = timed
            .iter_mut()
            .zip(memories)
            .map(|(timed, memory)| {
                let Timed {
                    number,
                    code,
                    skeleton,
                    tokens,
                    times,
                } = timed;
                let (gates, heads) = self.bases(*code, tokens);
                let mut walk = Walk::new(coder, services, skeleton, tokens, memory);
                Drawing {
                    number: *number,
                    gates,
                    heads,
                    keys: Vec::new(),
                    hearing: walk.hearing(),
                    walk,
                    skeleton,
                    tokens,
                    times,
                    end: TimeCode::default(),
                }
            })
            .collect();
        let mut at = 0;
        loop {
            while active > 0 && walks[active - 1].skeleton.len() <= at {
                active -= 1;
            }
            if active == 0 {
                break;
            }
            let state = &mut state[..active * hidden];
            self.step(&mut walks[..active], at, state, &mut buffers, choose);
            at += 1;
        }
        for drawing in walks {
            let (starts, ends) = drawing.walk.finish();
            let times = starts.iter().copied().zip(ends.iter().copied());
            drawing.times.extend(times);
        }
    }

    /// What z_G and the plan of the whole structure say to the gates and heads of every span.
    fn bases(&self, code: usize, tokens: &[Token]) -> (Vec<f32>, Vec<f32>) {
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
        (gates, heads)
    }

    /// Adds to the features what the next span sees looking back, and gives its own key to those
    /// that come after.
    fn recall(
        &self,
        drawing: &mut Drawing<'_>,
        labels: [u32; 2],
        buffers: &mut Recalling,
        features: &mut Vec<f32>,
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
        let scores = drawing.walk.scores();
        for (head, query) in query.chunks_exact(width).enumerate() {
            weights.clear();
            weights.extend(drawing.keys.chunks_exact(cols).map(|key| {
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
        let from = drawing.keys.len();
        drawing.keys.resize(from + cols, 0.0);
        for (keys, label) in self.keys.iter().zip(labels) {
            keys.add(label as usize, &mut drawing.keys[from..]);
        }
    }

    fn step(
        &self,
        drawings: &mut [Drawing<'_>],
        at: usize,
        state: &mut [f32],
        buffers: &mut Buffers,
        choose: &mut impl Choose,
    ) {
        let hidden = self.hidden;
        let Buffers {
            gates,
            heads,
            features,
            projected,
            layer,
            logits,
            starts,
            recalling,
        } = buffers;
        gates.resize(drawings.len() * self.gates.cols(), 0.0);
        heads.resize(drawings.len() * self.heads.cols(), 0.0);
        features.clear();
        let rows = gates
            .chunks_exact_mut(self.gates.cols())
            .zip(heads.chunks_exact_mut(self.heads.cols()));
        for (drawing, (gates, heads)) in drawings.iter_mut().zip(rows) {
            features.extend(drawing.walk.step(&drawing.hearing));
            let labels = Timed::labels(drawing.skeleton, drawing.tokens, at);
            self.gates.begin_at(&drawing.gates, &labels, gates);
            self.heads.begin_at(&drawing.heads, &labels, heads);
            self.recall(drawing, [labels[0], labels[1]], recalling, features);
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
        relu(heads, cols, 0..hidden, layer);
        self.start_mode_out.run(layer, logits);
        starts.clear();
        for (trace, drawing) in drawings.iter().enumerate() {
            let fits = drawing.hearing.start_fits();
            let logits = &mut logits[trace * self.start_mode_out.cols()..][..START_MODES];
            let mode = match at {
                0 => 0,
                _ => mode(
                    logits,
                    &drawing.hearing.start_modes(),
                    fits,
                    |weights, allowed| {
                        choose.choose(drawing.number, at, Event::StartMode, weights, allowed)
                    },
                ),
            };
            starts.push(TimeCode {
                mode: mode as u8,
                ..TimeCode::default()
            });
            self.start_mode
                .add(mode, &mut heads[trace * cols..][..hidden]);
            self.end_start_mode
                .add(mode, &mut heads[trace * cols + hidden..][..hidden]);
        }
        relu(heads, cols, 0..hidden, layer);
        self.start_bin_out.run(layer, logits);
        for (trace, drawing) in drawings.iter_mut().enumerate() {
            if at > 0 {
                let logits = &mut logits[trace * self.start_bin_out.cols()..][..BINS];
                let mode = StartMode::from_number(starts[trace].mode);
                let shares = drawing.hearing.start_bins(mode);
                let bin = bin(logits, &shares, |weights, allowed| {
                    choose.choose(drawing.number, at, Event::StartBin, weights, allowed)
                });
                (starts[trace].bin, starts[trace].within) = (bin, choose.number(drawing.number));
                starts[trace] = drawing.hearing.ticked(starts[trace]);
            }
            drawing.hearing.started(starts[trace]);
            let bin = usize::from(starts[trace].bin);
            self.end_start_bin
                .add(bin, &mut heads[trace * cols + hidden..][..hidden]);
        }

        relu(heads, cols, hidden..2 * hidden, layer);
        self.end_mode_out.run(layer, logits);
        for (trace, drawing) in drawings.iter_mut().enumerate() {
            let fits = drawing.hearing.end_fits();
            let logits = &mut logits[trace * self.end_mode_out.cols()..][..END_MODES];
            let mode = mode(
                logits,
                &drawing.hearing.end_modes(),
                fits,
                |weights, allowed| {
                    choose.choose(drawing.number, at, Event::EndMode, weights, allowed)
                },
            );
            drawing.end = TimeCode {
                mode: mode as u8,
                ..TimeCode::default()
            };
            self.end_mode
                .add(mode, &mut heads[trace * cols + hidden..][..hidden]);
        }
        relu(heads, cols, hidden..2 * hidden, layer);
        self.end_bin_out.run(layer, logits);
        for (trace, drawing) in drawings.iter_mut().enumerate() {
            let logits = &mut logits[trace * self.end_bin_out.cols()..][..BINS];
            let mode = EndMode::from_number(drawing.end.mode);
            let shares = drawing.hearing.end_bins(mode);
            let bin = bin(logits, &shares, |weights, allowed| {
                choose.choose(drawing.number, at, Event::EndBin, weights, allowed)
            });
            (drawing.end.bin, drawing.end.within) = (bin, choose.number(drawing.number));
            drawing.walk.push(starts[trace], drawing.end);
            if drawing.walk.at() < drawing.skeleton.len() {
                drawing.hearing = drawing.walk.hearing();
            }
        }
    }
}

/// A trace whose times are being drawn.
struct Drawing<'a> {
    number: usize,
    /// What its code and its plan add to every span's gates and heads.
    gates: Vec<f32>,
    heads: Vec<f32>,
    /// The keys of its spans so far.
    keys: Vec<f32>,
    walk: Walk<'a>,
    /// What is counted and heard before its next span.
    hearing: Hearing<'a>,
    skeleton: &'a Skeleton,
    tokens: &'a [Token],
    times: &'a mut Vec<(i64, i64)>,
    end: TimeCode,
}

type Allowed<'a> = &'a dyn Fn(usize) -> bool;

/// Chooses among the modes that say something: what the network adds to the shares of the training
/// spans.
fn mode(
    logits: &mut [f32],
    shares: &[f32],
    fits: u16,
    choose: impl FnOnce(&[f32], Allowed<'_>) -> usize,
) -> usize {
    let fit = |mode: usize| fits >> mode & 1 == 1;
    for (mode, logit) in logits.iter_mut().enumerate() {
        if !fit(mode) {
            *logit = f32::NEG_INFINITY;
        }
    }
    exponents(logits);
    for (weight, share) in logits.iter_mut().zip(shares) {
        *weight *= share;
    }
    choose(logits, &fit)
}

/// Chooses a bin: what the network adds to the shares of the training values.
fn bin(
    logits: &mut [f32],
    shares: &[f32; BINS],
    choose: impl FnOnce(&[f32], Allowed<'_>) -> usize,
) -> u8 {
    exponents(logits);
    for (weight, share) in logits.iter_mut().zip(shares) {
        *weight *= share;
    }
    choose(logits, &|bin| DRAWN.contains(&bin)) as u8
}
