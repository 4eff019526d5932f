//! Every span is accounted for: in the metrics, and in the last line of the log.

use std::collections::BTreeMap;
use std::time::Duration;

use integration_tests::{Document, Running, Shape, Sink, traffic};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const SYNTHESIZER: &str = "assembler: { max_wait: 5s, initial_quiet: 500ms }, \
    generation: { mode: mirror, ratio: 1.0 }";

/// The samples of `/metrics`, summed over all labels but `label`, by `name{label value}`.
async fn metrics(address: &str, label: &str) -> anyhow::Result<BTreeMap<String, f64>> {
    let mut socket = tokio::net::TcpStream::connect(address).await?;
    let request = format!("GET /metrics HTTP/1.0\r\nhost: {address}\r\n\r\n");
    socket.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    socket.read_to_string(&mut text).await?;
    let mut sums = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((series, value)) = line.rsplit_once(' ') else {
            continue;
        };
        let Ok(value) = value.parse::<f64>() else {
            continue;
        };
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let part = labels.split(&format!("{label}=\"")).nth(1);
        let part = part.and_then(|rest| rest.split('"').next());
        let key = part.map_or(name.to_owned(), |part| format!("{name}{{{part}}}"));
        *sums.entry(key).or_default() += value;
    }
    Ok(sums)
}

/// Spans of traces that are over, whatever became of them.
fn ended(told: &BTreeMap<String, f64>) -> usize {
    let fates = [
        "complete",
        "partial",
        "late",
        "duplicate",
        "evicted",
        "oversized",
    ];
    let of = |fate| told.get(&format!("doppelspan_assembler_spans_total{{{fate}}}"));
    fates.iter().filter_map(of).sum::<f64>() as usize
}

#[tokio::test(flavor = "multi_thread")]
async fn good_bad_and_refused_spans_add_up_and_so_does_the_assembler() -> anyhow::Result<()> {
    let sink = Sink::start().await?;
    let document = Document::new(&Shape {
        backend: sink.address,
        forward: true,
        synthesizer: Some(SYNTHESIZER),
        exporter: "sending_queue: { queue_size: 40, num_consumers: 1 }
    retry_on_failure: { initial_interval: 50ms, max_interval: 100ms }",
    })?;
    let running = Running::start(&document.yaml, &document.grpc).await?;
    sink.set_unavailable(true);
    let mut requests = traffic::requests(60, 50);
    // Ten spans without an id: cut out, their sender told.
    for request in requests.iter_mut().take(10) {
        if let Some(span) = traffic::spans_mut(request).next() {
            span.span_id.clear();
        }
    }
    let sent = traffic::send(&document.grpc, requests).await?;
    sink.set_unavailable(false);
    assert!(sent.refused > 0, "{sent:?}");
    sink.wait_for_spans(sent.accepted, Duration::from_secs(30))
        .await?;

    // What was taken in is told within a turn of the shard, what became of it when traces end.
    let mut told = BTreeMap::new();
    for _ in 0..300 {
        told = metrics(&document.metrics, "fate").await?;
        if ended(&told) == sent.accepted {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(ended(&told), sent.accepted, "{told:#?}");
    let of = |name: &str| told.get(name).copied().unwrap_or_default() as usize;
    assert_eq!(of("otelcol_receiver_accepted_spans_total"), sent.accepted);
    assert_eq!(of("otelcol_receiver_refused_spans_total"), sent.refused);
    assert_eq!(of("doppelspan_receiver_rejected_spans_total"), 10);
    assert_eq!(of("otelcol_connector_consumed_items_total"), sent.accepted);
    assert_eq!(of("doppelspan_tap_shed_spans_total"), 0);
    for name in [
        "otelcol_exporter_sent_spans_total",
        "otelcol_exporter_queue_size",
        "otelcol_exporter_queue_capacity",
        "otelcol_process_uptime",
        "otelcol_process_cpu_seconds",
        "otelcol_process_memory_rss",
        "doppelspan_learner_traces_total",
        "doppelspan_learner_serving",
    ] {
        let known = told.keys().any(|key| key.starts_with(name));
        assert!(known, "no {name} in {told:#?}");
    }

    let (code, log) = running.terminate().await?;
    assert_eq!(code, Some(0), "{log}");
    let last = log.lines().rev().find(|line| line.contains("stopped:"));
    let last = last.unwrap_or_default();
    let accepted = format!("otlp/grpc: {} accepted", sent.accepted);
    assert!(last.contains(&accepted), "`{accepted}` is not in {last}");
    assert!(last.contains("10 rejected"), "{last}");
    assert!(
        last.contains("synthesizer: ") && last.contains(" made"),
        "{last}"
    );
    let made: usize = last
        .split("synthesizer: ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next())
        .and_then(|number| number.parse().ok())
        .unwrap_or_default();
    assert_eq!(sink.span_count(), sent.accepted + made, "{last}");
    Ok(())
}
