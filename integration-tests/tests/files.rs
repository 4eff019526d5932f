//! train, generate, inspect; the generated file is read back by us and by the Python types.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use integration_tests::{Sdk, Sink, process, sink::hex, traffic, validity};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use tonic::Code;

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
    // Few traces: several learn their times.
    assert!(shown.contains("3 for times"), "{shown}");
    let alone = path("alone.model");
    doppelspan(&[
        "train",
        "--input",
        &input,
        "--output",
        &alone,
        "--steps",
        "1",
        "--set",
        "vae.timing_networks=1",
    ])
    .await?;
    let shown = doppelspan(&["inspect", &alone]).await?;
    assert!(shown.contains("one for times"), "{shown}");

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

/// A model that knows the small traces of [`traffic`], and nothing of the VAE's.
async fn small_model(folder: &Path) -> anyhow::Result<String> {
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let (input, model) = (path("observed.jsonl.zst"), path("shop.model"));
    write_input(Path::new(&input))?;
    doppelspan(&[
        "train", "--input", &input, "--output", &model, "--steps", "1",
    ])
    .await?;
    Ok(model)
}

/// The spans of a file that `generate` wrote, inflated by its ending.
fn read_back(path: &Path) -> anyhow::Result<Vec<Span>> {
    let file = std::fs::File::open(path)?;
    let text = match path.extension().and_then(|ending| ending.to_str()) {
        Some("gz") => std::io::read_to_string(flate2::read::GzDecoder::new(file))?,
        Some("zst") => std::io::read_to_string(zstd::Decoder::new(file)?)?,
        _ => std::io::read_to_string(file)?,
    };
    let mut spans = Vec::new();
    for line in text.lines() {
        let request: ExportTraceServiceRequest = serde_json::from_str(line)?;
        spans.extend(traffic::spans(&request).cloned());
    }
    Ok(spans)
}

#[tokio::test(flavor = "multi_thread")]
async fn generate_makes_as_many_traces_and_spans_as_it_is_told() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let model = small_model(folder.path()).await?;
    let check = async |amount: &str, name: &str, traces: usize, spans: Option<usize>| {
        let output = folder.path().join(name);
        let to = output.to_string_lossy();
        let amount: Vec<&str> = amount.split(' ').collect();
        let fixed = [
            "generate", "--model", &model, "--seed", "3", "--output", &to,
        ];
        doppelspan(&[&fixed[..], &amount].concat()).await?;
        let found = read_back(&output)?;
        assert_eq!(validity::traces(&found)?, traces, "{amount:?}");
        if let Some(spans) = spans {
            assert_eq!(found.len(), traces * spans, "{amount:?}");
        }
        let starts = || found.iter().map(|span| span.start_time_unix_nano);
        let between = starts().max().unwrap_or(0) - starts().min().unwrap_or(0);
        anyhow::Ok(Duration::from_nanos(between))
    };
    check("--traces 30", "plain.jsonl", 30, None).await?;
    check("--traces 30", "packed.jsonl.gz", 30, None).await?;
    check("--traces 30", "packed.jsonl.zst", 30, None).await?;
    check("--traces 20 --spans 1", "one.jsonl", 20, Some(1)).await?;
    check("--traces 20 --spans 9", "nine.jsonl", 20, Some(9)).await?;
    // Three seconds of ten a second, told by the times in the file and not by the clock.
    let length = check("--duration 3s --rate 10", "rate.jsonl", 30, None).await?;
    let about = Duration::from_millis(2_800)..Duration::from_millis(3_100);
    assert!(about.contains(&length), "{length:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn generate_to_a_backend_counts_what_arrived_and_fails_unless_it_is_all() -> anyhow::Result<()>
{
    let folder = tempfile::tempdir()?;
    let model = small_model(folder.path()).await?;
    let sink = Sink::start().await?;
    let check = async |further: &str, code: i32, words: &[&str]| {
        let address = sink.address.to_string();
        let further: Vec<&str> = further.split(' ').collect();
        let fixed = ["generate", "--model", &model, "--otlp-endpoint", &address];
        let output = process::run(&[&fixed[..], &further].concat()).await?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        for words in words {
            assert!(said.contains(words), "`{words}` is not in {said}");
        }
        anyhow::Ok(())
    };
    check("--traces 40 --spans 5", 0, &["took 200 spans"]).await?;
    assert_eq!(sink.spans(true).len(), 200);
    assert_eq!(validity::traces(&sink.spans(true))?, 40);

    check("--duration 1s --rate 20 --spans 2", 0, &["took 40 spans"]).await?;

    sink.answer(Some(Code::Unavailable));
    check(
        "--traces 40 --spans 5 --give-up-after 500ms",
        1,
        &["took 0 spans", "200 spans did not arrive", "200 given up"],
    )
    .await?;
    assert_eq!(sink.span_count(), 240);
    Ok(())
}
