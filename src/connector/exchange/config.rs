//! Keys of `model_exchange`.

use serde::{Deserialize, Serialize};

use crate::config::{ClientTls, Faults, Period, Present};
use crate::kafka::{Auth, Cluster};

use super::Role;

/// How instances share what they have learnt; they don't unless one of these is written.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelExchangeConfig {
    /// Over a compacted topic of Apache Kafka.
    pub kafka: Present<KafkaExchangeConfig>,
}

/// Models over a compacted topic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KafkaExchangeConfig {
    /// `host:port` of some brokers of the cluster.
    pub brokers: Vec<String>,
    /// What brokers call this client.
    pub client_id: String,
    /// TLS, with the Collector's client keys; plain text unless written.
    pub tls: Present<ClientTls>,
    /// Name and password.
    pub auth: Auth,
    /// The topic; it is made, compacted, if it is not there.
    pub topic: String,
    /// Which models belong together: the key of their messages.
    pub model: String,
    /// `peer`, `elected`, `trainer` or `follower`.
    pub role: Role,
    /// How often a model is sent at most.
    pub interval: Period,
    /// What other instances call this one; fresh chance unless written.
    pub instance: String,
}

impl Default for KafkaExchangeConfig {
    fn default() -> Self {
        Self {
            brokers: vec!["localhost:9092".to_owned()],
            client_id: "doppelspan".to_owned(),
            tls: Present(None),
            auth: Auth::default(),
            topic: "doppelspan_models".to_owned(),
            model: "default".to_owned(),
            role: Role::Peer,
            interval: Period::from_secs(60),
            instance: String::new(),
        }
    }
}

impl ModelExchangeConfig {
    /// What serde can't say. `learns` is `learner.enabled`.
    pub(in crate::connector) fn check(&self, learns: bool, faults: &mut Faults) {
        if let Some(kafka) = self.kafka.as_ref() {
            faults.below("kafka", |faults| kafka.check(learns, faults));
        }
    }
}

impl KafkaExchangeConfig {
    fn check(&self, learns: bool, faults: &mut Faults) {
        self.cluster().check(faults);
        for (key, text) in [("topic", &self.topic), ("model", &self.model)] {
            if text.is_empty() {
                faults.push(key, "is missing");
            }
        }
        if self.interval.is_zero() {
            faults.push("interval", "must be longer than 0s; write `1m`, say");
        }
        if !learns && self.role != Role::Follower {
            faults.push(
                "role",
                "must be `follower` where `learner.enabled` is false",
            );
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_names_its_key() {
        let check = |yaml: &str, learns: bool, expected: &[&str]| {
            let config: ModelExchangeConfig = serde_yaml_ng::from_str(yaml).unwrap();
            let mut faults = Faults::default();
            config.check(learns, &mut faults);
            let paths: Vec<_> = faults.into_vec().into_iter().map(|f| f.path).collect();
            assert_eq!(paths, expected, "{yaml}");
        };
        check("{}", false, &[]);
        check("kafka:", true, &[]);
        check("kafka: {role: follower}", false, &[]);
        check("kafka: {role: elected}", false, &["kafka.role"]);
        let all = "kafka: {brokers: [], topic: '', model: '', interval: 0}";
        let keys = ["brokers", "topic", "model", "interval"].map(|key| format!("kafka.{key}"));
        check(all, true, &keys.each_ref().map(String::as_str));
    }
}
