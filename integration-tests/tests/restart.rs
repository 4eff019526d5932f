//! A restarted service goes on with what the last one had learnt.

use std::time::Duration;

use integration_tests::{Document, Running, Shape, Sink, traffic};

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_service_emits_at_once_from_its_checkpoint() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("live.model");
    let synthesizer = format!(
        "assembler: {{ max_wait: 2s }}, generation: {{ mode: rate, rate: 100 }}, \
         checkpoint: {{ path: '{}' }}",
        path.display()
    );
    let sink = Sink::start().await?;
    let shape = Shape {
        backend: sink.address,
        forward: false,
        synthesizer: Some(&synthesizer),
        exporter: "",
    };
    let document = Document::new(&shape)?;
    let running = Running::start(&document.yaml, &document.grpc).await?;
    traffic::send(&document.grpc, traffic::requests(60, 50)).await?;
    sink.wait_for_synthetic(50, Duration::from_secs(60)).await?;
    let (code, log) = running.terminate().await?;
    assert_eq!(code, Some(0), "{log}");
    assert!(path.exists(), "no checkpoint at shutdown:\n{log}");

    // The second run receives nothing, so whatever it emits comes from the checkpoint.
    let second = Sink::start().await?;
    let document = Document::new(&Shape {
        backend: second.address,
        ..shape
    })?;
    let running = Running::start(&document.yaml, &document.grpc).await?;
    second
        .wait_for_synthetic(50, Duration::from_secs(60))
        .await?;
    let (code, log) = running.terminate().await?;
    assert_eq!(code, Some(0), "{log}");
    Ok(())
}
