//! `doppelspan demo`: a simulated system, the service and a backend in one process, with real
//! sockets between them.
//!
//! ```text
//! simulated SDKs ──► otlp receiver ───────────────► otlp_grpc/backend ──► backend, which counts
//!                          └────► synthesizer ─────────┘
//! ```

mod backend;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use self::backend::{Arrived, Backend, Count};
use super::signals::Signals;
use super::{FAULTY, complain, logs, say};
use crate::config::ListenAddress;
use crate::learner::{Serving, Status};
use crate::service::{Document, Running, Service, load};
use crate::simulate::{Drive, DriveCounts, System};

/// How often a line is written.
const EVERY: Duration = Duration::from_secs(3);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// End after so many seconds; until Ctrl-C unless given
    #[arg(long)]
    seconds: Option<u64>,
    /// Whose traffic: shop, social-network or ticket-office
    #[arg(long, default_value_t = System::Shop)]
    system: System,
    /// Requests to the system per second
    #[arg(long, default_value_t = 40.0, value_parser = super::simulate::rate)]
    rate: f64,
    /// Of the traffic and of what the model draws
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the page is served; port 0 takes a free one, `none` serves no page
    #[arg(long, value_name = "ADDRESS", default_value = "localhost:55679")]
    page: String,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let page = match arguments.page.as_str() {
        "none" => None,
        text => match text.parse::<ListenAddress>() {
            Ok(address) => Some(address),
            Err(fault) => {
                complain(&format!("--page: {fault}, or none"));
                return Ok(ExitCode::from(FAULTY));
            }
        },
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the system gives no threads")?;
    let code = runtime.block_on(show(arguments, page.as_ref()));
    runtime.shutdown_background();
    code
}

async fn show(arguments: &Arguments, page: Option<&ListenAddress>) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let backend = Backend::start().await?;
    let page = match page {
        Some(address) => Some(free(address).await),
        None => None,
    };
    let document = document(&yaml(arguments.seed, backend.address, page.as_ref()))?;
    let telemetry = logs::install(&document.service.telemetry)?;
    let running = Service::start(&document).await?;
    let receiver = running.addresses().get("otlp/grpc").copied();
    let receiver = receiver.context("the receiver has no address")?;
    if let Some(address) = running.addresses().get("admin") {
        say(&format!("watch it at http://{address}/"))?;
    }
    let (system, rate, seed) = (arguments.system, arguments.rate, arguments.seed);
    say(&format!(
        "the {system} sends {rate} traces a second to {receiver}, seed {seed}; Ctrl-C ends it"
    ))?;

    let drive = Drive::new(receiver.to_string(), system, arguments.seed, rate);
    let stop = CancellationToken::new();
    let traffic = tokio::spawn(drive.run(stop.clone()));
    let took = watch(arguments, &mut signals, &running, &backend).await?;

    stop.cancel();
    let end = async {
        let driven = traffic.await??;
        let learner = learner(&running);
        let ledger = running.stop().await;
        anyhow::Ok((driven, learner, ledger))
    };
    let (driven, learner, ledger) = tokio::select! {
        ended = end => ended?,
        () = signals.next() => {
            complain("ended by a second signal; what was not yet sent is lost");
            return Ok(ExitCode::FAILURE);
        }
    };
    let arrived = backend.stop().await;
    tokio::task::spawn_blocking(|| telemetry.shut_down()).await?;
    say(&summary(took, &driven, &learner, arrived))?;
    let fault = fault(&driven, ledger.dropped(), arrived);
    if let Some(fault) = &fault {
        complain(&format!("error: {fault}"));
    }
    Ok(if fault.is_none() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The address asked for, or one with a free port if its port is in use.
async fn free(asked: &ListenAddress) -> ListenAddress {
    match tokio::net::TcpListener::bind(asked.to_bind()).await {
        Err(fault) if fault.kind() == std::io::ErrorKind::AddrInUse => {
            complain(&format!("{asked} is in use, so the page gets another port"));
            ListenAddress::localhost(0)
        }
        // Whatever else is wrong with it, the service says better.
        _ => asked.clone(),
    }
}

/// Writes a line every few seconds until the time is up or a signal comes; how long that took.
#[expect(
    clippy::disallowed_methods,
    reason = "a command line reads the clock for its user"
)]
async fn watch(
    arguments: &Arguments,
    signals: &mut Signals,
    running: &Running,
    backend: &Backend,
) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let over = async {
        match arguments.seconds {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(over);
    let mut beat = tokio::time::interval(EVERY);
    beat.tick().await;
    loop {
        tokio::select! {
            () = &mut over => return Ok(begun.elapsed()),
            () = signals.next() => return Ok(begun.elapsed()),
            _ = beat.tick() => {
                let passed = begun.elapsed();
                let told = learner(running);
                say(&line(passed, backend.arrived(), &told))?;
            }
        }
    }
}

fn learner(running: &Running) -> Status {
    let board = running.boards().first();
    board.map_or_else(Status::default, |(_, board)| board.learner())
}

fn document(text: &str) -> anyhow::Result<Document> {
    load(&[format!("yaml:{text}")], &[]).map_err(|faults| {
        let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("the demo's own config: {}", faults.join("; "))
    })
}

/// The config that a user would write, on ports that are free.
fn yaml(seed: u64, backend: SocketAddr, page: Option<&ListenAddress>) -> String {
    let (extensions, named) = match page {
        Some(address) => (
            format!("extensions:\n  admin: {{ endpoint: '{address}' }}\n"),
            "[admin]",
        ),
        None => (String::new(), "[]"),
    };
    format!(
        "receivers:
  otlp: {{ protocols: {{ grpc: {{ endpoint: '127.0.0.1:0' }} }} }}
connectors:
  synthesizer:
    seed: {seed}
    assembler: {{ initial_quiet: 500ms }}
    learner: {{ cpu: 0.9 }}
    privacy: {{ min_traces: 20 }}
    generation: {{ mode: mirror, ratio: 1.0 }}
exporters:
  otlp_grpc/backend: {{ endpoint: '{backend}', compression: none, tls: {{ insecure: true }} }}
{extensions}service:
  extensions: {named}
  telemetry:
    logs: {{ level: warn }}
    metrics: {{ address: 'localhost:0' }}
  pipelines:
    traces/observed: {{ receivers: [otlp], exporters: [otlp_grpc/backend, synthesizer] }}
    traces/synthetic: {{ receivers: [synthesizer], exporters: [otlp_grpc/backend] }}
"
    )
}

fn line(passed: Duration, arrived: Arrived, learner: &Status) -> String {
    format!(
        "{:>4} s: observed {}, synthetic {}; {}",
        passed.as_secs(),
        counted(arrived.observed),
        counted(arrived.synthetic),
        state(learner)
    )
}

fn counted(count: Count) -> String {
    format!("{} traces of {} spans", count.traces, count.spans)
}

fn state(learner: &Status) -> String {
    let serving = match learner.serving {
        Serving::Nothing => "nothing serves yet",
        Serving::Grammar => "the grammar serves",
        Serving::Vae => "the VAE serves",
    };
    if learner.steps == 0 {
        return format!("{serving}, {} traces seen", learner.traces_seen);
    }
    let nats = |nats: Option<f64>| nats.map_or_else(|| "?".to_owned(), |nats| format!("{nats:.1}"));
    format!(
        "{serving}; step {}, loss {:.1}, held out {} nats (grammar {})",
        learner.steps,
        learner.loss.total,
        nats(learner.held_out_vae),
        nats(learner.held_out_grammar)
    )
}

fn summary(took: Duration, driven: &DriveCounts, learner: &Status, arrived: Arrived) -> String {
    format!(
        "{:.0} s: {} traces of {} spans sent; at the backend observed {}, synthetic {}; {}",
        took.as_secs_f64(),
        driven.traces,
        driven.spans,
        counted(arrived.observed),
        counted(arrived.synthetic),
        state(learner)
    )
}

/// What must not happen, even in a demo.
fn fault(driven: &DriveCounts, dropped: u64, arrived: Arrived) -> Option<String> {
    let (sent, unmarked) = (driven.spans, arrived.observed.spans);
    if driven.given_up > 0 || driven.rejected > 0 {
        let lost = driven.given_up + driven.rejected;
        Some(format!("{lost} spans were sent and not taken"))
    } else if dropped > 0 {
        Some(format!("{dropped} spans were dropped"))
    } else if unmarked < sent {
        Some(format!("{unmarked} of {sent} observed spans arrived"))
    } else if unmarked > sent {
        Some(format!(
            "{unmarked} spans arrived without the mark of synthetic ones, and {sent} were sent"
        ))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learner::Loss;

    fn arrived(observed: (u64, u64), synthetic: (u64, u64)) -> Arrived {
        let count = |(traces, spans)| Count { traces, spans };
        Arrived {
            observed: count(observed),
            synthetic: count(synthetic),
        }
    }

    #[test]
    fn the_config_of_the_demo_has_no_fault() {
        let check = |page: Option<&str>| {
            let backend = "127.0.0.1:4317".parse().unwrap();
            let page = page.map(|page| page.parse().unwrap());
            assert!(document(&yaml(7, backend, page.as_ref())).is_ok());
        };
        check(None);
        check(Some("localhost:55679"));
        check(Some("[::1]:0"));
    }

    #[test]
    fn a_line_says_what_arrived_and_what_serves() {
        let check = |learner: &Status, expected: &str| {
            let passed = Duration::from_millis(12_400);
            let arrived = arrived((480, 9_600), (401, 8_000));
            assert_eq!(line(passed, arrived, learner), expected);
        };
        let mut learner = Status {
            traces_seen: 12,
            ..Status::default()
        };
        check(
            &learner,
            "  12 s: observed 480 traces of 9600 spans, synthetic 401 traces of 8000 spans; \
             nothing serves yet, 12 traces seen",
        );
        learner.serving = Serving::Grammar;
        learner.steps = 40;
        learner.loss = Loss {
            total: 123.456,
            ..Loss::default()
        };
        learner.held_out_grammar = Some(99.0);
        check(
            &learner,
            "  12 s: observed 480 traces of 9600 spans, synthetic 401 traces of 8000 spans; \
             the grammar serves; step 40, loss 123.5, held out ? nats (grammar 99.0)",
        );
    }

    #[test]
    fn what_is_lost_or_marked_wrongly_is_a_fault() {
        let check = |given_up, dropped, observed, expected: Option<&str>| {
            let driven = DriveCounts {
                traces: 2,
                spans: 10,
                sent: 10 - given_up,
                given_up,
                ..DriveCounts::default()
            };
            let told = fault(&driven, dropped, arrived(observed, (3, 9)));
            assert_eq!(told.as_deref(), expected);
        };
        check(0, 0, (2, 10), None);
        check(1, 0, (2, 9), Some("1 spans were sent and not taken"));
        check(0, 4, (2, 6), Some("4 spans were dropped"));
        check(0, 0, (2, 9), Some("9 of 10 observed spans arrived"));
        let unmarked = "11 spans arrived without the mark of synthetic ones, and 10 were sent";
        check(0, 0, (2, 11), Some(unmarked));
    }
}
