//! gRPC in, gRPC out, as processes: spans per CPU-second of the process in the middle.
//!
//! One run measures doppelspan without a synthesizer, with one that learns, and the Collector and Rotel
//! that `make peers` fetched, in turn and several times, so that their ratios hold on a noisy machine.
//! Every accepted span is accounted for at the sink, or the benchmark fails; so is every span that
//! the synthesizer's tap has seen. Then it lets doppelspan and telemetrygen make traces, and counts what
//! arrives.
//!
//! `THROUGHPUT_SPANS` and `THROUGHPUT_ROUNDS` change the size (2,000,000 and 3), and
//! `THROUGHPUT_IDLE` how many seconds a process idles before its memory is read (10).

#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock and its own settings"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use integration_tests::{Reading, free_port, peers, process, raw, usage};
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
    Rotel,
}

#[derive(Debug, Default, Clone)]
struct Figures {
    spans_per_cpu_second: f64,
    spans_per_second: f64,
    peak_mib: f64,
    /// CPU nanoseconds per span by kind of thread.
    threads: BTreeMap<String, f64>,
    learnt: Learnt,
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

fn document(middle: Middle, listen: &str, metrics: &str, backend: &str) -> String {
    let (connectors, outlets, synthetic) = match middle {
        Middle::Forwarding | Middle::Collector | Middle::Rotel => ("", "otlp_grpc", ""),
        Middle::Learning => (
            "connectors: { synthesizer: { generation: { mode: mirror, ratio: 0.01 } } }\n",
            "otlp_grpc, synthesizer",
            "    traces/synthetic: { receivers: [synthesizer], exporters: [debug] }\n",
        ),
    };
    let telemetry = match middle {
        Middle::Collector => "level: none".to_owned(),
        _ => format!("address: '{metrics}'"),
    };
    format!(
        "receivers: {{ otlp: {{ protocols: {{ grpc: {{ endpoint: '{listen}', max_recv_msg_size_mib: 64 }} }} }} }}
{connectors}exporters:
  otlp_grpc: {{ endpoint: '{backend}', compression: none, tls: {{ insecure: true }} }}
  debug: {{}}
service:
  telemetry: {{ metrics: {{ {telemetry} }} }}
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

/// A process in the middle, started and connected to.
struct Started {
    process: Process,
    channel: tonic::transport::Channel,
    sink: raw::NullSink,
    metrics: String,
    _folder: tempfile::TempDir,
}

async fn start(middle: Middle, program: &Path) -> anyhow::Result<Started> {
    let sink = raw::NullSink::start().await?;
    let listen = format!("127.0.0.1:{}", free_port()?);
    let metrics = format!("127.0.0.1:{}", free_port()?);
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("config.yaml");
    let document = document(middle, &listen, &metrics, &sink.address.to_string());
    std::fs::write(&config, document)?;
    let mut command = Command::new(program);
    let log = folder.path().join("log");
    match middle {
        Middle::Rotel => {
            let http = format!("127.0.0.1:{}", free_port()?);
            let backend = format!("http://{}", sink.address);
            command.args(["start", "--otlp-grpc-endpoint", &listen]);
            command.args(["--otlp-http-endpoint", &http, "--exporter", "otlp"]);
            command.args(["--otlp-exporter-endpoint", &backend]);
            command
                .args("--otlp-exporter-protocol grpc --otlp-exporter-compression none".split(' '));
            command.args(["--otlp-grpc-max-recv-msg-size-mib", "64"]);
        }
        Middle::Collector => _ = command.arg(format!("--config={}", config.display())),
        Middle::Forwarding | Middle::Learning => {
            command.arg("run").arg("--config").arg(&config);
        }
    }
    command
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&log)?);
    let process = Process(command.spawn()?);
    let channel = connect(&listen, &log).await?;
    Ok(Started {
        process,
        channel,
        sink,
        metrics,
        _folder: folder,
    })
}

/// Resident memory after so long without anything to do.
async fn idle_mib(middle: Middle, program: &Path, idle: Duration) -> anyhow::Result<f64> {
    let started = start(middle, program).await?;
    tokio::time::sleep(idle).await;
    usage::memory_mib(started.process.0.id(), "VmRSS")
}

async fn measure(middle: Middle, program: &Path, requests: u64) -> anyhow::Result<Figures> {
    let Started {
        process,
        channel,
        sink,
        metrics,
        _folder,
    } = start(middle, program).await?;
    let id = process.0.id();
    let (began, before) = (Instant::now(), usage::cpu_seconds(id)?);
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
    let (wall, cpu) = (began.elapsed(), usage::cpu_seconds(id)? - before);
    let threads = usage::cpu_seconds_by_thread(id)?;
    tokio::time::sleep(Duration::from_millis(200)).await;
    anyhow::ensure!(
        sink.spans() == expected,
        "{middle:?}: {} of {expected} accepted spans reached the sink",
        sink.spans()
    );
    let spans = expected as f64;
    let learnt = match middle {
        Middle::Learning => learnt(&metrics, expected).await?,
        _ => Learnt::default(),
    };
    Ok(Figures {
        spans_per_cpu_second: spans / cpu,
        spans_per_second: spans / wall.as_secs_f64(),
        peak_mib: usage::memory_mib(id, "VmHWM")?,
        threads: threads
            .into_iter()
            .map(|(name, seconds)| (name, seconds / spans * 1e9))
            .collect(),
        learnt,
    })
}

/// Waits until every span that the tap has seen is accounted for: shed, in an open trace, or in
/// one that is over.
async fn learnt(metrics: &str, expected: usize) -> anyhow::Result<Learnt> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let told = Reading::of(metrics).await?;
        let seen = told.count("otelcol_connector_consumed_items_total", &[]);
        let shed = told.count("doppelspan_tap_shed_spans_total", &[]);
        let over = told.count("doppelspan_assembler_spans_total", &[]);
        let open = told.count("doppelspan_assembler_open_spans", &[]);
        if seen == expected && shed + over + open == seen {
            let missed = told.sum("doppelspan_learner_dropped_traces_total", &[]);
            let whole = told.sum("doppelspan_assembler_traces_total", &[("fate", "complete")]);
            let evicted = told.sum("doppelspan_assembler_spans_total", &[("fate", "evicted")]);
            return Ok(Learnt {
                shed: shed as f64 / seen as f64,
                evicted: evicted / seen as f64,
                missed: missed / whole.max(1.0),
            });
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "of {expected} spans the tap has seen {seen}; {shed} shed + {over} over + {open} open"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Shares of what the synthesizer was shown and gave up.
#[derive(Debug, Default, Clone, Copy)]
struct Learnt {
    /// Of the spans: shed by the tap.
    shed: f64,
    /// Of the spans: of traces given up by the assembler to make room.
    evicted: f64,
    /// Of the whole traces: not taken by the learner.
    missed: f64,
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

fn programs() -> anyhow::Result<Vec<(Middle, &'static str, PathBuf)>> {
    let doppelspan = process::binary()?;
    let mut programs = vec![
        (
            Middle::Forwarding,
            "doppelspan, no synthesizer",
            doppelspan.clone(),
        ),
        (Middle::Learning, "doppelspan, learning", doppelspan),
    ];
    for (middle, name, peer) in [
        (Middle::Collector, "OpenTelemetry Collector", "collector"),
        (Middle::Rotel, "Rotel", "rotel"),
    ] {
        match peers::path(peer) {
            program if program.exists() => programs.push((middle, name, program)),
            _ => eprintln!("skipped: {name} is missing (run `make peers`)"),
        }
    }
    Ok(programs)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let requests = number("THROUGHPUT_SPANS", 2_000_000) / SPANS_PER_REQUEST;
    let rounds = number("THROUGHPUT_ROUNDS", 3);
    let idle = Duration::from_secs(number("THROUGHPUT_IDLE", 10));
    let programs = programs()?;
    let mut figures = vec![Vec::new(); programs.len()];
    for round in 1..=rounds {
        for ((middle, name, program), figures) in programs.iter().zip(&mut figures) {
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
        "| in the middle | spans per CPU-second | spans/s | peak RSS MiB | RSS MiB idle for {idle:?} | binary MB |"
    );
    println!("|---|---|---|---|---|---|");
    for ((middle, name, program), rounds) in programs.iter().zip(&figures) {
        let of = |figure: fn(&Figures) -> f64| median(rounds.iter().map(figure).collect());
        println!(
            "| {name} | {:.0}k | {:.0}k | {:.0} | {:.0} | {} |",
            of(|f| f.spans_per_cpu_second) / 1e3,
            of(|f| f.spans_per_second) / 1e3,
            of(|f| f.peak_mib),
            idle_mib(*middle, program, idle).await?,
            sizes(program)?,
        );
    }
    println!();
    costs(&figures[..2]);
    let ratio = |a: usize, b: usize, figure: fn(&Figures) -> f64| {
        let pairs = figures[a].iter().zip(&figures[b]);
        median(pairs.map(|(a, b)| figure(a) / figure(b)).collect())
    };
    println!(
        "observed path's rate on the wire, learning / no synthesizer, round by round: {:.2}",
        ratio(1, 0, |f| f.spans_per_second)
    );
    for (at, (_, name, _)) in programs.iter().enumerate().skip(2) {
        println!(
            "spans per CPU-second, doppelspan without synthesizer / {name}, round by round: {:.1}",
            ratio(0, at, |f| f.spans_per_cpu_second)
        );
    }
    println!();
    sources(rounds).await
}

/// Lets doppelspan and telemetrygen make traces and send them as fast as they can, and counts.
async fn sources(rounds: u64) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (input, model) = (path("observed.jsonl"), path("shop.model"));
    let doppelspan = process::binary()?;
    for arguments in [
        format!("simulate --system shop --traces 500 --seed 1 --output {input}"),
        format!("train --input {input} --output {model} --min-traces 5"),
    ] {
        let mut command = Command::new(&doppelspan);
        let output = command.args(arguments.split(' ')).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "{arguments}: {said}");
    }
    let traces = number("THROUGHPUT_TRACES", 20_000);
    let mut sources = vec![(
        "doppelspan generate, a model of the shop",
        doppelspan,
        format!("generate --model {model} --traces {traces} --otlp-endpoint"),
    )];
    match peers::path("telemetrygen") {
        program if program.exists() => sources.push((
            "telemetrygen, 2 workers, traces of 10 spans",
            program,
            format!(
                "traces --otlp-insecure --workers 2 --traces {} --child-spans 9 --rate 0 --otlp-endpoint",
                traces / 2,
            ),
        )),
        _ => eprintln!("skipped: telemetrygen is missing (run `make peers`)"),
    }
    println!("{traces} traces made and sent over gRPC, median of {rounds} rounds");
    println!("| source | spans made | arrived | arrived per CPU-second | seconds |");
    println!("|---|---|---|---|---|");
    for (name, program, arguments) in sources {
        let mut figures = Vec::new();
        for _ in 0..rounds {
            figures.push(source(&program, &arguments, traces * 10).await?);
        }
        let of = |figure: fn(&Source) -> f64| median(figures.iter().map(figure).collect());
        println!(
            "| {name} | {:.0} | {:.1}% | {:.0}k | {:.1} |",
            of(|f| f.made),
            of(|f| f.arrived / f.made) * 100.0,
            of(|f| f.arrived / f.cpu_seconds) / 1e3,
            of(|f| f.seconds)
        );
    }
    Ok(())
}

/// What a source did.
struct Source {
    made: f64,
    arrived: f64,
    cpu_seconds: f64,
    seconds: f64,
}

/// Runs a source to its end. `unsaid` is how many spans it makes if it does not say so itself.
async fn source(program: &Path, arguments: &str, unsaid: u64) -> anyhow::Result<Source> {
    let sink = raw::NullSink::start().await?;
    let folder = tempfile::tempdir()?;
    let log = folder.path().join("log");
    let output = std::fs::File::create(&log)?;
    let began = Instant::now();
    let mut command = tokio::process::Command::new(program);
    let mut child = command
        .args(arguments.split(' '))
        .arg(sink.address.to_string())
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn()?;
    let id = child.id().unwrap_or_default();
    // A process that has ended has no CPU time to be read: the last reading counts.
    let mut cpu_seconds = 0.0;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        cpu_seconds = usage::cpu_seconds(id).unwrap_or(cpu_seconds);
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let seconds = began.elapsed().as_secs_f64();
    let said = std::fs::read_to_string(&log)?;
    anyhow::ensure!(status.success(), "{}: {said}", program.display());
    // "took 200 spans", of which none is missing, or the exit code would say so.
    let took = said
        .split_once("took ")
        .and_then(|(_, rest)| rest.split(' ').next());
    let made = took.and_then(|number| number.parse().ok());
    Ok(Source {
        made: made.unwrap_or(unsaid as f64),
        arrived: sink.spans() as f64,
        cpu_seconds,
        seconds,
    })
}

/// Megabytes of a program, and of the same program built for distribution, if it is there.
fn sizes(program: &Path) -> anyhow::Result<String> {
    let megabytes = |path: &Path| anyhow::Ok(std::fs::metadata(path)?.len() as f64 / 1e6);
    let built = format!("{:.1}", megabytes(program)?);
    let profiles = program.parent().and_then(Path::parent);
    let dist = profiles.map(|profiles| profiles.join("dist/doppelspan"));
    let own = program.ends_with("doppelspan");
    match dist.filter(|dist| own && dist.exists()) {
        Some(dist) => Ok(format!("{built} (dist: {:.1})", megabytes(&dist)?)),
        None => Ok(built),
    }
}

/// CPU nanoseconds that a span costs on each kind of thread, without and with a synthesizer.
fn costs(figures: &[Vec<Figures>]) {
    let kinds: std::collections::BTreeSet<&String> = figures
        .iter()
        .flatten()
        .flat_map(|f| f.threads.keys())
        .collect();
    println!("| CPU ns a span, by kind of thread | no synthesizer | learning |");
    println!("|---|---|---|");
    for kind in kinds {
        let of = |rounds: &Vec<Figures>| {
            let cost = |f: &Figures| f.threads.get(kind).copied().unwrap_or_default();
            median(rounds.iter().map(cost).collect())
        };
        println!(
            "| {kind} | {:.0} | {:.0} |",
            of(&figures[0]),
            of(&figures[1])
        );
    }
    let share = |figure: fn(&Figures) -> f64| median(figures[1].iter().map(figure).collect());
    println!(
        "of the spans {:.1}% were shed by the tap and {:.1}% evicted by the assembler; of the whole \
         traces the learner had no room for {:.1}%",
        share(|f| f.learnt.shed) * 100.0,
        share(|f| f.learnt.evicted) * 100.0,
        share(|f| f.learnt.missed) * 100.0
    );
}
