//! What `evaluate` asks of the first model under conditions.

use std::sync::Arc;

use anyhow::Context as _;

use super::Arguments;
use crate::chance::stream;
use crate::eval::{Ablated, Evaluation, SizesGiven, kept, of_given_sizes};
use crate::features::{Interner, Vocabulary};
use crate::learner::Checkpoint;
use crate::synthesizer::Sampler;
use crate::trace::Trace;

/// C1 and U3 of the first model; nothing without one.
pub(super) fn ask(
    arguments: &Arguments,
    texts: &Arc<Interner>,
    held_out: &[Trace],
    evaluation: &mut Evaluation,
) -> anyhow::Result<()> {
    let Some(path) = arguments.model.first() else {
        return Ok(());
    };
    let (seed, count) = (arguments.seed, held_out.len());
    let checkpoint = Checkpoint::load(path)?;
    let published = checkpoint
        .published()?
        .with_context(|| format!("{}: has learnt too little to draw from", path.display()))?;
    let words = checkpoint.words();
    let vocabulary = Vocabulary::load(words, 1, words.words.len(), texts);
    let mut sampler = Sampler::new(&published)?;
    // The draws of `samples::draw`.
    let left = sampler.sample_many(&mut stream(seed, "samples"), count, None);
    evaluation.kept = kept(&published, &left, seed)?;
    let of = evaluation.kept.len().max(1) as f64;
    let mean = |figure: fn(&crate::eval::Kept) -> f64| {
        evaluation.kept.iter().map(figure).sum::<f64>() / of
    };
    let figures = [
        ("conditions_met", mean(|kept| kept.met)),
        ("conditions_drawn", mean(|kept| kept.structures)),
    ];
    if let Some(first) = evaluation.generators.first_mut() {
        first.measured.figures.extend(figures);
    }
    let given = of_given_sizes(&mut sampler, &mut stream(seed, "given sizes"), count);
    let ablated = Ablated::new(held_out, texts, seed);
    for (drawn, given) in [(left, false), (given, true)] {
        let traces = drawn.iter();
        let traces: Vec<Trace> = traces.filter_map(|s| vocabulary.observed(s).ok()).collect();
        evaluation.sizes.push(SizesGiven {
            given,
            figures: ablated.figures(&traces)?,
        });
    }
    evaluation.notes.push(format!(
        "C1 and U3 are of {}; given sizes are those of traces that it drew for them, none of a held-out one",
        path.display()
    ));
    Ok(())
}
