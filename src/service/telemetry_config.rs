//! `service.telemetry`: logs, metrics and spans of the service itself.

use serde::{Deserialize, Serialize};

use crate::config::{Faults, ListenAddress};

/// What the service says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// Logs, on standard error.
    pub logs: LogsConfig,
    /// Metrics, in Prometheus form.
    pub metrics: MetricsConfig,
    /// Its own spans.
    pub traces: TracesConfig,
}

/// Logs, on standard error.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogsConfig {
    /// The least severe level that is written.
    pub level: LogLevel,
    /// `console` for people, `json` for machines.
    pub encoding: LogEncoding,
}

/// A level of logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// All of it.
    Debug,
    /// States that begin and end.
    #[default]
    Info,
    /// What somebody should look at.
    Warn,
    /// What does not work.
    Error,
}

impl LogLevel {
    /// As a filter has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// How a line of the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogEncoding {
    /// For people.
    #[default]
    Console,
    /// For machines.
    Json,
}

/// Metrics, in Prometheus form.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsConfig {
    /// `none` serves no metrics; the other levels serve them all.
    pub level: MetricsLevel,
    /// Where `/metrics` is served.
    pub address: ListenAddress,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self {
            level: MetricsLevel::default(),
            address: ListenAddress::localhost(8888),
        }
    }
}

/// How much is measured, in the Collector's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricsLevel {
    /// Nothing is served.
    None,
    /// All of it.
    Basic,
    /// All of it.
    #[default]
    Normal,
    /// All of it.
    Detailed,
}

/// The service's own spans.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct TracesConfig {
    /// An OTLP gRPC endpoint with its scheme, as `http://localhost:4317`; none sends nothing.
    pub endpoint: Option<String>,
}

impl TelemetryConfig {
    /// What the types can't say.
    pub fn check(&self, faults: &mut Faults) {
        if let Some(endpoint) = &self.traces.endpoint
            && !endpoint.starts_with("http://")
            && !endpoint.starts_with("https://")
        {
            faults.below("traces", |faults| {
                faults.push(
                    "endpoint",
                    format!("`{endpoint}` has no scheme; write http://{endpoint}"),
                );
            });
        }
        faults.below("metrics", |faults| {
            if self.metrics.level != MetricsLevel::None && !self.metrics.address.is_loopback() {
                faults.push(
                    "address",
                    format!(
                        "`{}` can be reached from other machines, and metrics have no TLS; \
                         listen at localhost:{}",
                        self.metrics.address,
                        self.metrics.address.port()
                    ),
                );
            }
        });
    }
}
