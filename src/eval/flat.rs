//! The flat control: a VAE with one Gaussian latent for the whole trace and no hierarchy.
//!
//! Everything is a fixed number of slots, one a span in pre-order. An MLP reads them all at once; an
//! MLP makes of the latent what each slot holds: no span or which token, its parent among the
//! earlier slots, its status, and normal log duration and log start after the parent. Slots know
//! nothing of each other but what the latent says. Times are on the scale of their token, so that it
//! is beaten by structure and not by units. Sampled from N(0, I).

use candle_core::{D, Device, Result, Tensor, Var};
use candle_nn::ops::log_softmax;

use super::Immeasurable;
use super::latent::{
    BATCH, Drawn, Linear, Scales, TIMES, known, learn, logs, nats_of_times, normals, pick, trace,
};
use crate::chance::{Rng, stream};
use crate::features::{Interner, Token};
use crate::trace::{StatusCode, Trace};

/// Slots at most: later spans of longer traces are cut off.
const SLOTS: usize = 128;
/// Spans seen in training, of as many rounds as come to this.
const SEEN: usize = 2_000_000;
/// Numbers of the latent.
const LATENT: usize = 32;
const HIDDEN: usize = 256;
/// Width of a token's embedding, and of what the decoder knows of a slot.
const EMBEDDED: usize = 16;
const SLOT: usize = 48;
/// Numbers of a slot beside its token: parent, log duration, log start, whether there is a span.
const NUMBERS: usize = 4;
const STATUSES: usize = StatusCode::ALL.len();
/// Added to the logit of a parent that is not earlier.
const NEVER: f32 = -1e9;

/// What the flat VAE drew, and how it learnt.
#[derive(Debug)]
pub struct Flat {
    /// Synthetic traces; none if there was nothing to learn from.
    pub traces: Vec<Trace>,
    /// Slots it has.
    pub slots: usize,
    /// Training traces it learnt from.
    pub learnt: usize,
    /// Those with more spans than slots.
    pub cut: usize,
    /// Nats a trace in the last round: of the slots, and KL of the latent.
    pub nats: [f64; 2],
}

impl std::fmt::Display for Flat {
    /// What a reader of the report has to know.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [slots, latent] = self.nats;
        write!(
            f,
            "the flat VAE learnt from {} training traces, {} of them cut to its {} slots; its last round took {slots:.1} nats a trace and {latent:.1} of its latent",
            self.learnt, self.cut, self.slots
        )
    }
}

/// A training trace as slots.
struct Row {
    tokens: Vec<u32>,
    parents: Vec<u32>,
    statuses: Vec<u32>,
    /// Log duration and log start, in deviations from the mean of their token.
    times: Vec<[f32; 2]>,
}

struct Net {
    slots: usize,
    tokens: usize,
    embedding: Var,
    encoder: [Linear; 2],
    latent: Linear,
    decoder: [Linear; 3],
    out: Linear,
    /// Added to logits of parents. Shape [slots, slots].
    earlier: Tensor,
}

impl Net {
    fn new(slots: usize, tokens: usize, rng: &mut Rng) -> Result<Self> {
        let gain = 2_f64.sqrt();
        let width = slots * (EMBEDDED + NUMBERS);
        let columns = tokens + 1 + slots + STATUSES + TIMES;
        let embedding = Linear::new(tokens + 1, EMBEDDED, (tokens as f64).sqrt(), rng)?;
        let [embedding, _] = embedding.0;
        let allowed = |at: usize| if at % slots < at / slots { 0.0 } else { NEVER };
        let earlier: Vec<f32> = (0..slots * slots).map(allowed).collect();
        Ok(Self {
            slots,
            tokens,
            embedding,
            encoder: [
                Linear::new(width, HIDDEN, gain, rng)?,
                Linear::new(HIDDEN, HIDDEN, gain, rng)?,
            ],
            latent: Linear::new(HIDDEN, 2 * LATENT, 0.3, rng)?,
            decoder: [
                Linear::new(LATENT, HIDDEN, gain, rng)?,
                Linear::new(HIDDEN, HIDDEN, gain, rng)?,
                Linear::new(HIDDEN, slots * SLOT, gain, rng)?,
            ],
            out: Linear::new(SLOT, columns, 1.0, rng)?,
            earlier: Tensor::from_vec(earlier, (slots, slots), &Device::Cpu)?,
        })
    }

    fn vars(&self) -> Vec<Var> {
        let layers = self.encoder.iter().chain([&self.latent]);
        let layers = layers.chain(&self.decoder).chain([&self.out]);
        let vars = layers.flat_map(|layer| layer.0.iter().cloned());
        vars.chain([self.embedding.clone()]).collect()
    }

    /// Mean and log variance of the latent. Shapes: tokens [batch * slots], numbers
    /// [batch * slots, NUMBERS] -> [batch, LATENT] each.
    fn encode(&self, tokens: &Tensor, numbers: &Tensor) -> Result<[Tensor; 2]> {
        let embedded = self.embedding.index_select(tokens, 0)?;
        let told = Tensor::cat(&[&embedded, numbers], 1)?;
        let mut hidden = told.reshape(((), self.slots * (EMBEDDED + NUMBERS)))?;
        for layer in &self.encoder {
            hidden = layer.of(&hidden)?.relu()?;
        }
        let latent = self.latent.of(&hidden)?;
        let spread = latent.narrow(1, LATENT, LATENT)?.clamp(-8.0, 4.0)?;
        Ok([latent.narrow(1, 0, LATENT)?, spread])
    }

    /// What the decoder says of some slots. Shapes: latent [batch, LATENT], places [rows] in
    /// batch * slots, slots [rows] -> logits of tokens (the last: no span) [rows, tokens + 1], of
    /// parents [rows, slots], of statuses [rows, STATUSES], times [rows, TIMES].
    fn decode(&self, latent: &Tensor, places: &Tensor, slots: &Tensor) -> Result<[Tensor; 4]> {
        let [first, second, third] = &self.decoder;
        let hidden = second.of(&first.of(latent)?.relu()?)?.relu()?;
        let known = third.of(&hidden)?.reshape(((), SLOT))?;
        let known = known.index_select(places, 0)?.relu()?;
        let out = self.out.of(&known)?;
        let from = self.tokens + 1;
        let parents = out.narrow(1, from, self.slots)?;
        let times = out.narrow(1, from + self.slots + STATUSES, TIMES)?;
        Ok([
            out.narrow(1, 0, from)?,
            (parents + self.earlier.index_select(slots, 0)?)?,
            out.narrow(1, from + self.slots, STATUSES)?,
            times,
        ])
    }

    /// Nats of a batch: of the slots and of the latent, a trace. Scalars.
    fn nats(&self, rows: &[&Row], rng: &mut Rng) -> Result<[Tensor; 2]> {
        let (batch, cpu) = (rows.len(), &Device::Cpu);
        let none = self.tokens as u32;
        let mut told = vec![none; batch * self.slots];
        let mut numbers = vec![0.0_f32; batch * self.slots * NUMBERS];
        // Of each span: where it is among all slots, its slot, its truths.
        let (mut places, mut slots) = (Vec::new(), Vec::new());
        let (mut parents, mut statuses, mut times) = (Vec::new(), Vec::new(), Vec::new());
        let mut tokens = Vec::new();
        let (mut below, mut ends) = (Vec::new(), Vec::new());
        for (trace, row) in rows.iter().enumerate() {
            for (at, &token) in row.tokens.iter().enumerate() {
                let place = trace * self.slots + at;
                told[place] = token;
                let parent = row.parents[at] as f32 / self.slots as f32;
                let [duration, start] = row.times[at];
                numbers[place * NUMBERS..][..NUMBERS]
                    .copy_from_slice(&[parent, duration, start, 1.0]);
                places.push(place as u32);
                slots.push(at as u32);
                tokens.push(token);
                statuses.push(row.statuses[at]);
                times.extend(row.times[at]);
                // A root has no parent and starts at 0.
                below.push(if at > 0 { 1.0_f32 } else { 0.0 });
                parents.push(row.parents[at]);
            }
            if row.tokens.len() < self.slots {
                let end = row.tokens.len();
                ends.push((trace * self.slots + end) as u32);
            }
        }
        let spans = places.len();
        // The first slot without a span is asked for its token alone, which is none.
        slots.extend(ends.iter().map(|end| end % self.slots as u32));
        tokens.extend(ends.iter().map(|_| none));
        places.extend(ends);
        let count = places.len();
        let column = |numbers: Vec<u32>| {
            let length = numbers.len();
            Tensor::from_vec(numbers, (length, 1), cpu)
        };
        let told = Tensor::from_vec(told, batch * self.slots, cpu)?;
        let numbers = Tensor::from_vec(numbers, (batch * self.slots, NUMBERS), cpu)?;
        let [mean, spread] = self.encode(&told, &numbers)?;
        let latent = (&mean + (&spread * 0.5)?.exp()? * normals(batch, LATENT, rng)?)?;
        let places = Tensor::from_vec(places, count, cpu)?;
        let slots = Tensor::from_vec(slots, count, cpu)?;
        let [of_token, of_parent, of_status, of_times] = self.decode(&latent, &places, &slots)?;
        let below = Tensor::from_vec(below, (spans, 1), cpu)?;
        let paid = |logits: &Tensor, truths: Vec<u32>| {
            log_softmax(logits, D::Minus1)?
                .gather(&column(truths)?, 1)?
                .neg()
        };
        let tokens = paid(&of_token, tokens)?.sum_all()?;
        let parents = (paid(&of_parent.narrow(0, 0, spans)?, parents)? * &below)?.sum_all()?;
        let statuses = paid(&of_status.narrow(0, 0, spans)?, statuses)?.sum_all()?;
        let times = Tensor::from_vec(times, (spans, 2), cpu)?;
        let of_times = of_times.narrow(0, 0, spans)?;
        let times = nats_of_times(&times, &of_times)?;
        let starts = (times.narrow(1, 1, 1)? * &below)?.sum_all()?;
        let times = (times.narrow(1, 0, 1)?.sum_all()? + starts)?;
        let slots = (((tokens + parents)? + statuses)? + times)?;
        let latent = ((mean.sqr()? + spread.exp()?)? - spread)?;
        let latent = latent.affine(0.5, -0.5)?.sum_all()?;
        let share = 1.0 / batch as f64;
        Ok([slots.affine(share, 0.0)?, latent.affine(share, 0.0)?])
    }

    /// Traces from latents drawn from N(0, I).
    fn draw(&self, count: usize, scales: &Scales, rng: &mut Rng) -> Result<Vec<Vec<Drawn>>> {
        let cpu = &Device::Cpu;
        let all = (count * self.slots) as u32;
        let places = Tensor::arange(0, all, cpu)?;
        let slots: Vec<u32> = (0..all).map(|at| at % self.slots as u32).collect();
        let slots = Tensor::from_vec(slots, all as usize, cpu)?;
        let [tokens, parents, statuses, times] =
            self.decode(&normals(count, LATENT, rng)?, &places, &slots)?;
        let [tokens, parents, statuses, times] = [
            tokens.to_vec2::<f32>()?,
            parents.to_vec2()?,
            statuses.to_vec2()?,
            times.to_vec2()?,
        ];
        let mut drawn = Vec::with_capacity(count);
        for trace in 0..count {
            let mut spans = Vec::new();
            for at in 0..self.slots {
                let place = trace * self.slots + at;
                // The root is always there.
                let choices = self.tokens + usize::from(at > 0);
                let token = pick(&tokens[place][..choices], rng) as u32;
                if token as usize == self.tokens {
                    break;
                }
                let (duration, after) = scales.draw(token, &times[place], rng);
                let parent = (at > 0).then(|| pick(&parents[place][..at], rng) as u32);
                spans.push(Drawn {
                    token,
                    status: StatusCode::from_number(pick(&statuses[place], rng) as u64),
                    parent,
                    duration,
                    after,
                });
            }
            drawn.push(spans);
        }
        Ok(drawn)
    }
}

/// As many traces of a flat VAE that learnt the training traces of which every label stands in
/// `min_traces` of them. The same seed gives the same traces on the same machine.
pub fn flat(
    training: &[Trace],
    count: usize,
    min_traces: u32,
    texts: &Interner,
    seed: u64,
) -> std::result::Result<Flat, Immeasurable> {
    trained(training, (count, min_traces), texts, (seed, SEEN))
}

/// As [`flat`], with so many spans seen in training.
fn trained(
    training: &[Trace],
    (count, min_traces): (usize, u32),
    texts: &Interner,
    (seed, seen): (u64, usize),
) -> std::result::Result<Flat, Immeasurable> {
    let (vocabulary, known) = known(training, min_traces, texts);
    let longest = known.iter().map(|(_, tokens)| tokens.len()).max();
    let slots = longest.unwrap_or(0).min(SLOTS);
    let mut flat = Flat {
        traces: Vec::new(),
        slots,
        learnt: known.len(),
        cut: known.iter().filter(|known| known.1.len() > slots).count(),
        nats: [0.0; 2],
    };
    if known.is_empty() {
        return Ok(flat);
    }
    let scales = Scales::of(&known, vocabulary.len());
    let row = |(trace, tokens): &(&Trace, Vec<Token>)| {
        // The first spans of a pre-order are a tree.
        let spans = &trace.spans()[..tokens.len().min(slots)];
        let scaled = |at: usize| scales.scaled(tokens[at], logs(trace, at));
        Row {
            tokens: tokens.iter().take(slots).map(|token| token.0).collect(),
            parents: spans.iter().map(|span| span.parent.unwrap_or(0)).collect(),
            statuses: spans.iter().map(|span| span.status as u32).collect(),
            times: (0..spans.len()).map(scaled).collect(),
        }
    };
    let rows: Vec<Row> = known.iter().map(row).collect();
    let mut rng = stream(seed, "flat control");
    let net = Net::new(slots, vocabulary.len(), &mut rng)?;
    let spans = rows.iter().map(|row| row.tokens.len()).sum();
    let nats = |batch: &[&Row], rng: &mut Rng| net.nats(batch, rng);
    flat.nats = learn(net.vars(), (&rows, spans, seen), nats, &mut rng)?;
    while flat.traces.len() < count {
        let some = BATCH.min(count - flat.traces.len());
        for drawn in net.draw(some, &scales, &mut rng)? {
            let trace = trace(&drawn, &vocabulary);
            flat.traces.extend(trace);
        }
    }
    Ok(flat)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::fidelity;
    use crate::eval::testing::system;
    use crate::model::vae::one_core;
    use crate::trace::{Span, SpanKind, Symbol};

    #[test]
    fn it_learns_a_system_of_two_requests_and_draws_as_many_traces_as_asked() {
        let _core = one_core();
        let texts = Interner::default();
        let training = system(&texts, 90, 1);
        let drawn = trained(&training, (200, 20), &texts, (1, 20_000)).unwrap();
        assert_eq!((drawn.traces.len(), drawn.slots), (200, 6));
        assert_eq!((drawn.learnt, drawn.cut), (90, 0));
        let told = fidelity(&system(&texts, 90, 2), &drawn.traces);
        assert!(told.overall > 0.85, "{told:?}");
        assert!(drawn.nats[1] > 0.3, "z says which request: {drawn:?}");
        let drawn = |seed| {
            let drawn = trained(&training, (9, 20), &texts, (seed, 0)).unwrap();
            drawn.traces
        };
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
    }

    #[test]
    fn labels_below_the_floor_are_not_learnt_and_long_traces_are_cut() {
        let texts = Interner::default();
        let none = trained(&system(&texts, 9, 1), (10, 20), &texts, (1, 0)).unwrap();
        assert_eq!((none.traces.len(), none.learnt), (0, 0));
        let symbol = texts.symbol("a");
        let span = |at: u32| Span {
            parent: at.checked_sub(1),
            service: symbol,
            operation: symbol,
            profile: Symbol(0),
            kind: SpanKind::Server,
            status: StatusCode::Unset,
            start: i64::from(at),
            duration: 10,
        };
        let long = Trace::new((0..300).map(span).collect(), Vec::new()).unwrap();
        let row = trained(&[long], (3, 1), &texts, (1, 0)).unwrap();
        assert_eq!((row.slots, row.learnt, row.cut), (SLOTS, 1, 1));
        assert!(row.traces.iter().all(|trace| trace.spans().len() <= SLOTS));
    }
}
