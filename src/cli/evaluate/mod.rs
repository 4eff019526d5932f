//! `doppelspan evaluate`

mod ablations;
mod conditions;
mod samples;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;

use super::progress::Progress;
use super::{observed, say};
use crate::chance::stream;
use crate::eval::{
    self, Attributes, Bars, Bench, Control, Effort, Evaluation, Generator, Measured, Observed,
    ObservedFeatures, Queries,
};
use crate::features::Interner;
use crate::model::vae::one_core;
use crate::trace::Trace;
use samples::{Drawn, Read, draw, other, read};

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
    #[command(flatten)]
    format: observed::InputFormat,
    /// Models, each a generator: as many traces are drawn from each as were held out
    #[arg(long, num_args = 1.., value_name = "MODEL")]
    model: Vec<PathBuf>,
    /// A model that was trained with other settings, for the table of ablations; may be repeated
    #[arg(long, value_name = "NAME=MODEL", value_parser = ablations::named)]
    ablation: Vec<(String, PathBuf)>,
    /// Files of synthetic spans, each of another generator
    #[arg(long, num_args = 1.., value_name = "FILE")]
    synthetic: Vec<PathBuf>,
    /// Files of observed spans of another system: which of both a trace comes from is asked as well
    #[arg(long, num_args = 1.., value_name = "FILE", requires = "other_held_out")]
    other_train: Vec<PathBuf>,
    /// Files of other observed spans of that system, which are asked
    #[arg(long, num_args = 1.., value_name = "FILE", requires = "other")]
    other_held_out: Vec<PathBuf>,
    /// A model of that system
    #[arg(long, value_name = "MODEL", group = "other", requires = "other_train")]
    other_model: Option<PathBuf>,
    /// Files of synthetic spans of that system
    #[arg(long, num_args = 1.., value_name = "FILE", group = "other", requires = "other_train")]
    other_synthetic: Vec<PathBuf>,
    /// What is named other is the same system at another time, as under a fault: its labels may tell too
    #[arg(long, requires = "other_train")]
    same_system: bool,
    /// The folder that the report goes to: report.html and report.json
    #[arg(long, value_name = "FOLDER")]
    output: PathBuf,
    /// What is asked of a figure, in place of what is asked of all systems: c2st=0.60
    #[arg(long, value_name = "KEY=NUMBER")]
    bar: Vec<String>,
    /// Leave out what takes longest: the flat VAE among the controls, ablations, conditions, given
    /// sizes
    #[arg(long)]
    brief: bool,
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
    let bars = Bars::read(arguments.bar.iter().map(String::as_str)).context("--bar")?;
    // Sums are made in one order, whatever the machine has.
    let _core = one_core();
    let texts = Arc::new(Interner::default());
    let mut evaluation = Evaluation {
        seed: arguments.seed,
        bars,
        ..Evaluation::default()
    };
    let Read {
        train,
        held_out,
        second,
        began,
    } = read(arguments, &texts, &mut evaluation)?;
    let drawn = draw(arguments, &texts, &held_out, &mut evaluation)?;
    let other = other(arguments, &texts, held_out.len(), &mut evaluation)?;
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
    let mut flat = Vec::new();
    if !arguments.brief {
        let learnt = eval::flat(&train, count, floor, &texts, arguments.seed)?;
        evaluation.notes.push(learnt.to_string());
        flat = learnt.traces;
    }
    let random = eval::random(&train, count, &mut chance("random control"));
    let mut controls = vec![
        (Control::Ceiling, &*second),
        (Control::Copier, &*copied),
        (Control::Grammar, &*grammar),
        (Control::Flat, &*flat),
        (Control::Random, &*random),
    ];
    controls.retain(|(_, traces)| !traces.is_empty());
    let features = ObservedFeatures::of(observed);
    let bench = Bench::new(observed, &features, &texts, (arguments.seed, floor))?;
    let [rare, allowed] = bench.rare_shapes();
    evaluation.notes.push(format!(
        "{rare} shapes of held-out traces are rare, {allowed} of them have no label below the floor, which no synthetic \
         trace may have; the fewer, the more of how many are found is chance"
    ));
    let beside = match &other {
        Some(other) => bench.beside(other)?,
        None => None,
    };
    let queries = Queries::of(&held_out, &began[0]);
    let attributes = Attributes::of(&held_out, &texts);
    if queries.is_some() {
        evaluation.notes.push(
            "U4: held-out and second traces stand at the times at which they began, in twelve equal parts of \
             the held-out recording; all others at a constant rate, for no model here knows the time of day"
                .to_owned(),
        );
    }
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
        if let Some(queries) = &queries {
            measured.figures.extend(queries.ask(traces, None));
        }
        if let Some(attributes) = &attributes {
            measured.carries(attributes.compare(traces));
        }
        if let Some(beside) = &beside {
            bench.measure_beside(beside, traces, other.as_ref(), &mut measured)?;
        }
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
    for (control, traces) in controls {
        let effort = match control {
            Control::Ceiling => Effort::Whole,
            Control::Grammar => Effort::Telling,
            _ => Effort::Quick,
        };
        let mut measured = work.measure(&bench, control.key(), (traces, effort))?;
        if let Some(queries) = &queries {
            let began = (control == Control::Ceiling).then_some(&*began[1]);
            measured.figures.extend(queries.ask(traces, began));
            if control == Control::Ceiling {
                measured.figures.extend(queries.head_sampled());
            }
        }
        // A grammar carries nothing, and chance has the training spans' own.
        if let Some(attributes) = attributes.as_ref().filter(|_| control != Control::Grammar) {
            measured.carries(attributes.compare(traces));
        }
        if let Some(beside) = beside.as_ref().filter(|_| control == Control::Ceiling) {
            bench.measure_beside(beside, traces, None, &mut measured)?;
        }
        evaluation.controls.insert(control, measured);
    }
    work.progress.end();
    if !arguments.brief {
        conditions::ask(arguments, &texts, &held_out, &mut evaluation)?;
        let traces = (&*train, &*held_out, floor);
        ablations::ablate(arguments, &texts, traces, &mut evaluation)?;
    }
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
