//! Keys of `kafka`.

use serde::{Deserialize, Serialize};

use crate::config::{ClientTls, Faults, Period, Present};
use crate::kafka::{Auth, Cluster, Encoding, check_version};

/// Reads requests from topics, as a member of a consumer group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KafkaConfig {
    /// `host:port` of some brokers of the cluster.
    pub brokers: Vec<String>,
    /// Accepted as the Collector accepts it; client and brokers agree on versions by themselves.
    pub protocol_version: String,
    /// What brokers call this client.
    pub client_id: String,
    /// TLS, with the Collector's client keys; plain text unless written.
    pub tls: Present<ClientTls>,
    /// Name and password.
    pub auth: Auth,
    /// Topics and encoding.
    pub traces: TracesConfig,
    /// The consumer group: its members share the partitions.
    pub group_id: String,
    /// A name that outlives a restart, so that the group keeps the member's partitions for it.
    pub group_instance_id: String,
    /// Ways to share the partitions, the best first.
    pub group_rebalance_strategies: Vec<Strategy>,
    /// Where to begin in a partition of which the group has read nothing yet.
    pub initial_offset: InitialOffset,
    /// A member that is silent for so long has lost its partitions.
    pub session_timeout: Period,
    /// How often a member says that it is there.
    pub heartbeat_interval: Period,
    /// A broker waits until it has so many bytes, or `max_fetch_wait`.
    pub min_fetch_size: u32,
    /// Bytes of an answer of a broker, about.
    pub max_fetch_size: u32,
    /// How long a broker waits for `min_fetch_size` bytes.
    pub max_fetch_wait: Period,
    /// Bytes of one partition in an answer of a broker, about.
    pub max_partition_fetch_size: u32,
    /// The rack of this client, so that it reads from the nearest replica.
    pub rack_id: String,
    /// When it is told to the broker what was read.
    pub autocommit: Autocommit,
    /// Which messages count as read.
    pub message_marking: MessageMarking,
}

/// Where traces come from, and how they are written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TracesConfig {
    /// Names; one that begins with `^` is a regular expression.
    pub topics: Vec<String>,
    /// `otlp_proto` or `otlp_json`.
    pub encoding: Encoding,
}

/// A way to share partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// A run of each topic's partitions a member.
    Range,
    /// Partitions one after the other.
    #[serde(rename = "roundrobin")]
    RoundRobin,
    /// Members keep what they have, and only what changes hands rests meanwhile.
    CooperativeSticky,
}

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InitialOffset {
    /// With what comes from now on.
    #[default]
    Latest,
    /// With the oldest message that is still there.
    Earliest,
}

/// When it is told to the broker what was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Autocommit {
    /// Every `interval`; otherwise as soon as something was handed over.
    pub enable: bool,
    /// How often.
    pub interval: Period,
}

/// Which messages count as read: always those that were handed over. The Collector's other
/// choices would lose messages or block a partition for good, and are a fault when written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MessageMarking {
    /// After it was handed over.
    pub after: bool,
    /// Though it was refused.
    pub on_error: bool,
    /// Though it can never be used.
    pub on_permanent_error: bool,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            brokers: vec!["localhost:9092".to_owned()],
            protocol_version: "2.1.0".to_owned(),
            client_id: "otel-collector".to_owned(),
            tls: Present(None),
            auth: Auth::default(),
            traces: TracesConfig::default(),
            group_id: "otel-collector".to_owned(),
            group_instance_id: String::new(),
            group_rebalance_strategies: vec![Strategy::CooperativeSticky],
            initial_offset: InitialOffset::Latest,
            session_timeout: Period::from_secs(10),
            heartbeat_interval: Period::from_secs(3),
            min_fetch_size: 1,
            max_fetch_size: 1_048_576,
            max_fetch_wait: Period::from_millis(250),
            max_partition_fetch_size: 1_048_576,
            rack_id: String::new(),
            autocommit: Autocommit::default(),
            message_marking: MessageMarking::default(),
        }
    }
}

impl Default for TracesConfig {
    fn default() -> Self {
        Self {
            topics: vec!["otlp_spans".to_owned()],
            encoding: Encoding::Proto,
        }
    }
}

impl Default for Autocommit {
    fn default() -> Self {
        Self {
            enable: true,
            interval: Period::from_secs(1),
        }
    }
}

impl Default for MessageMarking {
    fn default() -> Self {
        Self {
            after: true,
            on_error: false,
            on_permanent_error: true,
        }
    }
}

impl Strategy {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Range => "range",
            Self::RoundRobin => "roundrobin",
            Self::CooperativeSticky => "cooperative-sticky",
        }
    }
}

impl KafkaConfig {
    /// What serde can't say.
    pub fn check(&self, faults: &mut Faults) {
        self.cluster().check(faults);
        check_version(&self.protocol_version, faults);
        let topics = &self.traces.topics;
        if topics.is_empty()
            || topics
                .iter()
                .any(|topic| topic.trim_start_matches('^').is_empty())
        {
            faults.below("traces", |faults| {
                faults.push("topics", "must name topics, as `[otlp_spans]`");
            });
        }
        if self.group_id.is_empty() {
            faults.push("group_id", "is missing");
        }
        let strategies = &self.group_rebalance_strategies;
        let cooperative = strategies.contains(&Strategy::CooperativeSticky);
        if strategies.is_empty() || (cooperative && strategies.len() > 1) {
            faults.push(
                "group_rebalance_strategies",
                "must name `cooperative-sticky` alone, or `range`, `roundrobin` or both",
            );
        }
        if self.heartbeat_interval.is_zero() || self.heartbeat_interval >= self.session_timeout {
            faults.push(
                "heartbeat_interval",
                format!(
                    "must be longer than 0 and shorter than session_timeout ({}), got {}",
                    self.session_timeout, self.heartbeat_interval
                ),
            );
        }
        let sizes = [
            ("min_fetch_size", self.min_fetch_size, 1),
            ("max_fetch_size", self.max_fetch_size, 1_024),
            (
                "max_partition_fetch_size",
                self.max_partition_fetch_size,
                1_024,
            ),
        ];
        for (key, got, least) in sizes {
            if !(least..=1_000_000_000).contains(&got) {
                faults.push(
                    key,
                    format!("must be from {least} to 1000000000, got {got}"),
                );
            }
        }
        if self.max_fetch_size < self.min_fetch_size {
            faults.push("max_fetch_size", "must be at least min_fetch_size");
        }
        if self.max_fetch_wait.duration().as_secs() > 300 {
            faults.push("max_fetch_wait", "must be at most 5m");
        }
        if self.autocommit.enable && self.autocommit.interval.is_zero() {
            faults.below("autocommit", |faults| {
                faults.push("interval", "must be longer than 0s; write `1s`, say");
            });
        }
        faults.below("message_marking", |faults| {
            self.message_marking.check(faults)
        });
    }

    pub(super) fn cluster(&self) -> Cluster<'_> {
        Cluster {
            brokers: &self.brokers,
            client_id: &self.client_id,
            tls: &self.tls,
            auth: &self.auth,
        }
    }
}

impl MessageMarking {
    fn check(&self, faults: &mut Faults) {
        if !self.after {
            faults.push(
                "after",
                "must be true: a message counts as read after it was handed over, or a crash loses it",
            );
        }
        if self.on_error {
            faults.push(
                "on_error",
                "must be false: a message that is refused is given again and never skipped",
            );
        }
        if !self.on_permanent_error {
            faults.push(
                "on_permanent_error",
                "must be true: a message that can never be used would block its partition for good; \
                 it is counted, named in the log and passed over",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::key_table;

    #[test]
    fn the_key_table_of_the_readme_is_the_config() {
        key_table::check(include_str!("README.md"), &KafkaConfig::default(), |key| {
            key == "auth"
        });
    }

    #[test]
    fn every_fault_names_its_key() {
        let check = |yaml: &str, expected: &[&str]| {
            let config: KafkaConfig = serde_yaml_ng::from_str(yaml).unwrap();
            let mut faults = Faults::default();
            config.check(&mut faults);
            let paths: Vec<_> = faults.into_vec().into_iter().map(|f| f.path).collect();
            assert_eq!(paths, expected, "{yaml}");
        };
        check("{}", &[]);
        check(
            "{traces: {topics: ['^']}, group_id: '', group_rebalance_strategies: [range, cooperative-sticky], \
              heartbeat_interval: 10s, min_fetch_size: 2000, max_fetch_size: 1024, autocommit: {interval: 0}, \
              message_marking: {after: false, on_error: true, on_permanent_error: false}}",
            &[
                "traces.topics",
                "group_id",
                "group_rebalance_strategies",
                "heartbeat_interval",
                "max_fetch_size",
                "autocommit.interval",
                "message_marking.after",
                "message_marking.on_error",
                "message_marking.on_permanent_error",
            ],
        );
    }
}
