//! The config of any receiver.

use serde::{Deserialize, Deserializer};

use super::otlp::OtlpConfig;
use crate::config::{Faults, Present};

/// What stands below an id in the section `receivers`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Config {
    /// OTLP over gRPC and HTTP.
    Otlp(Box<OtlpConfig>),
}

impl Config {
    /// The types that can be written.
    pub const KINDS: [&'static str; 1] = ["otlp"];

    /// Reads the keys of a type; none where the type is not known. Nothing after the id means
    /// all defaults.
    pub fn read<'de, D: Deserializer<'de>>(
        kind: &str,
        deserializer: D,
    ) -> Result<Option<Self>, D::Error> {
        if kind != "otlp" {
            return Ok(None);
        }
        let keys = Present::<OtlpConfig>::deserialize(deserializer)?;
        let keys = keys.into_option().unwrap_or_default();
        Ok(Some(Self::Otlp(Box::new(keys))))
    }

    /// What serde can't say.
    pub fn check(&self, faults: &mut Faults) {
        match self {
            Self::Otlp(config) => config.check(faults),
        }
    }
}
