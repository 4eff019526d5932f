//! Exporters: `otlp_grpc`, `otlp_http`, `kafka`, `file`, `debug`.
//!
//! All of them are a sending queue, consumers that send and try again, and a backend behind one
//! `send`. What a backend has not acknowledged stays in the queue's room, so that a full queue
//! means what it says.

mod client;
mod compression;
mod config;
mod consumer;
pub mod debug;
mod failure;
pub mod file;
mod headers;
pub(crate) mod json;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod otlp_grpc;
pub mod otlp_http;
#[cfg(test)]
mod over_sockets;
#[cfg(test)]
mod readme;
mod retry;
#[cfg(test)]
mod sample;
mod sending_queue;
mod tally;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use metrics::gauge;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::chance::Rng;
use crate::config::ComponentId;
use crate::otlp::Payload;
use crate::pipeline::{QueueReceiver, QueueSender, queue};
use crate::telemetry;
use consumer::Consumers;
use failure::{Accepted, Failure};

pub use compression::Compression;
pub use config::Config;
pub use headers::Headers;
pub use retry::RetryOnFailure;
pub use sending_queue::{Batch, SendingQueue};
pub use tally::{ExporterCounts, Tally};

/// Why an exporter can't start: a sentence that says what and what to do.
#[derive(Debug, thiserror::Error)]
#[error("exporters.{id}: {message}")]
pub struct BindError {
    /// Which exporter.
    pub id: String,
    /// What is wrong.
    pub message: String,
}

/// An exporter that is ready to run.
#[derive(Debug)]
pub struct Exporter {
    consumers: Arc<Consumers>,
    count: u32,
    rng: Rng,
}

/// Where requests end up.
#[derive(Debug)]
enum Backend {
    Grpc(otlp_grpc::Caller),
    Http(otlp_http::Poster),
    #[cfg(feature = "kafka")]
    Kafka(Box<kafka::Writer>),
    File(file::Shelf),
    Debug(String, debug::Printer),
    #[cfg(test)]
    Scripted(tests::Script),
}

/// Makes an exporter and the queue in front of it; opens files, connects to nothing yet.
///
/// Backends that aren't there yet are no fault: requests wait in the queue. The jitter of retries
/// is drawn from `rng`.
pub fn bind(
    id: &ComponentId,
    config: &Config,
    rng: Rng,
) -> Result<(QueueSender, Exporter), BindError> {
    let name = id.to_string();
    let fault = |message| BindError {
        id: name.clone(),
        message,
    };
    if let Some(instead) = config::deprecated(id.kind()) {
        tracing::warn!(
            exporter = name,
            "the type `{}` is deprecated; write `{instead}`",
            id.kind()
        );
    }
    let never = RetryOnFailure {
        enabled: false,
        ..RetryOnFailure::default()
    };
    let (backend, settings, retry, timeout) = match config {
        Config::OtlpGrpc(config) => (
            Backend::Grpc(otlp_grpc::Caller::new(config).map_err(fault)?),
            &config.sending_queue,
            config.retry_on_failure.clone(),
            config.timeout.duration(),
        ),
        Config::OtlpHttp(config) => (
            Backend::Http(otlp_http::Poster::new(config).map_err(fault)?),
            &config.sending_queue,
            config.retry_on_failure.clone(),
            config.timeout.duration(),
        ),
        #[cfg(feature = "kafka")]
        Config::Kafka(config) => (
            Backend::Kafka(Box::new(kafka::Writer::new(&name, config).map_err(fault)?)),
            &config.sending_queue,
            config.retry_on_failure.clone(),
            // The client itself ends an attempt in time, so that it is known how it ended.
            Duration::ZERO,
        ),
        Config::File(config) => (
            Backend::File(file::Shelf::new(config).map_err(fault)?),
            &config.sending_queue,
            config.retry_on_failure.clone(),
            Duration::ZERO,
        ),
        Config::Debug(config) => (
            Backend::Debug(name.clone(), debug::Printer::new(config)),
            &config.sending_queue,
            never,
            Duration::ZERO,
        ),
    };
    Ok(assemble(&name, backend, settings, retry, timeout, rng))
}

fn assemble(
    name: &str,
    backend: Backend,
    settings: &SendingQueue,
    retry: RetryOnFailure,
    timeout: Duration,
    rng: Rng,
) -> (QueueSender, Exporter) {
    let (sender, receiver) = queue(name, settings.settings());
    let consumers = Consumers {
        backend,
        queue: receiver,
        batch: settings.batch.as_ref().cloned(),
        retry,
        timeout,
        tally: Arc::new(Tally::new(name)),
        turn: tokio::sync::Mutex::default(),
    };
    let exporter = Exporter {
        consumers: Arc::new(consumers),
        count: settings.num_consumers.max(1),
        rng,
    };
    (sender, exporter)
}

impl Exporter {
    /// What became of its spans; may be read while and after it runs.
    pub fn tally(&self) -> Arc<Tally> {
        self.consumers.tally.clone()
    }

    /// Sends until the queue is closed and empty.
    ///
    /// Whoever stops the service closes the queue first and lets it drain; when `deadline` is
    /// cancelled, what is left is dropped and counted with the reason `shutdown`.
    pub async fn run(mut self, deadline: CancellationToken) {
        let mut tasks = JoinSet::new();
        for _ in 0..self.count {
            let rng = Rng::seed_from_u64(self.rng.next_u64());
            let (consumers, deadline) = (self.consumers.clone(), deadline.clone());
            tasks.spawn(async move { consumers.consume(rng, &deadline).await });
        }
        let gauges = Gauges::new(self.consumers.tally.name());
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                ended = tasks.join_next() => match ended {
                    None => break,
                    Some(Ok(())) => {}
                    Some(Err(fault)) => tracing::error!(
                        exporter = self.consumers.tally.name(),
                        %fault,
                        "a consumer ended before its time"
                    ),
                },
                _ = tick.tick() => gauges.set(&self.consumers.queue),
            }
        }
        self.consumers.give_up_rest().await;
        gauges.set(&self.consumers.queue);
        if let Err(fault) = self.consumers.backend.finish() {
            tracing::error!(
                exporter = self.consumers.tally.name(),
                fault,
                "can't finish"
            );
        }
    }
}

impl Backend {
    async fn send(&self, payload: &Payload) -> Result<Accepted, Failure> {
        match self {
            Self::Grpc(caller) => caller.send(payload).await,
            Self::Http(poster) => poster.send(payload).await,
            #[cfg(feature = "kafka")]
            Self::Kafka(writer) => writer.send(payload).await,
            Self::File(shelf) => shelf.send(payload),
            Self::Debug(name, printer) => printer.send(name, payload),
            #[cfg(test)]
            Self::Scripted(script) => script.send(payload).await,
        }
    }

    fn finish(&self) -> Result<(), String> {
        match self {
            Self::File(shelf) => shelf.finish().map_err(|fault| failure::chain(&fault)),
            _ => Ok(()),
        }
    }
}

/// How full the queue is, for whoever scrapes the metrics.
struct Gauges {
    size: metrics::Gauge,
    capacity: metrics::Gauge,
}

impl Gauges {
    fn new(exporter: &str) -> Self {
        let made =
            |metric: telemetry::Metric| gauge!(metric.name, "exporter" => exporter.to_owned());
        Self {
            size: made(telemetry::EXPORTER_QUEUE_SIZE),
            capacity: made(telemetry::EXPORTER_QUEUE_CAPACITY),
        }
    }

    fn set(&self, queue: &QueueReceiver) {
        let (size, capacity) = queue.usage();
        self.size.set(f64::from(size));
        self.capacity.set(f64::from(capacity));
    }
}

fn accepted(response: ExportTraceServiceResponse) -> Accepted {
    let partial = response.partial_success.unwrap_or_default();
    Accepted {
        rejected: u64::try_from(partial.rejected_spans).unwrap_or(0),
        message: partial.error_message,
    }
}
