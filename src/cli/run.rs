//! `doppelspan run`

use std::process::ExitCode;

use anyhow::Context as _;

use super::signals::Signals;
use super::source::Source;
use super::{complain, logs};
use crate::service::{Document, Service};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    source: Source,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let document = match arguments.source.load() {
        Ok(document) => document,
        Err(code) => return Ok(code),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the system gives no threads")?;
    let code = runtime.block_on(serve(&document));
    // Whatever still runs (a connection that nobody closes) must not keep the process.
    runtime.shutdown_background();
    code
}

async fn serve(document: &Document) -> anyhow::Result<ExitCode> {
    let telemetry = logs::install(&document.service.telemetry)?;
    let mut signals = Signals::listen()?;
    let running = Service::start(document).await?;
    signals.next().await;
    tracing::info!("draining; a second signal ends at once");
    let ledger = tokio::select! {
        ledger = running.stop() => ledger,
        () = signals.next() => {
            complain("ended by a second signal; what was not yet sent is lost");
            return Ok(ExitCode::FAILURE);
        }
    };
    tokio::task::spawn_blocking(|| telemetry.shut_down()).await?;
    Ok(if ledger.dropped() == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
