//! The courier: a thread that carries models to a compacted topic and from it.
//!
//! A message is a checkpoint's file, its key the model's name, its header the instance that sent it.
//! The topic keeps the newest of each name. An instance that starts reads from the beginning to the
//! end and hands on the last one.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::{Sender, TrySendError};
use metrics::counter;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::config::KafkaExchangeConfig;
use super::election::Candidate;
use super::{ARRIVED, Arrived, Exchange, Outbox, Role};
use crate::kafka::Context;
use crate::telemetry;

/// The longest model that is sent.
const LONGEST: &str = "67108864";
/// The header that says who sent a message, for people.
const INSTANCE: &str = "doppelspan.instance";
/// The header that says which process sent it, for that process to know it again.
const RUN: &str = "doppelspan.run";
/// How long a poll waits for a message.
const POLL: Duration = Duration::from_millis(100);
/// How long it waits after a failure before it tries again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long the cluster may take for an answer.
const ANSWER: Duration = Duration::from_secs(10);
/// How long the last model may take at the end.
const LAST: Duration = Duration::from_secs(5);

/// Carries models between the learner's thread and the topic.
pub(in crate::connector) struct Courier {
    config: KafkaExchangeConfig,
    connector: String,
    instance: String,
    run: String,
    elected: Arc<AtomicBool>,
    arrived: Sender<Arrived>,
    outbox: Arc<Outbox>,
    context: Context,
    runtime: Handle,
}

/// A client at work.
struct Round {
    consumer: BaseConsumer<Context>,
    producer: FutureProducer<Context>,
    candidate: Option<Candidate>,
}

impl Courier {
    /// A courier of this connector and the ends for the learner's thread. To be called inside a
    /// runtime. Fails where librdkafka does not take the settings.
    pub(in crate::connector) fn new(
        connector: &str,
        config: &KafkaExchangeConfig,
        fresh: u64,
    ) -> KafkaResult<(Self, Exchange)> {
        consumer_settings(config).create_native_config()?;
        let (arrived_in, arrived) = crossbeam_channel::bounded(ARRIVED);
        let outbox = Arc::<Outbox>::default();
        let elected = Arc::<AtomicBool>::default();
        let courier = Self {
            config: config.clone(),
            connector: connector.to_owned(),
            instance: match config.instance.as_str() {
                "" => format!("{fresh:08x}"),
                name => name.to_owned(),
            },
            run: format!("{fresh:016x}"),
            elected: elected.clone(),
            arrived: arrived_in,
            outbox: outbox.clone(),
            context: Context::new(&format!("connectors.{connector}.model_exchange")),
            runtime: Handle::current(),
        };
        let exchange = Exchange {
            role: config.role,
            elected,
            arrived,
            outbox,
            interval: config.interval.duration(),
        };
        Ok((courier, exchange))
    }

    /// Carries models until told to stop, and then the last one.
    pub(in crate::connector) fn run(&self, stop: &CancellationToken) {
        let mut complained = false;
        while !stop.is_cancelled() {
            match self.set_up() {
                Ok(round) => return self.carry(&round, stop),
                Err(fault) if complained => tracing::debug!(%fault, "no exchange of models yet"),
                Err(fault) => {
                    complained = true;
                    tracing::warn!(
                        connector = self.connector,
                        topic = self.config.topic,
                        %fault,
                        "models can't be exchanged yet; it is tried again and again"
                    );
                }
            }
            let told = stop.cancelled();
            let waited = async { tokio::time::timeout(AGAIN, told).await.is_ok() };
            self.runtime.block_on(waited);
        }
    }

    fn set_up(&self) -> KafkaResult<Round> {
        let config = &self.config;
        let topic = config.topic.as_str();
        let consumer: BaseConsumer<Context> =
            consumer_settings(config).create_with_context(self.context.clone())?;
        let metadata = consumer.fetch_metadata(Some(topic), ANSWER)?;
        let there = |topic: &rdkafka::metadata::MetadataTopic| !topic.partitions().is_empty();
        let mut partitions = TopicPartitionList::new();
        match metadata.topics().first().filter(|topic| there(topic)) {
            Some(found) => {
                for partition in found.partitions() {
                    partitions.add_partition_offset(topic, partition.id(), Offset::Beginning)?;
                }
            }
            None => {
                self.make_topic()?;
                partitions.add_partition_offset(topic, 0, Offset::Beginning)?;
            }
        }
        consumer.assign(&partitions)?;
        let mut producer = config.cluster().client();
        producer
            .set("message.max.bytes", LONGEST)
            .set("acks", "all")
            .set("message.timeout.ms", "60000");
        let group = format!("{topic}-{}-trainer", config.model);
        let candidate = (config.role == Role::Elected).then(|| {
            let client = config.cluster().client();
            Candidate::new(client, &group, topic, self.elected.clone())
        });
        Ok(Round {
            consumer,
            producer: producer.create_with_context(self.context.clone())?,
            candidate: candidate.transpose()?,
        })
    }

    fn make_topic(&self) -> KafkaResult<()> {
        let admin: AdminClient<Context> = self
            .config
            .cluster()
            .client()
            .create_with_context(self.context.clone())?;
        // One partition, so that there is one order; segments that end, so that old models go.
        let topic = NewTopic::new(&self.config.topic, 1, TopicReplication::Fixed(-1))
            .set("cleanup.policy", "compact")
            .set("max.message.bytes", LONGEST)
            .set("segment.bytes", "134217728")
            .set("segment.ms", "3600000")
            .set("min.cleanable.dirty.ratio", "0.1");
        let options = AdminOptions::new().operation_timeout(Some(ANSWER));
        let made = self
            .runtime
            .block_on(admin.create_topics([&topic], &options))?;
        match made.into_iter().next() {
            // Another instance was faster.
            None | Some(Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(()),
            Some(Err((_, code))) => Err(KafkaError::AdminOp(code)),
        }
    }

    fn carry(&self, round: &Round, stop: &CancellationToken) {
        let mut newest: Option<Arrived> = None;
        let mut sending: Option<JoinHandle<()>> = None;
        while !stop.is_cancelled() {
            if let Some(candidate) = &round.candidate {
                candidate.take_part();
            }
            if sending.as_ref().is_none_or(JoinHandle::is_finished) {
                sending = self.outbox.take().map(|model| self.send(round, model));
            }
            match round.consumer.poll(POLL) {
                Some(Ok(message)) => {
                    self.context.reached();
                    // Of several that wait only the last one counts.
                    newest = self.arrived(&message).or(newest);
                    continue;
                }
                Some(Err(KafkaError::PartitionEOF(_))) | None => {}
                Some(Err(fault)) => tracing::debug!(%fault, "a poll of models failed"),
            }
            if let Some(arrived) = newest.take()
                && let Err(TrySendError::Full(arrived)) = self.arrived.try_send(arrived)
            {
                newest = Some(arrived);
            }
        }
        self.runtime.block_on(async {
            let last = async {
                if let Some(sending) = sending {
                    sending.await.ok();
                }
                if let Some(model) = self.outbox.take() {
                    self.send(round, model).await.ok();
                }
            };
            if tokio::time::timeout(LAST, last).await.is_err() {
                tracing::warn!(
                    connector = self.connector,
                    "the last model was not sent in time"
                );
            }
        });
    }

    /// The message's model, if another instance has sent it under our name.
    fn arrived(&self, message: &BorrowedMessage<'_>) -> Option<Arrived> {
        if message.key() != Some(self.config.model.as_bytes()) {
            return None;
        }
        let told = |key: &str| {
            let headers = message.headers()?;
            headers.iter().find(|header| header.key == key)?.value
        };
        if told(RUN) == Some(self.run.as_bytes()) {
            return None;
        }
        let from = told(INSTANCE).unwrap_or(b"unknown");
        Some(Arrived {
            from: String::from_utf8_lossy(from).into_owned(),
            model: Bytes::copy_from_slice(message.payload()?),
        })
    }

    fn send(&self, round: &Round, model: Vec<u8>) -> JoinHandle<()> {
        let producer = round.producer.clone();
        let Self {
            config, instance, ..
        } = self;
        let (topic, key) = (config.topic.clone(), config.model.clone());
        let mut headers = OwnedHeaders::new();
        for (key, value) in [(INSTANCE, instance), (RUN, &self.run)] {
            let value = Some(value.as_str());
            headers = headers.insert(Header { key, value });
        }
        let connector = self.connector.clone();
        self.runtime.spawn(async move {
            let record = FutureRecord::to(&topic)
                .key(&key)
                .payload(&model)
                .headers(headers);
            let bytes = model.len();
            match producer.send(record, Timeout::Never).await {
                Ok(_) => {
                    let name = telemetry::EXCHANGE_MODELS.name;
                    counter!(name, "connector" => connector, "fate" => "sent").increment(1);
                    tracing::debug!(topic, bytes, "a model was sent");
                }
                Err((fault, _)) => tracing::warn!(
                    connector,
                    topic,
                    bytes,
                    %fault,
                    "a model was not sent; the next one will be tried"
                ),
            }
        })
    }
}

fn consumer_settings(config: &KafkaExchangeConfig) -> ClientConfig {
    let mut client = config.cluster().client();
    client
        // librdkafka asks for a group though none is joined: partitions are taken, not given.
        .set("group.id", format!("{}-readers", config.topic))
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("enable.partition.eof", "true")
        .set("fetch.message.max.bytes", "16777216")
        .set("queued.max.messages.kbytes", "65536")
        .set("allow.auto.create.topics", "false");
    client
}

impl std::fmt::Debug for Courier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Courier")
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}
