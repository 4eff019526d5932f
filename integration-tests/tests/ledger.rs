//! Every span is accounted for: in the metrics, and in the last line of the log.

use std::time::Duration;

use integration_tests::{Document, Reading, Running, Shape, Sink, traffic};
use tonic::Code;

const SYNTHESIZER: &str = "assembler: { max_wait: 5s, initial_quiet: 500ms }, \
    generation: { mode: mirror, ratio: 1.0 }";
const ACCEPTED: &str = "otelcol_receiver_accepted_spans_total";
const SENT: &str = "otelcol_exporter_sent_spans_total";
const DROPPED: &str = "doppelspan_exporter_dropped_spans_total";
const PRODUCED: &str = "otelcol_connector_produced_items_total";
const FATES: [&str; 6] = [
    "complete",
    "partial",
    "late",
    "duplicate",
    "evicted",
    "oversized",
];

/// Reads the metrics until they say what is waited for; the last reading.
async fn read_until(
    document: &Document,
    done: impl Fn(&Reading) -> bool,
) -> anyhow::Result<Reading> {
    for _ in 0..300 {
        let told = Reading::of(&document.metrics).await?;
        if done(&told) {
            return Ok(told);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let told = Reading::of(&document.metrics).await?;
    anyhow::bail!("waited for what never came:\n{told}")
}

/// The number before a word in the last line of the log, behind a component: `otlp/grpc: 5 accepted`.
fn stopped(log: &str, component: &str, word: &str) -> usize {
    let line = log.lines().rev().find(|line| line.contains("stopped:"));
    let behind = line.and_then(|line| line.split_once(&format!("{component}: ")));
    let until = behind.and_then(|(_, rest)| rest.split_once(&format!(" {word}")));
    let number = until.and_then(|(before, _)| before.rsplit(' ').next());
    let number = number.and_then(|number| number.parse().ok());
    number.unwrap_or_else(|| panic!("`{component}: … N {word}` is not in {line:?}"))
}

/// Ten good requests have a span without an id each.
fn with_bad_spans(mut requests: Vec<traffic::Request>) -> Vec<traffic::Request> {
    for request in requests.iter_mut().take(10) {
        if let Some(span) = traffic::spans_mut(request).next() {
            span.span_id.clear();
        }
    }
    requests
}

#[tokio::test(flavor = "multi_thread")]
async fn good_bad_refused_and_dropped_spans_add_up_and_so_does_the_assembler() -> anyhow::Result<()>
{
    let sink = Sink::start().await?;
    let document = Document::new(&Shape {
        backend: sink.address,
        forward: true,
        synthesizer: Some(SYNTHESIZER),
        exporter: "sending_queue: { queue_size: 40, num_consumers: 1 }
    retry_on_failure: { initial_interval: 50ms, max_interval: 100ms }",
    })?;
    let running = Running::start(&document.yaml, &document.grpc).await?;
    let mut requests = with_bad_spans(traffic::requests(90, 50));

    // The backend takes nothing of these, and says that another attempt would not help.
    sink.answer(Some(Code::InvalidArgument));
    let given_up = traffic::send(&document.grpc, requests.split_off(70)).await?;
    assert_eq!((given_up.accepted, given_up.refused), (1_000, 0));
    // What is observed from now on is mirrored: something was learnt of what came so far.
    read_until(&document, |told| {
        let serves = told.sum("doppelspan_learner_serving", &[]) > 0.0;
        serves && told.count(DROPPED, &[]) == 1_000
    })
    .await?;

    // It is away, so that the queue fills and senders are refused, until it comes back.
    sink.answer(Some(Code::Unavailable));
    let sent = traffic::send(&document.grpc, requests).await?;
    sink.answer(None);
    assert!(sent.refused > 0, "{sent:?}");
    let accepted = given_up.accepted + sent.accepted;

    let told = read_until(&document, |told| {
        let fates = told.count("doppelspan_assembler_spans_total", &[]);
        let made = told.count(PRODUCED, &[]);
        fates == accepted && made > 0 && told.count(SENT, &[]) == sent.accepted + made
    })
    .await?;
    let of = |name: &str| told.count(name, &[]);
    assert_eq!(of(ACCEPTED), accepted);
    assert_eq!(of("otelcol_receiver_refused_spans_total"), sent.refused);
    assert_eq!(of("doppelspan_receiver_rejected_spans_total"), 10);
    assert_eq!(
        of("otelcol_exporter_enqueue_failed_spans_total"),
        sent.refused
    );
    assert_eq!(of("otelcol_exporter_send_failed_spans_total"), 1_000);
    assert_eq!(told.count(DROPPED, &[("reason", "failed")]), 1_000);

    // The tap was shown what was accepted, no span more; each has one fate.
    assert_eq!(of("otelcol_connector_consumed_items_total"), accepted);
    assert_eq!(of("doppelspan_tap_shed_spans_total"), 0);
    assert_eq!(of("doppelspan_assembler_open_spans"), 0);
    let fate = |fate: &&str| told.count("doppelspan_assembler_spans_total", &[("fate", fate)]);
    assert_eq!(FATES.iter().map(fate).sum::<usize>(), accepted);
    for name in [
        "otelcol_exporter_queue_size",
        "otelcol_exporter_queue_capacity",
        "otelcol_process_uptime",
        "otelcol_process_cpu_seconds",
        "otelcol_process_memory_rss",
        "doppelspan_learner_traces_total",
        "doppelspan_learner_serving",
    ] {
        assert!(told.find(name, &[]).is_some(), "no {name} in\n{told}");
    }

    let (code, log) = running.terminate().await?;
    // Accepted spans were dropped: whoever watches the exit code hears of it.
    assert_eq!(code, Some(1), "{log}");
    assert_eq!(stopped(&log, "otlp/grpc", "accepted"), accepted);
    assert_eq!(stopped(&log, "otlp/grpc", "refused"), sent.refused);
    assert_eq!(stopped(&log, "otlp/grpc", "rejected"), 10);
    let made = stopped(&log, "synthesizer", "made");
    let delivered = stopped(&log, "otlp_grpc/backend", "sent");
    let dropped = stopped(&log, "otlp_grpc/backend", "dropped");
    assert_eq!(accepted + made, delivered + dropped, "{log}");
    assert_eq!(sink.span_count(), delivered, "{log}");
    assert_eq!(sink.spans(false).len(), sent.accepted, "{log}");
    Ok(())
}
