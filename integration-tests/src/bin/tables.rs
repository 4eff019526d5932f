//! `make tables`: trains, samples and evaluates on every corpus of a folder, and writes a page.
//!
//! `tables [--ablations] DATA [OUTPUT] [SEEDS] [NAME...]`: DATA holds folders with train.jsonl.zst and
//! test.jsonl.zst. A seed is a split at random by trace, a model trained on one part of it, draws from
//! that, and what `doppelspan evaluate` says of them and of the controls: the page has the means over
//! seeds, so that the chance of one split is not taken for the model. What is there already is not made
//! again, so that it can be stopped and started. OUTPUT gets results.md, and of each corpus the report
//! of seed 1; those of the others are brief. Where a corpus has a labels.csv that says which traces a fault
//! was at work in, two further models of each of the first seeds learn from traces with one and without. With `--ablations`
//! a further model is trained a corpus, of seed 1 and without z_G.

#![allow(
    clippy::disallowed_methods,
    reason = "a program of its own: it reads its arguments and the clock"
)]

#[path = "tables/corpus.rs"]
mod corpus;
#[path = "tables/page.rs"]
mod page;
#[path = "tables/windows.rs"]
mod windows;

use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use corpus::Corpus;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use windows::KINDS;

/// Traces that a corpus needs: with fewer, an AUC says nothing.
const LEAST: usize = 2_000;
/// Parts of a corpus and up to which share of the traces they go.
const PARTS: [(&str, f64); 3] = [("train", 0.6), ("held-out", 0.8), ("second", 1.0)];
/// Splits, then trainings, then evaluations at a time.
const ABREAST: usize = 2;
/// Seeds that fault windows are looked at with, at most.
const WINDOW_SEEDS: u64 = 3;
const ABLATIONS: &str = "--ablations";
/// What the file of a model is called, and that of one without z_G.
const WHOLE: &str = "whole";
const NO_CODE: &str = "no-code";

/// Runs a program and leaves in a file how much of the processor it used: a child's use can't be
/// asked for after it was waited for, and a shell keeps it.
const TIMED: &str = r#"told=$1; shift; "$@"; code=$?; times >"$told"; exit $code"#;

/// What is asked of one system and not of all: (corpus, bars of `evaluate`).
const BARS: [(&str, &str); 3] = [
    (
        "nezha_ob_dev",
        "c2st=0.58 c2st_neural=0.58 c2st_larger=0.58 c2st_structure=0.53 shape_distance=0.10",
    ),
    (
        "nezha_tt_dev",
        "c2st=0.58 c2st_neural=0.58 c2st_larger=0.58 c2st_structure=0.58 shape_distance=0.15",
    ),
    (
        "sn_live",
        "c2st=0.60 c2st_neural=0.60 c2st_larger=0.60 c2st_structure=0.55 shape_distance=0.10",
    ),
];

fn main() -> Result<()> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let ablations = arguments.iter().any(|argument| argument == ABLATIONS);
    arguments.retain(|argument| argument != ABLATIONS);
    let mut arguments = arguments.into_iter();
    let data = PathBuf::from(
        arguments
            .next()
            .context("usage: tables [--ablations] DATA [OUTPUT] [SEEDS] [NAME...]")?,
    );
    let output = PathBuf::from(arguments.next().unwrap_or_else(|| "docs".into()));
    let seeds: u64 = arguments.next().map_or(Ok(5), |seeds| seeds.parse())?;
    let names: Vec<String> = arguments.collect();
    let work = PathBuf::from("target/tables");
    let program = std::env::current_exe()?.with_file_name("doppelspan");
    ensure!(
        program.exists(),
        "{} is missing: `make release` makes it",
        program.display()
    );

    let mut corpora = Vec::new();
    let folders =
        std::fs::read_dir(&data).with_context(|| format!("can't read {}", data.display()))?;
    for folder in folders {
        let folder = folder?.path();
        let name = folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let asked = names.is_empty() || names.contains(&name);
        if asked && folder.join("train.jsonl.zst").exists() {
            corpora.push((name, folder));
        }
    }
    corpora.sort();
    ensure!(
        !corpora.is_empty(),
        "{} has no folder with train.jsonl.zst",
        data.display()
    );

    let seeds: Vec<u64> = (1..=seeds).collect();
    let mut ready: Vec<Case> = Vec::new();
    for (name, folder) in corpora {
        for &seed in &seeds {
            ready.push(Case {
                name: name.clone(),
                folder: folder.clone(),
                work: work.join(&name),
                seed,
            });
        }
    }
    abreast("splitting", &ready, split)?;
    let mut corpora = Vec::new();
    ready.retain(|case| {
        if case.traces() >= LEAST {
            corpora.extend((case.seed == 1).then(|| case.name.clone()));
        } else if case.seed == 1 {
            let (name, traces) = (&case.name, case.traces());
            println!("{name}: left out, it has {traces} traces and {LEAST} are needed");
        }
        case.traces() >= LEAST
    });
    let also = ready.iter().filter(|case| ablations && case.seed == 1);
    let models = ready.iter().map(|case| (case, WHOLE));
    let models = models.chain(also.map(|case| (case, NO_CODE)));
    let mut windows = Vec::new();
    for case in ready.iter().filter(|case| case.seed <= WINDOW_SEEDS) {
        windows.extend(in_windows(case)?);
    }
    let kinds = windows.iter().flatten().map(|case| (case, WHOLE));
    let models: Vec<(&Case, &str)> = models.chain(kinds).collect();
    abreast("training", &models, |(case, model)| {
        train(&program, case, model)
    })?;
    abreast("evaluating", &ready, |case| {
        let next = corpora.iter().position(|name| *name == case.name);
        let other = next.map(|at| &corpora[(at + 1) % corpora.len()]);
        let other = other.filter(|other| **other != case.name);
        let other = ready
            .iter()
            .find(|of| Some(&of.name) == other && of.seed == case.seed);
        evaluate(&program, case, other, ablations)
    })?;
    abreast("evaluating fault windows", &windows, |[normal, fault]| {
        evaluate_windows(&program, normal, fault)
    })?;
    std::fs::create_dir_all(output.join("results"))?;
    let mut pages = Vec::new();
    for name in &corpora {
        let cases = ready.iter().filter(|case| case.name == *name);
        let told = cases.map(|case| case.at(""));
        let told: Vec<PathBuf> = told.collect();
        let in_windows = windows.iter().map(|[normal, _]| normal);
        let in_windows = in_windows.filter(|normal| normal.work.starts_with(work.join(name)));
        let in_windows = in_windows.map(|normal| normal.at(""));
        let in_windows: Vec<PathBuf> = in_windows.collect();
        pages.push(Corpus::read(name, bars(name), &told, &in_windows)?);
        let first = work.join(name).join("1/report/report.html");
        std::fs::copy(first, output.join("results").join(format!("{name}.html")))?;
    }
    std::fs::write(output.join("results.md"), page::page(&pages, seeds.len())?)?;
    println!("wrote {}", output.join("results.md").display());
    Ok(())
}

/// A corpus and a seed: a split, a model, a report.
struct Case {
    name: String,
    /// Where its recordings are.
    folder: PathBuf,
    /// Where all that is made of it goes.
    work: PathBuf,
    seed: u64,
}

impl Case {
    fn at(&self, file: &str) -> PathBuf {
        self.work.join(self.seed.to_string()).join(file)
    }

    fn part(&self, part: &str) -> PathBuf {
        self.at(&format!("{part}.jsonl.zst"))
    }

    fn model(&self, model: &str) -> PathBuf {
        self.at(&format!("{model}.model"))
    }

    /// Traces that it has, once it was split.
    fn traces(&self) -> usize {
        let told = std::fs::read_to_string(self.at("traces")).ok();
        told.and_then(|told| told.trim().parse().ok()).unwrap_or(0)
    }
}

fn bars(name: &str) -> &'static str {
    let bars = BARS.iter().find(|(corpus, _)| *corpus == name);
    bars.map_or("", |(_, bars)| bars)
}

/// Does something to all of them, some at a time; ends with the first that fails.
fn abreast<T: Sync>(what: &str, all: &[T], does: impl Fn(&T) -> Result<()> + Sync) -> Result<()> {
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let work = || {
        while let at = next.fetch_add(1, Ordering::Relaxed)
            && let Some(one) = all.get(at)
            && !failed.load(Ordering::Relaxed)
        {
            println!("{what} {} of {}", at + 1, all.len());
            does(one).inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..ABREAST).map(|_| scope.spawn(work)).collect();
        let ended = workers.into_iter().map(|one| one.join().expect("a worker"));
        ended.fold(Ok(()), Result::and)
    })
}

/// Splits a corpus by trace, once.
fn split(case: &Case) -> Result<()> {
    if case.at("traces").exists() {
        return Ok(());
    }
    std::fs::create_dir_all(case.at(""))?;
    let mut parts = Vec::new();
    for (part, _) in PARTS {
        let file = std::fs::File::create(case.part(part))?;
        parts.push(zstd::Encoder::new(file, 3)?);
    }
    let mut seen = std::collections::BTreeSet::new();
    for file in ["train.jsonl.zst", "test.jsonl.zst"] {
        let Ok(file) = std::fs::File::open(case.folder.join(file)) else {
            continue;
        };
        for line in BufReader::new(zstd::Decoder::new(file)?).lines() {
            let request: ExportTraceServiceRequest = serde_json::from_str(&line?)?;
            for (at, part) in parts.iter_mut().enumerate() {
                let kept = only(request.clone(), |trace| {
                    seen.insert(trace.to_vec());
                    part_of(trace, case.seed) == at
                });
                if let Some(kept) = kept {
                    serde_json::to_writer(&mut *part, &kept)?;
                    part.write_all(b"\n")?;
                }
            }
        }
    }
    for part in parts {
        part.finish()?;
    }
    Ok(std::fs::write(case.at("traces"), seen.len().to_string())?)
}

/// What is left of a request with some traces only; none if nothing is.
fn only(
    mut request: ExportTraceServiceRequest,
    mut keep: impl FnMut(&[u8]) -> bool,
) -> Option<ExportTraceServiceRequest> {
    for resource in &mut request.resource_spans {
        for scope in &mut resource.scope_spans {
            scope.spans.retain(|span| keep(&span.trace_id));
        }
        resource.scope_spans.retain(|scope| !scope.spans.is_empty());
    }
    let resources = &mut request.resource_spans;
    resources.retain(|resource| !resource.scope_spans.is_empty());
    (!request.resource_spans.is_empty()).then_some(request)
}

/// The traces of a case that a fault was at work in and those without one, as cases of their own; none
/// where the corpus does not say.
fn in_windows(case: &Case) -> Result<Option<[Case; 2]>> {
    let Some(labels) = windows::labels(&case.folder.join("labels.csv"))? else {
        return Ok(None);
    };
    let cases = [0, 1].map(|kind| Case {
        name: format!("{}, {}", case.name, KINDS[kind]),
        folder: case.folder.clone(),
        work: case.work.join(KINDS[kind]),
        seed: case.seed,
    });
    for (kind, of_kind) in cases.iter().enumerate() {
        if of_kind.at("made").exists() {
            continue;
        }
        std::fs::create_dir_all(of_kind.at(""))?;
        for (part, _) in PARTS {
            windows::part(&case.part(part), &of_kind.part(part), &labels, kind)?;
        }
        std::fs::write(of_kind.at("made"), "")?;
    }
    Ok(Some(cases))
}

/// Which part a trace belongs to: the same in every run, and nothing to do with its time.
fn part_of(trace: &[u8], seed: u64) -> usize {
    // FNV-1a from a start that is the seed's, then mixed: ids may count up.
    let start = 0xcbf2_9ce4_8422_2325_u64 ^ (seed - 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let hash = trace.iter().fold(start, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let at = ((hash ^ (hash >> 32)) >> 11) as f64 / (1_u64 << 53) as f64;
    PARTS.iter().position(|(_, up_to)| at < *up_to).unwrap_or(0)
}

/// Trains a model, if that was not done.
fn train(program: &Path, case: &Case, model: &str) -> Result<()> {
    if case.model(model).exists() {
        return Ok(());
    }
    let began = Instant::now();
    let (name, seed) = (&case.name, case.seed);
    let fresh = case.at(&format!("{model}.part"));
    let times = case.at(&format!("{model}.times"));
    let ran = Command::new("sh")
        .args(["-c", TIMED, "sh"])
        .arg(&times)
        .arg(program)
        .arg("train")
        .arg("--input")
        .arg(case.part("train"))
        .arg("--output")
        .arg(&fresh)
        .args(["--seed", &seed.to_string()])
        .args(["--set", "vae.codes=0"].iter().filter(|_| model == NO_CODE))
        .output()?;
    ensure!(
        ran.status.success(),
        "{name}, seed {seed}: {}",
        String::from_utf8_lossy(&ran.stderr)
    );
    let seconds = began.elapsed().as_secs();
    let told = String::from_utf8_lossy(&ran.stdout);
    let told = told.lines().find(|line| line.contains("nats"));
    let used = std::fs::read_to_string(&times).unwrap_or_default();
    let used = processor_seconds(&used).unwrap_or(f64::NAN);
    println!(
        "{name}, seed {seed}: {seconds} s, {used:.0} of a processor; {}",
        told.unwrap_or("")
    );
    std::fs::write(case.at(&format!("{model}.seconds")), seconds.to_string())?;
    Ok(std::fs::rename(fresh, case.model(model))?)
}

/// What a shell says of the processor's time that a program used: user and system, seconds. The
/// second line of `times` tells of the shell's children.
fn processor_seconds(told: &str) -> Option<f64> {
    let seconds = |text: &str| {
        let (minutes, seconds) = text.strip_suffix('s')?.split_once('m')?;
        Some(minutes.parse::<f64>().ok()? * 60.0 + seconds.parse::<f64>().ok()?)
    };
    let line = told.lines().nth(1)?;
    line.split_whitespace().map(seconds).sum()
}

/// Measures a model, if that was not done. Of the other corpus, if there is one, the model is told
/// apart as well: which of two systems a trace comes from.
fn evaluate(program: &Path, case: &Case, other: Option<&Case>, ablations: bool) -> Result<()> {
    let first = case.seed == 1;
    let bars = bars(&case.name);
    let also = if ablations && first {
        " and ablations"
    } else {
        ""
    };
    let made = format!("{bars}{also}");
    let told = case.at("report/made");
    if std::fs::read_to_string(&told).is_ok_and(|told| told == made) {
        return Ok(());
    }
    let mut command = asking(program, case);
    if !first {
        command.arg("--brief");
    } else if ablations {
        let model = case.model(NO_CODE);
        command.arg("--ablation");
        command.arg(format!("no z_G={}", model.display()));
    }
    for bar in bars.split_whitespace() {
        command.args(["--bar", bar]);
    }
    if let Some(other) = other {
        beside(&mut command, other);
    }
    run(command, case)?;
    Ok(std::fs::write(told, made)?)
}

/// Measures how well synthetic traces teach whether a fault was at work, if that was not done.
fn evaluate_windows(program: &Path, normal: &Case, fault: &Case) -> Result<()> {
    if normal.at("report/made").exists() {
        return Ok(());
    }
    let mut command = asking(program, normal);
    command.args(["--brief", "--same-system"]);
    beside(&mut command, fault);
    run(command, normal)?;
    Ok(std::fs::write(normal.at("report/made"), "")?)
}

/// Asks what there is to say of a model.
fn asking(program: &Path, case: &Case) -> Command {
    let mut command = Command::new(program);
    command
        .arg("evaluate")
        .arg("--train")
        .arg(case.part("train"))
        .arg("--held-out")
        .arg(case.part("held-out"))
        .arg("--second")
        .arg(case.part("second"))
        .arg("--model")
        .arg(case.model(WHOLE))
        .args(["--seed", &case.seed.to_string()])
        .arg("--output")
        .arg(case.at("report"));
    command
}

/// And whether a trace is of the one or of the other.
fn beside(command: &mut Command, other: &Case) {
    command
        .arg("--other-train")
        .arg(other.part("train"))
        .arg("--other-held-out")
        .arg(other.part("held-out"))
        .arg("--other-model")
        .arg(other.model(WHOLE));
}

fn run(mut command: Command, case: &Case) -> Result<()> {
    let ran = command.output()?;
    ensure!(
        ran.status.success(),
        "{}, seed {}: {}",
        case.name,
        case.seed,
        String::from_utf8_lossy(&ran.stderr)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_that_of_the_shell_s_children_in_the_words_of_either_shell() {
        let check = |told: &str, expected: Option<f64>| {
            assert_eq!(processor_seconds(told), expected, "{told}");
        };
        check("0m0.01s 0m0.00s\n2m3.500s 0m1.250s\n", Some(124.75));
        check(
            "0m0.010000s 0m0.000000s\n1m0.500000s 0m0.000000s\n",
            Some(60.5),
        );
        check("0m0.01s 0m0.00s\n", None);
        check("", None);
    }
}
