//! `make online`: one pass in time order through a learner, measured as it learns.
//!
//! `online DATA [OUTPUT] [MODELS] [NAME...]`: DATA holds folders with train.jsonl.zst and
//! test.jsonl.zst. A fifth of each corpus, by trace, is held out; the rest goes through a learner,
//! once, in the order of time. It has the connector's defaults, but that what came lately counts
//! no more than what came first (`recent` is 0): it is compared with a model that
//! was trained on all of them at once. A fixed number of optimiser steps a
//! trace (`ONLINE_STEPS`) stands in place of the clock, so that a run can be repeated. At
//! checkpoints, traces are drawn from what is published then and compared with the held-out ones.
//! MODELS/NAME/1/whole.model, as `make tables` leaves them, is the offline model to compare with; where
//! there is none, the end of the pass is. `ONLINE_TRACES` ends the pass early; `ONLINE_SET` sets what
//! `doppelspan train --set` does, as `passes=10 vae.codes=0`.

#![allow(
    clippy::disallowed_methods,
    reason = "a program of its own: it reads its arguments and the clock"
)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use doppelspan::assembler::Done;
use doppelspan::chance::stream;
use doppelspan::eval::{fidelity, told_apart};
use doppelspan::features::{Interner, Vocabulary};
use doppelspan::learner::{Checkpoint, Learner, LearnerSettings, Published, Serving};
use doppelspan::model::vae::one_core;
use doppelspan::receiver::otlpjsonfile;
use doppelspan::synthesizer::{Sampler, tell_apart, try_out};
use doppelspan::trace::Trace;
use integration_tests::Traces;

/// Traces after which is measured, and at the end.
const CHECKPOINTS: [usize; 6] = [200, 500, 1_000, 2_000, 3_000, 5_000];
/// Traces between two scores of the learner.
const SCORE_EVERY: usize = 50;
/// Samples drawn each time; figures are their means.
const DRAWS: u64 = 3;
/// Traces of each side that are compared, at most.
const SIDE: usize = 1_000;
/// What must be reached, as a share of the offline figure.
const SHARE: f64 = 0.95;

/// How good a figure is: the more the better.
type Good = fn(f64) -> f64;

/// The figures: name, and how good a value is, from 0 to 1.
const FIGURES: [(&str, Good); 5] = [
    ("overall fidelity", |value| value),
    ("edges, 1 − √JSD", |value| value),
    ("shape total variation", |value| 1.0 - value),
    ("duration per operation, W1", |value| 1.0 - value),
    ("C2ST AUC (trees)", |value| 2.0 * (1.0 - value)),
];

type Figures = [f64; FIGURES.len()];

struct Point {
    traces: usize,
    steps: u64,
    serving: Serving,
    drifts: u64,
    seconds: f64,
    figures: Figures,
    /// Figures of as many of the traces learnt so far as are held out, or all of them: what they are
    /// from the held-out ones is the recording's doing.
    observed: Figures,
}

struct Pass {
    name: String,
    traces: usize,
    held_out: usize,
    points: Vec<Point>,
    noticed: Vec<u64>,
    /// Figures of another observed sample: the ceiling.
    ceiling: Figures,
    offline: Option<Figures>,
}

fn setting<T: std::str::FromStr>(name: &str, default: T) -> T {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: online DATA [OUTPUT] [MODELS] [NAME...]";
    let data = PathBuf::from(arguments.next().context(usage)?);
    let output = PathBuf::from(arguments.next().unwrap_or_else(|| "docs".into()));
    let models = PathBuf::from(arguments.next().unwrap_or_else(|| "target/tables".into()));
    let names: Vec<String> = arguments.collect();
    let steps: f64 = setting("ONLINE_STEPS", 1.0);
    let most = setting("ONLINE_TRACES", usize::MAX);

    let mut folders = Vec::new();
    for folder in
        std::fs::read_dir(&data).with_context(|| format!("can't read {}", data.display()))?
    {
        let folder = folder?.path();
        let name = folder.file_name().unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        let asked = names.is_empty() || names.contains(&name);
        if asked && folder.join("train.jsonl.zst").exists() {
            folders.push((name, folder));
        }
    }
    folders.sort();
    let _core = one_core();
    let mut passes = Vec::new();
    for (name, folder) in folders {
        let model = models.join(&name).join("1/whole.model");
        let pass = pass(&name, &folder, &model, (steps, most));
        match pass.with_context(|| name.clone())? {
            Some(pass) => passes.push(pass),
            None => println!("{name}: left out, it has too few traces"),
        }
    }
    ensure!(!passes.is_empty(), "{} has no corpus", data.display());
    std::fs::create_dir_all(&output)?;
    for pass in &passes {
        let file = output.join(format!("online-{}.svg", pass.name));
        std::fs::write(file, curve(pass))?;
    }
    let file = output.join("online.md");
    std::fs::write(&file, page(&passes, steps))?;
    println!("wrote {}", file.display());
    Ok(())
}

/// The traces of a corpus in the order of time: those to learn, and two held-out samples.
fn read(folder: &Path, texts: &Arc<Interner>) -> Result<[Vec<Trace>; 3]> {
    let (mut parts, mut traces) = (<[Vec<Trace>; 3]>::default(), Traces::new(texts));
    let mut keep = |done: Vec<Done>| {
        for Done { id, trace } in done {
            let Ok(trace) = trace else { continue };
            let share = share(&id.to_bytes());
            parts[usize::from(share >= 0.6) + usize::from(share >= 0.8)].push(trace);
        }
    };
    for file in ["train.jsonl.zst", "test.jsonl.zst"] {
        let path = folder.join(file);
        if !path.exists() {
            continue;
        }
        for request in otlpjsonfile::read(&path)? {
            keep(traces.add(&request?)?);
        }
    }
    keep(traces.finish());
    Ok(parts)
}

/// A number from 0 to 1 that depends on the id alone: the parts are those of `make tables`.
fn share(id: &[u8]) -> f64 {
    let hash = id.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((hash ^ (hash >> 32)) >> 11) as f64 / (1_u64 << 53) as f64
}

fn pass(
    name: &str,
    folder: &Path,
    model: &Path,
    (steps, most): (f64, usize),
) -> Result<Option<Pass>> {
    let texts = Arc::new(Interner::default());
    let [mut train, held_out, second] = read(folder, &texts)?;
    if train.len() < 1_000 {
        return Ok(None);
    }
    train.truncate(most);
    let held_out = spread(held_out);
    println!(
        "{name}: {} traces, {} held out",
        train.len(),
        held_out.len()
    );
    let ceiling = figures(&held_out, &spread(second), 1, &texts)?;
    let offline = match model.exists() {
        true => {
            let checkpoint = Checkpoint::load(model)?;
            let words = checkpoint.words();
            let vocabulary = Vocabulary::load(words, words.min_traces, usize::MAX / 64, &texts);
            let published = checkpoint.published()?.context("nothing serves in it")?;
            Some(drawn_figures(&held_out, &published, &vocabulary, &texts)?)
        }
        false => None,
    };
    let began = Instant::now();
    let settings = LearnerSettings {
        recent: 0.0,
        ..LearnerSettings::default()
    };
    let set = std::env::var("ONLINE_SET").unwrap_or_default();
    let set: Result<Vec<_>, _> = set.split_whitespace().map(LearnerSettings::pair).collect();
    let settings = set.and_then(|set| settings.with(&set));
    let settings = settings.map_err(|fault| anyhow::anyhow!("ONLINE_SET: {fault}"))?;
    let mut learner = Learner::new(settings, texts.clone(), 1);
    let (mut serves, mut owed): (Option<Published>, f64) = (None, 0.0);
    let (mut points, mut noticed) = (Vec::new(), Vec::new());
    let all = train.len();
    for (at, trace) in (1..).zip(&train) {
        let before = learner.status().drift.noticed;
        learner.take(trace.clone());
        let status = learner.status();
        if status.drift.noticed > before {
            println!("{name}: a change after {at} traces: {:?}", status.drift);
            noticed.push(at as u64);
        }
        let refitted = learner.refit();
        owed += steps;
        while owed >= 1.0 {
            owed -= 1.0;
            learner.step()?;
        }
        let due = CHECKPOINTS.contains(&at) || at == all;
        if refitted || due || at % SCORE_EVERY == 0 {
            if let Some(published) = learner.score()? {
                serves = Some(tell_apart(&mut learner, published));
            }
            try_out(&mut learner);
        }
        let Some(published) = serves.as_ref().filter(|_| due) else {
            continue;
        };
        let seconds = began.elapsed().as_secs_f64();
        let observed = among(&train[..at], held_out.len());
        let status = learner.status();
        let point = Point {
            traces: at,
            steps: status.steps,
            serving: status.serving,
            drifts: status.drift.noticed,
            seconds,
            figures: drawn_figures(&held_out, published, learner.vocabulary(), &texts)?,
            observed: figures(&held_out, &observed, 1, &texts)?,
        };
        println!(
            "{name}: {at} traces, {} steps, {:?} serves, of its draws {:.2?} are kept, {seconds:.0} s: {:.3?} (observed so far: {:.3?}); nats: VAE {:.1?}, served {:.1?}, grammar {:.1?}; tried {:.3?}",
            point.steps,
            point.serving,
            published.discriminator.as_ref().map(|d| d.kept()),
            point.figures,
            point.observed,
            status.held_out_vae,
            status.held_out_served,
            status.held_out_grammar,
            status.tried
        );
        points.push(point);
    }
    Ok(Some(Pass {
        name: name.to_owned(),
        traces: all,
        held_out: held_out.len(),
        points,
        noticed,
        ceiling,
        offline,
    }))
}

/// At most [`SIDE`] of them, spread evenly.
fn spread(traces: Vec<Trace>) -> Vec<Trace> {
    let step = traces.len().div_ceil(SIDE).max(1);
    traces.into_iter().step_by(step).collect()
}

/// So many of them, spread evenly; all of them if they are fewer.
fn among(traces: &[Trace], count: usize) -> Vec<Trace> {
    let count = count.min(traces.len());
    let at = |nth: usize| nth * traces.len() / count;
    (0..count).map(|nth| traces[at(nth)].clone()).collect()
}

fn draw(
    published: &Published,
    vocabulary: &Vocabulary,
    count: usize,
    seed: u64,
) -> Result<Vec<Trace>> {
    let rng = &mut stream(seed, "drawn");
    let drawn = Sampler::new(published)?.sample_many(rng, count, None);
    let observed = drawn.iter().map(|drawn| vocabulary.observed(drawn));
    observed
        .collect::<Result<_, _>>()
        .context("an invalid trace was drawn")
}

/// Figures of samples of a snapshot, each of as many traces as are held out: their means.
fn drawn_figures(
    held_out: &[Trace],
    published: &Published,
    vocabulary: &Vocabulary,
    texts: &Interner,
) -> Result<Figures> {
    let mut means = Figures::default();
    for seed in 1..=DRAWS {
        let drawn = draw(published, vocabulary, held_out.len(), seed)?;
        let figures = figures(held_out, &drawn, seed, texts)?;
        for (mean, figure) in means.iter_mut().zip(figures) {
            *mean += figure / DRAWS as f64;
        }
    }
    Ok(means)
}

fn figures(held_out: &[Trace], drawn: &[Trace], seed: u64, texts: &Interner) -> Result<Figures> {
    let report = fidelity(held_out, drawn);
    Ok([
        report.overall,
        report.edges,
        report.shape_distance,
        report.operation_durations,
        told_apart(held_out, drawn, seed, texts)?,
    ])
}

impl Pass {
    /// What is to be reached, and whether a model trained offline says so.
    fn goal(&self) -> (Figures, bool) {
        let end = self.points.last().map_or(self.ceiling, |last| last.figures);
        (self.offline.unwrap_or(end), self.offline.is_some())
    }

    /// How good each figure was at a point, over how good it is to be.
    fn reached(&self, point: &Point) -> Figures {
        let (goal, _) = self.goal();
        std::array::from_fn(|at| {
            let good = FIGURES[at].1;
            good(point.figures[at]) / good(goal[at]).max(1e-9)
        })
    }
}

fn page(passes: &[Pass], steps: f64) -> String {
    let mut page = format!(
        "# One pass online\n\nMade by `make online DATA=... ONLINE_STEPS={steps}`: 60% of the traces of each corpus, \
         by trace, go once through a learner with the connector's defaults (but `recent: 0`: all traces \
         count alike, as they do offline), in the order of time, \
         {steps} optimiser steps a trace at most; a score each {SCORE_EVERY} traces decides what is published. \
         At each checkpoint as many traces are drawn from what is published then as there are held-out ones \
         (another 20%, from the whole time: a pass that has seen the beginning only is judged by what is to come too), \
         {DRAWS} times: figures of drawn traces are means. \
         Beside them, *observed so far*: as many of the traces learnt so far, which says how far the recording itself \
         has come. \
         A figure has reached {:.0}% of offline when what it is good for (the value; 1 − value for \
         distances; 2 (1 − AUC)) is that share of what the offline model's is.\n",
        SHARE * 100.0
    );
    for pass in passes {
        let (goal, offline) = pass.goal();
        let named: Vec<&str> = FIGURES.iter().map(|(name, _)| *name).collect();
        // Writing to a string does not fail.
        write!(
            page,
            "\n## {0}\n\n{1} traces learnt, {2} held out. Changes of the traffic were noticed after {3} traces.\n\n\
             ![{0}](online-{0}.svg)\n\n| traces | steps | serves | {4} |\n|---|---|---|{5}\n",
            pass.name,
            pass.traces,
            pass.held_out,
            match &*pass.noticed {
                [] => "no".to_owned(),
                noticed => format!("{noticed:?}").replace(['[', ']'], ""),
            },
            named.join(" | "),
            "---|".repeat(FIGURES.len())
        )
        .ok();
        let mut row = |head: String, figures: &Figures| {
            let figures = figures.map(|figure| format!("{figure:.3}")).join(" | ");
            writeln!(page, "| {head} | {figures} |").ok();
        };
        for point in &pass.points {
            let serving = format!("{:?}", point.serving).to_lowercase();
            row(
                format!("{} | {} | {serving}", point.traces, point.steps),
                &point.figures,
            );
            row("*observed so far* | | ".to_owned(), &point.observed);
        }
        let goals = if offline {
            "offline model"
        } else {
            "end of the pass"
        };
        row(format!("{goals} | | "), &goal);
        row("ceiling | | ".to_owned(), &pass.ceiling);
        let first = |at: usize| {
            // For good: at this checkpoint and at all later ones.
            let late = pass
                .points
                .iter()
                .rposition(|p| pass.reached(p)[at] < SHARE);
            let point = pass.points.get(late.map_or(0, |late| late + 1));
            point.map_or("not".to_owned(), |point| format!("{}", point.traces))
        };
        let firsts: Vec<String> = (0..FIGURES.len()).map(first).collect();
        writeln!(
            page,
            "| **traces to {:.0}%** | | | {} |",
            SHARE * 100.0,
            firsts.join(" | ")
        )
        .ok();
        if !offline {
            writeln!(
                page,
                "\nNo offline model was given, so the end of the pass stands in its place: that is easier to reach."
            )
            .ok();
        }
        if let Some(last) = pass.points.last() {
            let (seconds, drifts) = (last.seconds, last.drifts);
            writeln!(
                page,
                "\nThe pass took {seconds:.0} s of wall time, measuring included; {drifts} changes noticed."
            )
            .ok();
        }
    }
    page
}

/// The share of the goal that each figure reached, over the traces.
fn curve(pass: &Pass) -> String {
    const COLOURS: [&str; FIGURES.len()] = ["#2a78d6", "#0b7a3b", "#d9571f", "#8a4fbf", "#b3261e"];
    let (width, height, left, below) = (720.0, 320.0, 48.0, 28.0);
    let most = pass.points.last().map_or(1, |last| last.traces) as f64;
    let x = |traces: usize| left + traces as f64 / most * (width - left - 220.0);
    let y = |share: f64| 12.0 + (1.1 - share.clamp(0.0, 1.1)) / 1.1 * (height - below - 12.0);
    let mut body = String::new();
    for (share, dash) in [(0.0, ""), (0.5, ""), (SHARE, "4 3"), (1.0, "")] {
        let at = y(share);
        write!(
            body,
            r#"<path d="M{left} {at:.1}H{:.1}" stroke="gray" stroke-opacity=".4" stroke-dasharray="{dash}"/><text x="4" y="{:.1}">{:.0}%</text>"#,
            width - 220.0,
            at + 4.0,
            share * 100.0
        )
        .ok();
    }
    for (at, ((name, _), colour)) in FIGURES.iter().zip(COLOURS).enumerate() {
        let place = |p: &Point| format!("{:.1} {:.1}", x(p.traces), y(pass.reached(p)[at]));
        let path: Vec<String> = pass.points.iter().map(place).collect();
        write!(
            body,
            r#"<path fill="none" stroke="{colour}" stroke-width="2" d="M{}"/><text x="{:.0}" y="{}" style="fill:{colour}">{name}</text>"#,
            path.join("L"),
            width - 210.0,
            28 + at * 18
        )
        .ok();
    }
    for point in &pass.points {
        let at = x(point.traces);
        write!(
            body,
            r#"<text x="{at:.0}" y="{:.0}" text-anchor="middle">{}</text>"#,
            height - 8.0,
            point.traces
        )
        .ok();
    }
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0} {height:.0}" role="img" aria-label="{}: share of the offline figure over traces"><style>text{{font:11px system-ui,sans-serif;fill:gray}}</style>{body}</svg>
"#,
        pass.name
    )
}
