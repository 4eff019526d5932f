//! Learning from live traffic: one pass over a file of observed traces, through a real socket.
//!
//! `cargo bench -p integration-tests --bench online -- FILE [TRACES_PER_SECOND]` starts the program
//! as a process, sends the file's requests at that pace (60 unless given, ten traces a request) and
//! prints, every ten seconds, what its metrics say: loss, held-out nats of the VAE and of the
//! grammar, which of them serves. In the end every synthetic trace that reached the backend is
//! checked. Fails if the VAE never took over.

#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock and its own arguments"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use doppelspan::receiver::otlpjsonfile;
use integration_tests::{Document, Running, Shape, Sink, traffic::Request, valid::check_valid};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const SYNTHESIZER: &str = "seed: 1, assembler: { max_wait: 10s, initial_quiet: 2s }, \
    learner: { cpu: 1.0 }, generation: { mode: mirror, ratio: 1.0 }";

/// The samples of `/metrics`, by `name` or, of the series with this label, `name{value}`.
async fn metrics(address: &str) -> anyhow::Result<BTreeMap<String, f64>> {
    let mut socket = tokio::net::TcpStream::connect(address).await?;
    let request = format!("GET /metrics HTTP/1.0\r\nhost: {address}\r\n\r\n");
    socket.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    socket.read_to_string(&mut text).await?;
    let mut samples = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((series, value)) = line.rsplit_once(' ') else {
            continue;
        };
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let label = ["term", "model", "sampler", "fate"].iter().find_map(|label| {
            let rest = labels.split(&format!("{label}=\"")).nth(1)?;
            rest.split('"').next()
        });
        let key = label.map_or(name.to_owned(), |label| format!("{name}{{{label}}}"));
        *samples.entry(key).or_default() += value.parse::<f64>().unwrap_or_default();
    }
    Ok(samples)
}

fn line(seconds: f64, told: &BTreeMap<String, f64>, synthetic: usize) -> (String, bool) {
    let of = |name: &str| told.get(&format!("doppelspan_learner_{name}")).copied();
    let number = |name: &str| of(name).map_or("–".to_owned(), |value| format!("{value:.1}"));
    let vae = of("serving{vae}") == Some(1.0);
    let grammar = of("serving{grammar}") == Some(1.0);
    let serves = match (vae, grammar) {
        (true, _) => "VAE",
        (_, true) => "grammar",
        _ => "nothing",
    };
    let line = format!(
        "{seconds:6.1} {:>8} {:>6} {:>9} {:>7} {:>7} {:>7} {:>9} {:>9} {:>9} {serves:>8} {synthetic:>9}",
        number("traces_total{seen}").trim_end_matches(".0"),
        number("steps_total").trim_end_matches(".0"),
        number("loss_nats{total}"),
        number("loss_nats{node}"),
        number("loss_nats{edge}"),
        number("loss_nats{kl_graph}"),
        number("loss_nats{kl_node}"),
        number("held_out_nats{vae}"),
        number("held_out_nats{grammar}"),
    );
    (line, vae)
}

async fn online(path: &Path, rate: f64) -> anyhow::Result<bool> {
    let sink = Sink::start().await?;
    let document = Document::new(&Shape {
        backend: sink.address,
        forward: false,
        synthesizer: Some(SYNTHESIZER),
        exporter: "",
    })?;
    let running = Running::start(&document.yaml, &document.grpc).await?;
    let mut client = TraceServiceClient::connect(format!("http://{}", document.grpc)).await?;
    println!(
        "  time     seen  steps      loss    node    edge    KL_G      KL_v held VAE held gram   serves synthetic"
    );
    let began = Instant::now();
    let (mut sent, mut next, mut took_over) = (0.0, 0.0, None);
    let mut tell = async |took_over: &mut Option<f64>| -> anyhow::Result<()> {
        let told = metrics(&document.metrics).await?;
        let seconds = began.elapsed().as_secs_f64();
        let (line, vae) = line(seconds, &told, sink.span_count());
        println!("{line}");
        if vae {
            took_over.get_or_insert(seconds);
        }
        Ok(())
    };
    for record in otlpjsonfile::read(path)? {
        let request = Request::decode(record?)?;
        let roots = integration_tests::traffic::spans(&request)
            .filter(|span| span.parent_span_id.is_empty())
            .count();
        client.export(request).await?;
        sent += roots as f64;
        let due = Duration::from_secs_f64(sent / rate);
        tokio::time::sleep(due.saturating_sub(began.elapsed())).await;
        if began.elapsed().as_secs_f64() >= next {
            next += 10.0;
            tell(&mut took_over).await?;
        }
    }
    // The last traces are complete once they have been quiet.
    tokio::time::sleep(Duration::from_secs(5)).await;
    tell(&mut took_over).await?;
    let (code, log) = running.terminate().await?;
    anyhow::ensure!(code == Some(0), "{log}");
    let spans = sink.spans(true);
    let traces = check_valid(&spans)?;
    println!(
        "{sent} traces sent in {:.0} s; {traces} synthetic traces of {} spans at the backend, every one whole and marked ({} spans without the mark)",
        began.elapsed().as_secs_f64(),
        spans.len(),
        sink.spans(false).len(),
    );
    match took_over {
        Some(seconds) => println!("the VAE serves since {seconds:.0} s at the latest"),
        None => println!("the VAE never took over"),
    }
    Ok(took_over.is_some() && sink.spans(false).is_empty())
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1).filter(|a| a != "--bench");
    let Some(path) = arguments.next() else {
        println!("usage: cargo bench -p integration-tests --bench online -- FILE [TRACES_PER_SECOND]");
        return Ok(());
    };
    let rate = arguments.next().map_or(Ok(60.0), |rate| rate.parse());
    let rate: f64 = rate.context("the rate is no number")?;
    let runtime = tokio::runtime::Runtime::new()?;
    let good = runtime.block_on(online(Path::new(&path), rate))?;
    anyhow::ensure!(good, "the VAE did not take over, or a span came out without the mark");
    Ok(())
}
