//! The receiver: a thread of its own polls the consumer, messages are handed over as tasks.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use metrics::gauge;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::Message as _;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::config::{InitialOffset, KafkaConfig};
use super::hand_over::{Flights, HandOver};
use super::marks::{Flying, Partition};
use crate::kafka::Context;
use crate::pipeline::Intake;
use crate::telemetry;

/// Messages on their way at the same time.
const FLYING: usize = 1024;
/// And their bytes: one more message may always set out when there are fewer.
const FLYING_BYTES: usize = 32 << 20;
/// Memory for messages that were fetched and not yet taken, in KiB.
const FETCHED_KIB: &str = "16384";
/// How long a poll waits for a message.
const POLL: Duration = Duration::from_millis(100);
/// If none of the messages that fill all room has landed for so long, the partitions rest, so that
/// the thread can go on telling the group that it is there.
const STUCK: Duration = Duration::from_secs(2);
/// How long partitions that are to be given up wait for their last messages to land.
const LAST: Duration = Duration::from_secs(5);

/// Reads topics; ready to run.
#[derive(Debug)]
pub struct KafkaReceiver {
    config: KafkaConfig,
    intake: Intake,
    id: String,
    component: String,
}

/// Why a receiver can't start.
#[derive(Debug, thiserror::Error)]
#[error("can't set up the Kafka client")]
pub struct SetUpError(#[from] KafkaError);

impl KafkaReceiver {
    /// A receiver with this id that hands what it reads to `intake`. It connects once it runs;
    /// brokers that aren't there yet are no fault.
    pub fn new(id: &str, config: &KafkaConfig, intake: Intake) -> Result<Self, SetUpError> {
        // What librdkafka does not take is told at start.
        settings(config).create_native_config()?;
        Ok(Self {
            config: config.clone(),
            intake,
            id: id.to_owned(),
            component: format!("receivers.{id}"),
        })
    }

    /// Reads until `stop`, and tells the broker how far it came.
    pub async fn run(self, stop: CancellationToken) {
        let runtime = Handle::current();
        let reading = tokio::task::spawn_blocking(move || {
            let component = self.component.clone();
            if let Err(fault) = self.read(runtime, &stop) {
                tracing::error!(component, %fault, "reading from Kafka ended");
            }
        });
        if let Err(fault) = reading.await {
            tracing::error!(%fault, "the reader of Kafka ended");
        }
    }

    fn read(self, runtime: Handle, stop: &CancellationToken) -> KafkaResult<()> {
        let flights = Arc::new(Flights::default());
        let group = Group {
            context: Context::new(&self.component),
            ours: gauge!(telemetry::RECEIVER_PARTITIONS.name, "receiver" => self.id.clone()),
            component: self.component,
            flights: flights.clone(),
        };
        let consumer: BaseConsumer<Group> = settings(&self.config).create_with_context(group)?;
        let topics: Vec<&str> = self
            .config
            .traces
            .topics
            .iter()
            .map(String::as_str)
            .collect();
        consumer.subscribe(&topics)?;
        let autocommit = &self.config.autocommit;
        let reader = Reader {
            consumer,
            flights: flights.clone(),
            hand_over: Arc::new(HandOver {
                intake: self.intake,
                encoding: self.config.traces.encoding,
                flights,
                stop: stop.clone(),
                passed_over: Mutex::default(),
            }),
            commit_every: if autocommit.enable {
                autocommit.interval.duration()
            } else {
                Duration::ZERO
            },
            runtime,
        };
        reader.run(stop);
        Ok(())
    }
}

fn settings(config: &KafkaConfig) -> ClientConfig {
    let mut client = config.cluster().client();
    let millis = |time: Duration| time.as_millis().to_string();
    let strategies = config.group_rebalance_strategies.iter();
    let strategies: Vec<_> = strategies.map(|strategy| strategy.name()).collect();
    let max_fetch = config.max_fetch_size.max(config.max_partition_fetch_size);
    client
        .set("group.id", &config.group_id)
        .set("partition.assignment.strategy", strategies.join(","))
        .set(
            "auto.offset.reset",
            match config.initial_offset {
                InitialOffset::Latest => "latest",
                InitialOffset::Earliest => "earliest",
            },
        )
        // This receiver says itself what was handed over.
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set(
            "session.timeout.ms",
            millis(config.session_timeout.duration()),
        )
        .set(
            "heartbeat.interval.ms",
            millis(config.heartbeat_interval.duration()),
        )
        .set(
            "max.poll.interval.ms",
            millis(
                config
                    .session_timeout
                    .duration()
                    .max(Duration::from_secs(300)),
            ),
        )
        .set("fetch.min.bytes", config.min_fetch_size.to_string())
        .set("fetch.max.bytes", max_fetch.to_string())
        .set("message.max.bytes", max_fetch.min(1_000_000).to_string())
        .set(
            "fetch.message.max.bytes",
            config.max_partition_fetch_size.to_string(),
        )
        .set(
            "fetch.wait.max.ms",
            millis(config.max_fetch_wait.duration()),
        )
        .set("queued.max.messages.kbytes", FETCHED_KIB)
        // A topic that some exporter makes later is found soon.
        .set("topic.metadata.refresh.interval.ms", "10000")
        .set("allow.auto.create.topics", "false");
    if !config.group_instance_id.is_empty() {
        client.set("group.instance.id", &config.group_instance_id);
    }
    if !config.rack_id.is_empty() {
        client.set("client.rack", &config.rack_id);
    }
    client
}

/// Hears what the client and the group say.
struct Group {
    context: Context,
    component: String,
    flights: Arc<Flights>,
    ours: metrics::Gauge,
}

impl ClientContext for Group {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.context.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.context.error(error, reason);
    }
}

impl ConsumerContext for Group {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(list) => {
                let count = list.count();
                if count > 0 {
                    tracing::info!(component = self.component, count, "partitions came");
                }
            }
            Rebalance::Revoke(list) => {
                let gone = partitions(list);
                if gone.is_empty() {
                    return;
                }
                // Who lost them without being asked may not say any more how far it came.
                if !consumer.assignment_lost() {
                    self.flights.wait(LAST, |marks| marks.waiting(&gone) == 0);
                    commit(consumer, &self.flights, CommitMode::Sync);
                }
                self.flights.marks().forget(&gone);
                tracing::info!(
                    component = self.component,
                    count = gone.len(),
                    "partitions went"
                );
            }
            Rebalance::Error(fault) => {
                tracing::warn!(component = self.component, %fault, "the group could not agree");
            }
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, _: &Rebalance<'_>) {
        if let Ok(ours) = consumer.assignment() {
            self.ours.set(ours.count() as f64);
        }
    }
}

fn partitions(list: &TopicPartitionList) -> Vec<Partition> {
    let elements = list.elements();
    let of = elements
        .iter()
        .map(|e| (e.topic().to_owned(), e.partition()));
    of.collect()
}

/// Tells the broker how far each partition was handed over.
fn commit(consumer: &BaseConsumer<Group>, flights: &Flights, mode: CommitMode) {
    let next = flights.marks().take_next();
    if next.is_empty() {
        return;
    }
    let mut list = TopicPartitionList::with_capacity(next.len());
    let added = next.iter().try_for_each(|((topic, partition), offset)| {
        list.add_partition_offset(topic, *partition, Offset::Offset(*offset))
    });
    if let Err(fault) = added.and_then(|()| consumer.commit(&list, mode)) {
        // Later offsets stand for earlier ones; after the last, messages come twice.
        tracing::debug!(%fault, "what was read could not be told to the broker");
    }
}

struct Reader {
    consumer: BaseConsumer<Group>,
    flights: Arc<Flights>,
    hand_over: Arc<HandOver>,
    commit_every: Duration,
    runtime: Handle,
}

impl Reader {
    #[expect(
        clippy::disallowed_methods,
        reason = "the loop that owns the thread reads the clock"
    )]
    fn run(self, stop: &CancellationToken) {
        let mut committed = Instant::now();
        let mut resting = false;
        while !stop.is_cancelled() {
            // Who rests goes on when half of the room is free.
            let least = if resting { 2 } else { 1 };
            let full = |flying: Flying| {
                flying.messages * least >= FLYING || flying.bytes * least >= FLYING_BYTES
            };
            let room = self
                .flights
                .wait(if resting { Duration::ZERO } else { STUCK }, |marks| {
                    !full(marks.flying())
                });
            if room == resting {
                resting = self.rest(!room).unwrap_or(resting);
            }
            match self.consumer.poll(POLL) {
                Some(Ok(message)) => {
                    if resting {
                        // Of a partition that came meanwhile.
                        self.rest(true);
                    }
                    self.consumer.context().context.reached();
                    let partition = (message.topic().to_owned(), message.partition());
                    let bytes = Bytes::copy_from_slice(message.payload().unwrap_or_default());
                    let mut marks = self.flights.marks();
                    let flight = marks.begin(partition, message.offset(), bytes.len());
                    drop(marks);
                    let hand_over = self.hand_over.clone();
                    self.runtime
                        .spawn(async move { hand_over.run(flight, bytes).await });
                }
                Some(Err(fault)) => tracing::debug!(%fault, "a poll of Kafka failed"),
                None => {}
            }
            if committed.elapsed() >= self.commit_every {
                commit(&self.consumer, &self.flights, CommitMode::Async);
                committed = Instant::now();
            }
        }
        // Those that are in an exporter's hands end when the exporter does.
        while !self
            .flights
            .wait(POLL, |marks| marks.flying().messages == 0)
        {}
        commit(&self.consumer, &self.flights, CommitMode::Sync);
    }

    /// Lets all partitions rest, or go on; what holds then.
    fn rest(&self, rest: bool) -> Option<bool> {
        let all = self.consumer.assignment().ok()?;
        let told = match rest {
            true => self.consumer.pause(&all),
            false => self.consumer.resume(&all),
        };
        match told {
            Ok(()) => {
                tracing::debug!(rest, "partitions rest, or go on");
                Some(rest)
            }
            Err(fault) => {
                tracing::debug!(%fault, "partitions could not be told to rest, or to go on");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn librdkafka_takes_every_setting() {
        for yaml in [
            "{}",
            "{group_instance_id: a, rack_id: b, initial_offset: earliest}",
            "{group_rebalance_strategies: [range, roundrobin], max_fetch_size: 2048, \
              max_partition_fetch_size: 4096, session_timeout: 6m, traces: {topics: ['^a.*']}}",
            "{autocommit: {enable: false}, max_fetch_wait: 10ms, min_fetch_size: 100}",
        ] {
            let config: KafkaConfig = serde_yaml_ng::from_str(yaml).unwrap();
            let made: KafkaResult<BaseConsumer> = settings(&config).create();
            assert!(made.is_ok(), "{yaml}: {:?}", made.err());
        }
    }
}
