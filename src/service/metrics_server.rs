//! Metrics of the service itself, in Prometheus form.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::ListenAddress;
use crate::telemetry;

/// The one recorder of the process; services that share a process share it, and tell themselves
/// apart by the ids of their components.
static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();

/// Installs the recorder on the first call. Must come before components make their counters.
pub(super) fn install_recorder() -> &'static PrometheusHandle {
    RECORDER.get_or_init(|| {
        let recorder = PrometheusBuilder::new()
            .with_recommended_naming(true)
            .build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("another part of this process records metrics; /metrics stays empty");
        }
        telemetry::describe_all();
        handle
    })
}

/// `/metrics`, its port bound.
#[derive(Debug)]
pub(super) struct MetricsServer {
    listener: TcpListener,
    address: SocketAddr,
}

impl MetricsServer {
    pub(super) async fn bind(address: &ListenAddress) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address.to_bind()).await?;
        Ok(Self {
            address: listener.local_addr()?,
            listener,
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) async fn run(self, stop: CancellationToken) {
        let handle = install_recorder();
        let render = move || async move {
            telemetry::process::record();
            (
                [(CONTENT_TYPE, "text/plain; version=0.0.4")],
                handle.render(),
            )
        };
        let router = axum::Router::new().route("/metrics", get(render));
        let upkeep = async {
            loop {
                tokio::time::sleep(Duration::from_secs(5)).await;
                handle.run_upkeep();
            }
        };
        let serve =
            axum::serve(self.listener, router).with_graceful_shutdown(stop.cancelled_owned());
        tokio::select! {
            served = serve => {
                if let Err(fault) = served {
                    tracing::warn!(%fault, "the metrics server ended");
                }
            }
            () = upkeep => {}
        }
    }
}
