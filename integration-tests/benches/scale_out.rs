//! One topic read by one instance and by three: CPU seconds a million spans, of all instances together.
//!
//! A process writes traces to a real broker by their ids; then one instance, and then three, each time
//! as a new group, read all of it, forward it as `pipelines/kafka-scale-out.yaml` does, and learn.
//! Every span is accounted for at the sink, or the benchmark fails. The broker, the sink and all
//! instances share the machine, so that the rate says little; the CPU time of a span says whether
//! several instances cost more than one. It is read when all spans are at the sink: what assembler and
//! learner do after that is not in it.
//!
//! `SCALE_OUT_SPANS` and `SCALE_OUT_ROUNDS` change the size (1,000,000 and 3).

#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock and its own settings"
)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use integration_tests::broker::until;
use integration_tests::{Broker, Reading, Running, free_port, raw, traffic, usage};
use prost::Message as _;

const SPANS_PER_REQUEST: u64 = 1_000;
const PARTITIONS: i32 = 6;
const PATIENCE: Duration = Duration::from_secs(300);

fn setting(name: &str, default: u64) -> u64 {
    let written = std::env::var(name).ok();
    written
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

fn address() -> anyhow::Result<String> {
    Ok(format!("127.0.0.1:{}", free_port()?))
}

fn main() -> anyhow::Result<()> {
    // Cargo asks every benchmark what it holds.
    if std::env::args().any(|argument| argument == "--list") {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(measure())
}

async fn measure() -> anyhow::Result<()> {
    let (spans, rounds) = (
        setting("SCALE_OUT_SPANS", 1_000_000),
        setting("SCALE_OUT_ROUNDS", 3),
    );
    let Some(broker) = Broker::start().await? else {
        return Ok(());
    };
    broker.create_topic("otlp_spans", PARTITIONS, &[]).await?;
    let written = fill(&broker, spans).await?;
    println!("{spans} spans in traces of 5, a message a trace");
    println!(
        "otlp -> kafka: {:.2} CPU s a million spans",
        written * 1e6 / spans as f64
    );
    for round in 0..rounds {
        for instances in [1, 3] {
            let group = format!("bench-{round}-{instances}");
            read(&broker, &group, instances, spans).await?;
        }
    }
    Ok(())
}

/// Writes the traces; CPU seconds of the process that wrote them.
async fn fill(broker: &Broker, spans: u64) -> anyhow::Result<f64> {
    let (grpc, metrics) = (address()?, address()?);
    let yaml = format!(
        "receivers:
  otlp: {{ protocols: {{ grpc: {{ endpoint: '{grpc}' }} }} }}
exporters:
  kafka:
    brokers: ['{}']
    partition_traces_by_id: true
    sending_queue: {{ block_on_overflow: true, queue_size: 100 }}
service:
  telemetry: {{ metrics: {{ address: '{metrics}' }} }}
  pipelines:
    traces: {{ receivers: [otlp], exporters: [kafka] }}
",
        broker.address
    );
    let running = Running::start(&yaml, &grpc).await?;
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{grpc}"))?
        .connect()
        .await?;
    for request in traffic::requests(spans / SPANS_PER_REQUEST, SPANS_PER_REQUEST) {
        raw::export(&channel, Bytes::from(request.encode_to_vec())).await?;
    }
    until("all spans are in the topic", PATIENCE, || async {
        let told = Reading::of(&metrics).await?;
        Ok(told.count("otelcol_exporter_sent_spans_total", &[]) as u64 == spans)
    })
    .await?;
    let took = usage::cpu_seconds(running.id()?)?;
    let (code, log) = running.terminate().await?;
    anyhow::ensure!(code == Some(0), "{log}");
    Ok(took)
}

/// Reads the topic with so many instances and prints what it took.
async fn read(broker: &Broker, group: &str, instances: usize, spans: u64) -> anyhow::Result<()> {
    let sink = raw::NullSink::start().await?;
    let mut running = Vec::new();
    let began = Instant::now();
    for _ in 0..instances {
        let health = address()?;
        let yaml = format!(
            "receivers:
  kafka: {{ brokers: ['{0}'], group_id: {group}, initial_offset: earliest }}
connectors:
  synthesizer:
    generation: {{ mode: 'off' }}
    model_exchange: {{ kafka: {{ brokers: ['{0}'], topic: '{group}-models' }} }}
exporters:
  otlp_grpc:
    endpoint: '{1}'
    tls: {{ insecure: true }}
    compression: none
    sending_queue: {{ wait_for_result: true, batch: {{ flush_timeout: 50ms, min_size: 2000 }} }}
extensions:
  health_check: {{ endpoint: '{health}' }}
service:
  extensions: [health_check]
  telemetry: {{ metrics: {{ level: none }} }}
  pipelines:
    traces/observed: {{ receivers: [kafka], exporters: [otlp_grpc, synthesizer] }}
    traces/synthetic: {{ receivers: [synthesizer], exporters: [otlp_grpc] }}
",
            broker.address, sink.address
        );
        running.push(Running::start(&yaml, &health).await?);
    }
    until("all spans are at the sink", PATIENCE, || async {
        Ok(sink.spans() as u64 >= spans)
    })
    .await?;
    let took = began.elapsed().as_secs_f64();
    let mut threads: BTreeMap<&str, f64> = BTreeMap::new();
    for one in &running {
        for (name, seconds) in usage::cpu_seconds_by_thread(one.id()?)? {
            let kind = match name.as_str() {
                "learn" => "learning",
                "assemble" => "assembling",
                name if name.starts_with("rdk:") => "fetching",
                _ => "taking and forwarding",
            };
            *threads.entry(kind).or_default() += seconds;
        }
    }
    let each = |seconds: f64| format!("{:.2}", seconds * 1e6 / spans as f64);
    let path: f64 = threads
        .iter()
        .filter(|(kind, _)| **kind != "learning")
        .map(|(_, s)| s)
        .sum();
    let parts: Vec<_> = threads
        .iter()
        .map(|(kind, s)| format!("{kind} {}", each(*s)))
        .collect();
    println!(
        "{instances} instance(s): {} CPU s a million spans without learning ({}); {:.0} spans/s, {} spans came twice",
        each(path),
        parts.join(", "),
        spans as f64 / took,
        sink.spans() as u64 - spans,
    );
    for one in running {
        let (code, log) = one.terminate().await?;
        anyhow::ensure!(code == Some(0), "{log}");
    }
    Ok(())
}
