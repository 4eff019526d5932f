//! The whole config document, as types.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{HealthCheckConfig, TelemetryConfig};
use crate::config::{ComponentId, Fault, Period};
use crate::{admin, connector, exporter, receiver};

/// A config without faults.
#[derive(Debug, Clone, Default)]
pub struct Document {
    /// `receivers`.
    pub receivers: BTreeMap<ComponentId, receiver::Config>,
    /// `exporters`.
    pub exporters: BTreeMap<ComponentId, exporter::Config>,
    /// `connectors`.
    pub connectors: BTreeMap<ComponentId, connector::Config>,
    /// `extensions`.
    pub extensions: BTreeMap<ComponentId, Extension>,
    /// `service`.
    pub service: ServiceConfig,
}

/// An extension's config.
#[derive(Debug, Clone)]
pub enum Extension {
    /// `health_check`.
    HealthCheck(HealthCheckConfig),
    /// `admin`.
    Admin(admin::AdminConfig),
}

/// `service`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServiceConfig {
    /// Extensions to start.
    pub extensions: Vec<ComponentId>,
    /// Pipelines, by `traces` or `traces/name`.
    pub pipelines: BTreeMap<ComponentId, PipelineConfig>,
    /// What the service says of itself.
    pub telemetry: TelemetryConfig,
    /// How long exporters may go on sending after the service was told to stop.
    pub shutdown_timeout: Period,
}

impl Default for ServiceConfig {
    fn default() -> Self {
        Self {
            extensions: Vec::new(),
            pipelines: BTreeMap::new(),
            telemetry: TelemetryConfig::default(),
            shutdown_timeout: Period::from_secs(30),
        }
    }
}

/// One pipeline: what it begins with and what it ends in.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct PipelineConfig {
    /// Receivers, or connectors that end other pipelines.
    pub receivers: Vec<ComponentId>,
    /// Processors; there are none yet.
    pub processors: Vec<ComponentId>,
    /// Exporters, or connectors that begin other pipelines.
    pub exporters: Vec<ComponentId>,
}

/// Reads configs in order, merges them, expands the environment, applies `--set`, and checks all
/// of it: the document, or every fault.
pub fn load(_sources: &[String], _sets: &[String]) -> Result<Document, Vec<Fault>> {
    Err(Vec::new())
}
