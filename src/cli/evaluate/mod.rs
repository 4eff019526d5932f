//! `doppelspan evaluate`

mod ablations;
mod samples;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;

use super::progress::Progress;
use super::say;
use crate::chance::stream;
use crate::eval::{
    self, Bench, Control, Effort, Evaluation, Generator, Measured, Observed, ObservedFeatures,
};
use crate::features::Interner;
use crate::model::vae::one_core;
use crate::trace::Trace;
use samples::{Drawn, Read, draw, read};

/// Training traces that a label needs, where no model says: what `train` asks for.
const FLOOR: u32 = 20;

#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("generator").required(true).args(["model", "synthetic"])))]
pub(super) struct Arguments {
    /// Files of the observed spans that the generator learnt from
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    train: Vec<PathBuf>,
    /// Files of observed spans that it has not seen: what everything is compared with
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    held_out: Vec<PathBuf>,
    /// Files of other observed spans, for the ceiling; half of the held-out ones unless given
    #[arg(long, num_args = 1.., value_name = "FILE")]
    second: Vec<PathBuf>,
    /// Models, each a generator: as many traces are drawn from each as were held out
    #[arg(long, num_args = 1.., value_name = "MODEL")]
    model: Vec<PathBuf>,
    /// A model that was trained with other settings, for the table of ablations; may be repeated
    #[arg(long, value_name = "NAME=MODEL", value_parser = ablations::named)]
    ablation: Vec<(String, PathBuf)>,
    /// Files of synthetic spans, each of another generator
    #[arg(long, num_args = 1.., value_name = "FILE")]
    synthetic: Vec<PathBuf>,
    /// The folder that the report goes to: report.html and report.json
    #[arg(long, value_name = "FOLDER")]
    output: PathBuf,
    /// The same seed and files give the same report
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let folder = &arguments.output;
    // Found out now, not after minutes of measuring.
    std::fs::create_dir_all(folder)
        .and_then(|()| tempfile::NamedTempFile::new_in(folder).map(drop))
        .with_context(|| format!("can't write to {}", folder.display()))?;
    // Sums are made in one order, whatever the machine has.
    let _core = one_core();
    let texts = Arc::new(Interner::default());
    let mut evaluation = Evaluation {
        seed: arguments.seed,
        ..Evaluation::default()
    };
    let Read {
        train,
        held_out,
        second,
    } = read(arguments, &texts, &mut evaluation)?;
    let drawn = draw(arguments, &texts, &held_out, &mut evaluation)?;
    let observed = Observed {
        train: &train,
        held_out: &held_out,
        second: &second,
    };
    let floor = drawn.iter().find_map(|drawn| drawn.min_traces);
    let floor = floor.unwrap_or(FLOOR);
    let chance = |purpose| stream(arguments.seed, purpose);
    let count = held_out.len();
    let grammar = {
        let rng = &mut chance("grammar control");
        eval::grammar(&train, count, floor, &texts, rng)
    };
    let copied = eval::copied(&train, count, &mut chance("copier control"));
    let flat = eval::flat(&train, count, floor, &texts, arguments.seed)?;
    evaluation.notes.push(flat.to_string());
    let random = eval::random(&train, count, &mut chance("random control"));
    let controls = [
        (Control::Ceiling, &*second),
        (Control::Copier, &*copied),
        (Control::Grammar, &*grammar),
        (Control::Flat, &*flat.traces),
        (Control::Random, &*random),
    ];
    let features = ObservedFeatures::of(observed);
    let bench = Bench::new(observed, &features, &texts, (arguments.seed, floor))?;
    evaluation.notes.push(format!(
        "{} shapes of held-out traces are rare; the fewer, the more of how many are found is chance",
        bench.rare_shapes()
    ));
    let samples = (drawn.len() + controls.len()) as u64;
    let mut work = Work {
        progress: Progress::new("evaluating", samples * Bench::STEPS, "steps"),
        done: 0,
    };
    for Drawn {
        name,
        traces,
        figures,
        reconstruction,
        ..
    } in &drawn
    {
        // Mixing is slow, and one generator shows it.
        let effort = match evaluation.generators.len() {
            0 => Effort::Whole,
            _ => Effort::Telling,
        };
        let mut measured = work.measure(&bench, name, (traces, effort))?;
        measured.figures.extend(figures);
        let [rebuilt, alone] = reconstruction;
        if let Some(alone) = alone {
            measured.figures.extend(alone.figures_of_code());
        }
        if let Some(rebuilt) = rebuilt {
            measured.rebuilds(*rebuilt);
        }
        evaluation.generators.push(Generator {
            name: name.clone(),
            measured,
        });
    }
    for (control, traces) in controls
        .into_iter()
        .filter(|(_, traces)| !traces.is_empty())
    {
        let effort = match control {
            Control::Ceiling => Effort::Whole,
            Control::Grammar => Effort::Telling,
            _ => Effort::Quick,
        };
        let measured = work.measure(&bench, control.key(), (traces, effort))?;
        evaluation.controls.insert(control, measured);
    }
    work.progress.end();
    ablations::ablate(arguments, &texts, &held_out, &mut evaluation)?;
    let json = serde_json::to_string_pretty(&evaluation.json())?;
    write(folder, "report.json", json.as_bytes())?;
    let first = drawn.first().map_or(&[][..], |drawn| &drawn.traces);
    let page = evaluation.html(observed, first, &texts);
    write(folder, "report.html", page.as_bytes())?;
    say(&evaluation.text())?;
    say(&format!(
        "wrote {} and report.json",
        folder.join("report.html").display()
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn write(folder: &std::path::Path, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
    let path = folder.join(name);
    std::fs::write(&path, bytes).with_context(|| format!("can't write {}", path.display()))
}

/// All that is to be measured, and how much of it is done.
struct Work {
    progress: Progress,
    done: u64,
}

impl Work {
    fn measure(
        &mut self,
        bench: &Bench<'_>,
        name: &str,
        (traces, effort): (&[Trace], Effort),
    ) -> anyhow::Result<Measured> {
        let measured = bench.measure(traces, effort, |step| {
            self.progress.tell(self.done, || format!("{name}: {step}"));
            self.done += 1;
        })?;
        Ok(measured)
    }
}
