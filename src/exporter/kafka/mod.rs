//! The `kafka` exporter: a request, or each of its traces, as a message of a topic.

mod config;

use std::time::Duration;

use bytes::Bytes;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;
use tokio::task::JoinSet;

use super::failure::{Accepted, Failure};
use crate::kafka::{Context, Encoding};
use crate::otlp::Payload;
use crate::otlp::view::{Part, split};
use crate::pipeline::off_reactor;
use crate::trace::TraceId;

pub use config::{
    Compression, CompressionParams, Config, Hasher, PartitionerConfig, ProducerConfig,
    RecordHeader, RequiredAcks, StickyKey, TracesConfig,
};

/// Bytes that a message takes around its value at most: key, headers' frames, its batch.
const AROUND: usize = 1_000;

/// Writes to one topic.
pub(super) struct Writer {
    producer: FutureProducer<Context>,
    context: Context,
    topic: String,
    encoding: Encoding,
    by_trace: bool,
    headers: OwnedHeaders,
    /// Bytes of a value at most.
    most: usize,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer")
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}

impl Writer {
    /// Sets up a client; connects in the background.
    pub(super) fn new(name: &str, config: &Config) -> Result<Self, String> {
        let mut headers = OwnedHeaders::new();
        let mut around = AROUND;
        for RecordHeader { name, value } in &config.record_headers {
            let value = Some(value.reveal());
            around += name.len() + value.map_or(0, str::len) + 16;
            headers = headers.insert(Header { key: name, value });
        }
        let context = Context::new(&format!("exporters.{name}"));
        let producer = settings(config)
            .create_with_context(context.clone())
            .map_err(|fault| format!("can't set up the Kafka client: {fault}"))?;
        Ok(Self {
            producer,
            context,
            topic: config.traces.topic.clone(),
            encoding: config.traces.encoding,
            by_trace: config.partition_traces_by_id,
            headers,
            most: (config.producer.max_message_bytes as usize).saturating_sub(around),
        })
    }

    /// Writes all messages of a payload and waits until each is acknowledged. Where one is not,
    /// all are written again: what the brokers have already comes twice.
    pub(super) async fn send(&self, payload: &Payload) -> Result<Accepted, Failure> {
        let messages = off_reactor(|| self.messages(payload)).map_err(Failure::lasting)?;
        let mut waiting = JoinSet::new();
        for (key, spans, value) in messages {
            let (producer, topic) = (self.producer.clone(), self.topic.clone());
            let headers = self.headers.clone();
            waiting.spawn(async move {
                let mut record = FutureRecord::to(&topic).payload(&*value).headers(headers);
                if let Some(key) = &key {
                    record = record.key(key);
                }
                // A full client makes it wait; how long a message may take is the client's to tell.
                let sent = producer.send(record, Timeout::Never).await;
                (spans, sent.map(drop).map_err(|(fault, _)| fault))
            });
        }
        let mut accepted = Accepted::default();
        let mut failed = None;
        while let Some(sent) = waiting.join_next().await {
            match sent {
                Ok((_, Ok(()))) => {}
                Ok((spans, Err(KafkaError::MessageProduction(TOO_LONG)))) => {
                    accepted.rejected += spans as u64;
                    accepted.message = "a span is longer than producer.max_message_bytes or what \
                                        the topic takes"
                        .to_owned();
                }
                Ok((_, Err(fault))) => failed = Some(self.failure(&fault)),
                Err(fault) => failed = Some(Failure::passing(fault.to_string())),
            }
        }
        match failed {
            Some(failure) => Err(failure),
            None => {
                self.context.reached();
                Ok(accepted)
            }
        }
    }

    /// Key, number of spans and value of each message.
    fn messages(&self, payload: &Payload) -> Result<Vec<(Option<String>, usize, Bytes)>, String> {
        let parts = if self.by_trace || payload.bytes().len() > self.most {
            split(payload.bytes(), self.by_trace, self.most).map_err(|fault| fault.to_string())?
        } else {
            vec![Part {
                trace: None,
                spans: payload.spans(),
                bytes: payload.bytes().clone(),
            }]
        };
        let written = parts.into_iter().map(|part| {
            let value = match self.encoding {
                Encoding::Proto => part.bytes,
                Encoding::Json => {
                    let mut json = Vec::new();
                    super::json::write(&part.bytes, &mut json)?;
                    json.into()
                }
            };
            Ok((part.trace.map(key), part.spans, value))
        });
        written.collect()
    }

    fn failure(&self, fault: &KafkaError) -> Failure {
        let mut message = fault.to_string();
        if let Some(trouble) = self.context.trouble() {
            message = format!("{message} ({trouble})");
        }
        match fault {
            KafkaError::MessageProduction(
                RDKafkaErrorCode::InvalidTopic
                | RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::ClusterAuthorizationFailed
                | RDKafkaErrorCode::InvalidRecord
                | RDKafkaErrorCode::UnsupportedCompressionType,
            ) => Failure::lasting(message),
            _ => Failure::passing(message),
        }
    }
}

const TOO_LONG: RDKafkaErrorCode = RDKafkaErrorCode::MessageSizeTooLarge;

/// The key of a trace's messages: its id as the Collector writes it.
fn key(trace: TraceId) -> String {
    format!("{:032x}", trace.number())
}

fn settings(config: &Config) -> rdkafka::ClientConfig {
    let ProducerConfig {
        max_message_bytes,
        required_acks,
        compression,
        ref compression_params,
        flush_max_messages,
        allow_auto_topic_creation,
        linger,
    } = config.producer;
    let millis = |time: Duration| time.as_millis().to_string();
    let timeout = config.timeout.duration();
    let mut client = config.cluster().client();
    client
        .set("message.max.bytes", max_message_bytes.to_string())
        .set(
            "acks",
            match required_acks {
                RequiredAcks::None => "0",
                RequiredAcks::Leader => "1",
                RequiredAcks::All => "all",
            },
        )
        // Only with all in-sync replicas can the client tell a message it wrote twice.
        .set(
            "enable.idempotence",
            (required_acks == RequiredAcks::All).to_string(),
        )
        .set(
            "compression.codec",
            format!("{compression:?}").to_lowercase(),
        )
        .set("compression.level", compression_params.level.to_string())
        .set("batch.num.messages", flush_max_messages.to_string())
        .set(
            "allow.auto.create.topics",
            allow_auto_topic_creation.to_string(),
        )
        .set("linger.ms", millis(linger.duration()))
        .set("message.timeout.ms", millis(timeout))
        // What waits is bounded by the exporter's queue and its consumers.
        .set("queue.buffering.max.messages", "1000000")
        .set("queue.buffering.max.kbytes", "1048576")
        .set(
            "partitioner",
            match config.record_partitioner.sticky_key.hasher {
                Hasher::SaramaCompat => "fnv1a_random",
                Hasher::Murmur2 => "murmur2_random",
            },
        );
    if !timeout.is_zero() {
        client.set(
            "request.timeout.ms",
            millis(timeout.min(Duration::from_secs(900))),
        );
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exporter::sample;
    use rdkafka::config::FromClientConfig as _;
    use rdkafka::producer::BaseProducer;

    fn writer(yaml: &str) -> Writer {
        let config: Config = serde_yaml_ng::from_str(yaml).unwrap();
        Writer::new("kafka", &config).unwrap()
    }

    fn check(yaml: &str, payload: &Payload, expected: &str) {
        let messages = writer(yaml).messages(payload).unwrap();
        let shown = messages.iter().map(|(key, spans, _)| {
            let key = key.as_ref().map_or("-", |key| &key[..2]);
            format!("{key}:{spans}")
        });
        assert_eq!(shown.collect::<Vec<_>>().join(" "), expected, "{yaml}");
    }

    #[test]
    fn a_message_is_a_request_or_a_trace_and_never_too_long() {
        let two = [sample::request(7, 30), sample::request(9, 30)].concat();
        let payload = Payload::new(two.into(), 60);
        check("{}", &payload, "-:60");
        check("{partition_traces_by_id: true}", &payload, "07:30 09:30");
        let short = "producer: {max_message_bytes: 2500}";
        check(&format!("{{{short}}}"), &payload, "-:25 -:25 -:10");
        check(
            &format!("{{partition_traces_by_id: true, {short}}}"),
            &payload,
            "07:25 07:5 09:25 09:5",
        );
        check("{traces: {encoding: otlp_json}}", &payload, "-:60");
    }

    #[test]
    fn librdkafka_takes_every_setting() {
        for yaml in [
            "{}",
            "{producer: {required_acks: all, compression: zstd, linger: 0}, timeout: 0}",
            "{producer: {required_acks: 0, compression: gzip, compression_params: {level: 9}}}",
            "{producer: {compression: lz4}, record_partitioner: {sticky_key: {hasher: murmur2}}}",
            "{producer: {compression: snappy, allow_auto_topic_creation: false}}",
        ] {
            let config: Config = serde_yaml_ng::from_str(yaml).unwrap();
            BaseProducer::<rdkafka::producer::DefaultProducerContext>::from_config(&settings(
                &config,
            ))
            .unwrap();
        }
    }
}
