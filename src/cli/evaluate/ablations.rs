//! The ablations of `evaluate`: models drawn from with and without z_v and the discriminator, and one
//! with Gaussian z_v.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;

use super::Arguments;
use crate::chance::stream;
use crate::cli::progress::Progress;
use crate::eval::{Ablated, Ablation, Evaluation, Noise, gaussian};
use crate::features::{Interner, Sampled, Vocabulary};
use crate::learner::{Checkpoint, Generator};
use crate::synthesizer::Sampler;
use crate::trace::Trace;

/// Samples of each model, at most.
const SAMPLES: u64 = 4;

/// What is measured.
struct Sample {
    noise: Noise,
    discriminator: bool,
    even: bool,
    traces: Vec<Trace>,
}

/// A name and the model it stands for.
pub(super) fn named(text: &str) -> Result<(String, PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or("it has no `=`")?;
    Ok((name.to_owned(), path.into()))
}

/// Measures the first model and each named one: as it serves, drawn independently, without its
/// discriminator if it has one, and with z_v at its median as well. Beside the first, a model with Gaussian z_v that learns
/// from the training traces.
pub(super) fn ablate(
    arguments: &Arguments,
    texts: &Arc<Interner>,
    (training, held_out, floor): (&[Trace], &[Trace], u32),
    evaluation: &mut Evaluation,
) -> anyhow::Result<()> {
    let given = arguments.model.first();
    let given = given.map(|path| {
        let name = path.file_name().unwrap_or_default();
        (name.display().to_string(), path.clone())
    });
    let models: Vec<(String, PathBuf)> = given
        .into_iter()
        .chain(arguments.ablation.iter().cloned())
        .collect();
    let ablated = Ablated::new(held_out, texts, arguments.seed);
    let all = SAMPLES * models.len() as u64 + 1;
    let mut progress = Progress::new("ablations", all, "samples");
    for ((name, path), done) in models.iter().zip(0_u64..) {
        let Some((codes, samples)) = samples(path, texts, (held_out.len(), arguments.seed))? else {
            evaluation.notes.push(format!(
                "{name} has no ablation: its grammar serves, which has no latents"
            ));
            continue;
        };
        for (sample, at) in samples.iter().zip(0_u64..) {
            progress.tell(SAMPLES * done + at, || name.clone());
            evaluation.ablations.push(Ablation {
                model: name.clone(),
                codes,
                noise: sample.noise,
                discriminator: sample.discriminator,
                even: sample.even,
                figures: ablated.figures(&sample.traces)?,
            });
        }
    }
    if !arguments.model.is_empty() {
        progress.tell(all - 1, || "Gaussian z_v".to_owned());
        let learnt = gaussian(training, held_out.len(), floor, texts, arguments.seed)?;
        evaluation.notes.push(learnt.to_string());
        evaluation.ablations.push(Ablation {
            model: "a VAE with amortised Gaussian z_v".to_owned(),
            codes: 0,
            noise: Noise::Gaussian,
            discriminator: false,
            even: false,
            figures: ablated.figures(&learnt.traces)?,
        });
    }
    progress.end();
    Ok(())
}

/// Codes of a model's z_G, and samples of so many traces; none if no VAE serves.
fn samples(
    path: &Path,
    texts: &Arc<Interner>,
    (count, seed): (usize, u64),
) -> anyhow::Result<Option<(usize, Vec<Sample>)>> {
    let checkpoint = Checkpoint::load(path)?;
    let published = checkpoint
        .published()?
        .with_context(|| format!("{}: has learnt too little to draw from", path.display()))?;
    let Generator::Vae(weights) = &published.generator else {
        return Ok(None);
    };
    let words = checkpoint.words();
    let vocabulary = Vocabulary::load(words, 1, words.words.len(), texts);
    let traces = |sampled: &[Sampled]| {
        let traces = sampled.iter();
        traces.filter_map(|s| vocabulary.observed(s).ok()).collect()
    };
    // The draws of `samples::draw`.
    let chance = || stream(seed, "samples");
    let discriminator = published.discriminator.is_some();
    let new = || Sampler::new(&published);
    let mut kinds = vec![
        (new()?, discriminator, true),
        (new()?.independently(), discriminator, false),
    ];
    if discriminator {
        kinds.push((new()?.keep_all(), false, true));
    }
    let mut samples = Vec::new();
    for (mut sampler, discriminator, even) in kinds {
        samples.push(Sample {
            noise: Noise::InverseCdf,
            discriminator,
            even,
            traces: traces(&sampler.sample_many(&mut chance(), count, None)),
        });
    }
    let median = new()?.sample_medians(&mut chance(), count);
    samples.push(Sample {
        noise: Noise::Median,
        discriminator: false,
        even: false,
        traces: traces(&median.unwrap_or_default()),
    });
    Ok(Some((weights.settings().codes, samples)))
}
