//! Building what pipelines name: exporters first, then connectors, then receivers.

use std::collections::{BTreeMap, BTreeSet};

use super::health_check::HealthCheck;
use super::metrics_server::MetricsServer;
use super::{Document, Extension, MetricsLevel, Running};
use crate::admin::Admin;
use crate::assembler::Tap;
use crate::config::{ComponentId, ListenAddress};
use crate::connector::{self, Synthesizer};
use crate::exporter::Exporter;
use crate::otlp::view::Limits;
use crate::pipeline::{Intake, QueueSender};
use crate::receiver::Receiver;

/// Why a service can't start, and which part of it.
#[derive(Debug, thiserror::Error)]
#[error("{component}: {source}")]
pub struct StartError {
    component: String,
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl StartError {
    fn of<E: std::error::Error + Send + Sync + 'static>(component: impl ToString) -> impl FnOnce(E) -> Self {
        let component = component.to_string();
        move |source| Self {
            component,
            source: Box::new(source),
        }
    }
}

/// A port that can't be had.
#[derive(Debug, thiserror::Error)]
#[error("can't listen at {address}; if another process has the port, end it or choose another port")]
struct Listen {
    address: ListenAddress,
    source: std::io::Error,
}

/// Which components begin or end which pipelines.
struct Graph<'a>(&'a Document);

impl Graph<'_> {
    fn named(&self, side: fn(&super::PipelineConfig) -> &Vec<ComponentId>) -> BTreeSet<&ComponentId> {
        self.0.service.pipelines.values().flat_map(side).collect()
    }

    /// What ends the pipelines that `beginning` begins, each once.
    fn ends(&self, beginning: &ComponentId) -> BTreeSet<&ComponentId> {
        let pipelines = self.0.service.pipelines.values();
        pipelines
            .filter(|pipeline| pipeline.receivers.contains(beginning))
            .flat_map(|pipeline| &pipeline.exporters)
            .collect()
    }
}

pub(super) async fn start(document: &Document, running: &mut Running) -> Result<(), StartError> {
    let graph = Graph(document);
    start_metrics(document, running).await?;
    let queues = start_exporters(&graph, running).await?;
    let taps = start_connectors(&graph, running, &queues)?;
    start_extensions(document, running).await?;
    start_receivers(&graph, running, &queues, &taps).await
}

async fn start_metrics(document: &Document, running: &mut Running) -> Result<(), StartError> {
    let config = &document.service.telemetry.metrics;
    if config.level == MetricsLevel::None {
        return Ok(());
    }
    let server = MetricsServer::bind(&config.address).await.map_err(|source| {
        let address = config.address.clone();
        StartError::of("service.telemetry.metrics.address")(Listen { address, source })
    })?;
    running.addresses.insert("metrics".to_owned(), server.address());
    running.late.spawn(server.run(running.late_stop.clone()));
    Ok(())
}

async fn start_extensions(document: &Document, running: &mut Running) -> Result<(), StartError> {
    for id in &document.service.extensions {
        let failed = |address: &ListenAddress, source| {
            let address = address.clone();
            StartError::of(format!("extensions.{id}"))(Listen { address, source })
        };
        match document.extensions.get(id) {
            Some(Extension::HealthCheck(config)) => {
                let bound = HealthCheck::bind(config).await;
                let check = bound.map_err(|fault| failed(&config.endpoint, fault))?;
                running.addresses.insert(id.to_string(), check.address());
                let (health, stop) = (running.health.clone(), running.late_stop.clone());
                running.late.spawn(check.run(health, stop));
            }
            Some(Extension::Admin(config)) => {
                let boards = running.boards();
                let bound = Admin::bind(config, boards).await;
                let admin = bound.map_err(|fault| failed(&config.endpoint, fault))?;
                running.addresses.insert(id.to_string(), admin.address());
                running.late.spawn(admin.run(running.late_stop.clone()));
            }
            None => {}
        }
    }
    Ok(())
}

type Queues = BTreeMap<ComponentId, QueueSender>;
type Taps = BTreeMap<ComponentId, Tap>;

async fn start_exporters(graph: &Graph<'_>, running: &mut Running) -> Result<Queues, StartError> {
    let mut queues = Queues::new();
    for id in graph.named(|pipeline| &pipeline.exporters) {
        let Some(config) = graph.0.exporters.get(id) else {
            continue;
        };
        let bound = Exporter::bind(id, config).await;
        let (exporter, queue) = bound.map_err(StartError::of(format!("exporters.{id}")))?;
        running.counts.push((id.to_string(), exporter.counts()));
        running.queues.push(queue.clone());
        running.exporters.spawn(exporter.run(running.drain_over.clone()));
        queues.insert(id.clone(), queue);
    }
    Ok(queues)
}

fn start_connectors(
    graph: &Graph<'_>,
    running: &mut Running,
    queues: &Queues,
) -> Result<Taps, StartError> {
    let mut taps = Taps::new();
    for id in graph.named(|pipeline| &pipeline.exporters) {
        let Some(connector::Config::Synthesizer(config)) = graph.0.connectors.get(id) else {
            continue;
        };
        let ends = graph.ends(id);
        let sinks = ends.into_iter().filter_map(|end| queues.get(end).cloned());
        let bound = Synthesizer::bind(id, config, sinks.collect());
        let synthesizer = bound.map_err(StartError::of(format!("connectors.{id}")))?;
        taps.insert(id.clone(), synthesizer.tap());
        running.connectors.push((id.to_string(), synthesizer));
    }
    Ok(taps)
}

async fn start_receivers(
    graph: &Graph<'_>,
    running: &mut Running,
    queues: &Queues,
    taps: &Taps,
) -> Result<(), StartError> {
    let mut bound = Vec::new();
    for id in graph.named(|pipeline| &pipeline.receivers) {
        let Some(config) = graph.0.receivers.get(id) else {
            continue;
        };
        let ends = graph.ends(id);
        let sinks: Vec<_> = ends.iter().filter_map(|end| queues.get(*end).cloned()).collect();
        let taps: Vec<_> = ends.iter().filter_map(|end| taps.get(*end).cloned()).collect();
        let intakes = &mut running.intakes;
        let intake = |transport: &'static str| {
            let name = id.to_string();
            let intake = Intake::new(&name, transport, Limits::default(), sinks.clone(), taps.clone());
            intakes.push((format!("{name}/{transport}"), intake.clone()));
            intake
        };
        let receiver = Receiver::bind(config, intake).await;
        let receiver = receiver.map_err(StartError::of(format!("receivers.{id}")))?;
        for (transport, address) in receiver.addresses() {
            running.addresses.insert(format!("{id}/{transport}"), address);
        }
        bound.push(receiver);
    }
    // Nothing is taken before everything is there.
    for receiver in bound {
        running.receivers.spawn(receiver.run(running.intake_stop.clone()));
    }
    Ok(())
}
