//! The whole config document, as types; read with every fault told at once.

mod lines;
mod read;
mod source;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{HealthCheckConfig, TelemetryConfig};
use crate::admin::AdminConfig;
use crate::config::{ComponentId, Faults, Period};
use crate::connector::SynthesizerConfig;
use crate::{exporter, receiver};

pub use read::load;

/// A config without faults.
#[derive(Debug, Clone, Default)]
pub struct Document {
    /// `receivers`.
    pub receivers: BTreeMap<ComponentId, receiver::Config>,
    /// `exporters`.
    pub exporters: BTreeMap<ComponentId, exporter::Config>,
    /// `connectors`.
    pub connectors: BTreeMap<ComponentId, SynthesizerConfig>,
    /// `extensions`.
    pub extensions: BTreeMap<ComponentId, Extension>,
    /// `service`.
    pub service: ServiceConfig,
}

/// An extension's config.
#[derive(Debug, Clone)]
pub enum Extension {
    /// `admin`.
    Admin(AdminConfig),
    /// `health_check`.
    HealthCheck(HealthCheckConfig),
}

impl Extension {
    /// The kinds there are.
    pub const KINDS: [&str; 2] = ["admin", "health_check"];

    /// What the types can't say.
    pub fn check(&self, faults: &mut Faults) {
        match self {
            Self::Admin(config) => config.check(faults),
            Self::HealthCheck(config) => config.check(faults),
        }
    }
}

/// `service`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServiceConfig {
    /// Extensions to start.
    pub extensions: Vec<String>,
    /// Pipelines, by `traces` or `traces/name`.
    pub pipelines: BTreeMap<String, PipelineConfig>,
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
    pub receivers: Vec<String>,
    /// Processors; there are none yet.
    pub processors: Vec<String>,
    /// Exporters, or connectors that begin other pipelines.
    pub exporters: Vec<String>,
}

impl Document {
    /// The receivers and connectors that pipelines begin with, each once, and the exporters and
    /// connectors that each feeds.
    pub(super) fn routes(&self) -> BTreeMap<ComponentId, Vec<ComponentId>> {
        let mut routes: BTreeMap<ComponentId, Vec<ComponentId>> = BTreeMap::new();
        for pipeline in self.service.pipelines.values() {
            let exporters: Vec<ComponentId> = ids(&pipeline.exporters).collect();
            for receiver in ids(&pipeline.receivers) {
                let ends = routes.entry(receiver).or_default();
                ends.extend(exporters.iter().cloned());
                ends.sort();
                ends.dedup();
            }
        }
        routes
    }
}

fn ids(texts: &[String]) -> impl Iterator<Item = ComponentId> {
    texts.iter().filter_map(|text| text.parse().ok())
}
