//! The config of the `admin` extension.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::config::{Faults, ListenAddress};

/// `admin`: the page and its API.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdminConfig {
    /// Where to listen.
    pub endpoint: ListenAddress,
    /// Allow an address beyond this machine.
    pub insecure: bool,
    /// Further names that a browser may know this page by, as a proxy before it has them.
    pub allowed_hosts: Vec<String>,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            endpoint: ListenAddress::localhost(55679),
            insecure: false,
            allowed_hosts: Vec::new(),
        }
    }
}

impl AdminConfig {
    /// What the types can't say.
    pub fn check(&self, faults: &mut Faults) {
        self.endpoint.check_exposure(false, self.insecure, faults);
        for host in &self.allowed_hosts {
            let address = host.parse::<IpAddr>().is_ok();
            if host.is_empty() || (!address && host.contains(['/', ':', '*', ' '])) {
                faults.push(
                    "allowed_hosts",
                    format!("`{host}` is no host name; write it without scheme and port"),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(yaml: &str, expected: &[&str]) {
        let config: AdminConfig = serde_yaml_ng::from_str(yaml).unwrap();
        let mut faults = Faults::default();
        config.check(&mut faults);
        let told: Vec<_> = faults
            .into_vec()
            .into_iter()
            .map(|fault| format!("{}: {}", fault.path, fault.message))
            .collect();
        assert_eq!(told.len(), expected.len(), "{told:?}");
        for (told, expected) in told.iter().zip(expected) {
            assert!(told.contains(expected), "{told} is not {expected}");
        }
    }

    #[test]
    fn the_page_stays_on_this_machine_unless_told_otherwise() {
        check("{}", &[]);
        check("endpoint: 0.0.0.0:55679", &["endpoint: `0.0.0.0:55679`"]);
        check("{ endpoint: 0.0.0.0:55679, insecure: true }", &[]);
    }

    #[test]
    fn an_allowed_host_is_a_name_and_no_url() {
        check("allowed_hosts: [traces.example.org, '::1']", &[]);
        check(
            "allowed_hosts: ['http://traces.example.org', '*']",
            &[
                "`http://traces.example.org` is no host name",
                "`*` is no host name",
            ],
        );
    }

    #[test]
    fn the_readme_names_every_key_with_its_default() {
        let readme = include_str!("README.md");
        let keys = serde_json::to_value(AdminConfig::default()).unwrap();
        for (key, value) in keys.as_object().unwrap() {
            let value = value.as_str().map_or(value.to_string(), str::to_owned);
            let row = format!("| `{key}` | `{value}` |");
            assert!(readme.contains(&row), "the README lacks {row}");
        }
    }
}
