//! train, generate, inspect; the generated file is read back by us and by the Python types.

use std::path::Path;
use std::process::Stdio;

use integration_tests::{Sdk, process, sink::hex, traffic};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;

async fn doppelspan(arguments: &[&str]) -> anyhow::Result<String> {
    let output = process::run(arguments).await?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{arguments:?}: {said}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn write_input(path: &Path) -> anyhow::Result<()> {
    let mut text = String::new();
    for request in traffic::requests(200, 50) {
        text += &serde_json::to_string(&request)?;
        text.push('\n');
    }
    // Every input may be compressed, and a corrupt line costs that line only.
    text += "{\"resourceSpans\": [\n";
    let file = std::fs::File::create(path)?;
    let mut encoder = zstd::Encoder::new(file, 1)?;
    std::io::Write::write_all(&mut encoder, text.as_bytes())?;
    encoder.finish()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_trained_inspected_and_generated_from() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (input, model) = (path("observed.jsonl.zst"), path("shop.model"));
    write_input(Path::new(&input))?;
    doppelspan(&[
        "train", "--input", &input, "--output", &model, "--seed", "7", "--steps", "40",
    ])
    .await?;

    let shown = doppelspan(&["inspect", &model]).await?;
    assert!(shown.contains("shop"), "{shown}");

    let outputs = ["first.jsonl", "second.jsonl", "third.jsonl"].map(path);
    for (output, seed) in outputs.iter().zip(["1", "1", "2"]) {
        let arguments = [
            "generate", "--model", &model, "--traces", "200", "--seed", seed,
        ];
        doppelspan(&[&arguments[..], &["--output", output]].concat()).await?;
    }
    let [first, second, third] = outputs.each_ref().map(std::fs::read);
    let first = first?;
    assert_eq!(first, second?, "the same seed gave other bytes");
    assert_ne!(first, third?, "another seed gave the same bytes");

    let mut traces = std::collections::BTreeSet::new();
    for line in std::str::from_utf8(&first)?.lines() {
        let request: ExportTraceServiceRequest = serde_json::from_str(line)?;
        traces.extend(traffic::spans(&request).map(|span| hex(&span.trace_id)));
    }
    assert_eq!(traces.len(), 200);

    // Our own reader takes it as training input again.
    let again = path("again.model");
    doppelspan(&[
        "train",
        "--input",
        &outputs[0],
        "--output",
        &again,
        "--steps",
        "2",
    ])
    .await?;

    if let Some(python) = Sdk::Python.interpreter()? {
        let script = process::root().join("integration-tests/sdk/python/read_back.py");
        let output = tokio::process::Command::new(python)
            .arg(script)
            .arg(&outputs[0])
            .stdin(Stdio::null())
            .output()
            .await?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let text = String::from_utf8(output.stdout)?;
        let numbers: Vec<usize> = text
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        let [_, traces, spans, marked, resources] = numbers[..] else {
            anyhow::bail!("read_back.py printed {text}");
        };
        assert_eq!(traces, 200);
        assert!(spans >= 200);
        assert_eq!(marked, resources, "a resource lacks the synthetic mark");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_is_not_there_or_corrupt_is_a_sentence() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let model = folder.path().join("corrupt.model");
    std::fs::write(&model, b"this is no model")?;
    for path in [model, folder.path().join("nowhere.model")] {
        let output = process::run(&["inspect", &path.to_string_lossy()]).await?;
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(&*path.to_string_lossy()), "{said}");
        assert!(!said.contains("panicked"), "{said}");
    }
    Ok(())
}
