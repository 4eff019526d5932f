//! A backend that counts what arrives and keeps nothing: the program's own receiver on a free port.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::Present;
use crate::otlp::view::{Limits, ResourceView, SpanView, ValueView, Visit, walk};
use crate::pipeline::{Intake, QueueReceiver, QueueSender, QueueSettings, Sizer, queue};
use crate::receiver::otlp::{GrpcConfig, OtlpConfig, OtlpReceiver, Protocols};

/// What arrived so far, told apart by the mark that resources of synthetic traces bear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Arrived {
    pub(super) observed: Count,
    pub(super) synthetic: Count,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Count {
    /// Traces, told by their roots.
    pub(super) traces: u64,
    pub(super) spans: u64,
}

#[derive(Debug, Default)]
struct Tally {
    observed: Tallied,
    synthetic: Tallied,
}

#[derive(Debug, Default)]
struct Tallied {
    traces: AtomicU64,
    spans: AtomicU64,
}

impl Tallied {
    fn add(&self, count: Count) {
        self.traces.fetch_add(count.traces, Ordering::Relaxed);
        self.spans.fetch_add(count.spans, Ordering::Relaxed);
    }

    fn count(&self) -> Count {
        Count {
            traces: self.traces.load(Ordering::Relaxed),
            spans: self.spans.load(Ordering::Relaxed),
        }
    }
}

/// The backend, taking requests until it is stopped.
#[derive(Debug)]
pub(super) struct Backend {
    /// Where it listens.
    pub(super) address: SocketAddr,
    tally: Arc<Tally>,
    queue: QueueSender,
    stop: CancellationToken,
    receiving: JoinHandle<()>,
    counting: JoinHandle<()>,
}

impl Backend {
    pub(super) async fn start() -> anyhow::Result<Self> {
        let name = "demo/backend";
        let settings = QueueSettings {
            sizer: Sizer::Requests,
            size: 256,
            block_on_overflow: true,
            wait_for_result: false,
        };
        let (queue, arriving) = queue(name, settings);
        let endpoint = "127.0.0.1:0".parse().map_err(anyhow::Error::msg)?;
        let grpc = GrpcConfig {
            endpoint,
            ..GrpcConfig::default()
        };
        let config = OtlpConfig {
            protocols: Protocols {
                grpc: Present(Some(grpc)),
                http: Present(None),
            },
        };
        let sinks = vec![queue.clone()];
        let intake = |transport| {
            let limits = Limits::default();
            Intake::new(name, transport, limits, sinks.clone(), Vec::new())
        };
        let receiver = OtlpReceiver::bind(&config, intake).await;
        let receiver = receiver.context("the demo's backend")?;
        let address = receiver.grpc_address();
        let address = address.context("the demo's backend has no address")?;
        let (stop, tally) = (CancellationToken::new(), Arc::new(Tally::default()));
        Ok(Self {
            address,
            receiving: tokio::spawn(receiver.run(stop.clone())),
            counting: tokio::spawn(count(arriving, tally.clone())),
            tally,
            queue,
            stop,
        })
    }

    /// What arrived so far.
    pub(super) fn arrived(&self) -> Arrived {
        Arrived {
            observed: self.tally.observed.count(),
            synthetic: self.tally.synthetic.count(),
        }
    }

    /// Ends, and says what arrived in all.
    pub(super) async fn stop(mut self) -> Arrived {
        self.stop.cancel();
        // A task that broke was counting nothing any more; what it counted stands.
        (&mut self.receiving).await.ok();
        self.queue.close();
        (&mut self.counting).await.ok();
        self.arrived()
    }
}

async fn count(arriving: QueueReceiver, tally: Arc<Tally>) {
    while let Some(item) = arriving.next().await {
        let mut counter = Counter::default();
        // The intake walked the same bytes before.
        if walk(item.payload.bytes(), &Limits::default(), &mut counter).is_ok() {
            tally.observed.add(counter.arrived.observed);
            tally.synthetic.add(counter.arrived.synthetic);
        }
    }
}

#[derive(Default)]
struct Counter {
    arrived: Arrived,
    synthetic: bool,
}

impl Visit for Counter {
    fn resource(&mut self, resource: &ResourceView<'_>) {
        let mark = ("doppelspan.synthetic", ValueView::Bool(true));
        self.synthetic = resource.attributes().any(|attribute| attribute == mark);
    }

    fn span(&mut self, span: &SpanView<'_>) {
        let count = if self.synthetic {
            &mut self.arrived.synthetic
        } else {
            &mut self.arrived.observed
        };
        count.spans += 1;
        count.traces += u64::from(span.parent.is_none());
    }
}
