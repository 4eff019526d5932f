//! SIGTERM drains: what was accepted reaches the backend, even one that was away.

use std::time::Duration;

use integration_tests::{Document, Running, Shape, Sink, traffic};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_is_delivered_after_sigterm_to_a_backend_that_comes_back()
-> anyhow::Result<()> {
    let sink = Sink::start().await?;
    sink.set_unavailable(true);
    let document = Document::new(&Shape {
        backend: sink.address,
        forward: true,
        synthesizer: None,
        exporter: "retry_on_failure: { initial_interval: 100ms, max_interval: 200ms }",
    })?;
    let running = Running::start(&document.yaml, &document.grpc).await?;
    let sent = traffic::send(&document.grpc, traffic::requests(50, 20)).await?;
    assert_eq!(sent.accepted, 1_000);
    assert_eq!(sink.span_count(), 0);
    let ended = tokio::spawn(running.terminate());
    tokio::time::sleep(Duration::from_millis(500)).await;
    sink.set_unavailable(false);
    let (code, log) = ended.await??;
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(sink.span_count(), 1_000, "{log}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_and_keeps_what_it_accepted() -> anyhow::Result<()> {
    let sink = Sink::start().await?;
    sink.set_unavailable(true);
    let document = Document::new(&Shape {
        backend: sink.address,
        forward: true,
        synthesizer: None,
        exporter: "sending_queue: { queue_size: 5, num_consumers: 1 }
    retry_on_failure: { initial_interval: 100ms, max_interval: 200ms }",
    })?;
    let running = Running::start(&document.yaml, &document.grpc).await?;
    let sent = traffic::send(&document.grpc, traffic::requests(50, 20)).await?;
    assert!(sent.refused > 0, "{sent:?}");
    assert!(
        sent.retry_hints > 0,
        "a refusal came without RetryInfo: {sent:?}"
    );
    assert_eq!(sent.accepted + sent.refused, 1_000);
    sink.set_unavailable(false);
    let (code, log) = running.terminate().await?;
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(sink.span_count(), sent.accepted, "{log}");
    Ok(())
}
