//! `doppelspan inspect`

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::json;

use super::say;
use crate::learner::{Checkpoint, Serving};
use crate::trace::SpanKind;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A model: what `train` wrote, or the checkpoint of a synthesizer
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let checkpoint = Checkpoint::load(&arguments.model)?;
    let bytes = std::fs::metadata(&arguments.model)
        .with_context(|| arguments.model.display().to_string())?
        .len();
    let status = checkpoint.status();
    let words = checkpoint.words();
    let mut services: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (at, (service, operation, kind)) in words.words.iter().enumerate() {
        let profiles = words.profiles.get(at).map_or(0, Vec::len);
        let kind = SpanKind::from_number(u64::from(*kind));
        let kind = format!("{kind:?}").to_lowercase();
        let operations = services.entry(service).or_default();
        let carries = match profiles {
            0 | 1 => String::new(),
            profiles => format!(", {profiles} attribute profiles"),
        };
        operations.push(format!("{operation} ({kind}{carries})"));
    }
    let weights: usize = checkpoint
        .tensors()
        .iter()
        .filter(|(name, _)| !name.starts_with("optimiser."))
        .map(|(_, (_, values))| values.len())
        .sum();
    let timing_networks = checkpoint.vae_settings().map(|vae| vae.timing_networks);
    if arguments.json {
        let all = json!({
            "model": arguments.model,
            "written_by": checkpoint.program(),
            "bytes": bytes,
            "weights": weights,
            "timing_networks": timing_networks,
            "grammar_contexts": checkpoint.grammar().contexts(),
            "min_traces": words.min_traces,
            "services": services,
            "status": status,
        });
        say(&serde_json::to_string_pretty(&all)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let serves = match status.serving {
        Serving::Nothing => "nothing yet: too little was learnt",
        Serving::Grammar => "the table grammar",
        Serving::Vae => "the VAE",
    };
    let nats = |nats: Option<f64>| {
        nats.map_or("not scored".to_owned(), |n| format!("{n:.1} nats a trace"))
    };
    let rows = [
        ("model", arguments.model.display().to_string()),
        ("written by", checkpoint.program().to_owned()),
        (
            "size",
            format!(
                "{bytes} bytes, {weights} numbers in the VAE and its optimiser, {} contexts in the grammar",
                checkpoint.grammar().contexts()
            ),
        ),
        (
            "networks",
            match timing_networks {
                Some(1) => "one for structures, one for times".to_owned(),
                Some(networks) => format!("one for structures, {networks} for times"),
                None => "none".to_owned(),
            },
        ),
        ("serves", serves.to_owned()),
        (
            "traces",
            format!(
                "{} seen, {} held out, {} kept at the end",
                status.traces_seen, status.traces_held_out, status.traces_kept
            ),
        ),
        (
            "steps",
            format!("{} ({} undone)", status.steps, status.steps_undone),
        ),
        (
            "held out",
            format!(
                "VAE {}, grammar {}",
                nats(status.held_out_vae),
                nats(status.held_out_grammar)
            ),
        ),
        (
            "told apart",
            match status.tried {
                Some([vae, grammar]) => format!(
                    "in the last trial VAE {vae:.2}, grammar {grammar:.2} (areas under the curve, 0.5 is guessing)"
                ),
                None => "no trial: nats have decided who serves".to_owned(),
            },
        ),
        (
            "drawn traces",
            match status.drawn_kept {
                Some(kept) => format!(
                    "{:.0}% are kept, as a discriminator says; the others are told from observed ones too easily",
                    100.0 * kept
                ),
                None => "all are kept".to_owned(),
            },
        ),
        (
            "loss",
            format!(
                "{:.2} = node {:.2}, edge {:.2}, KL graph {:.2}, KL nodes {:.2}",
                status.loss.total,
                status.loss.node,
                status.loss.edge,
                status.loss.kl_graph,
                status.loss.kl_node
            ),
        ),
        (
            "vocabulary",
            format!(
                "{} labels of {} services, each in {} traces at least",
                words.words.len(),
                services.len(),
                words.min_traces
            ),
        ),
    ];
    for (name, value) in rows {
        say(&format!("{name:<11} {value}"))?;
    }
    for (service, operations) in services {
        say(&format!("  {service}"))?;
        for operation in operations {
            say(&format!("    {operation}"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
