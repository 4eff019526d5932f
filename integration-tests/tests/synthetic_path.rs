//! Synthetic traces come out marked, whole, and with nothing observed in them but vocabulary.

use std::collections::BTreeSet;
use std::time::Duration;

use integration_tests::{Document, Running, Shape, Sink, sink::hex, traffic, validity};

const SYNTHESIZER: &str = "assembler: { max_wait: 2s }, \
    generation: { mode: rate, rate: 100 }, privacy: { min_traces: 20 }";

fn with_secrets(mut requests: Vec<traffic::Request>) -> Vec<traffic::Request> {
    let mut left = 10;
    for span in requests.iter_mut().flat_map(traffic::spans_mut) {
        if left > 0 && span.name == "operation 3" {
            span.name = format!("GET /customers/secret-{}", left % 2);
            left -= 1;
        }
    }
    requests
}

async fn check(forward: bool) -> anyhow::Result<()> {
    let sink = Sink::start().await?;
    let document = Document::new(&Shape {
        backend: sink.address,
        forward,
        synthesizer: Some(SYNTHESIZER),
        exporter: "",
    })?;
    let running = Running::start(&document.yaml, &document.grpc).await?;
    let requests = with_secrets(traffic::requests(60, 50));
    let sent = traffic::send(&document.grpc, requests.clone()).await?;
    assert_eq!(sent.accepted, 3_000);
    let observed: BTreeSet<_> = requests
        .iter()
        .flat_map(traffic::spans)
        .map(|span| hex(&span.span_id))
        .collect();

    sink.wait_for_synthetic(500, Duration::from_secs(60))
        .await?;
    let (code, log) = running.terminate().await?;
    assert_eq!(code, Some(0), "{log}");

    let forwarded: BTreeSet<_> = sink.ids(false).into_iter().map(|(_, id, _)| id).collect();
    if forward {
        assert_eq!(forwarded, observed);
    } else {
        assert!(forwarded.is_empty(), "observed spans came through");
    }

    let synthetic = sink.spans(true);
    assert!(validity::traces(&synthetic)? > 50);
    let names: BTreeSet<_> = synthetic.iter().map(|span| span.name.as_str()).collect();
    let known: BTreeSet<_> = (0..5).map(|at| format!("operation {at}")).collect();
    for name in &names {
        assert!(known.contains(*name), "`{name}` got out");
    }
    assert!(names.len() >= 4, "{names:?}");
    for (_, id, _) in sink.ids(true) {
        assert!(!observed.contains(&id), "an observed id got out");
    }
    for resource in sink.resources(true) {
        let attributes = resource.resource.unwrap_or_default().attributes;
        let services = attributes
            .iter()
            .filter(|a| a.key == "service.name")
            .count();
        assert_eq!(services, 1);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn alongside_the_observed_traces() -> anyhow::Result<()> {
    check(true).await
}

#[tokio::test(flavor = "multi_thread")]
async fn instead_of_the_observed_traces() -> anyhow::Result<()> {
    check(false).await
}
