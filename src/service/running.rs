//! A service that runs: its addresses, and how it ends.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::build::{self, StartError};
use super::{Document, Health, Ledger};
use crate::connector::{Board, Synthesizer};
use crate::exporter::Tally;
use crate::pipeline::{Intake, QueueSender};

/// Starts services.
#[derive(Debug)]
pub struct Service;

impl Service {
    /// Starts everything that a pipeline of the document names: exporters, then receivers.
    /// What was started is stopped again if something can't start.
    pub async fn start(document: &Document) -> Result<Running, StartError> {
        super::metrics_server::install_recorder();
        let mut running = Running::new(document);
        match build::start(document, &mut running).await {
            Ok(()) => {
                running.health.set_up(true);
                for (name, address) in &running.addresses {
                    tracing::info!(%address, "{name} listens");
                }
                tracing::info!("everything is ready");
                Ok(running)
            }
            Err(fault) => {
                running.drain().await;
                Err(fault)
            }
        }
    }
}

/// A service that runs until [`Running::stop`].
#[derive(Debug)]
pub struct Running {
    pub(super) addresses: BTreeMap<String, SocketAddr>,
    pub(super) health: Health,
    /// Ends receivers.
    pub(super) intake_stop: CancellationToken,
    /// Ends the deadline of exporters.
    pub(super) drain_over: CancellationToken,
    /// Ends extensions and the metrics server.
    pub(super) late_stop: CancellationToken,
    pub(super) receivers: JoinSet<()>,
    pub(super) exporters: JoinSet<()>,
    pub(super) late: JoinSet<()>,
    pub(super) queues: Vec<QueueSender>,
    pub(super) intakes: Vec<(String, Intake)>,
    pub(super) tallies: Vec<(String, Arc<Tally>)>,
    pub(super) connectors: Vec<(String, Synthesizer)>,
    /// What the page shows of each synthesizer, by id; filled before extensions start.
    pub(super) boards: Vec<(String, Arc<Board>)>,
    timeout: std::time::Duration,
}

impl Running {
    fn new(document: &Document) -> Self {
        Self {
            addresses: BTreeMap::new(),
            health: Health::default(),
            intake_stop: CancellationToken::new(),
            drain_over: CancellationToken::new(),
            late_stop: CancellationToken::new(),
            receivers: JoinSet::new(),
            exporters: JoinSet::new(),
            late: JoinSet::new(),
            queues: Vec::new(),
            intakes: Vec::new(),
            tallies: Vec::new(),
            connectors: Vec::new(),
            boards: Vec::new(),
            timeout: document.service.shutdown_timeout.duration(),
        }
    }

    /// What listens where: `otlp/grpc`, `otlp/edge/http`, `health_check`, `metrics`.
    pub fn addresses(&self) -> &BTreeMap<String, SocketAddr> {
        &self.addresses
    }

    /// What is known of each synthesizer, by its id.
    pub fn boards(&self) -> &[(String, Arc<Board>)] {
        &self.boards
    }

    /// Where every span went so far.
    pub fn ledger(&self) -> Ledger {
        let mut ledger = ledger(&self.intakes, &self.tallies);
        let connectors = self.connectors.iter();
        ledger.connectors = connectors
            .map(|(id, connector)| (id.clone(), connector.produced()))
            .collect();
        ledger
    }

    /// Drains: receivers finish the calls they are in, connectors save and end, exporters send
    /// what they hold until the deadline.
    pub async fn stop(mut self) -> Ledger {
        let ledger = self.drain().await;
        tracing::info!("stopped: {ledger}");
        ledger
    }

    async fn drain(&mut self) -> Ledger {
        self.health.set_up(false);
        self.intake_stop.cancel();
        let drain_over = self.drain_over.clone();
        let timeout = self.timeout;
        let deadline = tokio::spawn(async move {
            tokio::time::sleep(timeout).await;
            drain_over.cancel();
        });
        join(&mut self.receivers).await;
        let intakes = self.intakes.clone();
        let connectors = std::mem::take(&mut self.connectors);
        let made: Vec<(String, u64)> = tokio::task::spawn_blocking(move || {
            let stop = |(id, connector): (String, Synthesizer)| (id, connector.stop());
            connectors.into_iter().map(stop).collect()
        })
        .await
        .unwrap_or_else(|fault| {
            tracing::error!(%fault, "a connector did not end cleanly");
            Vec::new()
        });
        for queue in &self.queues {
            queue.close();
        }
        join(&mut self.exporters).await;
        deadline.abort();
        self.late_stop.cancel();
        join(&mut self.late).await;
        let mut ledger = ledger(&intakes, &self.tallies);
        ledger.connectors = made;
        ledger
    }
}

async fn join(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        if let Err(fault) = ended {
            tracing::error!(%fault, "a component did not end cleanly");
        }
    }
}

fn ledger(intakes: &[(String, Intake)], tallies: &[(String, Arc<Tally>)]) -> Ledger {
    let intakes = intakes.iter();
    let tallies = tallies.iter();
    Ledger {
        connectors: Vec::new(),
        receivers: intakes
            .map(|(id, intake)| (id.clone(), intake.counts()))
            .collect(),
        exporters: tallies
            .map(|(id, tally)| (id.clone(), tally.counts()))
            .collect(),
    }
}
