//! SIGTERM drains: what was accepted reaches the backend, even one that was away.

use std::collections::BTreeSet;
use std::time::Duration;

use integration_tests::{Document, Running, Shape, Sink, sink::hex, traffic};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;

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

/// Sends requests until the service is gone; the ids of the spans that it accepted.
async fn send_on(address: String, requests: Vec<traffic::Request>) -> BTreeSet<String> {
    let mut accepted = BTreeSet::new();
    let Ok(mut client) = TraceServiceClient::connect(format!("http://{address}")).await else {
        return accepted;
    };
    for request in requests {
        let ids: Vec<_> = traffic::spans(&request)
            .map(|span| hex(&span.span_id))
            .collect();
        if client.export(request).await.is_err() {
            break;
        }
        accepted.extend(ids);
    }
    accepted
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_under_load_loses_nothing_that_was_accepted_beside_a_synthesizer()
-> anyhow::Result<()> {
    let sink = Sink::start().await?;
    let document = Document::new(&Shape {
        backend: sink.address,
        forward: true,
        synthesizer: Some(
            "assembler: { max_wait: 2s, initial_quiet: 500ms }, \
             generation: { mode: mirror, ratio: 1.0 }",
        ),
        exporter: "",
    })?;
    let running = Running::start(&document.yaml, &document.grpc).await?;
    let mut senders = tokio::task::JoinSet::new();
    let mut requests = traffic::requests(40_000, 50);
    while !requests.is_empty() {
        let part = requests.split_off(requests.len() - 10_000);
        senders.spawn(send_on(document.grpc.clone(), part));
    }
    // Once it carries synthetic spans too, everything is under way.
    sink.wait_for_synthetic(100, Duration::from_secs(30))
        .await?;
    let (code, log) = running.terminate().await?;
    assert_eq!(code, Some(0), "{log}");
    let mut accepted = BTreeSet::new();
    for part in senders.join_all().await {
        accepted.extend(part);
    }
    assert!(accepted.len() > 1_000, "{}", accepted.len());
    let delivered: BTreeSet<_> = sink.ids(false).into_iter().map(|(_, id, _)| id).collect();
    let lost = accepted.difference(&delivered).count();
    assert_eq!(lost, 0, "of {} spans: {log}", accepted.len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_stays_away_does_not_keep_the_service_beyond_its_deadline()
-> anyhow::Result<()> {
    let sink = Sink::start().await?;
    sink.set_unavailable(true);
    let mut document = Document::new(&Shape {
        backend: sink.address,
        forward: true,
        synthesizer: Some("generation: { mode: rate, rate: 100 }"),
        exporter: "",
    })?;
    document.yaml = document
        .yaml
        .replace("service:\n", "service:\n  shutdown_timeout: 1s\n");
    let running = Running::start(&document.yaml, &document.grpc).await?;
    let sent = traffic::send(&document.grpc, traffic::requests(50, 20)).await?;
    assert_eq!(sent.accepted, 1_000);
    let ended = tokio::time::timeout(Duration::from_secs(10), running.terminate());
    let (code, log) = ended.await??;
    assert_eq!(code, Some(1), "{log}");
    assert!(
        log.contains("0 sent, 0 rejected, 0 refused, 1000 dropped"),
        "{log}"
    );
    Ok(())
}
