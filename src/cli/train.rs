//! `doppelspan train`

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::progress::Progress;
use super::{observed, say};
use crate::features::{Interner, InternerSettings};
use crate::learner::{Checkpoint, Learner, LearnerSettings, Serving};
use crate::model::vae::one_core;
use crate::synthesizer::{tell_apart, try_out};

/// Steps, at most, unless given.
const STEPS: u64 = 6_000;

/// With fewer traces to learn from, one timing network learns them by heart, and training is short.
const FEW_TRACES: usize = 4_000;
/// Timing networks side by side of so few, unless given.
const TIMING_NETWORKS: usize = 3;

/// Steps between two scores.
const SCORE_EVERY: u64 = 100;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Files of observed spans: OTLP (JSON lines or length-prefixed protobuf, JSON documents as of
    /// Tempo), Jaeger JSON, Zipkin JSON, or the CSV of a research data set (Nezha, Eadro); plain,
    /// .gz or .zst
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    input: Vec<PathBuf>,
    #[command(flatten)]
    format: observed::InputFormat,
    /// Where the model goes
    #[arg(long, value_name = "MODEL")]
    output: PathBuf,
    /// The same seed, files and steps give the same model
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Optimiser steps, at most; as many as learn from each trace twenty times, but no more than
    /// 6000, unless given
    #[arg(long)]
    steps: Option<u64>,
    /// Stop after so many minutes at the latest; the model then depends on the machine
    #[arg(long)]
    minutes: Option<f64>,
    /// Distinct traces that a (service, operation, kind) needs before synthetic traces may have it
    #[arg(long, default_value_t = 20, value_name = "TRACES")]
    min_traces: u32,
    /// A setting of the learner or, after `vae.`, of the model, as `vae.codes=0`; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = LearnerSettings::pair)]
    set: Vec<(String, serde_json::Value)>,
    /// Keys of the attributes that synthetic spans may have, in place of the usual ones; "" for none
    #[arg(long, value_delimiter = ',', value_name = "KEY,...")]
    attributes: Option<Vec<String>>,
}

/// The settings of the learner with what was set.
fn settings(arguments: &Arguments) -> anyhow::Result<LearnerSettings> {
    let settings = LearnerSettings {
        min_traces: arguments.min_traces,
        replay: 20_000,
        recent: 0.0,
        spans_told_apart: 800_000,
        ..LearnerSettings::default()
    };
    let settings = settings.with(&arguments.set);
    settings.map_err(|fault| anyhow::anyhow!("--set: {fault}"))
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let folder = arguments
        .output
        .parent()
        .filter(|f| !f.as_os_str().is_empty());
    let folder = folder.unwrap_or(std::path::Path::new("."));
    // Found out now, not after an hour of training.
    tempfile::NamedTempFile::new_in(folder)
        .with_context(|| format!("can't write to {}", folder.display()))?;
    let settings = settings(arguments)?;
    let texts = interner(arguments.attributes.as_deref());
    let mut learner = Learner::new(settings, texts.clone(), arguments.seed);
    let read = observed::read((&arguments.input, arguments.format), &texts, |trace| {
        learner.take(trace);
        Ok(())
    })?;
    let assembled = read.assembled;
    let partial: u64 = assembled.traces_partial.iter().sum();
    say(&format!(
        "read {} traces of {} spans; {partial} partial ones and {} bad spans left out",
        assembled.traces_complete, assembled.complete, read.rejected
    ))?;
    if read.bad > 0 {
        say(&format!(
            "{} records or spans could not be used, of {} records",
            read.bad, read.records
        ))?;
    }
    ensure!(
        !learner.vocabulary().is_empty(),
        "there is nothing to learn: no (service, operation, kind) stands in {} traces or more; \
         give more input, or lower --min-traces",
        arguments.min_traces
    );
    learner.refit();
    let steps = learner.steps_left().min(arguments.steps.unwrap_or(STEPS));
    learner.end_after(steps);
    let asked = |(key, _): &(String, _)| key == "vae.timing_networks";
    let kept = learner.traces_kept();
    if kept < FEW_TRACES && !arguments.set.iter().any(asked) {
        say(&format!(
            "{kept} traces to learn from: {TIMING_NETWORKS} timing networks learn side by side, which takes \
             longer (--set vae.timing_networks=1 has one)"
        ))?;
        learner.teach_abreast(TIMING_NETWORKS);
    }
    // One core: more would only wait for each other, and what is summed where would vary.
    let _core = one_core();
    train(arguments, &mut learner, steps)?;
    try_out(&mut learner);
    learner.settle();
    if let Some(published) = learner.snapshot() {
        tell_apart(&mut learner, published);
    }
    Checkpoint::of(&learner).save(&arguments.output)?;
    let status = learner.status();
    let serves = match status.serving {
        Serving::Vae => "VAE",
        _ => "grammar",
    };
    let score = match (status.held_out_vae, status.held_out_grammar) {
        (Some(vae), Some(grammar)) => format!(
            "a held-out trace costs {vae:.1} nats with the VAE, {grammar:.1} with the grammar"
        ),
        _ => format!(
            "too few of the {} traces held out have only known labels to score the VAE",
            status.traces_held_out
        ),
    };
    let early = arguments.steps.is_some_and(|asked| steps < asked) && arguments.minutes.is_none();
    let often = if early {
        " (more would learn these traces by heart)"
    } else {
        ""
    };
    say(&format!(
        "{} steps{often}; {score}: the {serves} serves",
        status.steps
    ))?;
    say(&format!("wrote {}", arguments.output.display()))?;
    Ok(ExitCode::SUCCESS)
}

fn interner(attributes: Option<&[String]>) -> Arc<Interner> {
    let mut settings = InternerSettings::default();
    if let Some(keys) = attributes {
        settings.attributes = keys.iter().filter(|key| !key.is_empty()).cloned().collect();
    }
    Arc::new(Interner::new(settings))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a command line reads the clock for its user"
)]
fn train(arguments: &Arguments, learner: &mut Learner, steps: u64) -> anyhow::Result<()> {
    let began = Instant::now();
    let limit = arguments.minutes.map(|minutes| minutes * 60.0);
    let limit = limit.map(Duration::try_from_secs_f64).transpose();
    let limit = limit.context("--minutes must be a positive number")?;
    let mut progress = Progress::new("training", steps, "steps");
    learner.score()?;
    for step in 1..=steps {
        if !learner.step()? {
            // More would teach it these traces by heart.
            learner.score()?;
            break;
        }
        let last = step == steps;
        if step % SCORE_EVERY == 0 || last {
            learner.score()?;
        }
        if limit.is_some_and(|limit| began.elapsed() >= limit) {
            learner.score()?;
            break;
        }
        progress.tell(step, || {
            let status = learner.status();
            let held_out = |nats: Option<f64>| nats.map_or("–".into(), |n| format!("{n:.1}"));
            format!(
                "loss {:.1}, held out {} (grammar {})",
                status.loss.total,
                held_out(status.held_out_vae),
                held_out(status.held_out_grammar)
            )
        });
    }
    progress.end();
    Ok(())
}
