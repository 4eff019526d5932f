//! gRPC in, gRPC out, as processes: spans per CPU-second of the process in the middle.
//!
//! One run measures doppelspan with learning off, with learning on, and the Collector that
//! `make peers` built, in turn and several times, so that their ratios hold on a noisy machine.
//! Every span is accounted for at the sink, or the benchmark fails.
//!
//! `THROUGHPUT_SPANS` and `THROUGHPUT_ROUNDS` change the size (2,000,000 and 3).

#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock and its own settings"
)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use integration_tests::{free_port, process, raw};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;

const SPANS_PER_REQUEST: u64 = 1_000;
const SENDERS: u64 = 4;

/// What stands in the middle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Middle {
    Forwarding,
    Learning,
    Collector,
}

#[derive(Debug, Default, Clone, Copy)]
struct Figures {
    spans_per_cpu_second: f64,
    spans_per_second: f64,
    peak_mib: f64,
    idle_mib: f64,
}

fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(Value::StringValue(value.to_owned())),
        }),
        ..KeyValue::default()
    }
}

/// Request `number`: 125 traces of 8 spans, 8 attributes a span, about 300 bytes each.
fn request(number: u64) -> Bytes {
    let first = number * SPANS_PER_REQUEST;
    let spans = (first..first + SPANS_PER_REQUEST).map(span).collect();
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: vec![attribute("service.name", "checkout")],
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans {
                spans,
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    }
    .encode_to_vec()
    .into()
}

fn span(number: u64) -> Span {
    let (trace, at) = (number / 8, number % 8);
    // Multiplying by an odd constant spreads the ids over the shards as random ones would be.
    let id = |n: u64| (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let trace_id = (u128::from(id(trace)) << 64 | u128::from(trace + 1)).to_be_bytes();
    let start = 1_790_000_000_000_000_000 + trace * 1_000_000 + at * 20_000;
    let parent = match at {
        0 => Vec::new(),
        _ => id(trace * 8 + (at - 1) / 2).to_be_bytes().to_vec(),
    };
    Span {
        trace_id: trace_id.to_vec(),
        span_id: id(number).to_be_bytes().to_vec(),
        parent_span_id: parent,
        name: format!("operation-{at}"),
        kind: 2,
        start_time_unix_nano: start,
        end_time_unix_nano: start + 900_000 - at * 50_000 + id(number) % 10_000,
        attributes: vec![
            attribute("http.request.method", "GET"),
            attribute("http.route", "/api/v1/items"),
            attribute("url.scheme", "http"),
            attribute("server.address", "checkout"),
            attribute("network.protocol", "1.1"),
            attribute("user_agent.name", "curl"),
            attribute("region", "eu-west-1"),
            attribute("build", "2026-11-24"),
        ],
        ..Span::default()
    }
}

fn document(middle: Middle, listen: &str, backend: &str) -> String {
    let (connectors, outlets, synthetic, telemetry) = match middle {
        Middle::Forwarding => ("", "otlp_grpc", "", "metrics: { level: none }"),
        Middle::Collector => ("", "otlp_grpc", "", "metrics: { level: none }"),
        Middle::Learning => (
            "connectors: { synthesizer: { generation: { mode: mirror, ratio: 0.01 } } }\n",
            "otlp_grpc, synthesizer",
            "    traces/synthetic: { receivers: [synthesizer], exporters: [debug] }\n",
            "metrics: { level: none }",
        ),
    };
    format!(
        "receivers: {{ otlp: {{ protocols: {{ grpc: {{ endpoint: '{listen}', max_recv_msg_size_mib: 64 }} }} }} }}
{connectors}exporters:
  otlp_grpc: {{ endpoint: '{backend}', compression: none, tls: {{ insecure: true }} }}
  debug: {{}}
service:
  telemetry: {{ {telemetry} }}
  pipelines:
    traces: {{ receivers: [otlp], exporters: [{outlets}] }}
{synthetic}"
    )
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// User and system seconds of a process so far.
fn cpu_seconds(id: u32) -> anyhow::Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    // The name in brackets may hold spaces; utime and stime are fields 14 and 15.
    let (_, rest) = text.rsplit_once(')').unwrap_or_default();
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    Ok(ticks / 100.0)
}

fn memory_mib(id: u32, key: &str) -> anyhow::Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = text.lines().find(|line| line.starts_with(key));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(kib.unwrap_or("0").parse::<f64>()? / 1024.0)
}

async fn measure(middle: Middle, program: &Path, requests: u64) -> anyhow::Result<Figures> {
    let sink = raw::NullSink::start().await?;
    let listen = format!("127.0.0.1:{}", free_port()?);
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("config.yaml");
    std::fs::write(
        &config,
        document(middle, &listen, &sink.address.to_string()),
    )?;
    let mut command = Command::new(program);
    if middle != Middle::Collector {
        command.arg("run");
    }
    let log = folder.path().join("log");
    command.arg(format!("--config={}", config.display()));
    command
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&log)?);
    let process = Process(command.spawn()?);
    let id = process.0.id();
    let channel = connect(&listen, &log).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let idle_mib = memory_mib(id, "VmRSS")?;

    let (started, before) = (Instant::now(), cpu_seconds(id)?);
    let mut senders = Vec::new();
    for sender in 0..SENDERS {
        let channel = channel.clone();
        senders.push(tokio::spawn(async move {
            for number in (sender..requests).step_by(SENDERS as usize) {
                let bytes = request(number);
                while let Err(status) = raw::export(&channel, bytes.clone()).await {
                    anyhow::ensure!(status.code() == tonic::Code::Unavailable, "{status}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
            anyhow::Ok(())
        }));
    }
    for sender in senders {
        sender.await??;
    }
    let expected = usize::try_from(requests * SPANS_PER_REQUEST)?;
    let deadline = Instant::now() + Duration::from_secs(60);
    while sink.spans() < expected && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (wall, cpu) = (started.elapsed(), cpu_seconds(id)? - before);
    tokio::time::sleep(Duration::from_millis(200)).await;
    anyhow::ensure!(
        sink.spans() == expected,
        "{middle:?}: {} of {expected} accepted spans reached the sink",
        sink.spans()
    );
    let spans = expected as f64;
    Ok(Figures {
        spans_per_cpu_second: spans / cpu,
        spans_per_second: spans / wall.as_secs_f64(),
        peak_mib: memory_mib(id, "VmHWM")?,
        idle_mib,
    })
}

async fn connect(listen: &str, log: &Path) -> anyhow::Result<tonic::transport::Channel> {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{listen}"))?
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20)
        .tcp_nodelay(true);
    for _ in 0..200 {
        if let Ok(channel) = endpoint.connect().await {
            return Ok(channel);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    anyhow::bail!(
        "{listen} does not answer: {}",
        std::fs::read_to_string(log)?
    )
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn number(variable: &str, default: u64) -> u64 {
    let text = std::env::var(variable).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let requests = number("THROUGHPUT_SPANS", 2_000_000) / SPANS_PER_REQUEST;
    let rounds = number("THROUGHPUT_ROUNDS", 3);
    let doppelspan = process::binary()?;
    let collector = process::root().join(".peers/otelcol");
    let mut middles: Vec<(Middle, &str, PathBuf)> = vec![
        (
            Middle::Forwarding,
            "doppelspan, learning off",
            doppelspan.clone(),
        ),
        (
            Middle::Learning,
            "doppelspan, learning on",
            doppelspan.clone(),
        ),
    ];
    if collector.exists() {
        middles.push((
            Middle::Collector,
            "OpenTelemetry Collector",
            collector.clone(),
        ));
    } else {
        eprintln!("skipped: the Collector is missing (run `make peers`)");
    }
    let mut figures = vec![Vec::new(); middles.len()];
    for round in 1..=rounds {
        for ((middle, name, program), figures) in middles.iter().zip(&mut figures) {
            eprintln!("round {round} of {rounds}: {name}");
            figures.push(measure(*middle, program, requests).await?);
        }
    }

    let bytes = request(0).len() as u64 / SPANS_PER_REQUEST;
    println!(
        "gRPC in, gRPC out: {} spans of {bytes} bytes and 8 attributes, {SPANS_PER_REQUEST} a request, \
         {SENDERS} senders, median of {rounds} rounds; every span reached the sink",
        requests * SPANS_PER_REQUEST
    );
    println!(
        "| in the middle | spans per CPU-second | spans/s | peak RSS MiB | idle RSS MiB | binary MB |"
    );
    println!("|---|---|---|---|---|---|");
    for ((_, name, program), rounds) in middles.iter().zip(&figures) {
        let of = |figure: fn(&Figures) -> f64| median(rounds.iter().map(figure).collect());
        println!(
            "| {name} | {:.0}k | {:.0}k | {:.0} | {:.0} | {:.1} |",
            of(|f| f.spans_per_cpu_second) / 1e3,
            of(|f| f.spans_per_second) / 1e3,
            of(|f| f.peak_mib),
            of(|f| f.idle_mib),
            std::fs::metadata(program)?.len() as f64 / 1e6,
        );
    }
    let ratio = |a: usize, b: usize, figure: fn(&Figures) -> f64| {
        let pairs = figures[a].iter().zip(&figures[b]);
        median(pairs.map(|(a, b)| figure(a) / figure(b)).collect())
    };
    println!(
        "observed path's rate, learning on / off, round by round: {:.2}",
        ratio(1, 0, |f| f.spans_per_second)
    );
    if middles.len() > 2 {
        println!(
            "spans per CPU-second, doppelspan / Collector, round by round: {:.1}",
            ratio(0, 2, |f| f.spans_per_cpu_second)
        );
    }
    Ok(())
}
