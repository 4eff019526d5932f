//! The samples of traces that `evaluate` compares: read from files, or drawn from models.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, ensure};

use super::Arguments;
use crate::chance::stream;
use crate::cli::observed;
use crate::eval::{Evaluation, Figures, OtherSystem, Reconstruction, validity};
use crate::features::context::Memory;
use crate::features::{Interner, Profile, Sampled, Vocabulary, encode, lesson};
use crate::learner::{Checkpoint, Published};
use crate::model::{Example, Vae};
use crate::synthesizer::Sampler;
use crate::trace::{Span, Symbol, Trace};

/// Sizes at which a model is asked for valid traces, and traces of each.
const SIZES: [usize; 9] = [1, 2, 3, 5, 10, 30, 100, 300, 1_000];
const OF_SIZE: usize = 8;
/// Traces below which a comparison says nothing.
const FEW: usize = 20;

/// The observed samples.
pub(super) struct Read {
    pub(super) train: Vec<Trace>,
    pub(super) held_out: Vec<Trace>,
    pub(super) second: Vec<Trace>,
    /// When the traces of the held-out and the second sample began, in ns since the epoch.
    pub(super) began: [Vec<u64>; 2],
}

/// Synthetic traces of one generator.
pub(super) struct Drawn {
    pub(super) name: String,
    pub(super) traces: Vec<Trace>,
    /// What only the generator knows.
    pub(super) figures: Figures,
    /// Of held-out traces: what comes back through all latents, and what z_G alone says.
    pub(super) reconstruction: [Option<Reconstruction>; 2],
    /// The floor of its vocabulary, if it has one.
    pub(super) min_traces: Option<u32>,
}

/// Reads the observed samples, and notes what a reader of the report has to know.
pub(super) fn read(
    arguments: &Arguments,
    texts: &Arc<Interner>,
    evaluation: &mut Evaluation,
) -> anyhow::Result<Read> {
    let mut sample = |what: &str, paths: &[PathBuf]| -> anyhow::Result<Vec<(u64, Trace)>> {
        let mut traces = Vec::new();
        let read = observed::read_begun((paths, arguments.format), texts, |began, trace| {
            traces.push((began, trace));
            Ok(())
        })?;
        evaluation.inputs.push((what.to_owned(), told(&read)));
        Ok(traces)
    };
    let train = sample("train", &arguments.train)?;
    let mut held_out = sample("held_out", &arguments.held_out)?;
    let mut second = sample("second", &arguments.second)?;
    if arguments.second.is_empty() {
        let mut at = 0_usize;
        (held_out, second) = held_out.into_iter().partition(|_| {
            at += 1;
            at % 2 == 1
        });
        evaluation.notes.push(format!(
            "no --second was given: every other held-out trace ({}) stands in for it",
            second.len()
        ));
    }
    ensure!(
        held_out.len() >= FEW && !train.is_empty(),
        "there are {} held-out and {} training traces; at least {FEW} and 1 are needed",
        held_out.len(),
        train.len()
    );
    second.truncate(held_out.len());
    if second.len() < held_out.len() {
        evaluation.notes.push(format!(
            "the second sample has {} traces, fewer than the {} held-out ones: its ceiling looks lower where counts matter",
            second.len(),
            held_out.len()
        ));
    }
    let (held_out_began, held_out) = held_out.into_iter().unzip();
    let (second_began, second) = second.into_iter().unzip();
    Ok(Read {
        train: train.into_iter().map(|(_, trace)| trace).collect(),
        held_out,
        second,
        began: [held_out_began, second_began],
    })
}

/// Draws from the models, or reads the files of synthetic traces.
pub(super) fn draw(
    arguments: &Arguments,
    texts: &Arc<Interner>,
    held_out: &[Trace],
    evaluation: &mut Evaluation,
) -> anyhow::Result<Vec<Drawn>> {
    let count = held_out.len();
    let mut drawn = Vec::new();
    for path in &arguments.model {
        drawn.push(from_model(
            path,
            texts,
            (held_out, arguments.seed),
            evaluation,
        )?);
    }
    for path in &arguments.synthetic {
        let mut read = observed::Read::default();
        let (mut traces, told) = traces_of(
            // Who made them is told by the file, whatever the observed ones are.
            (std::slice::from_ref(path), observed::InputFormat::default()),
            texts,
            &mut read,
        )?;
        let name = path.display().to_string();
        ensure!(!traces.is_empty(), "{name}: has no whole trace");
        evaluation.inputs.push((name.clone(), told));
        cut(&mut traces, count);
        if traces.len() < count {
            evaluation.notes.push(format!(
                "{name} has {} traces, fewer than the {count} held-out ones: it looks worse where counts matter",
                traces.len()
            ));
        }
        let partial: u64 = read.assembled.traces_partial.iter().sum();
        let whole = read.assembled.traces_complete as f64;
        let figures = Figures::from([("valid", whole / (whole + partial as f64).max(1.0))]);
        drawn.push(Drawn {
            name,
            traces,
            figures,
            reconstruction: [None, None],
            min_traces: None,
        });
    }
    Ok(drawn)
}

fn from_model(
    path: &Path,
    texts: &Arc<Interner>,
    (held_out, seed): (&[Trace], u64),
    evaluation: &mut Evaluation,
) -> anyhow::Result<Drawn> {
    let (name, count) = (path.display().to_string(), held_out.len());
    let checkpoint = Checkpoint::load(path)?;
    let published = checkpoint
        .published()?
        .with_context(|| format!("{name}: has learnt too little to draw from"))?;
    let words = checkpoint.words();
    let vocabulary = Vocabulary::load(words, 1, words.words.len(), texts);
    let mut sampler = Sampler::new(&published)?;
    let sampled = sampler.sample_many(&mut stream(seed, "samples"), count, None);
    let valid = validity(&sampled, &vocabulary);
    let traces = dressed(&sampled, &vocabulary, texts);
    let mut rng = stream(seed, "sizes");
    let of_sizes: Vec<f64> = SIZES
        .into_iter()
        .map(|size| {
            let sampled = sampler.sample_many(&mut rng, OF_SIZE, Some(size));
            let right = sampled.iter().filter(|s| s.spans.len() == size).count();
            validity(&sampled, &vocabulary) * right as f64 / OF_SIZE as f64
        })
        .collect();
    let of_sizes = of_sizes.iter().sum::<f64>() / of_sizes.len() as f64;
    let figures = Figures::from([("valid", valid), ("valid_sizes", of_sizes)]);
    let mut reconstruction = [None, None];
    if let Some(vae) = checkpoint.vae()? {
        let rebuilt = rebuilt(&vae, &published, held_out, (texts, &vocabulary), seed)?;
        evaluation.notes.push(format!(
            "{name}: {} of {} held-out traces have only labels of the model, and went through its latents",
            rebuilt[0].map_or(0, |rebuilt| rebuilt.traces),
            held_out.len()
        ));
        reconstruction = rebuilt;
    }
    if evaluation.curve.is_empty() {
        evaluation.curve.clone_from(&checkpoint.status().curve);
    }
    evaluation.inputs.push((
        name.clone(),
        format!("{count} traces drawn; the {:?} serves", published.serving()),
    ));
    Ok(Drawn {
        name,
        traces,
        figures,
        reconstruction,
        min_traces: Some(words.min_traces),
    })
}

/// Drawn traces as if they had been observed, with what their spans carry.
fn dressed(sampled: &[Sampled], vocabulary: &Vocabulary, texts: &Interner) -> Vec<Trace> {
    let profiles: Vec<Vec<Symbol>> = vocabulary
        .words()
        .iter()
        .map(|word| {
            let profiles = word.profiles.iter();
            let symbol = |profile: &Arc<Profile>| {
                if profile.is_bare() {
                    return Interner::OTHER;
                }
                // It stands for nothing outside this process: whatever is equal has one.
                let hash = texts.mix(0, format!("{profile:?}").as_bytes());
                texts.profile(hash, || (**profile).clone())
            };
            profiles.map(symbol).collect()
        })
        .collect();
    let dress = |sampled: &Sampled| {
        let bare = vocabulary.observed(sampled).ok()?;
        let spans = bare
            .spans()
            .iter()
            .zip(&sampled.spans)
            .map(|(span, drawn)| {
                let of_word = profiles.get(drawn.token.0 as usize);
                let profile = of_word.and_then(|of_word| of_word.get(drawn.profile as usize));
                Span {
                    profile: profile.copied().unwrap_or(Interner::OTHER),
                    ..span.clone()
                }
            });
        Trace::new(spans.collect(), bare.links().to_vec()).ok()
    };
    sampled.iter().filter_map(dress).collect()
}

/// Reads another system's observed traces, as many of each part as were held out here, and draws
/// from its model or reads its synthetic traces. None if none was given.
pub(super) fn other(
    arguments: &Arguments,
    texts: &Arc<Interner>,
    count: usize,
    evaluation: &mut Evaluation,
) -> anyhow::Result<Option<OtherSystem>> {
    let mut sample = |what: &str, paths: &[PathBuf]| -> anyhow::Result<Vec<Trace>> {
        let (mut traces, told) = traces_of(
            (paths, observed::InputFormat::default()),
            texts,
            &mut observed::Read::default(),
        )?;
        evaluation.inputs.push((what.to_owned(), told));
        thin(&mut traces, count);
        Ok(traces)
    };
    if arguments.other_train.is_empty() {
        return Ok(None);
    }
    let train = sample("other train", &arguments.other_train)?;
    let held_out = sample("other held_out", &arguments.other_held_out)?;
    let synthetic = match &arguments.other_model {
        Some(model) => {
            let checkpoint = Checkpoint::load(model)?;
            let name = model.display();
            let published = checkpoint
                .published()?
                .with_context(|| format!("{name}: has learnt too little to draw from"))?;
            let words = checkpoint.words();
            let vocabulary = Vocabulary::load(words, 1, words.words.len(), texts);
            let mut sampler = Sampler::new(&published)?;
            let rng = &mut stream(arguments.seed, "other samples");
            let sampled = sampler.sample_many(rng, held_out.len(), None);
            dressed(&sampled, &vocabulary, texts)
        }
        None => sample("other synthetic", &arguments.other_synthetic)?,
    };
    Ok(Some(OtherSystem::of(
        [&train, &held_out, &synthetic],
        arguments.same_system,
    )))
}

/// Held-out traces through the latents of a model and back, as far as it knows their labels; and
/// traces drawn from their z_G alone.
fn rebuilt(
    vae: &Vae,
    published: &Published,
    held_out: &[Trace],
    (texts, vocabulary): (&Arc<Interner>, &Vocabulary),
    seed: u64,
) -> anyhow::Result<[Option<Reconstruction>; 2]> {
    let mut memory = Memory::default();
    let (mut known, mut lessons) = (Vec::new(), Vec::new());
    for trace in held_out {
        let Ok(tokens) = vocabulary.tokens(trace) else {
            continue;
        };
        let Ok(profiles) = vocabulary.profiles(trace, &tokens, texts) else {
            continue;
        };
        let Ok(example) = encode(trace, &tokens, profiles, &published.coder) else {
            continue;
        };
        known.push(trace);
        lessons.push(lesson(
            example,
            &published.coder,
            &published.services,
            &mut memory,
        ));
    }
    let codes = vae.codes(&lessons.iter().collect::<Vec<_>>())?;
    let examples: Vec<Example> = lessons.into_iter().map(|lesson| lesson.example).collect();
    let mut sampler = Sampler::new(published)?;
    let rng = &mut stream(seed, "latents");
    let Some([back, alone]) = sampler.reconstruct(rng, &examples, &codes) else {
        return Ok([None, None]);
    };
    let compare = |drawn: Vec<Sampled>| -> anyhow::Result<Option<Reconstruction>> {
        let drawn: Result<Vec<Trace>, _> = drawn.iter().map(|s| vocabulary.observed(s)).collect();
        let drawn = drawn.context("what came back is no trace")?;
        Ok(Reconstruction::of(known.iter().copied().zip(&drawn)))
    };
    Ok([compare(back)?, compare(alone)?])
}

/// The whole traces of files, and what was read in words.
fn traces_of(
    files: (&[PathBuf], observed::InputFormat),
    texts: &Arc<Interner>,
    read: &mut observed::Read,
) -> anyhow::Result<(Vec<Trace>, String)> {
    let mut traces = Vec::new();
    *read = observed::read(files, texts, |trace| {
        traces.push(trace);
        Ok(())
    })?;
    let told = told(read);
    Ok((traces, told))
}

fn told(read: &observed::Read) -> String {
    let partial: u64 = read.assembled.traces_partial.iter().sum();
    format!(
        "{} traces of {} spans; {partial} partial ones, {} bad records and {} bad spans left out",
        read.assembled.traces_complete, read.assembled.complete, read.bad, read.rejected
    )
}

fn cut(traces: &mut Vec<Trace>, count: usize) {
    traces.truncate(count);
}

/// As many of them, spread over all: recordings stand in the order of time.
fn thin(traces: &mut Vec<Trace>, count: usize) {
    let all = traces.len();
    let mut at = 0;
    traces.retain(|_| {
        at += 1;
        all <= count || at * count / all > (at - 1) * count / all
    });
}
