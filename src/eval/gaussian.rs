//! The ablation of z_v: amortised Gaussian latents in place of inverse-CDF noise.
//!
//! A VAE over trees with a Gaussian z_v for each span. An encoder reads a span and makes a normal
//! distribution of its z_v; the prior of z_v is a normal distribution that is learnt, given the
//! parent, the sibling before, their times and the z_v of both; a decoder makes of z_v and the tokens
//! of parent and sibling the span's token and status, whether it has a child, whether a sibling
//! follows, and normal log duration and log start. So how times hang together has to go through
//! z_v, and what the encoder tells it that the prior does not know is missing when a trace is
//! drawn, span by span in pre-order from the prior: the hole that decision 3 is about.

use candle_core::{D, Device, Result, Tensor, Var};
use candle_nn::ops::log_softmax;

use super::Immeasurable;
use super::latent::{
    Drawn, Linear, Scales, TIMES, known, learn, log_times, logs, nats_of_times, normals, pick,
    trace,
};
use crate::chance::{Rng, stream};
use crate::features::{Interner, Skeleton, Token};
use crate::trace::{StatusCode, Trace};

/// Spans of a trace, at most: longer training traces are left out.
const MOST: usize = 2_000;
/// Spans seen in training, of as many rounds as come to this.
const SEEN: usize = 4_000_000;
/// Traces drawn together.
const TOGETHER: usize = 512;
/// Numbers of a z_v.
const LATENT: usize = 8;
const HIDDEN: usize = 96;
/// Width of a token's embedding.
const EMBEDDED: usize = 16;
const STATUSES: usize = StatusCode::ALL.len();
/// Numbers of where a span stands: two times of the parent and of the sibling before, its place
/// among its siblings, its depth.
const PLACE: usize = 6;
/// What is told of where a span stands, and of the span itself.
const AROUND: usize = 2 * EMBEDDED + PLACE;
const ITSELF: usize = EMBEDDED + 2 + STATUSES + 2;
/// The same with the z_v of parent and sibling.
const KNOWN: usize = AROUND + 2 * LATENT;

/// What was drawn, and how it was learnt.
#[derive(Debug)]
pub struct Gaussian {
    /// Synthetic traces; none if there was nothing to learn from.
    pub traces: Vec<Trace>,
    /// Nats a trace in the last round: of the spans, and KL of z_v.
    pub nats: [f64; 2],
}

impl std::fmt::Display for Gaussian {
    /// What a reader of the report has to know.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [spans, latents] = self.nats;
        write!(
            f,
            "the VAE with amortised Gaussian z_v took {spans:.1} nats a trace and {latents:.1} of its latents in its last round"
        )
    }
}

/// A training trace: what is told of each span.
struct Tree {
    tokens: Vec<u32>,
    parents: Vec<Option<u32>>,
    before: Vec<Option<u32>>,
    /// Place among the siblings, and depth.
    places: Vec<[f32; 2]>,
    /// Log duration and log start, in deviations from the mean of their token.
    times: Vec<[f32; 2]>,
    statuses: Vec<u32>,
    /// Whether there is a child, and whether a sibling follows.
    goes_on: Vec<[u32; 2]>,
}

/// Small numbers of where a span stands.
fn place(index: u32, depth: u32) -> [f32; 2] {
    [index, depth].map(|number| number.min(16) as f32 / 8.0)
}

impl Tree {
    fn of(trace: &Trace, tokens: &[Token], scales: &Scales) -> Self {
        let skeleton = Skeleton::of_trace(trace);
        let places = skeleton.places();
        let spans = trace.spans();
        Self {
            tokens: tokens.iter().map(|token| token.0).collect(),
            parents: places.iter().map(|place| place.parent).collect(),
            before: places.iter().map(|place| place.previous).collect(),
            places: places.iter().map(|of| place(of.index, of.depth)).collect(),
            times: (0..spans.len())
                .map(|at| scales.scaled(tokens[at], logs(trace, at)))
                .collect(),
            statuses: spans.iter().map(|span| span.status as u32).collect(),
            goes_on: places
                .iter()
                .map(|place| {
                    [
                        u32::from(place.children > 0),
                        u32::from(place.next.is_some()),
                    ]
                })
                .collect(),
        }
    }
}

/// Two layers.
struct Mlp([Linear; 2]);

impl Mlp {
    fn new(rows: usize, columns: usize, gain: f64, rng: &mut Rng) -> Result<Self> {
        Ok(Self([
            Linear::new(rows, HIDDEN, 2_f64.sqrt(), rng)?,
            Linear::new(HIDDEN, columns, gain, rng)?,
        ]))
    }

    /// Shapes: [n, rows] -> [n, columns].
    fn of(&self, x: &Tensor) -> Result<Tensor> {
        let [first, second] = &self.0;
        second.of(&first.of(x)?.relu()?)
    }
}

struct Net {
    tokens: usize,
    /// The last row is that of no span.
    embedding: Var,
    encoder: Mlp,
    prior: Mlp,
    decoder: Mlp,
    /// Of what the decoder makes.
    labels: Linear,
    times: Mlp,
}

/// What is told of spans of which each has a parent and a sibling before it, or none.
#[derive(Default)]
struct Rows {
    /// Tokens of parents, and of siblings before.
    neighbours: [Vec<u32>; 2],
    /// Shape [spans, PLACE].
    places: Vec<f32>,
}

impl Rows {
    fn add(&mut self, tokens: [u32; 2], times: [[f32; 2]; 2], place: [f32; 2]) {
        for (all, token) in self.neighbours.iter_mut().zip(tokens) {
            all.push(token);
        }
        self.places.extend(times.into_iter().flatten().chain(place));
    }
}

impl Net {
    fn new(tokens: usize, rng: &mut Rng) -> Result<Self> {
        let embedding = Linear::new(tokens + 1, EMBEDDED, (tokens as f64).sqrt(), rng)?;
        let [embedding, _] = embedding.0;
        Ok(Self {
            tokens,
            embedding,
            encoder: Mlp::new(AROUND + ITSELF, 2 * LATENT, 0.3, rng)?,
            prior: Mlp::new(KNOWN, 2 * LATENT, 0.3, rng)?,
            decoder: Mlp::new(2 * EMBEDDED + LATENT, HIDDEN, 2_f64.sqrt(), rng)?,
            labels: Linear::new(HIDDEN, tokens + STATUSES + 4, 1.0, rng)?,
            times: Mlp::new(HIDDEN + EMBEDDED, TIMES, 1.0, rng)?,
        })
    }

    fn vars(&self) -> Vec<Var> {
        let networks = [&self.encoder, &self.prior, &self.decoder, &self.times];
        let layers = networks.into_iter().flat_map(|network| &network.0);
        let vars = layers
            .chain([&self.labels])
            .flat_map(|layer| layer.0.iter().cloned());
        vars.chain([self.embedding.clone()]).collect()
    }

    fn embedded(&self, tokens: &[u32]) -> Result<Tensor> {
        let tokens = Tensor::new(tokens, &Device::Cpu)?;
        self.embedding.index_select(&tokens, 0)
    }

    /// Where spans stand. Shape: [spans, AROUND].
    fn around(&self, rows: Rows) -> Result<Tensor> {
        let [parents, before] = &rows.neighbours;
        let places = Tensor::from_vec(rows.places, (parents.len(), PLACE), &Device::Cpu)?;
        Tensor::cat(
            &[&self.embedded(parents)?, &self.embedded(before)?, &places],
            1,
        )
    }

    /// What the decoder says: logits of tokens, of statuses, of children, of siblings; and what
    /// times are told from. Shapes: around [n, at least 2 EMBEDDED], latents [n, LATENT].
    fn decode(&self, around: &Tensor, latents: &Tensor) -> Result<([Tensor; 4], Tensor)> {
        let neighbours = around.narrow(1, 0, 2 * EMBEDDED)?;
        let told = Tensor::cat(&[&neighbours, latents], 1)?;
        let hidden = self.decoder.of(&told)?.relu()?;
        let out = self.labels.of(&hidden)?;
        let from = self.tokens + STATUSES;
        let logits = [
            out.narrow(1, 0, self.tokens)?,
            out.narrow(1, self.tokens, STATUSES)?,
            out.narrow(1, from, 2)?,
            out.narrow(1, from + 2, 2)?,
        ];
        Ok((logits, hidden))
    }

    /// Means and log variances of times. Shapes: [n, HIDDEN], n tokens -> [n, TIMES].
    fn timed(&self, hidden: &Tensor, tokens: &[u32]) -> Result<Tensor> {
        let embedded = self.embedded(tokens)?;
        self.times.of(&Tensor::cat(&[hidden, &embedded], 1)?)
    }

    /// Nats of a batch: of the spans and of their latents, a trace. Scalars.
    fn nats(&self, trees: &[&Tree], rng: &mut Rng) -> Result<[Tensor; 2]> {
        let cpu = &Device::Cpu;
        let spans: usize = trees.iter().map(|tree| tree.tokens.len()).sum();
        let none = self.tokens as u32;
        let mut rows = Rows::default();
        // Of each span: parent and sibling before among all; the row after the last is that of none.
        let mut neighbours: [Vec<u32>; 2] = Default::default();
        let mut itself = Vec::with_capacity(spans * (ITSELF - EMBEDDED));
        let (mut tokens, mut statuses, mut below) = (Vec::new(), Vec::new(), Vec::new());
        let (mut times, mut goes_on) = (Vec::new(), [Vec::new(), Vec::new()]);
        let mut from = 0;
        for tree in trees {
            for at in 0..tree.tokens.len() {
                let near = [tree.parents[at], tree.before[at]];
                let token = near.map(|near| near.map_or(none, |near| tree.tokens[near as usize]));
                let time = near.map(|near| near.map_or([0.0; 2], |near| tree.times[near as usize]));
                rows.add(token, time, tree.places[at]);
                for (all, near) in neighbours.iter_mut().zip(near) {
                    all.push(near.map_or(spans as u32, |near| from + near));
                }
                itself.extend(tree.times[at]);
                let status = tree.statuses[at];
                itself.extend((0..STATUSES as u32).map(|s| f32::from(u8::from(s == status))));
                itself.extend(tree.goes_on[at].map(|goes_on| goes_on as f32));
                tokens.push(tree.tokens[at]);
                statuses.push(status);
                times.extend(tree.times[at]);
                for (all, one) in goes_on.iter_mut().zip(tree.goes_on[at]) {
                    all.push(one);
                }
                // A root has no sibling and starts at 0.
                below.push(if tree.parents[at].is_some() {
                    1.0_f32
                } else {
                    0.0
                });
            }
            from += tree.tokens.len() as u32;
        }
        let around = self.around(rows)?;
        let itself = Tensor::from_vec(itself, (spans, ITSELF - EMBEDDED), cpu)?;
        let embedded = self.embedded(&tokens)?;
        let read = Tensor::cat(&[&around, &embedded, &itself], 1)?;
        let [mean, spread] = halves(&self.encoder.of(&read)?)?;
        let latents = drawn(&mean, &spread, rng)?;
        let all = latents.pad_with_zeros(0, 0, 1)?;
        let [parents, before] = neighbours;
        let parents = all.index_select(&Tensor::new(parents, cpu)?, 0)?;
        let before = all.index_select(&Tensor::new(before, cpu)?, 0)?;
        let known = Tensor::cat(&[&around, &parents, &before], 1)?;
        let [prior, prior_spread] = halves(&self.prior.of(&known)?)?;
        let ([of_token, of_status, of_child, of_sibling], hidden) =
            self.decode(&known, &latents)?;
        let paid = |logits: &Tensor, truths: Vec<u32>| {
            let truths = Tensor::from_vec(truths, (spans, 1), cpu)?;
            log_softmax(logits, D::Minus1)?.gather(&truths, 1)?.neg()
        };
        let below = Tensor::from_vec(below, (spans, 1), cpu)?;
        let of_times = self.timed(&hidden, &tokens)?;
        let times = Tensor::from_vec(times, (spans, 2), cpu)?;
        let times = nats_of_times(&times, &of_times)?;
        let starts = (times.narrow(1, 1, 1)? * &below)?;
        let [child, sibling] = goes_on;
        let labels = (paid(&of_token, tokens)? + paid(&of_status, statuses)?)?;
        let arity = (paid(&of_child, child)? + (paid(&of_sibling, sibling)? * &below)?)?;
        let told = (((labels + arity)? + times.narrow(1, 0, 1)?)? + starts)?.sum_all()?;
        let ratio = (&spread - &prior_spread)?;
        let far = ((mean - prior)?.sqr()? / prior_spread.exp()?)?;
        let latent = ((ratio.exp()? + far)? - ratio)?;
        let latent = latent.affine(0.5, -0.5)?.sum_all()?;
        let share = 1.0 / trees.len() as f64;
        Ok([told.affine(share, 0.0)?, latent.affine(share, 0.0)?])
    }

    /// Draws so many traces together, each of at most so many spans.
    fn draw(
        &self,
        count: usize,
        most: usize,
        scales: &Scales,
        rng: &mut Rng,
    ) -> Result<Vec<Vec<Drawn>>> {
        let none = self.tokens as u32;
        let mut growing: Vec<Growing> = (0..count).map(|_| Growing::default()).collect();
        loop {
            let mut active: Vec<&mut Growing> = growing
                .iter_mut()
                .filter(|tree| tree.next.is_some())
                .collect();
            if active.is_empty() {
                break;
            }
            let (mut rows, mut latents) = (Rows::default(), Vec::new());
            for tree in &active {
                let Next { near, index, depth } = tree.next.unwrap_or_default();
                let span = |near: Option<usize>| near.map(|near| &tree.spans[near]);
                let token = near.map(|near| span(near).map_or(none, |span| span.drawn.token));
                let time = near.map(|near| span(near).map_or([0.0; 2], |span| span.times));
                rows.add(token, time, place(index, depth));
                for near in near {
                    latents.extend(span(near).map_or([0.0; LATENT], |span| span.latent));
                }
            }
            let latents = Tensor::from_vec(latents, (active.len(), 2 * LATENT), &Device::Cpu)?;
            let known = Tensor::cat(&[&self.around(rows)?, &latents], 1)?;
            let [mean, spread] = halves(&self.prior.of(&known)?)?;
            let latents = drawn(&mean, &spread, rng)?;
            let (logits, hidden) = self.decode(&known, &latents)?;
            let [of_token, of_status, of_child, of_sibling] = logits.map(|l| l.to_vec2::<f32>());
            let latents = latents.to_vec2::<f32>()?;
            let tokens: Vec<u32> = of_token?
                .iter()
                .map(|logits| pick(logits, rng) as u32)
                .collect();
            let of_times = self.timed(&hidden, &tokens)?.to_vec2::<f32>()?;
            let (of_status, of_child, of_sibling) = (of_status?, of_child?, of_sibling?);
            for (row, tree) in active.iter_mut().enumerate() {
                let token = tokens[row];
                let (duration, after) = scales.draw(token, &of_times[row], rng);
                let mut latent = [0.0; LATENT];
                latent.copy_from_slice(&latents[row]);
                let next = tree.next.unwrap_or_default();
                let span = One {
                    drawn: Drawn {
                        token,
                        status: StatusCode::from_number(pick(&of_status[row], rng) as u64),
                        parent: next.near[0].map(|parent| parent as u32),
                        duration,
                        after,
                    },
                    times: scales.scaled(Token(token), log_times(duration, after)),
                    latent,
                    followed: pick(&of_sibling[row], rng) == 1,
                    next,
                };
                tree.add(span, pick(&of_child[row], rng) == 1, most);
            }
        }
        let spans = |tree: Growing| tree.spans.into_iter().map(|span| span.drawn).collect();
        Ok(growing.into_iter().map(spans).collect())
    }
}

/// Where the next span stands.
#[derive(Debug, Clone, Copy, Default)]
struct Next {
    /// Its parent, and the sibling before it.
    near: [Option<usize>; 2],
    /// Its place among its siblings.
    index: u32,
    depth: u32,
}

/// A span that was drawn, and what its neighbours are to hear of it.
struct One {
    drawn: Drawn,
    times: [f32; 2],
    latent: [f32; LATENT],
    /// Whether a sibling follows.
    followed: bool,
    next: Next,
}

/// A trace that is being drawn in pre-order.
struct Growing {
    spans: Vec<One>,
    /// None when it is whole.
    next: Option<Next>,
}

impl Default for Growing {
    fn default() -> Self {
        Self {
            spans: Vec::new(),
            next: Some(Next::default()),
        }
    }
}

impl Growing {
    fn add(&mut self, span: One, has_child: bool, most: usize) {
        let depth = span.next.depth;
        let newest = self.spans.len();
        self.spans.push(span);
        self.next = None;
        if self.spans.len() >= most {
            return;
        }
        if has_child {
            self.next = Some(Next {
                near: [Some(newest), None],
                index: 0,
                depth: depth + 1,
            });
            return;
        }
        // The nearest of it and those above it that a sibling follows.
        let mut at = Some(newest);
        while let Some(span) = at {
            let One { followed, next, .. } = &self.spans[span];
            if *followed && next.near[0].is_some() {
                self.next = Some(Next {
                    near: [next.near[0], Some(span)],
                    index: next.index + 1,
                    depth: next.depth,
                });
                return;
            }
            at = next.near[0];
        }
    }
}

/// Mean and log variance. Shape: [n, 2 LATENT] -> [n, LATENT] each.
fn halves(told: &Tensor) -> Result<[Tensor; 2]> {
    let spread = told.narrow(1, LATENT, LATENT)?.clamp(-8.0, 4.0)?;
    Ok([told.narrow(1, 0, LATENT)?, spread])
}

/// A draw from each of some normal distributions, by mean and log variance.
fn drawn(mean: &Tensor, spread: &Tensor, rng: &mut Rng) -> Result<Tensor> {
    mean + ((spread * 0.5)?.exp()? * normals(mean.dim(0)?, LATENT, rng)?)?
}

/// As many traces of a VAE with amortised Gaussian z_v that learnt the training traces of which
/// every label stands in `min_traces` of them. The same seed gives the same traces on the same
/// machine.
pub fn gaussian(
    training: &[Trace],
    count: usize,
    min_traces: u32,
    texts: &Interner,
    seed: u64,
) -> std::result::Result<Gaussian, Immeasurable> {
    trained(training, (count, min_traces), texts, (seed, SEEN))
}

/// As [`gaussian`], with so many spans seen in training.
fn trained(
    training: &[Trace],
    (count, min_traces): (usize, u32),
    texts: &Interner,
    (seed, seen): (u64, usize),
) -> std::result::Result<Gaussian, Immeasurable> {
    let (vocabulary, mut known) = known(training, min_traces, texts);
    known.retain(|(trace, _)| trace.spans().len() <= MOST);
    let mut gaussian = Gaussian {
        traces: Vec::new(),
        nats: [0.0; 2],
    };
    if known.is_empty() {
        return Ok(gaussian);
    }
    let scales = Scales::of(&known, vocabulary.len());
    let tree = |(trace, tokens): &(&Trace, Vec<Token>)| Tree::of(trace, tokens, &scales);
    let trees: Vec<Tree> = known.iter().map(tree).collect();
    let mut rng = stream(seed, "gaussian ablation");
    let net = Net::new(vocabulary.len(), &mut rng)?;
    let spans = trees.iter().map(|tree| tree.tokens.len()).sum();
    let nats = |batch: &[&Tree], rng: &mut Rng| net.nats(batch, rng);
    gaussian.nats = learn(net.vars(), (&trees, spans, seen), nats, &mut rng)?;
    while gaussian.traces.len() < count {
        let some = TOGETHER.min(count - gaussian.traces.len());
        for drawn in net.draw(some, MOST, &scales, &mut rng)? {
            gaussian.traces.extend(trace(&drawn, &vocabulary));
        }
    }
    Ok(gaussian)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::fidelity;
    use crate::eval::testing::system;
    use crate::model::vae::one_core;

    #[test]
    fn it_learns_a_system_of_two_requests_and_draws_as_many_traces_as_asked() {
        let _core = one_core();
        let texts = Interner::default();
        let training = system(&texts, 90, 1);
        let learnt = trained(&training, (200, 20), &texts, (1, 30_000)).unwrap();
        assert_eq!(learnt.traces.len(), 200);
        let told = fidelity(&system(&texts, 90, 2), &learnt.traces);
        assert!(told.overall > 0.8, "{told:?}");
        let hardly = trained(&training, (0, 20), &texts, (1, 0)).unwrap();
        let nats = [&learnt, &hardly].map(|learnt| learnt.nats.iter().sum::<f64>());
        assert!(nats[0] < nats[1] - 1.0, "{nats:?}");
        let drawn = |seed| {
            trained(&training, (9, 20), &texts, (seed, 0))
                .unwrap()
                .traces
        };
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
    }

    #[test]
    fn labels_below_the_floor_are_not_learnt() {
        let texts = Interner::default();
        let none = trained(&system(&texts, 9, 1), (10, 20), &texts, (1, 0)).unwrap();
        assert!(none.traces.is_empty());
    }
}
