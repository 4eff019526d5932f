//! What is wrong is said in sentences that name it and say what to do; nothing else is harmed.

use std::net::TcpListener;
use std::time::Duration;

use integration_tests::{Document, Running, Shape, Sink, free_port, process, traffic};

/// Starts `doppelspan run` with this document: its exit code and what it said.
async fn run(yaml: &str, further: &[&str]) -> anyhow::Result<(Option<i32>, String)> {
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("config.yaml");
    std::fs::write(&config, yaml)?;
    let config = config.to_string_lossy().into_owned();
    let output = process::run(&[&["run", "--config", &config], further].concat()).await?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok((output.status.code(), said))
}

/// The run ends with this code and says each of these, once.
async fn check(yaml: &str, further: &[&str], code: i32, words: &[&str]) -> anyhow::Result<()> {
    let (got, said) = run(yaml, further).await?;
    assert_eq!(got, Some(code), "{said}");
    for words in words {
        let times = said.matches(words).count();
        assert_eq!(times, 1, "`{words}` is {times} times in:\n{said}");
    }
    assert!(!said.contains("panicked"), "{said}");
    Ok(())
}

fn document(exporter: &str) -> anyhow::Result<String> {
    let metrics = free_port()?;
    let grpc = free_port()?;
    Ok(format!(
        "receivers:
  otlp: {{ protocols: {{ grpc: {{ endpoint: '127.0.0.1:{grpc}' }} }} }}
exporters:
  {exporter}
service:
  telemetry: {{ metrics: {{ address: '127.0.0.1:{metrics}' }} }}
  pipelines:
    traces: {{ receivers: [otlp], exporters: [{}] }}
",
        exporter.split(':').next().unwrap_or_default()
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_of_a_config_is_told_at_once_with_key_and_line() -> anyhow::Result<()> {
    // Taken: if anything were started before all faults are told, this would be one of them.
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port();
    let yaml = format!(
        "receivers:
  otlp:
    protocols:
      grpc: {{ endpoint: '127.0.0.1:{port}', endpont: x }}
connectors:
  synthesizer:
    assembler: {{ max_open_traces: 0 }}
    generation: {{ mode: sometimes }}
exporters:
  otlp_grpc: {{ endpoint: 'localhost:1', tls: {{ insecure: true }} }}
  kafkaesque:
service:
  pipelines:
    traces/observed: {{ receivers: [otlp], exporters: [synthesizer, otlp_grpc/missing] }}
"
    );
    let faults = [
        "receivers.otlp.protocols.grpc.endpont",
        "config.yaml, line 4",
        "connectors.synthesizer.assembler.max_open_traces: must be at least 1, got 0",
        "connectors.synthesizer.generation.mode",
        "exporters.kafkaesque",
        "`otlp_grpc/missing` is not declared in `exporters`",
        "connector `synthesizer` ends a pipeline and begins none",
        "6 faults; nothing was started",
    ];
    check(&yaml, &[], 2, &faults).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_can_not_be_read_is_a_fault() -> anyhow::Result<()> {
    let yaml = document("debug:")?;
    let set = [
        "--set",
        "receivers::otlp::protocols::grpc::max_connections=many",
    ];
    check(
        &yaml,
        &set,
        2,
        &["receivers.otlp.protocols.grpc.max_connections: invalid type: string \"many\", expected a whole number"],
    )
    .await?;
    let faults = [
        "--set: `nonsense` has no =; write a::b=value",
        "--set: `exporters::=1` has an empty key; write a::b=value",
        "--set: the value of `exporters::debug=[` is no YAML",
        "3 faults; nothing was started",
    ];
    let sets = ["nonsense", "exporters::=1", "exporters::debug=["];
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", *set]).collect();
    check(&yaml, &sets, 2, &faults).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named() -> anyhow::Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port();
    let yaml = document("debug:")?;
    let set = format!("receivers::otlp::protocols::grpc::endpoint=127.0.0.1:{port}");
    let words = [
        "receivers.otlp: protocols.grpc.endpoint: can't listen at 127.0.0.1:",
        &port.to_string(),
        "another process has the port; end it, or choose another port",
    ];
    check(&yaml, &["--set", &set], 1, &words).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_can_not_be_written_is_named() -> anyhow::Result<()> {
    let yaml = document("file: { path: /nowhere/at/all/traces.jsonl }")?;
    let words = [
        "exporters.file: can't write to /nowhere/at/all/traces.jsonl",
        "name a file in a folder that this process may write to",
    ];
    check(&yaml, &[], 1, &words).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_s_folder_that_is_not_there_is_named() -> anyhow::Result<()> {
    let sink = Sink::start().await?;
    let document = Document::new(&Shape {
        backend: sink.address,
        forward: true,
        synthesizer: Some("checkpoint: { path: /nowhere/at/all/live.model }"),
        exporter: "",
    })?;
    let words = [
        "connectors.synthesizer: checkpoint.path: there is no folder /nowhere/at/all",
        "make it, or choose another folder",
    ];
    check(&document.yaml, &[], 1, &words).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_checkpoint_is_named_and_left_as_it_is() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("live.model");
    std::fs::write(&path, b"this is no model")?;
    let sink = Sink::start().await?;
    let document = Document::new(&Shape {
        backend: sink.address,
        forward: true,
        synthesizer: Some(&format!("checkpoint: {{ path: '{}' }}", path.display())),
        exporter: "",
    })?;
    let words = [
        "connectors.synthesizer: checkpoint.path: ",
        "live.model: is no doppelspan model, or a damaged one",
        "train it again, or move it away to start anew",
    ];
    check(&document.yaml, &[], 1, &words).await?;
    assert_eq!(std::fs::read(&path)?, b"this is no model");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn drawing_without_learning_needs_a_model() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("none.model");
    let synthesizer = format!(
        "learner: {{ enabled: false }}, checkpoint: {{ path: '{}' }}",
        path.display()
    );
    let sink = Sink::start().await?;
    let document = Document::new(&Shape {
        backend: sink.address,
        forward: true,
        synthesizer: Some(&synthesizer),
        exporter: "",
    })?;
    check(&document.yaml, &[], 1, &["none.model", "doppelspan train"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_is_not_there_at_start_gets_everything_once_it_is() -> anyhow::Result<()> {
    let place = TcpListener::bind("127.0.0.1:0")?;
    let backend = place.local_addr()?;
    drop(place);
    let document = Document::new(&Shape {
        backend,
        forward: true,
        synthesizer: None,
        exporter: "retry_on_failure: { initial_interval: 100ms, max_interval: 200ms }",
    })?;
    let running = Running::start(&document.yaml, &document.grpc).await?;
    let sent = traffic::send(&document.grpc, traffic::requests(5, 20)).await?;
    assert_eq!(sent.accepted, 100);
    let sink = Sink::start_at(backend).await?;
    sink.wait_for_spans(100, Duration::from_secs(30)).await?;
    let (code, log) = running.terminate().await?;
    assert_eq!(code, Some(0), "{log}");
    Ok(())
}
