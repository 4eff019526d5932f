//! `make tables`: trains, samples and evaluates on every corpus of a folder, and writes a page.
//!
//! `tables [--ablations] DATA [OUTPUT] [SEEDS] [NAME...]`: DATA holds folders with train.jsonl.zst and
//! test.jsonl.zst. Each is split at random by trace; one model a seed is trained; `doppelspan
//! evaluate` measures them together. What is there already is not made again, so that it can be
//! stopped and started. OUTPUT gets results.md and a report (HTML, JSON) a corpus. With
//! `--ablations` a further model is trained a corpus, of seed 1 and without z_G.

#![allow(
    clippy::disallowed_methods,
    reason = "a program of its own: it reads its arguments and the clock"
)]

#[path = "tables/page.rs"]
mod page;

use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use page::Corpus;

/// Traces that a corpus needs: with fewer, an AUC says nothing.
const LEAST: usize = 2_000;
/// Parts of a corpus and up to which share of the traces they go.
const PARTS: [(&str, f64); 3] = [("train", 0.6), ("held-out", 0.8), ("second", 1.0)];
/// Trainings, and then evaluations, at a time.
const ABREAST: usize = 2;
const ABLATIONS: &str = "--ablations";
/// What the file of the model without z_G is called.
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

    let mut ready = Vec::new();
    for (name, folder) in corpora {
        let work = work.join(&name);
        let traces = split(&folder, &work).with_context(|| name.clone())?;
        if traces < LEAST {
            println!("{name}: left out, it has {traces} traces and {LEAST} are needed");
        } else {
            println!("{name}: {traces} traces");
            ready.push((name, work));
        }
    }
    train(&program, &ready, seeds, ablations)?;
    evaluate_all(&program, &ready, (seeds, ablations))?;
    std::fs::create_dir_all(output.join("results"))?;
    let corpora: Result<Vec<Corpus>> = ready
        .iter()
        .map(|(name, work)| Corpus::read(name, work, seeds))
        .collect();
    std::fs::write(output.join("results.md"), page::page(&corpora?, seeds)?)?;
    for (name, work) in &ready {
        let page = output.join("results").join(format!("{name}.html"));
        std::fs::copy(work.join("report/report.html"), page)?;
    }
    println!("wrote {}", output.join("results.md").display());
    Ok(())
}

/// Splits a corpus by trace, once; how many traces it has.
fn split(folder: &Path, work: &Path) -> Result<usize> {
    let counted = work.join("traces");
    if let Ok(told) = std::fs::read_to_string(&counted) {
        return Ok(told.trim().parse()?);
    }
    std::fs::create_dir_all(work)?;
    let mut parts = Vec::new();
    for (part, _) in PARTS {
        let file = std::fs::File::create(work.join(format!("{part}.jsonl.zst")))?;
        parts.push(zstd::Encoder::new(file, 3)?);
    }
    let mut seen = std::collections::BTreeSet::new();
    for file in ["train.jsonl.zst", "test.jsonl.zst"] {
        let Ok(file) = std::fs::File::open(folder.join(file)) else {
            continue;
        };
        for line in BufReader::new(zstd::Decoder::new(file)?).lines() {
            let request: ExportTraceServiceRequest = serde_json::from_str(&line?)?;
            for (at, part) in parts.iter_mut().enumerate() {
                let mut request = request.clone();
                for resource in &mut request.resource_spans {
                    for scope in &mut resource.scope_spans {
                        scope.spans.retain(|span| {
                            seen.insert(span.trace_id.clone());
                            part_of(&span.trace_id) == at
                        });
                    }
                    resource.scope_spans.retain(|scope| !scope.spans.is_empty());
                }
                request
                    .resource_spans
                    .retain(|resource| !resource.scope_spans.is_empty());
                if !request.resource_spans.is_empty() {
                    serde_json::to_writer(&mut *part, &request)?;
                    part.write_all(b"\n")?;
                }
            }
        }
    }
    for part in parts {
        part.finish()?;
    }
    std::fs::write(counted, seen.len().to_string())?;
    Ok(seen.len())
}

/// Which part a trace belongs to: the same in every run, and nothing to do with its time.
fn part_of(trace: &[u8]) -> usize {
    // FNV-1a, then mixed: ids may count up.
    let hash = trace.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let at = ((hash ^ (hash >> 32)) >> 11) as f64 / (1_u64 << 53) as f64;
    PARTS.iter().position(|(_, up_to)| at < *up_to).unwrap_or(0)
}

/// Trains what is missing, some models at a time.
fn train(program: &Path, ready: &[(String, PathBuf)], seeds: u64, ablations: bool) -> Result<()> {
    let mut waiting: Vec<(String, PathBuf, String)> = Vec::new();
    let seeds = (1..=seeds).map(|seed| seed.to_string());
    for seed in seeds.chain(ablations.then(|| NO_CODE.to_owned())) {
        for (name, work) in ready {
            if !work.join(format!("{seed}.model")).exists() {
                waiting.push((name.clone(), work.clone(), seed.clone()));
            }
        }
    }
    waiting.reverse();
    let (all, waiting) = (waiting.len(), Mutex::new(waiting));
    let faults = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..ABREAST {
            scope.spawn(|| {
                while let Some((name, work, seed)) = {
                    let mut waiting = waiting.lock().expect("a queue");
                    let next = waiting.pop();
                    if next.is_some() {
                        println!("training {} of {all}", all - waiting.len());
                    }
                    next
                } {
                    let began = Instant::now();
                    let fresh = work.join(format!("{seed}.part"));
                    let times = work.join(format!("{seed}.times"));
                    let ran = Command::new("sh")
                        .args(["-c", TIMED, "sh"])
                        .arg(&times)
                        .arg(program)
                        .arg("train")
                        .arg("--input")
                        .arg(work.join("train.jsonl.zst"))
                        .arg("--output")
                        .arg(&fresh)
                        .args(match &*seed {
                            NO_CODE => ["--seed", "1", "--set", "vae.codes=0"].to_vec(),
                            seed => ["--seed", seed].to_vec(),
                        })
                        .output();
                    let seconds = began.elapsed().as_secs();
                    match ran {
                        Ok(ran) if ran.status.success() => {
                            let told = String::from_utf8_lossy(&ran.stdout);
                            let told = told.lines().find(|line| line.contains("nats"));
                            let used = std::fs::read_to_string(&times).unwrap_or_default();
                            let used = processor_seconds(&used).unwrap_or(f64::NAN);
                            println!(
                                "{name}, seed {seed}: {seconds} s, {used:.0} of a processor; {}",
                                told.unwrap_or("")
                            );
                            std::fs::write(
                                work.join(format!("{seed}.seconds")),
                                seconds.to_string(),
                            )
                            .ok();
                            std::fs::rename(fresh, work.join(format!("{seed}.model"))).ok();
                        }
                        Ok(ran) => faults.lock().expect("faults").push(format!(
                            "{name}, seed {seed}: {}",
                            String::from_utf8_lossy(&ran.stderr)
                        )),
                        Err(fault) => faults.lock().expect("faults").push(fault.to_string()),
                    }
                }
            });
        }
    });
    let faults = faults.into_inner().expect("faults");
    if !faults.is_empty() {
        bail!("{}", faults.join("\n"));
    }
    Ok(())
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

/// Measures the models of every corpus, two corpora at a time.
fn evaluate_all(program: &Path, ready: &[(String, PathBuf)], how: (u64, bool)) -> Result<()> {
    let next = AtomicUsize::new(0);
    let work = || {
        while let at = next.fetch_add(1, Ordering::Relaxed)
            && let Some((name, work)) = ready.get(at)
        {
            let other = &ready[(at + 1) % ready.len()];
            let other = (other.0 != *name).then_some(other.1.as_path());
            evaluate(program, (name, work), other, how)?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..ABREAST).map(|_| scope.spawn(work)).collect();
        let mut workers = workers.into_iter();
        workers.try_for_each(|worker| worker.join().expect("a worker"))
    })
}

/// Measures the models of a corpus together, if that was not done. Of the other corpus, if there
/// is one, the first model is told apart as well: which of two systems a trace comes from.
fn evaluate(
    program: &Path,
    (name, work): (&str, &Path),
    other: Option<&Path>,
    (seeds, ablations): (u64, bool),
) -> Result<()> {
    let ablation = format!("no z_G={}", work.join(format!("{NO_CODE}.model")).display());
    let ablation = ["--ablation", &ablation].into_iter().filter(|_| ablations);
    let bars = BARS.iter().find(|(corpus, _)| *corpus == name);
    let bars = bars.map_or("", |(_, bars)| bars);
    let also = if ablations { " and ablations" } else { "" };
    let made = format!("{seeds} {bars}{also}");
    let told = work.join("report/seeds");
    if std::fs::read_to_string(&told).is_ok_and(|told| told == made) {
        return Ok(());
    }
    println!("evaluating {name}");
    let part = |part: &str| work.join(format!("{part}.jsonl.zst"));
    let mut command = Command::new(program);
    command
        .arg("evaluate")
        .arg("--train")
        .arg(part("train"))
        .arg("--held-out")
        .arg(part("held-out"))
        .arg("--second")
        .arg(part("second"))
        .arg("--model")
        .args((1..=seeds).map(|seed| work.join(format!("{seed}.model"))))
        .args(ablation)
        .arg("--output")
        .arg(work.join("report"));
    for bar in bars.split_whitespace() {
        command.args(["--bar", bar]);
    }
    if let Some(other) = other {
        command
            .arg("--other-train")
            .arg(other.join("train.jsonl.zst"))
            .arg("--other-held-out")
            .arg(other.join("held-out.jsonl.zst"))
            .arg("--other-model")
            .arg(other.join("1.model"));
    }
    let ran = command.status()?;
    ensure!(ran.success(), "{name}: evaluate failed");
    std::fs::write(told, made)?;
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
