//! The `kafka` receiver and exporter against a real broker, beside a real Collector.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use integration_tests::broker::{PASSWORD, USER, lines, until};
use integration_tests::peers::{self, Neighbour};
use integration_tests::{Broker, Reading, Running, Sink, free_port, traffic};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

const PATIENCE: Duration = Duration::from_secs(60);

/// A document of this receiver and exporter, with free ports for what is watched.
struct Piece {
    yaml: String,
    /// What answers once it is ready.
    awaited: String,
    metrics: String,
}

fn piece(receivers: &str, exporters: &str) -> anyhow::Result<Piece> {
    let (health, metrics) = (address()?, address()?);
    let name = |section: &str| {
        let (name, _) = section.trim().split_once(':').unwrap();
        name.to_owned()
    };
    let yaml = format!(
        "receivers:
  {receivers}
exporters:
  {exporters}
extensions:
  health_check: {{ endpoint: '{health}' }}
service:
  extensions: [health_check]
  telemetry: {{ metrics: {{ address: '{metrics}' }} }}
  pipelines:
    traces: {{ receivers: [{}], exporters: [{}] }}
",
        name(receivers),
        name(exporters)
    );
    let grpc = receivers.split("endpoint: '").nth(1);
    let grpc = grpc.and_then(|rest| rest.split('\'').next());
    Ok(Piece {
        yaml,
        awaited: grpc.unwrap_or(&health).to_owned(),
        metrics,
    })
}

impl Piece {
    async fn start(&self) -> anyhow::Result<Running> {
        Running::start(&self.yaml, &self.awaited).await
    }
}

fn otlp(address: &str) -> String {
    format!("otlp: {{ protocols: {{ grpc: {{ endpoint: '{address}' }} }} }}")
}

fn backend(sink: &Sink) -> String {
    format!(
        "otlp_grpc: {{ endpoint: '{}', tls: {{ insecure: true }}, compression: none }}",
        sink.address
    )
}

fn address() -> anyhow::Result<String> {
    Ok(format!("127.0.0.1:{}", free_port()?))
}

/// The messages of a file of lengths and messages; the last one may be half written.
fn messages(path: &Path) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(path).unwrap_or_default();
    let mut rest = &bytes[..];
    let mut found = Vec::new();
    while let Some((length, more)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        let Some((message, more)) = more.split_at_checked(length) else {
            break;
        };
        found.push(message.to_vec());
        rest = more;
    }
    found
}

/// A Collector with this document, once `addresses` answer.
async fn collector(yaml: &str, addresses: &[&str]) -> anyhow::Result<Option<Neighbour>> {
    let Some(program) = peers::program("collector")? else {
        return Ok(None);
    };
    let prepare = |folder: &Path, command: &mut tokio::process::Command| {
        std::fs::write(folder.join("config.yaml"), yaml)?;
        command.args(["--config", "config.yaml"]);
        Ok(())
    };
    Neighbour::start(&program, addresses, prepare)
        .await
        .map(Some)
}

fn collector_yaml(receivers: &str, exporters: &str) -> String {
    let name = |section: &str| section.trim().split_once(':').unwrap().0.to_owned();
    format!(
        "receivers:
  {receivers}
exporters:
  {exporters}
service:
  telemetry: {{ metrics: {{ level: none }} }}
  pipelines:
    traces: {{ receivers: [{}], exporters: [{}] }}
",
        name(receivers),
        name(exporters)
    )
}

/// Every span with its service, under its id.
fn spans<'a>(requests: impl IntoIterator<Item = &'a ExportTraceServiceRequest>) -> Spans {
    let mut all = Spans::new();
    for group in requests.into_iter().flat_map(|r| &r.resource_spans) {
        for span in group.scope_spans.iter().flat_map(|scope| &scope.spans) {
            let mut span = span.clone();
            // The Collector writes a status that says nothing where there was none.
            span.status.get_or_insert_default();
            let known = all.insert(span.span_id.clone(), (group.resource.clone(), span));
            assert!(known.is_none(), "a span came twice");
        }
    }
    all
}

type Spans = BTreeMap<Vec<u8>, (Option<Resource>, Span)>;

/// Too long to be shown.
fn same(left: &Spans, right: &Spans, what: &str) {
    let differ = |(id, span): &(&Vec<u8>, _)| left.get(*id) != Some(*span);
    let first = right.iter().find(differ);
    assert!(
        left.len() == right.len() && first.is_none(),
        "{what}: {} and {}, {first:?}",
        left.len(),
        right.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_collector_writes_to_a_topic_is_read_byte_for_byte_in_both_encodings()
-> anyhow::Result<()> {
    let Some(broker) = Broker::start().await? else {
        return Ok(());
    };
    for encoding in ["otlp_proto", "otlp_json"] {
        let topic = format!("from-a-collector-{encoding}");
        broker.create_topic(&topic, 3, &[]).await?;
        let grpc = address()?;
        let exporter = format!(
            "kafka: {{ brokers: ['{}'], traces: {{ topic: {topic}, encoding: {encoding} }}, \
             partition_traces_by_id: true }}",
            broker.address
        );
        let yaml = collector_yaml(&otlp(&grpc), &exporter);
        let Some(collector) = collector(&yaml, &[&grpc]).await? else {
            return Ok(());
        };
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("traces");
        let receiver = format!(
            "kafka: {{ brokers: ['{}'], traces: {{ topics: [{topic}], encoding: {encoding} }}, \
             group_id: ours, initial_offset: earliest }}",
            broker.address
        );
        let writing = format!("file: {{ path: '{}', format: proto }}", file.display());
        let piece = piece(&receiver, &writing)?;
        let running = piece.start().await?;

        // A message of no use costs itself only.
        broker.produce(&topic, &[b"\xff no OTLP".to_vec()]).await?;
        let requests = traffic::requests(20, 50);
        let sent = traffic::send(&grpc, requests.clone()).await?;
        assert_eq!(sent.accepted, 1_000);
        let expected = spans(&requests);
        let arrived = || {
            let written = messages(&file);
            let decoded = written
                .iter()
                .map(|m| ExportTraceServiceRequest::decode(&**m));
            decoded.collect::<Result<Vec<_>, _>>().unwrap()
        };
        until("all spans are there", PATIENCE, || {
            let done = spans(&arrived()).len() == expected.len();
            async move { Ok(done) }
        })
        .await?;
        same(&spans(&arrived()), &expected, encoding);
        if encoding == "otlp_proto" {
            // The very bytes of the messages went on.
            let records = broker.records(&topic).await?;
            let written = records.into_iter().map(|r| r.value);
            let written: BTreeSet<_> = written.filter(|value| value[0] != 0xff).collect();
            assert!(messages(&file).into_iter().collect::<BTreeSet<_>>() == written);
        }
        let told = Reading::of(&piece.metrics).await?;
        let labels = [("receiver", "kafka"), ("transport", "kafka")];
        let accepted = told.count("otelcol_receiver_accepted_spans_total", &labels);
        assert_eq!(accepted, 1_000);
        let odd = told.count("doppelspan_receiver_undecodable_requests_total", &labels);
        assert_eq!(odd, 1);

        // What was handed over counts as read, once and for all.
        let messages = broker.records(&topic).await?.len() as i64;
        let (code, log) = running.terminate().await?;
        assert_eq!(code, Some(0), "{log}");
        assert_eq!(broker.committed("ours", &topic).await?, messages, "{log}");
        assert!(
            log.contains("a message is passed over") && log.contains("offset=0"),
            "{log}"
        );
        collector.terminate().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_reads_what_we_write_and_a_trace_stays_together() -> anyhow::Result<()> {
    let Some(broker) = Broker::start().await? else {
        return Ok(());
    };
    for (encoding, compression) in [("otlp_proto", "zstd"), ("otlp_json", "none")] {
        let topic = format!("to-a-collector-{encoding}");
        broker.create_topic(&topic, 4, &[]).await?;
        let receiver = format!(
            "kafka: {{ brokers: ['{}'], traces: {{ topics: [{topic}], encoding: {encoding} }}, \
             group_id: theirs, initial_offset: earliest }}",
            broker.address
        );
        let yaml = collector_yaml(&receiver, "file: { path: traces.jsonl }");
        let Some(collector) = collector(&yaml, &[]).await? else {
            return Ok(());
        };
        let grpc = address()?;
        let exporter = format!(
            "kafka: {{ brokers: ['{}'], traces: {{ topic: {topic}, encoding: {encoding} }}, \
             partition_traces_by_id: true, \
             producer: {{ compression: {compression}, required_acks: all }} }}",
            broker.address
        );
        let piece = piece(&otlp(&grpc), &exporter)?;
        let running = piece.start().await?;
        let requests = traffic::requests(20, 50);
        let sent = traffic::send(&grpc, requests.clone()).await?;
        assert_eq!(sent.accepted, 1_000);

        let file = collector.folder().join("traces.jsonl");
        let read_back = || {
            let lines = lines(&file);
            let requests = lines.iter().map(|line| serde_json::from_str(line).unwrap());
            spans(&requests.collect::<Vec<ExportTraceServiceRequest>>())
        };
        let expected = spans(&requests);
        until("the Collector has them all", PATIENCE, || {
            let done = read_back().len() == expected.len();
            async move { Ok(done) }
        })
        .await?;
        same(&read_back(), &expected, encoding);

        // The key is the trace's id in hex, as the Collector writes it, and so is its partition.
        let mut partitions: BTreeMap<String, BTreeSet<i32>> = BTreeMap::new();
        for record in broker.records(&topic).await? {
            if encoding == "otlp_proto" {
                let request = ExportTraceServiceRequest::decode(&*record.value)?;
                for span in traffic::spans(&request) {
                    let trace = integration_tests::sink::hex(&span.trace_id);
                    assert_eq!(trace, record.key);
                }
            }
            partitions
                .entry(record.key)
                .or_default()
                .insert(record.partition);
        }
        assert_eq!(partitions.len(), 200);
        assert!(partitions.values().all(|partitions| partitions.len() == 1));
        let all: BTreeSet<_> = partitions.values().flatten().collect();
        assert_eq!(all.len(), 4, "every partition has traces");
        let (code, log) = running.terminate().await?;
        assert_eq!(code, Some(0), "{log}");
        collector.terminate().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn names_passwords_and_certificates_are_told_and_asked_for() -> anyhow::Result<()> {
    let Some(broker) = Broker::secured().await? else {
        return Ok(());
    };
    let ca = broker.ca_file();
    let tls = format!("tls: {{ ca_file: '{}' }}", ca.display());
    let sasl = |mechanism: &str, password: &str| {
        format!(
            "auth: {{ sasl: {{ username: {USER}, password: {password}, mechanism: {mechanism} }} }}"
        )
    };
    for (topic, address_there, keys) in [
        ("plain", &broker.sasl, sasl("PLAIN", PASSWORD)),
        ("scram", &broker.sasl, sasl("SCRAM-SHA-256", PASSWORD)),
        (
            "tls",
            &broker.sasl_tls,
            format!("{tls}, {}", sasl("PLAIN", PASSWORD)),
        ),
    ] {
        broker.create_topic(topic, 2, &[]).await?;
        let sink = Sink::start().await?;
        let grpc = address()?;
        let writing = piece(
            &otlp(&grpc),
            &format!(
                "kafka: {{ brokers: ['{address_there}'], traces: {{ topic: {topic} }}, {keys} }}"
            ),
        )?;
        let reading = piece(
            &format!(
                "kafka: {{ brokers: ['{address_there}'], traces: {{ topics: [{topic}] }}, \
                 group_id: g, initial_offset: earliest, {keys} }}"
            ),
            &backend(&sink),
        )?;
        let (writer, reader) = (writing.start().await?, reading.start().await?);
        traffic::send(&grpc, traffic::requests(3, 50)).await?;
        let arrived = sink.wait_for_spans(150, PATIENCE).await;
        assert!(
            arrived.is_ok(),
            "{topic}: {}\n{}",
            writer.log(),
            reader.log()
        );
        writer.terminate().await?;
        reader.terminate().await?;
    }

    // With another password nothing is written, nothing is dropped in silence, and the log says why.
    let grpc = address()?;
    let keys = sasl("PLAIN", "wrong");
    let piece = piece(
        &otlp(&grpc),
        &format!(
            "kafka: {{ brokers: ['{}'], traces: {{ topic: plain }}, {keys}, timeout: 1s, \
             retry_on_failure: {{ initial_interval: 100ms, max_interval: 100ms, max_elapsed_time: 2s }} }}",
            broker.sasl
        ),
    )?;
    let running = piece.start().await?;
    traffic::send(&grpc, traffic::requests(1, 50)).await?;
    until("the spans are given up", PATIENCE, || async {
        let told = Reading::of(&piece.metrics).await?;
        let dropped = "doppelspan_exporter_dropped_spans_total";
        Ok(told.count(dropped, &[("reason", "expired")]) == 50)
    })
    .await?;
    let (code, log) = running.terminate().await?;
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("uthentication"), "{log}");
    Ok(())
}

/// Sends requests one after the other until told to stop; the ids of the spans that were accepted.
fn keep_sending(
    grpc: &str,
    stop: tokio_util::sync::CancellationToken,
) -> tokio::task::JoinHandle<anyhow::Result<BTreeSet<Vec<u8>>>> {
    let grpc = grpc.to_owned();
    tokio::spawn(async move {
        let mut accepted = BTreeSet::new();
        for request in traffic::requests(100_000, 50) {
            if stop.is_cancelled() {
                break;
            }
            let ids = traffic::spans(&request).map(|span| span.span_id.clone());
            let ids: Vec<_> = ids.collect();
            let sent = traffic::send(&grpc, vec![request]).await?;
            assert!(sent.accepted == 0 || sent.refused == 0);
            if sent.accepted > 0 {
                accepted.extend(ids);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(accepted)
    })
}

fn arrived(sink: &Sink) -> BTreeSet<Vec<u8>> {
    let requests = sink.requests();
    let spans = requests.iter().flat_map(traffic::spans);
    spans.map(|span| span.span_id.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_or_a_backend_that_goes_and_comes_back_costs_no_accepted_span()
-> anyhow::Result<()> {
    let Some(mut broker) = Broker::start().await? else {
        return Ok(());
    };
    broker.create_topic("spans", 3, &[]).await?;
    let sink = Sink::start().await?;
    let grpc = address()?;
    let retry = "retry_on_failure: { initial_interval: 100ms, max_interval: 500ms }";
    let writing = piece(
        &otlp(&grpc),
        &format!(
            "kafka: {{ brokers: ['{}'], traces: {{ topic: spans }}, partition_traces_by_id: true, \
             timeout: 2s, sending_queue: {{ queue_size: 20 }}, {retry} }}",
            broker.address
        ),
    )?;
    let reading = piece(
        &format!(
            "kafka: {{ brokers: ['{}'], traces: {{ topics: [spans] }}, group_id: g, \
             initial_offset: earliest, session_timeout: 6s, heartbeat_interval: 1s }}",
            broker.address
        ),
        &format!(
            "otlp_grpc: {{ endpoint: '{}', tls: {{ insecure: true }}, \
             sending_queue: {{ queue_size: 20, num_consumers: 2 }}, {retry} }}",
            sink.address
        ),
    )?;
    let (writer, reader) = (writing.start().await?, reading.start().await?);
    let stop = tokio_util::sync::CancellationToken::new();
    let sending = keep_sending(&grpc, stop.clone());
    sink.wait_for_spans(500, PATIENCE).await?;

    broker.stop().await?;
    let log = "the writer's queue fills while the broker is away";
    until(log, PATIENCE, || async {
        let told = Reading::of(&writing.metrics).await?;
        Ok(told.count("otelcol_receiver_refused_spans_total", &[]) > 0)
    })
    .await?;
    broker.run().await?;
    let so_far = sink.span_count();
    sink.wait_for_spans(so_far + 500, PATIENCE).await?;

    broker.kill().await?;
    broker.run().await?;
    let so_far = sink.span_count();
    sink.wait_for_spans(so_far + 500, PATIENCE).await?;

    // The backend is away for long enough that the partitions rest.
    sink.set_unavailable(true);
    until("the reader is refused by its queue", PATIENCE, || async {
        let told = Reading::of(&reading.metrics).await?;
        Ok(told.count("otelcol_receiver_refused_spans_total", &[]) > 20_000)
    })
    .await?;
    sink.set_unavailable(false);

    stop.cancel();
    let accepted = sending.await??;
    until("every accepted span arrives", PATIENCE, || {
        let here = arrived(&sink);
        let done = accepted.iter().all(|id| here.contains(id));
        async move { Ok(done) }
    })
    .await
    .map_err(|fault| {
        let missing = accepted.difference(&arrived(&sink)).count();
        anyhow::anyhow!("{fault}: {missing} of {} are missing", accepted.len())
    })?;
    for (who, running) in [("writer", writer), ("reader", reader)] {
        let (code, log) = running.terminate().await?;
        assert_eq!(code, Some(0), "{who}: {log}");
        assert!(
            log.contains("can't reach the Kafka cluster"),
            "{who}: {log}"
        );
    }
    eprintln!(
        "{} spans were accepted, {} arrived",
        accepted.len(),
        sink.span_count()
    );
    Ok(())
}
