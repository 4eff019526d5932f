//! The samples of traces that `evaluate` compares: read from files, or drawn from models.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, ensure};

use super::Arguments;
use crate::chance::stream;
use crate::cli::observed;
use crate::eval::{Evaluation, Figures, validity};
use crate::features::{Interner, Vocabulary};
use crate::learner::Checkpoint;
use crate::synthesizer::Sampler;
use crate::trace::Trace;

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
}

/// Synthetic traces of one generator.
pub(super) struct Drawn {
    pub(super) name: String,
    pub(super) traces: Vec<Trace>,
    /// What only the generator knows.
    pub(super) figures: Figures,
    /// The floor of its vocabulary, if it has one.
    pub(super) min_traces: Option<u32>,
}

/// Reads the observed samples, and notes what a reader of the report has to know.
pub(super) fn read(
    arguments: &Arguments,
    texts: &Arc<Interner>,
    evaluation: &mut Evaluation,
) -> anyhow::Result<Read> {
    let mut sample = |what: &str, paths: &[PathBuf]| -> anyhow::Result<Vec<Trace>> {
        let (traces, told) = traces(paths, texts)?;
        evaluation.inputs.push((what.to_owned(), told));
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
    cut(&mut second, held_out.len());
    if second.len() < held_out.len() {
        evaluation.notes.push(format!(
            "the second sample has {} traces, fewer than the {} held-out ones: its ceiling looks lower where counts matter",
            second.len(),
            held_out.len()
        ));
    }
    Ok(Read {
        train,
        held_out,
        second,
    })
}

/// Draws from the models, or reads the files of synthetic traces.
pub(super) fn draw(
    arguments: &Arguments,
    texts: &Arc<Interner>,
    count: usize,
    evaluation: &mut Evaluation,
) -> anyhow::Result<Vec<Drawn>> {
    let mut drawn = Vec::new();
    for path in &arguments.model {
        drawn.push(from_model(
            path,
            texts,
            (count, arguments.seed),
            evaluation,
        )?);
    }
    for path in &arguments.synthetic {
        let mut read = observed::Read::default();
        let (mut traces, told) = traces_of(std::slice::from_ref(path), texts, &mut read)?;
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
            min_traces: None,
        });
    }
    Ok(drawn)
}

fn from_model(
    path: &Path,
    texts: &Arc<Interner>,
    (count, seed): (usize, u64),
    evaluation: &mut Evaluation,
) -> anyhow::Result<Drawn> {
    let name = path.display().to_string();
    let checkpoint = Checkpoint::load(path)?;
    let published = checkpoint
        .published()?
        .with_context(|| format!("{name}: has learnt too little to draw from"))?;
    let words = checkpoint.words();
    let vocabulary = Vocabulary::load(words, 1, words.words.len(), texts);
    let mut sampler = Sampler::new(&published)?;
    let sampled = sampler.sample_many(&mut stream(seed, "samples"), count, None);
    let valid = validity(&sampled, &vocabulary);
    let traces: Vec<Trace> = sampled
        .iter()
        .filter_map(|sampled| vocabulary.observed(sampled).ok())
        .collect();
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
        figures: Figures::from([("valid", valid), ("valid_sizes", of_sizes)]),
        min_traces: Some(words.min_traces),
    })
}

fn traces(paths: &[PathBuf], texts: &Arc<Interner>) -> anyhow::Result<(Vec<Trace>, String)> {
    traces_of(paths, texts, &mut observed::Read::default())
}

/// The whole traces of files, and what was read in words.
fn traces_of(
    paths: &[PathBuf],
    texts: &Arc<Interner>,
    read: &mut observed::Read,
) -> anyhow::Result<(Vec<Trace>, String)> {
    let mut traces = Vec::new();
    *read = observed::read(paths, texts, |trace| {
        traces.push(trace);
        Ok(())
    })?;
    let partial: u64 = read.assembled.traces_partial.iter().sum();
    let told = format!(
        "{} traces of {} spans; {partial} partial ones, {} bad records and {} bad spans left out",
        read.assembled.traces_complete, read.assembled.complete, read.bad, read.rejected
    );
    Ok((traces, told))
}

fn cut(traces: &mut Vec<Trace>, count: usize) {
    traces.truncate(count);
}
