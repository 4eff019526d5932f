//! Requests made into traces and lessons, as the program makes them while it runs.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use doppelspan::assembler::{Assembler, AssemblerSettings, Tap, TapSettings};
use doppelspan::chance::Rng;
use doppelspan::features::timing::Coder;
use doppelspan::features::{Interner, Token, Vocabulary, Word, context, encode, lesson};
use doppelspan::learner::{Generator, Published};
use doppelspan::model::{Lesson, Vae, VaeSettings};
use doppelspan::otlp::view::{Limits, walk};
use doppelspan::trace::Trace;

/// The whole traces of some requests, which come a tenth of a second apart, and the texts of their
/// labels.
pub fn traces(requests: impl IntoIterator<Item = Bytes>) -> (Vec<Trace>, Arc<Interner>) {
    let interner = Arc::new(Interner::default());
    let settings = TapSettings {
        shards: 1,
        waiting_spans: usize::MAX / 2,
        max_wait: Duration::from_secs(30),
    };
    let (tap, feeds) = Tap::new(&settings, interner.clone());
    let mut assembler = Assembler::new(AssemblerSettings::default());
    let mut traces = Vec::new();
    let mut now = Duration::ZERO;
    for request in requests {
        let mut batch = tap.begin();
        walk(&request, &Limits::default(), &mut batch).expect("a request that can be walked");
        batch.commit();
        if let Ok(Some(records)) = feeds[0].next(Duration::ZERO) {
            assembler.add(records, now);
        }
        now += Duration::from_millis(100);
        traces.extend(assembler.take_done(now));
    }
    traces.extend(assembler.finish(now));
    let whole = traces.into_iter().filter_map(|done| done.trace.ok());
    (whole.collect(), interner)
}

/// Traces as lessons, every eighth held out.
#[derive(Debug)]
pub struct Corpus {
    /// Labels of the training traces.
    pub vocabulary: Vocabulary,
    /// Fitted on the training traces.
    pub coder: Coder,
    /// What is trained on.
    pub training: Vec<Lesson>,
    /// What is not.
    pub held_out: Vec<Lesson>,
    /// The held-out traces themselves.
    pub observed: Vec<Trace>,
}

impl Corpus {
    /// Learns the labels of these traces and encodes those that have no other. `texts` are those
    /// of their labels.
    pub fn new(traces: Vec<Trace>, texts: &Interner) -> Self {
        let mut vocabulary = Vocabulary::new(20, 10_000);
        let is_held_out = |at: usize| at % 8 == 7;
        for (at, trace) in traces.iter().enumerate() {
            if !is_held_out(at) {
                vocabulary.observe(trace, texts);
            }
        }
        let known = traces.into_iter().enumerate().filter_map(|(at, trace)| {
            let tokens = vocabulary.tokens(&trace).ok()?;
            if !is_held_out(at) {
                vocabulary.adopt(&trace, &tokens, texts);
            }
            Some((at, trace, tokens))
        });
        let known: Vec<(usize, Trace, Vec<Token>)> = known.collect();
        let training = known.iter().filter(|(at, ..)| !is_held_out(*at));
        let coder = Coder::fit(training.map(|(_, trace, tokens)| (trace, tokens.as_slice())));
        let services = vocabulary.services();
        let mut memory = context::Memory::default();
        let (mut training, mut held_out, mut observed) = (Vec::new(), Vec::new(), Vec::new());
        for (at, trace, tokens) in known {
            let profiles = vocabulary.profiles(&trace, &tokens, texts);
            let Some(Ok(example)) = profiles
                .ok()
                .map(|profiles| encode(&trace, &tokens, profiles, &coder))
            else {
                continue;
            };
            let lesson = lesson(example, &coder, &services, &mut memory);
            match is_held_out(at) {
                true => {
                    held_out.push(lesson);
                    observed.push(trace);
                }
                false => training.push(lesson),
            }
        }
        Self {
            vocabulary,
            coder,
            training,
            held_out,
            observed,
        }
    }

    /// A model that knows how many tokens there are, and how many attribute profiles each has.
    pub fn vae(&self, settings: VaeSettings, rng: &mut Rng) -> Vae {
        let tokens = self.vocabulary.len() as u32;
        let mut vae = Vae::new(settings, tokens, rng).expect("a model");
        let slots: Vec<u32> = self.vocabulary.words().iter().map(Word::slots).collect();
        vae.grow_profiles(&slots, rng);
        vae
    }

    /// A snapshot that draws with this VAE, whatever its score.
    pub fn published(&self, vae: &Vae) -> Published {
        Published {
            number: 1,
            words: self.vocabulary.words().into(),
            services: self.vocabulary.services().into(),
            coder: Arc::new(self.coder.clone()),
            discriminator: None,
            generator: Generator::Vae(Arc::new(vae.weights())),
        }
    }
}
