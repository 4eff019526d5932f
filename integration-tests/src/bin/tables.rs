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

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use serde_json::Value;

/// Traces that a corpus needs: with fewer, an AUC says nothing.
const LEAST: usize = 2_000;
/// Parts of a corpus and up to which share of the traces they go.
const PARTS: [(&str, f64); 3] = [("train", 0.6), ("held-out", 0.8), ("second", 1.0)];
/// Trainings at a time.
const ABREAST: usize = 2;
const ABLATIONS: &str = "--ablations";
/// What the file of the model without z_G is called.
const NO_CODE: &str = "no-code";

/// The figures of the page: key in report.json, name.
const FIGURES: [(&str, &str); 24] = [
    ("c2st", "C2ST AUC, all features (trees)"),
    ("c2st_neural", "C2ST AUC, neural"),
    ("c2st_structure", "C2ST AUC, structure only"),
    ("overall", "overall fidelity"),
    ("structure", "F1 structure"),
    ("durations", "F2 durations"),
    ("semantics", "F3 semantics"),
    ("shape_distance", "shape total-variation distance"),
    ("rare_recall", "rare-shape recall"),
    ("outside_difference", "containment violation, difference"),
    ("operation_durations", "per-operation duration, W1 (log10)"),
    ("root_p50_error", "root latency p50, error"),
    ("root_p95_error", "root latency p95, error"),
    ("root_p99_error", "root latency p99, error"),
    ("tstr_ratio", "TSTR ratio"),
    ("mia_nearest", "membership AUC, nearest neighbour"),
    ("mia_density", "membership AUC, density ratio"),
    ("copied_records_excess", "full-record copies above chance"),
    ("valid_sizes", "valid at 1 to 1,000 spans"),
    ("rebuilt_services", "rebuilt through all latents: services"),
    (
        "rebuilt_operations",
        "rebuilt through all latents: operations",
    ),
    ("rebuilt_edges_f1", "rebuilt through all latents: edges, F1"),
    ("code_operations", "by z_G alone: operations"),
    ("code_edges_f1", "by z_G alone: edges, F1"),
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
    for (name, work) in &ready {
        evaluate(&program, name, work, (seeds, ablations))?;
    }
    std::fs::create_dir_all(output.join("results"))?;
    let page = page(&ready, seeds)?;
    std::fs::write(output.join("results.md"), page)?;
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
                    let ran = Command::new(program)
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
                            println!("{name}, seed {seed}: {seconds} s; {}", told.unwrap_or(""));
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

fn evaluate(
    program: &Path,
    name: &str,
    work: &Path,
    (seeds, ablations): (u64, bool),
) -> Result<()> {
    let ablation = format!("no z_G={}", work.join(format!("{NO_CODE}.model")).display());
    let ablation = ["--ablation", &ablation].into_iter().filter(|_| ablations);
    let made = format!("{seeds}{}", if ablations { " and ablations" } else { "" });
    let told = work.join("report/seeds");
    if std::fs::read_to_string(&told).is_ok_and(|told| told == made) {
        return Ok(());
    }
    println!("evaluating {name}");
    let part = |part: &str| work.join(format!("{part}.jsonl.zst"));
    let ran = Command::new(program)
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
        .arg(work.join("report"))
        .status()?;
    ensure!(ran.success(), "{name}: evaluate failed");
    std::fs::write(told, made)?;
    Ok(())
}

/// The table of ablations; nothing without ablations.
fn ablated(report: &Value) -> String {
    let keys = [
        "c2st",
        "c2st_structure",
        "overall",
        "shape_distance",
        "operation_durations",
    ];
    let rows = report["ablations"].as_array().into_iter().flatten();
    let mut table: String = rows
        .map(|row| {
            let told =
                keys.map(|key| format!("{:.3}", row["figures"][key].as_f64().unwrap_or(f64::NAN)));
            let noise = if row["noise"] == true {
                "drawn"
            } else {
                "at its median"
            };
            let (model, codes) = (row["model"].as_str().unwrap_or(""), &row["codes"]);
            format!("| {model} | {codes} | {noise} | {} |\n", told.join(" | "))
        })
        .collect();
    if !table.is_empty() {
        table.insert_str(
            0,
            "\n| without a latent | codes of z_G | z_v | J1 | J2 | overall | shape TV | W1 |\n|---|---|---|---|---|---|---|---|\n",
        );
        table += &format!("\n{}\n", report["limits"].as_str().unwrap_or(""));
    }
    table
}

fn page(ready: &[(String, PathBuf)], seeds: u64) -> Result<String> {
    let models = match seeds {
        1 => "one model (one seed: no deviation)".to_owned(),
        _ => format!("{seeds} models (another seed each, trained anew)"),
    };
    let mut page = format!(
        "# Results\n\nMade by `make tables DATA=... SEEDS={seeds}`: each corpus split at random by trace \
         (60% to train on, 20% held out, 20% a second observed sample), {models} on one core, as many traces \
         drawn from the prior as were held out. Mean ± standard deviation over the models; beside them the \
         controls: another observed sample (ceiling), training traces drawn again (copier), the table grammar, \
         a VAE with one latent and no hierarchy (flat), and independent random draws. The bars are the strictest of the three systems'. A report with pictures \
         per corpus lies in `docs/results/` where it was made; it shows observed traces, so it stays there. \
         Seconds are of a machine of two cores that other work shared.\n"
    );
    for (name, work) in ready {
        let report: Value =
            serde_json::from_slice(&std::fs::read(work.join("report/report.json"))?)?;
        let rows: BTreeMap<&str, &Value> = report["rows"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|row| Some((row["key"].as_str()?, row)))
            .collect();
        let seconds: Vec<u64> = (1..=seeds)
            .filter_map(|seed| {
                std::fs::read_to_string(work.join(format!("{seed}.seconds")))
                    .ok()?
                    .parse()
                    .ok()
            })
            .collect();
        let mean = seconds.iter().sum::<u64>() / seconds.len().max(1) as u64;
        let inputs = report["inputs"].as_object().into_iter().flatten();
        let inputs: Vec<String> = inputs
            .map(|(what, many)| format!("{what}: {}", many.as_str().unwrap_or("")))
            .collect();
        write!(
            page,
            "\n## {name}\n\n{}. Training took {mean} s on average.\n\n",
            inputs.join("; ")
        )?;
        page += "| figure | doppelspan | ceiling | copier | grammar | flat | random | bar |\n|---|---|---|---|---|---|---|---|\n";
        for (key, title) in FIGURES {
            let Some(row) = rows.get(key) else { continue };
            let number =
                |value: &Value| value.as_f64().map_or("–".to_owned(), |v| format!("{v:.3}"));
            let own = match seeds {
                1 => number(&row["synthetic"]["mean"]),
                _ => format!(
                    "{} ± {}",
                    number(&row["synthetic"]["mean"]),
                    number(&row["synthetic"]["std"])
                ),
            };
            let controls = ["ceiling", "copier", "grammar", "flat", "random"]
                .map(|control| number(&row["controls"][control]));
            let bar = row["bar"].as_str().unwrap_or("");
            let reached = match row["reached"].as_bool() {
                Some(true) => " ✓",
                Some(false) => " ✗",
                None => "",
            };
            writeln!(
                page,
                "| {title} | {} | {} | {bar}{reached} |",
                own,
                controls.join(" | ")
            )?;
        }
        page += &ablated(&report);
        let told = report["generators"][0]["measured"]["all"]["importance"].as_array();
        let told: Vec<String> = told
            .into_iter()
            .flatten()
            .take(5)
            .filter_map(|one| Some(format!("{} ({:+.3})", one[0].as_str()?, one[1].as_f64()?)))
            .collect();
        if !told.is_empty() {
            writeln!(
                page,
                "\nWhat the first model's traces are told by: {}.",
                told.join("; ")
            )?;
        }
    }
    Ok(page)
}
