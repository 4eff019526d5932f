//! Simulated traces sent live.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use super::Arguments;
use crate::cli::progress::Progress;
use crate::cli::signals::Signals;
use crate::cli::{complain, say};
use crate::simulate::{Drive, DriveCounts};

pub(super) fn send(arguments: &Arguments, endpoint: &str) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the system gives no threads")?;
    let counts = runtime.block_on(drive(arguments, endpoint))?;
    Ok(if counts.sent == counts.spans {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn drive(arguments: &Arguments, endpoint: &str) -> anyhow::Result<DriveCounts> {
    let mut drive = Drive::new(endpoint, arguments.system, arguments.seed, arguments.rate);
    let expected = match (arguments.traces, arguments.duration) {
        (None, Some(length)) => (length.as_secs_f64() * arguments.rate) as u64,
        (traces, _) => *drive.traces.insert(traces.unwrap_or(100)),
    };
    let mut progress = Progress::new("simulating", expected, "traces");
    let meter = drive.meter.clone();
    let stop = CancellationToken::new();
    let mut signals = Signals::listen()?;
    let mut beat = tokio::time::interval(Duration::from_millis(250));
    let mut run = tokio::spawn(drive.run(stop.clone()));
    let over = async {
        match arguments.duration {
            Some(length) => tokio::time::sleep(length).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(over);
    let counts = loop {
        tokio::select! {
            counts = &mut run => break counts?,
            () = &mut over, if !stop.is_cancelled() => stop.cancel(),
            () = signals.next() => stop.cancel(),
            _ = beat.tick() => {
                let counts = meter.counts();
                progress.tell(counts.traces, || format!("{} spans sent", counts.sent));
            },
        }
    };
    let counts = counts.with_context(|| format!("{endpoint} is no address; write host:port"))?;
    progress.end();
    say(&format!(
        "made {} traces of {} spans; {endpoint} took {} spans",
        counts.traces, counts.spans, counts.sent
    ))?;
    if counts.sent < counts.spans {
        complain(&format!(
            "{} spans did not arrive ({} rejected by the backend, {} given up)",
            counts.spans - counts.sent,
            counts.rejected,
            counts.given_up
        ));
    }
    Ok(counts)
}
