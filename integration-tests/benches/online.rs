//! The whole loop as a process: `doppelspan run` is sent a file of observed spans through a real
//! socket, in one pass, and watched through its own metrics while it learns.
//!
//! The file of OTLP/JSON lines (plain, .gz or .zst) is the first argument, or `ONLINE_FILE`:
//! `ONLINE_FILE=traces.jsonl.zst cargo bench -p integration-tests --bench online`.
//! `ONLINE_TRACES_PER_SECOND` (20) paces it, `ONLINE_CPU` (0.5) is the learner's share of a core,
//! `ONLINE_RATIO` (0.5) says how many synthetic traces there are for an observed one,
//! `ONLINE_AFTER` (60) how many seconds it may go on learning once everything was sent, and
//! `ONLINE_EVERY` (10) how many seconds lie between two rows.
//!
//! Fails if the VAE never served, if an observed span is missing at the sink or has no answer, or
//! if a synthetic trace is not valid.

#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock and its own settings"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use doppelspan::otlp::view::{Limits, SpanView, Visit, walk};
use doppelspan::receiver::otlpjsonfile;
use integration_tests::{Reading, Running, Sink, free_port, raw, validity};

struct Settings {
    file: PathBuf,
    per_second: f64,
    cpu: f64,
    ratio: f64,
    after: Duration,
    every: Duration,
}

fn number(variable: &str, default: f64) -> f64 {
    let text = std::env::var(variable).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}

impl Settings {
    /// From arguments and environment; none without a file.
    fn read() -> Option<Self> {
        let argument = std::env::args().skip(1).find(|word| !word.starts_with('-'));
        let file = argument.or_else(|| std::env::var("ONLINE_FILE").ok())?;
        Some(Self {
            file: file.into(),
            per_second: number("ONLINE_TRACES_PER_SECOND", 20.0),
            cpu: number("ONLINE_CPU", 0.5),
            ratio: number("ONLINE_RATIO", 0.5),
            after: Duration::from_secs_f64(number("ONLINE_AFTER", 60.0)),
            every: Duration::from_secs_f64(number("ONLINE_EVERY", 10.0)),
        })
    }

    fn document(&self, addresses: &Addresses, observed: &str, synthetic: &str) -> String {
        let Addresses { grpc, metrics } = addresses;
        format!(
            "receivers: {{ otlp: {{ protocols: {{ grpc: {{ endpoint: '{grpc}' }} }} }} }}
connectors:
  synthesizer:
    seed: 1
    learner: {{ cpu: {} }}
    generation: {{ mode: mirror, ratio: {} }}
exporters:
  otlp_grpc/observed: {{ endpoint: '{observed}', tls: {{ insecure: true }}, compression: none }}
  otlp_grpc/synthetic: {{ endpoint: '{synthetic}', tls: {{ insecure: true }} }}
service:
  telemetry: {{ metrics: {{ address: '{metrics}' }} }}
  pipelines:
    traces/observed: {{ receivers: [otlp], exporters: [otlp_grpc/observed, synthesizer] }}
    traces/synthetic: {{ receivers: [synthesizer], exporters: [otlp_grpc/synthetic] }}
",
            self.cpu, self.ratio
        )
    }
}

struct Addresses {
    grpc: String,
    metrics: String,
}

/// What the sender says while it sends.
#[derive(Debug, Default, Clone, Copy)]
struct Sent {
    traces: usize,
    spans: usize,
    over: bool,
}

/// Trace ids of a request.
#[derive(Default)]
struct Traces(BTreeSet<u128>);

impl Visit for Traces {
    fn span(&mut self, span: &SpanView<'_>) {
        self.0.insert(span.trace_id.number());
    }
}

/// Sends every request of the file once, so many traces a second.
async fn send(
    file: PathBuf,
    per_second: f64,
    grpc: String,
    told: tokio::sync::watch::Sender<Sent>,
) -> anyhow::Result<()> {
    let (requests, mut next) = tokio::sync::mpsc::channel(64);
    // Inflating and parsing is long work.
    let reading = tokio::task::spawn_blocking(move || -> anyhow::Result<()> {
        for request in otlpjsonfile::read(&file)? {
            if requests.blocking_send(request?).is_err() {
                break;
            }
        }
        Ok(())
    });
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{grpc}"))?;
    let channel = endpoint.connect().await?;
    let began = tokio::time::Instant::now();
    let mut sent = Sent::default();
    while let Some(request) = next.recv().await {
        let request: Bytes = request;
        let mut traces = Traces::default();
        let walked = walk(&request, &Limits::default(), &mut traces)?;
        let due = Duration::from_secs_f64(sent.traces as f64 / per_second);
        tokio::time::sleep_until(began + due).await;
        while let Err(status) = raw::export(&channel, request.clone()).await {
            anyhow::ensure!(status.code() == tonic::Code::Unavailable, "{status}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        sent.traces += traces.0.len();
        sent.spans += walked.spans;
        told.send_replace(sent);
    }
    reading.await??;
    sent.over = true;
    told.send_replace(sent);
    Ok(())
}

fn row(seconds: f64, sent: Sent, told: &Reading, synthetic: usize) -> (String, &'static str) {
    let nats = |name: &str, labels: &[(&str, &str)]| {
        let nats = told.find(name, labels);
        nats.map_or("–".to_owned(), |nats| format!("{nats:.1}"))
    };
    let loss = |term| nats("doppelspan_learner_loss_nats", &[("term", term)]);
    let held_out = |model| nats("doppelspan_learner_held_out_nats", &[("model", model)]);
    let serves = |sampler| told.sum("doppelspan_learner_serving", &[("sampler", sampler)]) > 0.0;
    let serving = match (serves("vae"), serves("grammar")) {
        (true, _) => "VAE",
        (_, true) => "grammar",
        _ => "nothing",
    };
    let count = |name, labels: &[(&str, &str)]| told.count(name, labels);
    let line = format!(
        "| {seconds:.0} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {serving} | {synthetic} |",
        sent.traces,
        count("doppelspan_learner_traces_total", &[("fate", "seen")]),
        count("doppelspan_learner_steps_total", &[]),
        loss("total"),
        loss("node"),
        loss("edge"),
        loss("kl_graph"),
        loss("kl_node"),
        held_out("vae"),
        held_out("grammar"),
    );
    (line, serving)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Some(settings) = Settings::read() else {
        eprintln!("skipped: give a file of OTLP/JSON lines, as ONLINE_FILE=traces.jsonl.zst");
        return Ok(());
    };
    anyhow::ensure!(
        Path::new(&settings.file).exists(),
        "there is no file {}",
        settings.file.display()
    );
    let (observed, synthetic) = (raw::NullSink::start().await?, Sink::start().await?);
    let addresses = Addresses {
        grpc: format!("127.0.0.1:{}", free_port()?),
        metrics: format!("127.0.0.1:{}", free_port()?),
    };
    let document = settings.document(
        &addresses,
        &observed.address.to_string(),
        &synthetic.address.to_string(),
    );
    let running = Running::start(&document, &addresses.grpc).await?;
    println!(
        "{} sent once at {} traces/s; the learner has {} of a core; nats are those of a trace",
        settings.file.display(),
        settings.per_second,
        settings.cpu
    );
    println!(
        "| s | sent traces | seen | steps | loss | node | edge | KL graph | KL node | \
         held out: VAE | grammar | serves | synthetic spans |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    let (teller, sent) = tokio::sync::watch::channel(Sent::default());
    let sending = tokio::spawn(send(
        settings.file.clone(),
        settings.per_second,
        addresses.grpc.clone(),
        teller,
    ));
    let began = Instant::now();
    let (mut over, mut taken_over) = (None, None);
    let last = loop {
        tokio::time::sleep(settings.every).await;
        let now = *sent.borrow();
        let told = Reading::of(&addresses.metrics).await?;
        let (line, serving) = row(
            began.elapsed().as_secs_f64(),
            now,
            &told,
            synthetic.span_count(),
        );
        println!("{line}");
        if serving == "VAE" && taken_over.is_none() {
            taken_over = Some((began.elapsed(), now.traces));
        }
        if now.over {
            let since = *over.get_or_insert_with(Instant::now);
            if since.elapsed() >= settings.after || serving == "VAE" {
                break serving;
            }
        }
        if sending.is_finished() && !now.over {
            break serving;
        }
    };
    sending.await??;
    let expected = sent.borrow().spans;
    let (code, log) = running.terminate().await?;
    anyhow::ensure!(code == Some(0), "ended with {code:?}:\n{log}");
    let spans = synthetic.spans(true);
    let unmarked = synthetic.spans(false).len();
    let traces = validity::traces(&spans)?;
    println!(
        "observed: {} of {expected} spans at the sink; synthetic: {traces} traces of {} spans, all \
         valid (one root, parents there, no cycle, no id twice), {unmarked} spans without the mark",
        observed.spans(),
        spans.len(),
    );
    match taken_over {
        Some((after, traces)) => println!(
            "the VAE was first seen serving after {:.0} s and {traces} traces; at the end {last} serves",
            after.as_secs_f64()
        ),
        None => println!("the VAE never took over; at the end {last} serves"),
    }
    anyhow::ensure!(observed.spans() == expected, "observed spans are missing");
    anyhow::ensure!(unmarked == 0, "synthetic spans lack the mark");
    anyhow::ensure!(traces > 0, "there was no synthetic trace");
    anyhow::ensure!(taken_over.is_some(), "the VAE never took over");
    Ok(())
}
