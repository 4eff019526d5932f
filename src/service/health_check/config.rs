//! The config of the `health_check` extension.

use serde::{Deserialize, Serialize};

use crate::config::{Faults, ListenAddress};

/// `health_check`: answers whether the service is up.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct HealthCheckConfig {
    /// Where to listen.
    pub endpoint: ListenAddress,
    /// The path that answers.
    pub path: String,
    /// Allow an address beyond this machine, which a probe from outside needs.
    pub insecure: bool,
}

impl Default for HealthCheckConfig {
    fn default() -> Self {
        Self {
            endpoint: ListenAddress::localhost(13133),
            path: "/".to_owned(),
            insecure: false,
        }
    }
}

impl HealthCheckConfig {
    /// What the types can't say.
    pub fn check(&self, faults: &mut Faults) {
        self.endpoint.check_exposure(false, self.insecure, faults);
        if !self.path.starts_with('/') {
            faults.push("path", format!("`{}` does not begin with /", self.path));
        }
    }
}
