//! `doppelspan evaluate` on simulated systems: the report, its controls, and the same figures from
//! a second implementation.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use integration_tests::{process, sdk};
use serde_json::Value;

/// How far two classifiers' areas may lie apart, which split the traces differently: three standard
/// errors of the mean of three splits.
const AREAS: f64 = 0.08;

async fn doppelspan(arguments: &[&str]) -> anyhow::Result<String> {
    let output = process::run(arguments).await?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{arguments:?}: {said}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Files of three disjoint samples of a simulated system, and a model of the first.
struct Samples {
    folder: tempfile::TempDir,
}

impl Samples {
    async fn new(system: &str, traces: &str) -> anyhow::Result<Self> {
        let samples = Self {
            folder: tempfile::tempdir()?,
        };
        for (name, seed) in [("train", "11"), ("held", "12"), ("second", "13")] {
            let output = samples.path(&format!("{name}.jsonl.zst"));
            let simulate = ["simulate", "--system", system, "--traces", traces];
            let simulate = [&simulate[..], &["--seed", seed, "--output", &output]].concat();
            doppelspan(&simulate).await?;
        }
        let (train, model) = (samples.path("train.jsonl.zst"), samples.path("model"));
        let train = [
            "train", "--input", &train, "--output", &model, "--steps", "3",
        ];
        doppelspan(&train).await?;
        Ok(samples)
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_string_lossy().into_owned()
    }

    /// The report, and what was printed.
    async fn evaluate(&self, generator: [&str; 2]) -> anyhow::Result<(Value, String)> {
        let [train, held, second] =
            ["train", "held", "second"].map(|name| self.path(&format!("{name}.jsonl.zst")));
        let output = self.path("report");
        let samples = [
            "evaluate",
            "--train",
            &train,
            "--held-out",
            &held,
            "--second",
            &second,
        ];
        let others = ["--output", &output, generator[0], generator[1]];
        let said = doppelspan(&[&samples[..], &others].concat()).await?;
        let page = std::fs::read_to_string(PathBuf::from(&output).join("report.html"))?;
        anyhow::ensure!(page.contains("<svg") && !page.contains("<script"), "{page}");
        let json = std::fs::read(PathBuf::from(&output).join("report.json"))?;
        Ok((serde_json::from_slice(&json)?, said))
    }
}

/// A figure of the synthetic traces, or of a control.
fn figure(report: &Value, key: &str, of: &str) -> anyhow::Result<f64> {
    let rows = report["rows"].as_array().context("rows")?;
    let row = rows.iter().find(|row| row["key"] == key).context("a row")?;
    let value = match of {
        "synthetic" => &row["synthetic"]["mean"],
        control => &row["controls"][control],
    };
    value
        .as_f64()
        .with_context(|| format!("{key} of {of}: {row}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_hard_to_tell_and_is_known_for_one_and_chance_is_told_at_once()
-> anyhow::Result<()> {
    let samples = Samples::new("shop", "300").await?;
    let train = samples.path("train.jsonl.zst");
    let (report, said) = samples.evaluate(["--synthetic", &train]).await?;
    assert!(said.contains("classifier's AUC, all features"), "{said}");
    let of = |key: &str, of: &str| figure(&report, key, of);
    let (copy, ceiling) = (of("c2st", "synthetic")?, of("c2st", "ceiling")?);
    assert!((copy - ceiling).abs() < 0.12, "{copy} for {ceiling}");
    assert!(of("c2st", "random")? > 0.9);
    assert!(of("c2st_structure", "random")? > 0.9);
    assert_eq!(of("copied_records", "synthetic")?, 1.0);
    assert!(of("copied_records", "ceiling")? < 0.5);
    assert!(of("mia_nearest", "synthetic")? > 0.9);
    assert!((of("mia_nearest", "ceiling")? - 0.5).abs() < 0.1);
    assert!((of("overall", "synthetic")? - of("overall", "ceiling")?).abs() < 0.03);
    assert!(of("slow_ratio", "synthetic")? > 0.8);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_implementation_finds_the_same_figures() -> anyhow::Result<()> {
    let python = process::root().join(".sdks/evaluation/bin/python");
    let Some(python) = sdk::fetched("evaluation", &python.to_string_lossy())? else {
        return Ok(());
    };
    for system in ["social-network", "ticket-office"] {
        let samples = Samples::new(system, "400").await?;
        let (model, synthetic) = (samples.path("model"), samples.path("synthetic.jsonl"));
        let generate = [
            "generate", "--model", &model, "--traces", "400", "--seed", "1",
        ];
        doppelspan(&[&generate[..], &["--output", &synthetic]].concat()).await?;
        let (report, _) = samples.evaluate(["--synthetic", &synthetic]).await?;
        let script = process::root().join("integration-tests/evaluation/second.py");
        let mut command = tokio::process::Command::new(&python);
        let files =
            ["train", "held", "second"].map(|name| samples.path(&format!("{name}.jsonl.zst")));
        command.arg(script).args(files).arg(&synthetic);
        command.args(["--no-importance", "--ceiling"]);
        command.stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(Duration::from_secs(300), command.output()).await??;
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "{said}");
        let second: Value = serde_json::from_slice(&output.stdout)?;
        for sample in ["synthetic", "ceiling"] {
            let first = match sample {
                "synthetic" => &report["generators"][0]["measured"],
                control => &report["controls"][control],
            };
            compare(first, &second[sample]).with_context(|| format!("{system}, {sample}"))?;
        }
    }
    Ok(())
}

/// Figures that have one right value, and areas under curves, which hang on the split.
fn compare(first: &Value, second: &Value) -> anyhow::Result<()> {
    let latency = |level: &str| format!("root latency/all/{level}");
    let exact = [
        ("traces", "traces/1".to_owned()),
        ("spans", "spans/1".to_owned()),
        ("fidelity/structure/mean", "fidelity/f1".to_owned()),
        (
            "fidelity/structure/kernel",
            "fidelity/f1 parts/6".to_owned(),
        ),
        ("fidelity/durations/mean", "fidelity/f2".to_owned()),
        ("fidelity/semantics/mean", "fidelity/f3".to_owned()),
        ("fidelity/overall", "fidelity/overall".to_owned()),
        ("fidelity/outside/0", "v2/observed".to_owned()),
        ("fidelity/outside/1", "v2/synthetic".to_owned()),
        ("figures/edges", "s2/edges".to_owned()),
        ("figures/triples", "s2/triples".to_owned()),
        ("figures/shape_distance", "s3/tv".to_owned()),
        ("figures/shape_coverage", "s3/coverage".to_owned()),
        ("figures/shape_novelty", "s3/novelty".to_owned()),
        ("figures/operation_durations", "t1/w1".to_owned()),
        ("fidelity/root_latency/p50", latency("p50")),
        ("fidelity/root_latency/p95", latency("p95")),
        ("fidelity/root_latency/p99", latency("p99")),
    ];
    let areas = [("all/auc", "j1/auc"), ("structure/auc", "j2/auc")];
    let at = |value: &Value, path: &str| {
        let found = value.pointer(&format!("/{path}")).and_then(Value::as_f64);
        found.with_context(|| format!("no number at {path}"))
    };
    let mut faults = Vec::new();
    let all = exact.iter().map(|(a, b)| (*a, b.as_str(), 1e-6));
    for (a, b, tolerance) in all.chain(areas.map(|(a, b)| (a, b, AREAS))) {
        let (a, b, name) = (at(first, a)?, at(second, b)?, a);
        if (a - b).abs() > tolerance {
            faults.push(format!("{name}: {a} and {b}"));
        }
    }
    anyhow::ensure!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(())
}
