//! The whole document; building components; start and drain order.

mod build;
mod document;
mod health_check;
mod ledger;
mod metrics_server;
mod running;
mod telemetry_config;

pub use build::StartError;
pub use document::{Document, Extension, PipelineConfig, ServiceConfig, load};
pub use health_check::{Health, HealthCheck, HealthCheckConfig};
pub use ledger::Ledger;
pub use running::{Running, Service};
pub use telemetry_config::{
    LogEncoding, LogLevel, LogsConfig, MetricsConfig, MetricsLevel, TelemetryConfig, TracesConfig,
};
