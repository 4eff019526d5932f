//! What the VAEs with Gaussian latents share, which stand beside the model: layers, the scale of
//! each token's times, training, and a drawn trace.

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::optim::{AdamW, Optimizer as _, ParamsAdamW};
use rand::RngExt as _;
use rand::seq::SliceRandom as _;
use rand_distr::{Distribution as _, StandardNormal};

use super::control::{TOKENS, in_pre_order};
use crate::chance::Rng;
use crate::features::{Interner, Sampled, SampledSpan, Token, Vocabulary};
use crate::trace::{Span, StatusCode, Trace};

/// Numbers that tell normal log duration and log start: two means, two log variances.
pub(super) const TIMES: usize = 4;
/// Rounds over the training traces, at least and at most.
const ROUNDS: [usize; 2] = [4, 200];
pub(super) const BATCH: usize = 32;
const RATE: f64 = 2e-3;
/// Share of the training in which the weight of the KL term grows from 0 to 1.
const WARM_UP: f64 = 0.4;
/// Log variances are kept within.
const LOG_VARIANCE: (f32, f32) = (-6.0, 2.0);
/// Standard deviations of a token's times that a drawn time lies within.
const FARTHEST: f32 = 6.0;

/// Mean and deviation of log duration and of log start of each token.
pub(super) struct Scales(Vec<[(f64, f64); 2]>);

impl Scales {
    pub(super) fn of(traces: &[(&Trace, Vec<Token>)], tokens: usize) -> Self {
        let mut sums = vec![[[0.0_f64; 3]; 2]; tokens];
        for (trace, tokens) in traces {
            for (at, token) in tokens.iter().enumerate() {
                for (sums, value) in sums[token.0 as usize].iter_mut().zip(logs(trace, at)) {
                    for (sum, power) in sums.iter_mut().zip([1.0, value, value * value]) {
                        *sum += power;
                    }
                }
            }
        }
        let scale = |[count, sum, squares]: [f64; 3]| {
            let mean = sum / count.max(1.0);
            let variance = (squares / count.max(1.0) - mean * mean).max(0.0);
            (mean, variance.sqrt().max(0.05))
        };
        Self(sums.into_iter().map(|sums| sums.map(scale)).collect())
    }

    pub(super) fn scaled(&self, token: Token, logs: [f64; 2]) -> [f32; 2] {
        let scales = self.0[token.0 as usize];
        [0, 1].map(|axis| {
            let (mean, deviation) = scales[axis];
            ((logs[axis] - mean) / deviation) as f32
        })
    }

    /// Nanoseconds of a drawn span of a token: how long it takes, and how long after its parent it
    /// starts. `told` is of [`TIMES`] numbers.
    pub(super) fn draw(&self, token: u32, told: &[f32], rng: &mut Rng) -> (u64, i64) {
        let (low, high) = LOG_VARIANCE;
        let mut time = |axis: usize| {
            let normal: f32 = StandardNormal.sample(rng);
            let deviation = (told[2 + axis].clamp(low, high) * 0.5).exp();
            self.value(token, axis, told[axis] + deviation * normal)
        };
        let (duration, after) = (time(0).max(0.0), time(1));
        (duration as u64, after as i64)
    }

    fn value(&self, token: u32, axis: usize, scaled: f32) -> f64 {
        let (mean, deviation) = self.0[token as usize][axis];
        let log = mean + deviation * f64::from(scaled.clamp(-FARTHEST, FARTHEST));
        // 2^62 nanoseconds and no more, whatever the scale is.
        log.signum() * log.abs().min(43.0).exp_m1()
    }
}

/// ln(1 + nanoseconds) of a span's duration and of its start after its parent's, which keeps its sign.
pub(super) fn logs(trace: &Trace, at: usize) -> [f64; 2] {
    let spans = trace.spans();
    let span = &spans[at];
    let from = span.parent.map_or(0, |parent| spans[parent as usize].start);
    log_times(span.duration, span.start.saturating_sub(from))
}

/// The same of nanoseconds.
pub(super) fn log_times(duration: u64, after: i64) -> [f64; 2] {
    let after = after as f64;
    [
        (duration as f64).ln_1p(),
        after.signum() * after.abs().ln_1p(),
    ]
}

/// A matrix and a bias, initialised for rectifiers. Shapes: [rows, columns], [columns].
pub(super) struct Linear(pub(super) [Var; 2]);

impl Linear {
    pub(super) fn new(rows: usize, columns: usize, gain: f64, rng: &mut Rng) -> Result<Self> {
        let scale = gain / (rows as f64).sqrt();
        let draw = |_| {
            let drawn: f64 = StandardNormal.sample(rng);
            (drawn * scale) as f32
        };
        let values: Vec<f32> = (0..rows * columns).map(draw).collect();
        Ok(Self([
            Var::from_vec(values, (rows, columns), &Device::Cpu)?,
            Var::zeros(columns, DType::F32, &Device::Cpu)?,
        ]))
    }

    /// Shapes: [n, rows] -> [n, columns].
    pub(super) fn of(&self, x: &Tensor) -> Result<Tensor> {
        let [weight, bias] = &self.0;
        x.matmul(weight)?.broadcast_add(bias)
    }
}

/// The labels that stand in `min_traces` training traces, and the traces that have no others.
pub(super) fn known<'a>(
    training: &'a [Trace],
    min_traces: u32,
    texts: &Interner,
) -> (Vocabulary, Vec<(&'a Trace, Vec<Token>)>) {
    let mut vocabulary = Vocabulary::new(min_traces, TOKENS);
    for trace in training {
        vocabulary.observe(trace, texts);
    }
    let known = training
        .iter()
        .filter_map(|trace| Some((trace, vocabulary.tokens(trace).ok()?)))
        .collect();
    (vocabulary, known)
}

/// Trains on traces of so many spans together until `seen` were seen. `nats` are those of a batch
/// and of its latents, a trace. Returns those of the last round.
pub(super) fn learn<T>(
    vars: Vec<Var>,
    (traces, spans, seen): (&[T], usize, usize),
    nats: impl Fn(&[&T], &mut Rng) -> Result<[Tensor; 2]>,
    rng: &mut Rng,
) -> Result<[f64; 2]> {
    let [least, most] = ROUNDS;
    let rounds = (seen / spans.max(1)).clamp(least, most);
    let settings = ParamsAdamW {
        lr: RATE,
        weight_decay: 1e-4,
        ..ParamsAdamW::default()
    };
    let mut descent = AdamW::new(vars, settings)?;
    let mut order: Vec<&T> = traces.iter().collect();
    let steps = (rounds * traces.len().div_ceil(BATCH)) as f64;
    let (mut step, mut sums) = (0.0, [0.0; 2]);
    for _ in 0..rounds {
        order.shuffle(rng);
        sums = [0.0; 2];
        for batch in order.chunks(BATCH) {
            let done = step / steps;
            step += 1.0;
            // Steps are small at first, as at last.
            descent.set_learning_rate(RATE * (done / 0.03).min(1.0) * (1.0 - done));
            let [told, latents] = nats(batch, rng)?;
            let weight = (done / WARM_UP).min(1.0);
            descent.backward_step(&(&told + (&latents * weight)?)?)?;
            for (sum, paid) in sums.iter_mut().zip([told, latents]) {
                *sum += f64::from(paid.to_scalar::<f32>()?) * batch.len() as f64;
            }
        }
    }
    if sums.iter().any(|sum| !sum.is_finite()) {
        return Err(candle_core::Error::Msg(
            "a VAE with Gaussian latents has diverged".to_owned(),
        ));
    }
    Ok(sums.map(|sum| sum / traces.len() as f64))
}

/// A span that was drawn.
pub(super) struct Drawn {
    pub(super) token: u32,
    pub(super) status: StatusCode,
    pub(super) parent: Option<u32>,
    pub(super) duration: u64,
    /// Nanoseconds after the parent's start.
    pub(super) after: i64,
}

/// Independent standard normal numbers. Shape: [count, width].
pub(super) fn normals(count: usize, width: usize, rng: &mut Rng) -> Result<Tensor> {
    let draw = |_| StandardNormal.sample(rng);
    let values: Vec<f32> = (0..count * width).map(draw).collect();
    Tensor::from_vec(values, (count, width), &Device::Cpu)
}

/// Nats of times in deviations from the mean of their token, of normal distributions. Shapes: truths
/// [spans, 2], [spans, TIMES] -> [spans, 2].
pub(super) fn nats_of_times(truths: &Tensor, told: &Tensor) -> Result<Tensor> {
    let (low, high) = LOG_VARIANCE;
    let variance = told.narrow(1, 2, 2)?.clamp(low, high)?;
    let far = (truths - told.narrow(1, 0, 2)?)?.sqr()?;
    ((far / variance.exp()?)? + variance)?.affine(0.5, 0.0)
}

/// An outcome by its log-odds.
pub(super) fn pick(logits: &[f32], rng: &mut Rng) -> usize {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |logit: &f32| f64::from(logit - most).exp();
    let mut left = rng.random::<f64>() * logits.iter().map(weight).sum::<f64>();
    let at = logits.iter().position(|logit| {
        left -= weight(logit);
        left < 0.0
    });
    at.unwrap_or(logits.len().saturating_sub(1))
}

/// The trace of drawn spans: a tree, because parents are earlier, brought into pre-order.
pub(super) fn trace(drawn: &[Drawn], vocabulary: &Vocabulary) -> Option<Trace> {
    let mut starts: Vec<i64> = Vec::with_capacity(drawn.len());
    for span in drawn {
        let from = span.parent.map(|parent| starts[parent as usize]);
        starts.push(from.map_or(0, |from| from.saturating_add(span.after)));
    }
    // Labels are known to a vocabulary as those of any tree: all below the root.
    let spans = drawn.iter().zip(starts).map(|(span, start)| SampledSpan {
        parent: span.parent.map(|_| 0),
        token: Token(span.token),
        status: span.status,
        profile: 0,
        start,
        duration: span.duration,
    });
    let sampled = Sampled {
        spans: spans.collect(),
        links: Vec::new(),
    };
    let labelled = vocabulary.observed(&sampled).ok()?;
    let mut spans: Vec<Span> = labelled.spans().to_vec();
    for (span, drawn) in spans.iter_mut().zip(drawn) {
        span.parent = drawn.parent;
    }
    Trace::new(in_pre_order(&spans), Vec::new()).ok()
}
