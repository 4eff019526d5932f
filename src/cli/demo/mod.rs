//! `doppelspan demo`: the main job on one machine, with traffic of a simulated system.

mod backend;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use super::signals::Signals;
use super::{FAULTY, complain, logs, say};
use crate::learner::{Serving, Status};
use crate::service::{Running, Service, load};
use crate::simulate::{Drive, DriveMeter, System};
use backend::Arrived;

/// How often a line is printed.
const EVERY: Duration = Duration::from_secs(5);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// End by itself after so many seconds
    #[arg(long)]
    seconds: Option<u64>,
    /// Whose traffic: shop, social-network or ticket-office
    #[arg(long, default_value_t = System::Shop)]
    system: System,
    /// Requests a second
    #[arg(long, default_value_t = 40.0)]
    rate: f64,
    /// Where the page is; another port is taken if this one is in use
    #[arg(long, default_value = "localhost:55679", value_name = "ADDRESS")]
    page: String,
    /// Of the traffic and of everything that is drawn
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// The document, as a user would write it.
fn document(arguments: &Arguments, page: &str, backend: SocketAddr) -> String {
    let seed = arguments.seed;
    format!(
        "receivers:
  otlp: {{ protocols: {{ grpc: {{ endpoint: '127.0.0.1:0' }} }} }}
connectors:
  synthesizer:
    seed: {seed}
    assembler: {{ max_wait: 15s, initial_quiet: 2s }}
    learner: {{ cpu: 0.9 }}
    generation: {{ mode: mirror, ratio: 1.0 }}
exporters:
  otlp_grpc/backend:
    endpoint: '{backend}'
    tls: {{ insecure: true }}
    compression: none
extensions:
  admin: {{ endpoint: '{page}' }}
service:
  extensions: [admin]
  telemetry: {{ logs: {{ level: warn }}, metrics: {{ level: none }} }}
  shutdown_timeout: 5s
  pipelines:
    traces/observed: {{ receivers: [otlp], exporters: [otlp_grpc/backend, synthesizer] }}
    traces/synthetic: {{ receivers: [synthesizer], exporters: [otlp_grpc/backend] }}
"
    )
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if !(arguments.rate > 0.0 && arguments.rate <= 10_000.0) {
        complain("--rate must lie above 0 and at 10000 at most");
        return Ok(ExitCode::from(FAULTY));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the system gives no threads")?;
    let code = runtime.block_on(demo(arguments));
    runtime.shutdown_background();
    code
}

async fn demo(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let stop = CancellationToken::new();
    let (backend, arrived) = backend::start(stop.clone()).await?;
    let page = free(&arguments.page).await;
    let text = document(arguments, &page, backend);
    let document = match load(&[format!("yaml:{text}")], &[]) {
        Ok(document) => document,
        Err(faults) => {
            faults.iter().for_each(|fault| complain(&fault.to_string()));
            return Ok(ExitCode::from(FAULTY));
        }
    };
    let telemetry = logs::install(&document.service.telemetry)?;
    let running = Service::start(&document).await?;
    let address = |name: &str| {
        let address = running.addresses().get(name).copied();
        address.with_context(|| format!("{name} does not listen"))
    };
    let (page, otlp) = (address("admin")?, address("otlp/grpc")?);
    say(&format!("page: http://localhost:{}/", page.port()))?;
    say(&format!(
        "{} sends {} requests a second to 127.0.0.1:{}; Ctrl-C ends",
        arguments.system,
        arguments.rate,
        otlp.port()
    ))?;
    let drive = Drive::new(
        format!("127.0.0.1:{}", otlp.port()),
        arguments.system,
        arguments.seed,
        arguments.rate,
    );
    let meter = drive.meter.clone();
    let stop_traffic = CancellationToken::new();
    let traffic = tokio::spawn(drive.run(stop_traffic.clone()));
    tokio::select! {
        () = signals.next() => {}
        () = show(arguments, &running, &arrived, &meter) => {}
    }
    stop_traffic.cancel();
    let ended = tokio::select! {
        ended = end(traffic, running) => ended?,
        () = signals.next() => {
            complain("ended by a second signal");
            return Ok(ExitCode::FAILURE);
        }
    };
    stop.cancel();
    tokio::task::spawn_blocking(|| telemetry.shut_down()).await?;
    say(&format!(
        "sent {} spans in; the backend took {} observed and {} synthetic ones; {}",
        ended.sent,
        arrived.observed(),
        arrived.synthetic(),
        sentence(&ended.status)
    ))?;
    let whole = ended.dropped == 0 && ended.sent == arrived.observed();
    Ok(if whole {
        ExitCode::SUCCESS
    } else {
        complain(&format!(
            "{} spans were dropped on the way",
            ended.sent.saturating_sub(arrived.observed())
        ));
        ExitCode::FAILURE
    })
}

/// The address asked for, or one with a free port if its port is in use.
async fn free(asked: &str) -> String {
    let Some((host, port)) = asked.rsplit_once(':') else {
        return asked.to_owned();
    };
    match tokio::net::TcpListener::bind(asked).await {
        Ok(_) => asked.to_owned(),
        Err(fault) if fault.kind() == std::io::ErrorKind::AddrInUse => {
            complain(&format!("port {port} is in use, so the page gets another"));
            format!("{host}:0")
        }
        // Whatever else is wrong with it, the service says better.
        Err(_) => asked.to_owned(),
    }
}

/// Prints a line every few seconds, for as long as was asked for.
#[expect(
    clippy::disallowed_methods,
    reason = "a command line reads the clock for its user"
)]
async fn show(arguments: &Arguments, running: &Running, arrived: &Arrived, meter: &DriveMeter) {
    let began = Instant::now();
    let limit = arguments.seconds.map(Duration::from_secs);
    let board = running.boards().first().map(|(_, board)| board.clone());
    loop {
        let left = limit.map(|limit| limit.saturating_sub(began.elapsed()));
        tokio::time::sleep(left.map_or(EVERY, |left| left.min(EVERY))).await;
        let status = board.as_ref().map(|board| board.learner());
        let line = format!(
            "{:>4} s: {} spans sent in, {} observed and {} synthetic at the backend; {}",
            began.elapsed().as_secs(),
            meter.counts().sent,
            arrived.observed(),
            arrived.synthetic(),
            sentence(&status.unwrap_or_default())
        );
        if say(&line).is_err() || limit.is_some_and(|limit| began.elapsed() >= limit) {
            return;
        }
    }
}

/// How far the demo came.
struct Ended {
    sent: u64,
    dropped: u64,
    status: Status,
}

async fn end(
    traffic: tokio::task::JoinHandle<Result<crate::simulate::DriveCounts, tonic::transport::Error>>,
    running: Running,
) -> anyhow::Result<Ended> {
    let sent = traffic.await??.sent;
    let boards: Vec<Arc<_>> = running.boards().iter().map(|(_, b)| b.clone()).collect();
    let ledger = running.stop().await;
    Ok(Ended {
        sent,
        dropped: ledger.dropped(),
        status: boards
            .first()
            .map(|board| board.learner())
            .unwrap_or_default(),
    })
}

/// The state of learning in words.
fn sentence(status: &Status) -> String {
    let serving = match status.serving {
        Serving::Nothing => {
            return format!("{} traces seen, nothing learnt yet", status.traces_seen);
        }
        Serving::Grammar => "the grammar serves",
        Serving::Vae => "the VAE serves",
    };
    let nats = |nats: Option<f64>| nats.map_or("–".to_owned(), |nats| format!("{nats:.1}"));
    format!(
        "{} steps, held out {} nats (grammar {}), {serving}",
        status.steps,
        nats(status.held_out_vae),
        nats(status.held_out_grammar)
    )
}
