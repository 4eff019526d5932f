//! How fast the VAE learns: nats per held-out trace against CPU seconds, beside the grammar's.
//!
//! `cargo bench --bench learning -- FILE [SECONDS] [key=value ...]` reads a file of OTLP requests,
//! holds every eighth trace out, trains on the others on one core and prints a line per scoring.
//! The grammar has learnt every training trace before the first line. Keys are those of
//! `VaeSettings`, besides `lessons` (a step), `seed` and `every` (seconds between scorings).

#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock and its own arguments"
)]

use std::collections::BTreeMap;
use std::path::Path;

use doppelspan::chance::{Rng, stream};
use doppelspan::cli::alone;
use doppelspan::eval::{fidelity, validity};
use doppelspan::features::timing::{BINS, END_MODES, START_MODES};
use doppelspan::model::vae::one_core;
use doppelspan::model::{Example, Grammar, GrammarSizes, Lesson, Vae, VaeSettings};
use doppelspan::receiver::otlpjsonfile;
use doppelspan::synthesizer::Sampler;
use doppelspan::trace::Trace;
use integration_tests::observed::{Corpus, traces};

/// CPU seconds of this thread so far.
fn cpu_seconds() -> f64 {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = told
        .split(' ')
        .next()
        .and_then(|number| number.parse::<f64>().ok());
    nanoseconds.unwrap_or_default() / 1e9
}

/// What is learnt from a file.
fn read(path: &Path) -> Corpus {
    let requests = otlpjsonfile::read(path).expect("the file opens");
    let (traces, texts) = traces(requests.map(|request| request.expect("a request")));
    Corpus::new(traces, &texts)
}

fn settings(changes: &BTreeMap<String, String>) -> VaeSettings {
    let mut value = serde_json::to_value(VaeSettings::default()).expect("settings");
    let known = value.as_object_mut().expect("settings are a map");
    for (key, change) in changes {
        if let Some(setting) = known.get_mut(key) {
            *setting = serde_json::from_str(change).expect("a number");
        }
    }
    serde_json::from_value(value).expect("settings")
}

fn mean(nats: &[doppelspan::model::Nats]) -> [f64; 3] {
    let count = nats.len() as f64;
    let of = |part: fn(&doppelspan::model::Nats) -> f64| nats.iter().map(part).sum::<f64>() / count;
    [of(|n| n.structure), of(|n| n.timing), of(|n| n.total())]
}

fn main() {
    alone();
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let Some(path) = arguments.first() else {
        println!("usage: cargo bench --bench learning -- FILE [SECONDS] [key=value ...]");
        return;
    };
    let changes: BTreeMap<String, String> = arguments
        .iter()
        .filter_map(|argument| argument.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    let seconds: f64 = arguments
        .get(1)
        .and_then(|a| a.parse().ok())
        .unwrap_or(90.0);
    let number =
        |key: &str, default: f64| changes.get(key).map_or(default, |v| v.parse().expect(key));
    let every = number("every", 10.0);
    let batch = number("lessons", 32.0) as usize;
    let structures = number("structures", 160.0) as usize;

    let _core = one_core();
    let corpus = read(Path::new(path));
    let spans = |lessons: &[Lesson]| lessons.iter().map(|l| l.example.len()).sum::<usize>();
    println!(
        "{} training traces of {} spans, {} held out, {} tokens; read in {:.1} CPU s",
        corpus.training.len(),
        spans(&corpus.training),
        corpus.held_out.len(),
        corpus.vocabulary.len(),
        cpu_seconds(),
    );
    let mut grammar = Grammar::new(GrammarSizes {
        start_modes: START_MODES as u32,
        end_modes: END_MODES as u32,
        bins: BINS as u32,
        max_contexts: 2_000_000,
        max_spans: 1_000,
    });
    let began = cpu_seconds();
    for lesson in &corpus.training {
        grammar.learn(&lesson.example, 1.0);
    }
    let learnt = cpu_seconds() - began;
    let told: Vec<_> = corpus
        .held_out
        .iter()
        .map(|l| grammar.nats(&l.example))
        .collect();
    let [structure, timing, total] = mean(&told);
    println!(
        "grammar: structure {structure:.3}, timing {timing:.2}, total {total:.2} nats ({learnt:.1} CPU s)"
    );

    let mut rng = stream(number("seed", 1.0) as u64, "learning");
    let settings = settings(&changes);
    let mut vae = corpus.vae(settings, &mut rng);
    println!("VAE of {} numbers", vae.size());
    let held_out: Vec<&Lesson> = corpus.held_out.iter().collect();
    let (mut spent, mut next, mut before) = (0.0, every / 4.0, 0.0);
    let mut sums = [0.0; 5];
    let mut steps = 0;
    let mut order: Vec<usize> = Vec::new();
    while spent < seconds {
        let began = cpu_seconds();
        let lessons: Vec<&Lesson> = (0..batch)
            .map(|_| &corpus.training[draw(&mut order, corpus.training.len(), &mut rng)])
            .collect();
        let others: Vec<&Example> = (0..structures)
            .map(|_| &corpus.training[draw(&mut order, corpus.training.len(), &mut rng)].example)
            .collect();
        let terms = vae.step(&others, &lessons, &mut rng).expect("a step");
        spent += cpu_seconds() - began;
        steps += 1;
        for (sum, term) in sums.iter_mut().zip([
            terms.total,
            terms.node,
            terms.edge,
            terms.kl_graph,
            terms.kl_node,
        ]) {
            *sum += term;
        }
        if spent >= next || spent >= seconds {
            next = spent + every;
            let began = cpu_seconds();
            let [structure, timing, total] = mean(&vae.nats(&held_out).expect("nats"));
            let scored = cpu_seconds() - began;
            let loss = sums.map(|sum| sum / f64::from(steps));
            println!(
                "{spent:6.1} CPU s, {:5} steps ({:.1} ms): held-out {structure:.3} + {timing:.2} = {total:.2} | loss {:.2}: node {:.3} edge {:.3} KL_G {:.3} KL_v {:.2} | {} codes, scored in {scored:.1} s",
                vae.steps(),
                (spent - before) * 1e3 / f64::from(steps),
                loss[0],
                loss[1],
                loss[2],
                loss[3],
                loss[4],
                vae.shares().iter().filter(|&&share| share > 0.002).count(),
            );
            (sums, steps, before) = ([0.0; 5], 0, spent);
        }
    }
    draw_and_compare(&corpus, &vae, &mut rng);
}

/// Draws as many traces as were held out, and says how fast and how alike they are.
fn draw_and_compare(corpus: &Corpus, vae: &Vae, rng: &mut Rng) {
    let published = corpus.published(vae);
    let began = cpu_seconds();
    let mut sampler = Sampler::new(&published).expect("a sampler");
    let compiled = cpu_seconds() - began;
    let began = cpu_seconds();
    let drawn = sampler.sample_many(rng, corpus.observed.len().max(2_000), None);
    let spent = cpu_seconds() - began;
    let spans: usize = drawn.iter().map(|sampled| sampled.spans.len()).sum();
    println!(
        "compiled in {:.1} ms; {:.0} traces/s, {:.0} spans/s drawn; valid {:.4}",
        compiled * 1e3,
        drawn.len() as f64 / spent,
        spans as f64 / spent,
        validity(&drawn, &corpus.vocabulary),
    );
    let synthetic = drawn
        .iter()
        .filter_map(|sampled| corpus.vocabulary.observed(sampled).ok());
    let synthetic: Vec<Trace> = synthetic.collect();
    let report = fidelity(&corpus.observed, &synthetic);
    println!("against the held-out traces: {report:#?}");
}

/// The next of an endless shuffled deck.
fn draw(order: &mut Vec<usize>, of: usize, rng: &mut Rng) -> usize {
    use rand::seq::SliceRandom;
    if order.is_empty() {
        *order = (0..of).collect();
        order.shuffle(rng);
    }
    order.pop().unwrap_or_default()
}
