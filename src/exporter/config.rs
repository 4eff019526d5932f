//! The config of any exporter.

use serde::{Deserialize, Deserializer};

#[cfg(feature = "kafka")]
use super::kafka;
use super::{debug, file, otlp_grpc, otlp_http};
use crate::config::{Faults, Present};

/// What stands below an id in the section `exporters`.
#[derive(Debug, Clone, PartialEq)]
pub enum Config {
    /// OTLP over gRPC.
    OtlpGrpc(Box<otlp_grpc::Config>),
    /// OTLP over HTTP.
    OtlpHttp(Box<otlp_http::Config>),
    /// A topic of Apache Kafka.
    #[cfg(feature = "kafka")]
    Kafka(Box<kafka::Config>),
    /// A file.
    File(Box<file::Config>),
    /// The log.
    Debug(Box<debug::Config>),
}

impl Config {
    /// The types that can be written, without deprecated names.
    pub const KINDS: &'static [&'static str] = &[
        "otlp_grpc",
        "otlp_http",
        #[cfg(feature = "kafka")]
        "kafka",
        "file",
        "debug",
    ];

    /// Reads the keys of a type; none where the type is not known. Nothing after the id means
    /// all defaults.
    pub fn read<'de, D: Deserializer<'de>>(
        kind: &str,
        deserializer: D,
    ) -> Result<Option<Self>, D::Error> {
        Ok(Some(match deprecated(kind).unwrap_or(kind) {
            "otlp_grpc" => Self::OtlpGrpc(keys(deserializer)?),
            "otlp_http" => Self::OtlpHttp(keys(deserializer)?),
            #[cfg(feature = "kafka")]
            "kafka" => Self::Kafka(keys(deserializer)?),
            "file" => Self::File(keys(deserializer)?),
            "debug" => Self::Debug(keys(deserializer)?),
            _ => return Ok(None),
        }))
    }

    /// What serde can't say.
    pub fn check(&self, faults: &mut Faults) {
        match self {
            Self::OtlpGrpc(config) => config.check(faults),
            Self::OtlpHttp(config) => config.check(faults),
            #[cfg(feature = "kafka")]
            Self::Kafka(config) => config.check(faults),
            Self::File(config) => config.check(faults),
            Self::Debug(config) => config.check(faults),
        }
    }
}

/// The name that stands for a deprecated one.
pub(super) fn deprecated(kind: &str) -> Option<&'static str> {
    match kind {
        "otlp" => Some("otlp_grpc"),
        "otlphttp" => Some("otlp_http"),
        _ => None,
    }
}

fn keys<'de, D, T>(deserializer: D) -> Result<Box<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    let keys = Present::<T>::deserialize(deserializer)?;
    Ok(Box::new(keys.into_option().unwrap_or_default()))
}
