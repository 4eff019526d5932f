//! How fast traces are drawn on one core: spans a second, of the compiled VAE and of the grammar,
//! both after a short training on the simulated shop.

#![allow(missing_docs, reason = "a benchmark is read, not called")]

use std::sync::{Arc, LazyLock};

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use doppelspan::chance::{Rng, stream};
use doppelspan::cli::alone;
use doppelspan::features::timing::{BINS, END_MODES, START_MODES};
use doppelspan::learner::{Generator, Published};
use doppelspan::model::vae::one_core;
use doppelspan::model::{Example, Grammar, GrammarSizes, Lesson, VaeSettings};
use doppelspan::simulate::{Simulator, System};
use doppelspan::synthesizer::Sampler;
use integration_tests::observed::{Corpus, traces};
use prost::Message as _;
use rand::RngExt as _;

const TRACES: usize = 600;
const STEPS: usize = 150;
/// Traces of a call, as many as the sampler draws together.
const DRAWN: usize = 256;

fn main() {
    alone();
    let _core = one_core();
    LazyLock::force(&PUBLISHED);
    divan::main();
}

/// What draws: the VAE, then the grammar.
static PUBLISHED: LazyLock<[Published; 2]> = LazyLock::new(|| {
    let mut simulator = Simulator::new(System::Shop, 1);
    let start = 1_800_000_000_000_000_000;
    let request = |at: usize| {
        let trace = simulator.next_trace(start + at as u64 * 100_000_000);
        trace.encode_to_vec().into()
    };
    let (traces, texts) = traces((0..TRACES).map(request));
    let corpus = Corpus::new(traces, &texts);
    let rng = &mut stream(1, "sample");
    let mut vae = corpus.vae(VaeSettings::default(), rng);
    let some = |count: usize, rng: &mut Rng| -> Vec<&Lesson> {
        let training = &corpus.training;
        let one = |_| &training[rng.random_range(0..training.len())];
        (0..count).map(one).collect()
    };
    for _ in 0..STEPS {
        let (lessons, others) = (some(16, rng), some(64, rng));
        let others: Vec<&Example> = others.iter().map(|lesson| &lesson.example).collect();
        vae.step(&others, &lessons, rng).expect("a step");
    }
    let mut grammar = Grammar::new(GrammarSizes {
        start_modes: START_MODES as u32,
        end_modes: END_MODES as u32,
        bins: BINS as u32,
        max_contexts: 2_000_000,
        max_spans: 1_000,
    });
    for lesson in &corpus.training {
        grammar.learn(&lesson.example, 1.0);
    }
    let vae = corpus.published(&vae);
    let generator = Generator::Grammar(Arc::new(grammar));
    let grammar = Published {
        generator,
        ..vae.clone()
    };
    [vae, grammar]
});

fn draw(bencher: Bencher<'_, '_>, published: &Published, size: Option<usize>) {
    let mut sampler = Sampler::new(published).expect("a sampler");
    let rng = stream(2, "draws");
    let drawn = sampler.sample_many(&mut rng.clone(), DRAWN, size);
    let spans: usize = drawn.iter().map(|trace| trace.spans.len()).sum();
    // The same traces every time, so that a call has the same number of spans.
    bencher
        .counter(ItemsCount::new(spans))
        .bench_local(|| sampler.sample_many(&mut black_box(rng.clone()), DRAWN, size));
}

#[divan::bench(args = [None, Some(50), Some(1_000)])]
fn vae(bencher: Bencher<'_, '_>, size: Option<usize>) {
    draw(bencher, &PUBLISHED[0], size);
}

#[divan::bench(args = [None, Some(50), Some(1_000)])]
fn grammar(bencher: Bencher<'_, '_>, size: Option<usize>) {
    draw(bencher, &PUBLISHED[1], size);
}

#[divan::bench]
fn compile(bencher: Bencher<'_, '_>) {
    bencher.bench_local(|| Sampler::new(black_box(&PUBLISHED[0])).expect("a sampler"));
}
