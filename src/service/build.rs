//! Building what pipelines name: exporters first, then connectors, then receivers.

use std::collections::{BTreeMap, BTreeSet};

use super::health_check::HealthCheck;
use super::metrics_server::MetricsServer;
use super::{Document, Extension, MetricsLevel, Running};
use crate::admin::Admin;
use crate::assembler::Tap;
use crate::config::{ComponentId, ListenAddress};
use crate::connector::Synthesizer;
use crate::otlp::view::Limits;
use crate::pipeline::{Intake, Outlet, QueueSender};
#[cfg(feature = "kafka")]
use crate::receiver::kafka::KafkaReceiver;
use crate::receiver::otlp::OtlpReceiver;
use crate::receiver::otlpjsonfile::FileReceiver;
use crate::{chance, exporter, receiver};

/// Why a service can't start, and which part of it: one sentence with all of its causes.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(String);

impl StartError {
    /// Of a fault that does not name its component itself.
    fn of<E: std::error::Error>(component: impl std::fmt::Display) -> impl FnOnce(E) -> Self {
        let place = format!("{component}: ");
        move |fault| Self(place + &whole(&fault))
    }

    fn plain<E: std::error::Error>(fault: E) -> Self {
        Self(whole(&fault))
    }
}

/// A fault and its causes, each told once: some tell what caused them themselves.
fn whole(fault: &dyn std::error::Error) -> String {
    let mut told = fault.to_string();
    let mut next = fault.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !told.contains(&text) {
            told = format!("{told}: {text}");
        }
        next = cause.source();
    }
    told
}

/// A port that can't be had.
#[derive(Debug, thiserror::Error)]
#[error(
    "can't listen at {address}; if another process has the port, end it or choose another port"
)]
struct Listen {
    address: ListenAddress,
    source: std::io::Error,
}

pub(super) async fn start(document: &Document, running: &mut Running) -> Result<(), StartError> {
    let routes = document.routes();
    start_metrics(document, running).await?;
    let queues = start_exporters(document, &routes, running)?;
    let taps = start_connectors(document, &routes, &queues, running)?;
    start_extensions(document, running).await?;
    start_receivers(document, &routes, (&queues, &taps), running).await
}

async fn start_metrics(document: &Document, running: &mut Running) -> Result<(), StartError> {
    let config = &document.service.telemetry.metrics;
    if config.level == MetricsLevel::None {
        return Ok(());
    }
    let server = MetricsServer::bind(&config.address)
        .await
        .map_err(|source| {
            let address = config.address.clone();
            StartError::of("service.telemetry.metrics.address")(Listen { address, source })
        })?;
    running
        .addresses
        .insert("metrics".to_owned(), server.address());
    running.late.spawn(server.run(running.late_stop.clone()));
    Ok(())
}

async fn start_extensions(document: &Document, running: &mut Running) -> Result<(), StartError> {
    for id in &document.service.extensions {
        let failed = |address: &ListenAddress, source| {
            let address = address.clone();
            StartError::of(format!("extensions.{id}"))(Listen { address, source })
        };
        let declared = id
            .parse()
            .ok()
            .and_then(|id: ComponentId| document.extensions.get(&id));
        match declared {
            Some(Extension::Admin(config)) => {
                let bound = Admin::bind(config).await;
                let admin = bound.map_err(|fault| failed(&config.endpoint, fault))?;
                running.addresses.insert(id.to_string(), admin.address());
                let (boards, stop) = (running.boards.clone(), running.late_stop.clone());
                running.late.spawn(admin.run(boards, stop));
            }
            Some(Extension::HealthCheck(config)) => {
                let bound = HealthCheck::bind(config).await;
                let check = bound.map_err(|fault| failed(&config.endpoint, fault))?;
                running.addresses.insert(id.to_string(), check.address());
                let (health, stop) = (running.health.clone(), running.late_stop.clone());
                running.late.spawn(check.run(health, stop));
            }
            None => {}
        }
    }
    Ok(())
}

type Routes = BTreeMap<ComponentId, Vec<ComponentId>>;
type Queues = BTreeMap<ComponentId, QueueSender>;
type Taps = BTreeMap<ComponentId, Tap>;

fn start_exporters(
    document: &Document,
    routes: &Routes,
    running: &mut Running,
) -> Result<Queues, StartError> {
    let mut queues = Queues::new();
    let named: BTreeSet<_> = routes.values().flatten().collect();
    for id in named {
        let Some(config) = document.exporters.get(id) else {
            continue;
        };
        let rng = chance::stream(0, &format!("retries of {id}"));
        let bound = exporter::bind(id, config, rng);
        let (queue, exporter) = bound.map_err(StartError::plain)?;
        running.tallies.push((id.to_string(), exporter.tally()));
        running.queues.push(queue.clone());
        running
            .exporters
            .spawn(exporter.run(running.drain_over.clone()));
        queues.insert(id.clone(), queue);
    }
    Ok(queues)
}

fn start_connectors(
    document: &Document,
    routes: &Routes,
    queues: &Queues,
    running: &mut Running,
) -> Result<Taps, StartError> {
    let mut taps = Taps::new();
    for (id, config) in &document.connectors {
        // One that no pipeline names isn't started.
        let Some(ends) = routes.get(id) else {
            continue;
        };
        let sinks = ends.iter().filter_map(|end| queues.get(end).cloned());
        let outlet = Outlet::new(sinks.collect());
        let synthesizer = Synthesizer::start(id, config, outlet);
        let synthesizer = synthesizer.map_err(StartError::of(format!("connectors.{id}")))?;
        taps.insert(id.clone(), synthesizer.tap());
        running.boards.push((id.to_string(), synthesizer.board()));
        running.connectors.push((id.to_string(), synthesizer));
    }
    Ok(taps)
}

async fn start_receivers(
    document: &Document,
    routes: &Routes,
    (queues, taps): (&Queues, &Taps),
    running: &mut Running,
) -> Result<(), StartError> {
    let (mut bound, mut files) = (Vec::new(), Vec::new());
    #[cfg(feature = "kafka")]
    let mut topics = Vec::new();
    for (id, ends) in routes {
        let Some(config) = document.receivers.get(id) else {
            continue;
        };
        let sinks: Vec<_> = ends
            .iter()
            .filter_map(|end| queues.get(end).cloned())
            .collect();
        let taps: Vec<_> = ends
            .iter()
            .filter_map(|end| taps.get(end).cloned())
            .collect();
        let intakes = &mut running.intakes;
        let mut intake = |transport: &'static str| {
            let name = id.to_string();
            let limits = Limits::default();
            let intake = Intake::new(&name, transport, limits, sinks.clone(), taps.clone());
            intakes.push((format!("{name}/{transport}"), intake.clone()));
            intake
        };
        let config = match config {
            receiver::Config::Otlp(config) => config,
            receiver::Config::OtlpJsonFile(config) => {
                files.push(FileReceiver::new(config, intake("file")));
                continue;
            }
            #[cfg(feature = "kafka")]
            receiver::Config::Kafka(config) => {
                let made = KafkaReceiver::new(&id.to_string(), config, intake("kafka"));
                topics.push(made.map_err(StartError::of(format!("receivers.{id}")))?);
                continue;
            }
        };
        let receiver = OtlpReceiver::bind(config, intake).await;
        let receiver = receiver.map_err(StartError::of(format!("receivers.{id}")))?;
        let addresses = [
            ("grpc", receiver.grpc_address()),
            ("http", receiver.http_address()),
        ];
        for (transport, address) in addresses {
            if let Some(address) = address {
                running
                    .addresses
                    .insert(format!("{id}/{transport}"), address);
            }
        }
        bound.push(receiver);
    }
    // Nothing is taken before everything is there.
    for receiver in files {
        running
            .receivers
            .spawn(receiver.run(running.intake_stop.clone()));
    }
    #[cfg(feature = "kafka")]
    for receiver in topics {
        running
            .receivers
            .spawn(receiver.run(running.intake_stop.clone()));
    }
    for receiver in bound {
        running
            .receivers
            .spawn(receiver.run(running.intake_stop.clone()));
    }
    Ok(())
}
