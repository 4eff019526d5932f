//! The config of any receiver.

use serde::{Deserialize, Deserializer};

#[cfg(feature = "kafka")]
use super::kafka::KafkaConfig;
use super::otlp::OtlpConfig;
use super::otlpjsonfile::FileConfig;
use crate::config::{Faults, Present};

/// What stands below an id in the section `receivers`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Config {
    /// OTLP over gRPC and HTTP.
    Otlp(Box<OtlpConfig>),
    /// Files of OTLP requests.
    OtlpJsonFile(FileConfig),
    /// Topics of Apache Kafka.
    #[cfg(feature = "kafka")]
    Kafka(Box<KafkaConfig>),
}

impl Config {
    /// The types that can be written.
    pub const KINDS: &'static [&'static str] = &[
        "otlp",
        "otlpjsonfile",
        #[cfg(feature = "kafka")]
        "kafka",
    ];

    /// Reads the keys of a type; none where the type is not known. Nothing after the id means
    /// all defaults.
    pub fn read<'de, D: Deserializer<'de>>(
        kind: &str,
        deserializer: D,
    ) -> Result<Option<Self>, D::Error> {
        Ok(match kind {
            "otlp" => {
                let keys = Present::<OtlpConfig>::deserialize(deserializer)?;
                let keys = keys.into_option().unwrap_or_default();
                Some(Self::Otlp(Box::new(keys)))
            }
            "otlpjsonfile" => {
                let keys = Present::<FileConfig>::deserialize(deserializer)?;
                Some(Self::OtlpJsonFile(keys.into_option().unwrap_or_default()))
            }
            #[cfg(feature = "kafka")]
            "kafka" => {
                let keys = Present::<KafkaConfig>::deserialize(deserializer)?;
                let keys = keys.into_option().unwrap_or_default();
                Some(Self::Kafka(Box::new(keys)))
            }
            _ => None,
        })
    }

    /// What serde can't say.
    pub fn check(&self, faults: &mut Faults) {
        match self {
            Self::Otlp(config) => config.check(faults),
            Self::OtlpJsonFile(config) => config.check(faults),
            #[cfg(feature = "kafka")]
            Self::Kafka(config) => config.check(faults),
        }
    }
}
