//! J3: a small network on trees that tells observed from synthetic traces.
//!
//! Every span is embedded by its label and its times; twice, each hears from its children, its
//! parent and its neighbours among its siblings; the trace is judged by the mean of its spans, of
//! their squares, and by its root. Nothing is told to it that was counted over the trace.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::optim::{AdamW, Optimizer as _, ParamsAdamW};
use rand::seq::SliceRandom as _;
use rand_distr::{Distribution as _, StandardNormal};

use super::boosted::auc;
use super::shape::{Label, end, label};
use crate::chance::{Rng, stream};
use crate::features::Skeleton;
use crate::trace::Trace;

/// Traces of each side, at most.
const SIDE: usize = 3_000;
/// Spans of training traces seen in all: as many rounds over them as come to this.
const SEEN: usize = 4_000_000;
/// Rounds over the training traces, at least and at most.
const ROUNDS: [usize; 2] = [8, 60];
/// Last rounds whose judgements of the test traces are averaged.
const JUDGED: usize = 3;
const BATCH: usize = 48;
const HIDDEN: usize = 32;
const EMBEDDED: usize = 12;
/// Times measured of a span; each is told on the scale of all spans and on that of its label.
const MEASURED: usize = 11;
const TIMES: usize = 2 * MEASURED;
/// Training spans that a label needs for a scale of its own.
const FEW: usize = 20;
const MESSAGES: usize = 2;
const RATE: f64 = 5e-3;
/// Splits into traces to learn from and 30% to be asked about, none of them in two splits.
const SPLITS: usize = 3;

/// A trace as numbers, and which side it is from.
#[derive(Clone)]
struct Graph {
    labels: Vec<u32>,
    /// Shape [spans, TIMES].
    times: Vec<[f32; TIMES]>,
    parents: Vec<Option<u32>>,
    previous: Vec<Option<u32>>,
    next: Vec<Option<u32>>,
    children: Vec<u32>,
    truth: f32,
}

impl Graph {
    fn of(trace: &Trace, labels: &mut BTreeMap<Label, u32>, truth: f32) -> Self {
        let spans = trace.spans();
        let skeleton = Skeleton::of_trace(trace);
        let places = skeleton.places();
        let mut latest: Vec<Option<i128>> = vec![None; spans.len()];
        let mut graph = Self {
            labels: Vec::with_capacity(spans.len()),
            times: Vec::with_capacity(spans.len()),
            parents: places.iter().map(|place| place.parent).collect(),
            previous: places.iter().map(|place| place.previous).collect(),
            next: places.iter().map(|place| place.next).collect(),
            children: places.iter().map(|place| place.children).collect(),
            truth,
        };
        for (span, place) in spans.iter().zip(places) {
            let known = labels.len() as u32;
            graph
                .labels
                .push(*labels.entry(label(span)).or_insert(known));
            let above = &spans[span.parent.unwrap_or_default() as usize];
            let (start, from) = (i128::from(span.start), i128::from(above.start));
            let within = above.duration.max(1) as f64;
            let latest = &mut latest[span.parent.unwrap_or_default() as usize];
            let gap = (start - latest.unwrap_or(from)) as f64;
            *latest = Some(latest.map_or(end(span), |latest| latest.max(end(span))));
            let log = |value: f64| value.signum() * value.abs().ln_1p();
            let left = (end(above) - end(span)) as f64;
            let offset = (start - from) as f64;
            let measured = [
                log(span.duration as f64) as f32,
                ((span.duration as f64 + 1.0) / (within + 1.0)).ln() as f32,
                log(offset) as f32,
                (offset / within).clamp(-1.0, 2.0) as f32,
                log(left) as f32,
                (left / within).clamp(-1.0, 2.0) as f32,
                log(gap) as f32,
                (gap / within).clamp(-1.0, 2.0) as f32,
                place.depth as f32,
                (place.index as f32).ln_1p(),
                (place.children as f32).ln_1p(),
            ];
            let mut times = [0.0; TIMES];
            times[..MEASURED].copy_from_slice(&measured);
            times[MEASURED..].copy_from_slice(&measured);
            graph.times.push(times);
        }
        graph
    }
}

/// Many traces as one graph. N spans, B traces.
struct Batch {
    /// Shapes: labels [N], times [N, TIMES].
    labels: Tensor,
    times: Tensor,
    /// Position of the parent, the neighbours; N where there is none. Shape [N].
    parents: Tensor,
    previous: Tensor,
    next: Tensor,
    /// One over the number of children, 0 of a leaf. Shape [N, 1].
    share: Tensor,
    /// Trace of each span [N], one over the spans of each [B, 1], place of each root [B].
    traces: Tensor,
    spans: Tensor,
    roots: Tensor,
    /// Shape [B].
    truths: Tensor,
}

impl Batch {
    fn of(graphs: &[&Graph]) -> Result<Self> {
        let nodes: usize = graphs.iter().map(|graph| graph.labels.len()).sum();
        let none = nodes as u32;
        let (mut first, mut roots) = (0, Vec::new());
        let mut places: [Vec<u32>; 3] = Default::default();
        let mut labels: Vec<u32> = Vec::with_capacity(nodes);
        let mut times: Vec<f32> = Vec::with_capacity(nodes * TIMES);
        let mut share: Vec<f32> = Vec::with_capacity(nodes);
        let mut traces = Vec::new();
        for (graph, trace) in graphs.iter().zip(0_u32..) {
            roots.push(first);
            labels.extend(&graph.labels);
            times.extend(graph.times.iter().flatten().copied());
            let related = [&graph.parents, &graph.previous, &graph.next];
            for (places, of_graph) in places.iter_mut().zip(related) {
                places.extend(of_graph.iter().map(|at| at.map_or(none, |at| at + first)));
            }
            let inverse = |count: &u32| if *count > 0 { 1.0 / *count as f32 } else { 0.0 };
            share.extend(graph.children.iter().map(inverse));
            traces.extend(graph.labels.iter().map(|_| trace));
            first += graph.labels.len() as u32;
        }
        let spans = graphs.iter().map(|graph| 1.0 / graph.labels.len() as f32);
        let truths = graphs.iter().map(|graph| graph.truth);
        let (count, cpu) = (graphs.len(), &Device::Cpu);
        let [parents, previous, next] = places;
        Ok(Self {
            labels: Tensor::from_vec(labels, nodes, cpu)?,
            times: Tensor::from_vec(times, (nodes, TIMES), cpu)?,
            parents: Tensor::from_vec(parents, nodes, cpu)?,
            previous: Tensor::from_vec(previous, nodes, cpu)?,
            next: Tensor::from_vec(next, nodes, cpu)?,
            share: Tensor::from_vec(share, (nodes, 1), cpu)?,
            traces: Tensor::from_vec(traces, nodes, cpu)?,
            spans: Tensor::from_vec(spans.collect(), (count, 1), cpu)?,
            roots: Tensor::from_vec(roots, count, cpu)?,
            truths: Tensor::from_vec(truths.collect(), count, cpu)?,
        })
    }
}

/// The network's numbers.
struct Net {
    embedding: Var,
    input: [Var; 2],
    /// Of itself, children, parent, previous and next; and the bias.
    messages: Vec<[Var; 6]>,
    judge: [Var; 4],
}

impl Net {
    fn new(labels: usize, rng: &mut Rng) -> Result<Self> {
        let mut normal = |rows: usize, columns: usize| {
            let scale = (2.0 / rows as f64).sqrt();
            let mut draw = || {
                let drawn: f64 = StandardNormal.sample(rng);
                (drawn * scale) as f32
            };
            let values: Vec<f32> = (0..rows * columns).map(|_| draw()).collect();
            Var::from_vec(values, (rows, columns), &Device::Cpu)
        };
        let zeros = |columns: usize| Var::zeros(columns, DType::F32, &Device::Cpu);
        let mut messages = Vec::new();
        for _ in 0..MESSAGES {
            let [a, b, c, d, e] = [0; 5].map(|_| normal(HIDDEN, HIDDEN));
            messages.push([a?, b?, c?, d?, e?, zeros(HIDDEN)?]);
        }
        Ok(Self {
            embedding: normal(labels, EMBEDDED)?,
            input: [normal(EMBEDDED + TIMES, HIDDEN)?, zeros(HIDDEN)?],
            messages,
            judge: [
                normal(3 * HIDDEN, HIDDEN)?,
                zeros(HIDDEN)?,
                normal(HIDDEN, 1)?,
                zeros(1)?,
            ],
        })
    }

    fn vars(&self) -> Vec<Var> {
        let messages = self.messages.iter().flatten();
        let all = [&self.embedding].into_iter().chain(&self.input);
        all.chain(messages).chain(&self.judge).cloned().collect()
    }

    /// Log-odds of being synthetic. Shapes: a batch of N spans in B traces -> [B].
    fn judge(&self, batch: &Batch) -> Result<Tensor> {
        let embedded = self.embedding.index_select(&batch.labels, 0)?; // [N, embedded]
        let told = Tensor::cat(&[&embedded, &batch.times], 1)?; // [N, embedded + times]
        let [weight, bias] = &self.input;
        let mut hidden = told.matmul(weight)?.broadcast_add(bias)?.relu()?; // [N, hidden]
        let nobody = Tensor::zeros((1, HIDDEN), DType::F32, &Device::Cpu)?;
        let nodes = hidden.dim(0)?;
        for [own, below, above, before, after, bias] in &self.messages {
            let all = Tensor::cat(&[&hidden, &nobody], 0)?; // [N + 1, hidden]
            let from = |at: &Tensor, weight: &Var| all.index_select(at, 0)?.matmul(weight);
            let sums = Tensor::zeros((nodes + 1, HIDDEN), DType::F32, &Device::Cpu)?;
            let sums = sums.index_add(&batch.parents, &hidden, 0)?; // [N + 1, hidden]
            let children = sums.narrow(0, 0, nodes)?.broadcast_mul(&batch.share)?;
            let heard = (hidden.matmul(own)? + children.matmul(below)?)?;
            let heard = (heard + from(&batch.parents, above)?)?;
            let heard = ((heard + from(&batch.previous, before)?)? + from(&batch.next, after)?)?;
            hidden = (hidden + heard.broadcast_add(bias)?.relu()?)?; // [N, hidden]
        }
        let traces = batch.roots.dim(0)?;
        let mean = |values: &Tensor| {
            let sums = Tensor::zeros((traces, HIDDEN), DType::F32, &Device::Cpu)?;
            sums.index_add(&batch.traces, values, 0)?
                .broadcast_mul(&batch.spans)
        };
        let root = hidden.index_select(&batch.roots, 0)?;
        let trace = Tensor::cat(
            &[
                mean(&hidden)?,
                mean(&hidden.sqr()?)?.affine(0.1, 0.0)?,
                root,
            ],
            1,
        )?; // [B, 3 hidden]
        let [first, first_bias, last, last_bias] = &self.judge;
        let trace = trace.matmul(first)?.broadcast_add(first_bias)?.relu()?; // [B, hidden]
        trace.matmul(last)?.broadcast_add(last_bias)?.squeeze(1)
    }
}

/// The network's area under the ROC curve on 30% of as many traces of each side, after it learnt
/// from the others, the mean over three splits. The same seed gives the same area on the same machine.
pub(super) fn neural(sides: [&[Trace]; 2], seed: u64) -> Result<f64> {
    let mut rng = stream(seed, "neural classifier");
    let count = sides[0].len().min(sides[1].len()).min(SIDE);
    let mut labels = BTreeMap::new();
    let mut graphs = Vec::with_capacity(2 * count);
    for (side, truth) in sides.into_iter().zip([0.0, 1.0]) {
        let mut chosen: Vec<&Trace> = side.iter().collect();
        chosen.shuffle(&mut rng);
        let chosen = chosen[..count].iter();
        graphs.extend(chosen.map(|trace| Graph::of(trace, &mut labels, truth)));
    }
    graphs.shuffle(&mut rng);
    let learnt = 2 * count * 7 / 10;
    let mut areas = 0.0;
    for _ in 0..SPLITS {
        areas += split(&mut graphs.clone(), learnt, labels.len(), &mut rng)?;
        graphs.rotate_right(2 * count - learnt);
    }
    Ok(areas / SPLITS as f64)
}

/// The area of a network that has learnt from the first graphs, on the others.
fn split(graphs: &mut [Graph], learnt: usize, labels: usize, rng: &mut Rng) -> Result<f64> {
    let (training, test) = graphs.split_at_mut(learnt);
    standardise(training, test);
    let spans: usize = training.iter().map(|graph| graph.labels.len()).sum();
    let [least, most] = ROUNDS;
    let rounds = (SEEN / spans.max(1)).clamp(least, most);
    let net = Net::new(labels, rng)?;
    let settings = ParamsAdamW {
        lr: RATE,
        weight_decay: 1e-3,
        ..ParamsAdamW::default()
    };
    let mut descent = AdamW::new(net.vars(), settings)?;
    let mut order: Vec<&Graph> = training.iter().collect();
    let test: Vec<&Graph> = test.iter().collect();
    let mut odds = vec![0.0; test.len()];
    for round in 0..rounds {
        order.shuffle(rng);
        descent.set_learning_rate(RATE * (1.0 - round as f64 / rounds as f64));
        for graphs in order.chunks(BATCH) {
            let batch = Batch::of(graphs)?;
            descent.backward_step(&cross_entropy(&net.judge(&batch)?, &batch.truths)?)?;
        }
        if round + JUDGED >= rounds {
            for (odds, graphs) in odds.chunks_mut(BATCH).zip(test.chunks(BATCH)) {
                let told = net.judge(&Batch::of(graphs)?)?.to_vec1::<f32>()?;
                for (odds, told) in odds.iter_mut().zip(told) {
                    *odds += f64::from(told);
                }
            }
        }
    }
    if odds.iter().any(|odds| !odds.is_finite()) {
        return Err(candle_core::Error::Msg(
            "the network has diverged".to_owned(),
        ));
    }
    let truths: Vec<f64> = test.iter().map(|graph| f64::from(graph.truth)).collect();
    Ok(auc(&truths, &odds))
}

/// The mean of ln(1 + e^x) - x truth, which stays finite where the network is sure. Shapes: [B], [B]
/// -> scalar.
fn cross_entropy(odds: &Tensor, truths: &Tensor) -> Result<Tensor> {
    let rest = (odds.abs()?.neg()?.exp()? + 1.0)?.log()?;
    ((odds.relu()? + rest)? - (odds * truths)?)?.mean_all()
}

/// Sums of values and of their squares.
#[derive(Clone, Copy, Default)]
struct Sums {
    count: usize,
    sums: [[f64; 2]; MEASURED],
}

impl Sums {
    fn add(&mut self, times: &[f32; TIMES]) {
        self.count += 1;
        for (sums, &time) in self.sums.iter_mut().zip(times) {
            sums[0] += f64::from(time);
            sums[1] += f64::from(time).powi(2);
        }
    }

    /// How far a value is from the mean, in deviations, within bounds.
    fn scaled(&self, axis: usize, value: f32) -> f32 {
        let [mean, square] = self.sums[axis].map(|sum| sum / self.count.max(1) as f64);
        let deviation = (square - mean * mean).max(0.0).sqrt().max(1e-3);
        ((f64::from(value) - mean) / deviation).clamp(-8.0, 8.0) as f32
    }
}

/// Brings all times to mean 0 and deviation 1 of the training traces' spans: the first half of all
/// of them, the second half of those with the same label.
fn standardise(training: &mut [Graph], test: &mut [Graph]) {
    let mut all = Sums::default();
    let mut by_label: BTreeMap<u32, Sums> = BTreeMap::new();
    for graph in training.iter() {
        for (label, times) in graph.labels.iter().zip(&graph.times) {
            all.add(times);
            by_label.entry(*label).or_default().add(times);
        }
    }
    by_label.retain(|_, sums| sums.count >= FEW);
    for graph in training.iter_mut().chain(test) {
        for (label, times) in graph.labels.iter().zip(&mut graph.times) {
            let own = by_label.get(label).unwrap_or(&all);
            for axis in 0..MEASURED {
                let value = times[axis];
                times[axis] = all.scaled(axis, value);
                times[MEASURED + axis] = own.scaled(axis, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt as _;

    use super::*;
    use crate::eval::testing::timed;

    /// Requests whose second call starts when the first ends, or whenever it likes.
    fn traces(seed: u64, waits: bool) -> Vec<Trace> {
        let mut rng = stream(seed, "neural tests");
        let one = |_| {
            let mut time = || rng.random_range(100..1_000_u64);
            let (first, second, any) = (time(), time(), time());
            let start = if waits { first } else { any };
            timed("a(b c)", &[(0, 3_000), (0, first), (start as i64, second)])
        };
        let mut traces: Vec<Trace> = (0..400).map(one).collect();
        // Siblings stand by start, whatever the durations were.
        traces.retain(|trace| trace.spans()[2].start >= trace.spans()[1].start);
        traces
    }

    #[test]
    fn a_network_that_is_sure_and_wrong_pays_what_it_said_and_no_more() {
        let told = |odds: f32, truth: f32| {
            let [odds, truth] = [odds, truth].map(|x| Tensor::new(&[x], &Device::Cpu).unwrap());
            let paid = cross_entropy(&odds, &truth).unwrap();
            paid.to_scalar::<f32>().unwrap()
        };
        assert!((told(0.0, 1.0) - 2_f32.ln()).abs() < 1e-6);
        assert_eq!([told(500.0, 0.0), told(500.0, 1.0)], [500.0, 0.0]);
        assert_eq!([told(-500.0, 1.0), told(-500.0, 0.0)], [500.0, 0.0]);
    }

    #[test]
    fn a_call_that_does_not_wait_for_its_sibling_gives_a_trace_away() {
        let told = neural([&traces(1, true), &traces(2, false)], 1).unwrap();
        assert!(told > 0.9, "{told}");
        let told = neural([&traces(1, true), &traces(3, true)], 1).unwrap();
        assert!((told - 0.5).abs() < 0.1, "{told}");
    }
}
