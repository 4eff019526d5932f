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

/// An evaluation takes minutes where the program was built for tests.
const LIMIT: Duration = Duration::from_secs(1_200);

async fn doppelspan(arguments: &[&str]) -> anyhow::Result<String> {
    let output = process::run_within(LIMIT, arguments).await?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{arguments:?}: {said}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

const NAMES: [&str; 3] = ["train", "held", "second"];

/// Files of three disjoint samples of a simulated system, and a model of the first.
struct Samples {
    folder: tempfile::TempDir,
}

impl Samples {
    async fn new(system: &str, traces: usize) -> anyhow::Result<Self> {
        let samples = Self {
            folder: tempfile::tempdir()?,
        };
        let all = samples.path("all.jsonl");
        let count = (3 * traces).to_string();
        let simulate = ["simulate", "--system", system, "--traces", &count];
        doppelspan(&[&simulate[..], &["--output", &all]].concat()).await?;
        // A line holds a whole trace, and every third goes to one sample: all see one weather.
        let all = std::fs::read_to_string(&all)?;
        for (name, first) in NAMES.into_iter().zip(0..) {
            let lines = all.lines().skip(first).step_by(NAMES.len());
            let text: String = lines.flat_map(|line| [line, "\n"]).collect();
            let packed = zstd::encode_all(text.as_bytes(), 1)?;
            std::fs::write(samples.path(&format!("{name}.jsonl.zst")), packed)?;
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
    async fn evaluate(&self, generator: &[&str]) -> anyhow::Result<(Value, String)> {
        let [train, held, second] = NAMES.map(|name| self.path(&format!("{name}.jsonl.zst")));
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
        let said = doppelspan(&[&samples[..], &["--output", &output], generator].concat()).await?;
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
    let samples = Samples::new("shop", 300).await?;
    let train = samples.path("train.jsonl.zst");
    let other = samples.path("other.jsonl");
    let simulate = ["simulate", "--system", "ticket-office", "--traces", "300"];
    doppelspan(&[&simulate[..], &["--output", &other]].concat()).await?;
    let asked = [
        ["--synthetic", &train],
        ["--bar", "c2st=0.9"],
        ["--other-train", &other],
        ["--other-held-out", &other],
        ["--other-synthetic", &other],
    ];
    let (report, said) = samples.evaluate(&asked.concat()).await?;
    assert!(said.contains("≤ 0.9 reached"), "{said}");
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
    assert!(of("workload_accuracy", "synthetic")? > 0.9);
    assert!(of("workload_ratio", "ceiling")? > 0.9);
    // An observed sample answers operators better than a tenth of the traces, and a copy that
    // does not know the times no better than the sample.
    let triggers = of("query_triggers", "ceiling")?;
    assert!(triggers > of("head_triggers", "ceiling")?, "{report}");
    assert!(of("query_triggers", "random")? < triggers);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_implementation_finds_the_same_figures() -> anyhow::Result<()> {
    let python = process::root().join(".sdks/evaluation/bin/python");
    let Some(python) = sdk::fetched("evaluation", &python.to_string_lossy())? else {
        return Ok(());
    };
    for system in ["social-network", "ticket-office"] {
        let samples = Samples::new(system, 400).await?;
        let (model, synthetic) = (samples.path("model"), samples.path("synthetic.jsonl"));
        let generate = [
            "generate", "--model", &model, "--traces", "400", "--seed", "1",
        ];
        doppelspan(&[&generate[..], &["--output", &synthetic]].concat()).await?;
        let (report, _) = samples.evaluate(&["--synthetic", &synthetic]).await?;
        let script = process::root().join("integration-tests/evaluation/second.py");
        let mut command = tokio::process::Command::new(&python);
        let files = NAMES.map(|name| samples.path(&format!("{name}.jsonl.zst")));
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
        let (first, second) = (&report["controls"]["ceiling"], &second["ceiling"]["u4"]);
        let told = second.as_object().context("queries")?;
        anyhow::ensure!(told.len() >= 4, "{told:?}");
        for (key, value) in told {
            let (a, b) = (first["figures"][key].as_f64(), value.as_f64());
            let apart = a.zip(b).map(|(a, b)| (a - b).abs());
            anyhow::ensure!(
                apart.is_some_and(|apart| apart < 1e-6),
                "{key}: {a:?} and {b:?}"
            );
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
