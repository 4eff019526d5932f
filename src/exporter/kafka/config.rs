//! Keys of `kafka`.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::config::{ClientTls, Faults, Period, Present};
use crate::exporter::{RetryOnFailure, SendingQueue};
use crate::kafka::{Auth, Cluster, Encoding, Secret, check_version};

/// Writes requests to a topic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
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
    /// Topic and encoding.
    pub traces: TracesConfig,
    /// Whether each trace makes a message of its own whose key is its id.
    pub partition_traces_by_id: bool,
    /// How a message finds its partition.
    pub record_partitioner: PartitionerConfig,
    /// Headers of every message.
    pub record_headers: Vec<RecordHeader>,
    /// How messages are written.
    pub producer: ProducerConfig,
    /// How long one attempt may take; 0 is without limit.
    pub timeout: Period,
    /// The queue in front of the cluster.
    pub sending_queue: SendingQueue,
    /// When what failed is written again.
    pub retry_on_failure: RetryOnFailure,
}

/// Where traces go, and how they are written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TracesConfig {
    /// The topic.
    pub topic: String,
    /// `otlp_proto` or `otlp_json`.
    pub encoding: Encoding,
}

/// How a message finds its partition.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PartitionerConfig {
    /// By its key; one without a key by chance, several together.
    pub sticky_key: StickyKey,
}

/// By key.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StickyKey {
    /// `sarama_compat` or `murmur2`.
    pub hasher: Hasher,
}

/// What a key is hashed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hasher {
    /// FNV-1a, as the Collector does unless told otherwise.
    #[default]
    SaramaCompat,
    /// As Java clients do.
    Murmur2,
}

/// A header of every message.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecordHeader {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Secret,
}

/// How messages are written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProducerConfig {
    /// The longest message, before compression. A longer request is cut into several.
    pub max_message_bytes: u32,
    /// When a message counts as taken: `1` when the partition's leader has it, `all` (or `-1`)
    /// when all in-sync replicas have it, `0` as soon as it is sent.
    pub required_acks: RequiredAcks,
    /// `none`, `gzip`, `snappy`, `lz4` or `zstd`.
    pub compression: Compression,
    /// How hard to compress.
    pub compression_params: CompressionParams,
    /// Messages of one request to a broker at most.
    pub flush_max_messages: u32,
    /// Whether the broker may make a topic that is not there.
    pub allow_auto_topic_creation: bool,
    /// How long a message waits for others that go to the same partition.
    pub linger: Period,
}

/// Whose word counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RequiredAcks {
    /// Nobody's: what is sent counts as taken.
    None,
    /// The leader's.
    #[default]
    Leader,
    /// That of all in-sync replicas.
    All,
}

/// How messages are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4.
    Lz4,
    /// zstd.
    Zstd,
}

/// How hard to compress.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CompressionParams {
    /// The codec's own level; -1 is its default.
    pub level: i32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            brokers: vec!["localhost:9092".to_owned()],
            protocol_version: "2.1.0".to_owned(),
            client_id: "otel-collector".to_owned(),
            tls: Present(None),
            auth: Auth::default(),
            traces: TracesConfig::default(),
            partition_traces_by_id: false,
            record_partitioner: PartitionerConfig::default(),
            record_headers: Vec::new(),
            producer: ProducerConfig::default(),
            timeout: Period::from_secs(5),
            sending_queue: SendingQueue::default(),
            retry_on_failure: RetryOnFailure::default(),
        }
    }
}

impl Default for TracesConfig {
    fn default() -> Self {
        Self {
            topic: "otlp_spans".to_owned(),
            encoding: Encoding::Proto,
        }
    }
}

impl Default for ProducerConfig {
    fn default() -> Self {
        Self {
            max_message_bytes: 1_000_000,
            required_acks: RequiredAcks::Leader,
            compression: Compression::None,
            compression_params: CompressionParams::default(),
            flush_max_messages: 10_000,
            allow_auto_topic_creation: true,
            linger: Period::from_millis(10),
        }
    }
}

impl Default for CompressionParams {
    fn default() -> Self {
        Self { level: -1 }
    }
}

impl Config {
    /// What serde can't say.
    pub fn check(&self, faults: &mut Faults) {
        self.cluster().check(faults);
        check_version(&self.protocol_version, faults);
        if self.traces.topic.is_empty() {
            faults.below("traces", |faults| faults.push("topic", "is missing"));
        }
        for header in &self.record_headers {
            if header.name.is_empty() {
                faults.push("record_headers", "has a header without a name");
            }
        }
        faults.below("producer", |faults| self.producer.check(faults));
        if !self.timeout.is_zero() && self.timeout <= self.producer.linger {
            faults.push(
                "timeout",
                format!(
                    "must be 0 or longer than producer.linger ({}), got {}",
                    self.producer.linger, self.timeout
                ),
            );
        }
        faults.below("sending_queue", |faults| self.sending_queue.check(faults));
        faults.below("retry_on_failure", |faults| {
            self.retry_on_failure.check(faults);
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

impl ProducerConfig {
    fn check(&self, faults: &mut Faults) {
        let within = |faults: &mut Faults, key, got: u32, least, most| {
            if !(least..=most).contains(&got) {
                faults.push(key, format!("must be from {least} to {most}, got {got}"));
            }
        };
        let bytes = self.max_message_bytes;
        within(faults, "max_message_bytes", bytes, 2_000, 1_000_000_000);
        let messages = self.flush_max_messages;
        within(faults, "flush_max_messages", messages, 1, 1_000_000);
        let most = match self.compression {
            Compression::Gzip => 9,
            Compression::Lz4 => 12,
            Compression::Zstd => 12,
            Compression::None | Compression::Snappy => -1,
        };
        let level = self.compression_params.level;
        if !(-1..=most).contains(&level) {
            faults.below("compression_params", |faults| {
                let message = format!(
                    "must be from -1 to {most} with compression {:?}, got {level}",
                    self.compression
                );
                faults.push("level", message.to_lowercase());
            });
        }
        if self.linger.duration().as_secs() > 900 {
            faults.push("linger", "must be at most 15m");
        }
    }
}

impl<'de> Deserialize<'de> for RequiredAcks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = RequiredAcks;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("0, 1, -1 or all")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
                match number {
                    -1 => Ok(RequiredAcks::All),
                    0 => Ok(RequiredAcks::None),
                    1 => Ok(RequiredAcks::Leader),
                    _ => Err(E::invalid_value(de::Unexpected::Signed(number), &self)),
                }
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
                self.visit_i64(i64::try_from(number).unwrap_or(i64::MAX))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                match text {
                    "all" => Ok(RequiredAcks::All),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl Serialize for RequiredAcks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.serialize_i32(0),
            Self::Leader => serializer.serialize_i32(1),
            Self::All => serializer.serialize_str("all"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_names_its_key() {
        let check = |yaml: &str, expected: &[&str]| {
            let config: Config = serde_yaml_ng::from_str(yaml).unwrap();
            let mut faults = Faults::default();
            config.check(&mut faults);
            let paths: Vec<_> = faults.into_vec().into_iter().map(|f| f.path).collect();
            assert_eq!(paths, expected, "{yaml}");
        };
        check("{}", &[]);
        check(
            "{brokers: [], traces: {topic: ''}, timeout: 5ms, record_headers: [{value: x}], \
             producer: {max_message_bytes: 5, compression: snappy, compression_params: {level: 1}}}",
            &[
                "brokers",
                "traces.topic",
                "record_headers",
                "producer.max_message_bytes",
                "producer.compression_params.level",
                "timeout",
            ],
        );
        check(
            "{producer: {required_acks: all, compression: zstd, compression_params: {level: 6}}}",
            &[],
        );
    }

    #[test]
    fn acks_are_read_as_the_collector_reads_them() {
        let check = |text: &str, expected: &str| {
            let read: Result<RequiredAcks, _> = serde_yaml_ng::from_str(text);
            let shown = read.map_or_else(|fault| fault.to_string(), |acks| format!("{acks:?}"));
            assert_eq!(shown, expected);
        };
        check("-1", "All");
        check("all", "All");
        check("0", "None");
        check("1", "Leader");
        check("2", "invalid value: integer `2`, expected 0, 1, -1 or all");
    }
}
