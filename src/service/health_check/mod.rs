//! The `health_check` extension: answers whether the service is up, as the Collector's does.

mod config;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Json;
use axum::http::StatusCode;
use axum::routing::get;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use config::HealthCheckConfig;

/// Whether the service is up, shared by those who change it and those who answer for it.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<AtomicBool>);

impl Health {
    /// Everything has started, or draining has begun.
    pub fn set_up(&self, up: bool) {
        self.0.store(up, Ordering::Release);
    }

    /// Whether it is up.
    pub fn is_up(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The extension, its port bound.
#[derive(Debug)]
pub struct HealthCheck {
    listener: TcpListener,
    address: SocketAddr,
    path: String,
}

impl HealthCheck {
    /// Binds the port.
    pub async fn bind(config: &HealthCheckConfig) -> std::io::Result<Self> {
        let listener = TcpListener::bind(config.endpoint.to_bind()).await?;
        Ok(Self {
            address: listener.local_addr()?,
            listener,
            path: config.path.clone(),
        })
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop`: 200 while the service is up, 503 while it starts or drains.
    pub async fn run(self, health: Health, stop: CancellationToken) {
        #[expect(clippy::disallowed_methods, reason = "uptime is told from this clock")]
        let since = (
            humantime::format_rfc3339_millis(std::time::SystemTime::now()),
            Instant::now(),
        );
        let answer = move || {
            let health = health.clone();
            let uptime = since.1.elapsed();
            let up_since = since.0.to_string();
            async move { answer(&health, &up_since, uptime) }
        };
        let router = axum::Router::new().route(&self.path, get(answer));
        let served = axum::serve(self.listener, router)
            .with_graceful_shutdown(stop.cancelled_owned())
            .await;
        if let Err(fault) = served {
            tracing::warn!(%fault, "health_check ended");
        }
    }
}

fn answer(health: &Health, up_since: &str, uptime: Duration) -> (StatusCode, Json<Value>) {
    if health.is_up() {
        let body = json!({
            "status": "Server available",
            "upSince": up_since,
            "uptime": humantime::format_duration(uptime).to_string(),
        });
        (StatusCode::OK, Json(body))
    } else {
        let body = json!({ "status": "Server not available" });
        (StatusCode::SERVICE_UNAVAILABLE, Json(body))
    }
}
