//! Who of several instances learns: the one that a consumer group gives the topic's first partition.
//!
//! The cluster does all of it: it notices that an instance is gone, and picks another one. Nothing
//! is read this way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::KafkaResult;

/// An instance that may be elected.
pub(super) struct Candidate(BaseConsumer<Ballot>);

struct Ballot {
    elected: Arc<AtomicBool>,
}

impl ClientContext for Ballot {
    fn log(&self, _: rdkafka::config::RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, "{message}");
    }

    fn error(&self, error: rdkafka::error::KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "the election can't reach the Kafka cluster");
    }
}

impl ConsumerContext for Ballot {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(_) = rebalance
            && self.elected.swap(false, Ordering::Relaxed)
        {
            tracing::info!("this instance learns no more: another one is elected");
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Assign(list) = rebalance else {
            return;
        };
        if let Err(fault) = consumer.pause(list) {
            tracing::debug!(%fault, "a partition that nobody reads could not be told to rest");
        }
        if list.elements().iter().any(|one| one.partition() == 0) {
            tracing::info!("this instance is elected: it learns");
            self.elected.store(true, Ordering::Relaxed);
        }
    }
}

impl Candidate {
    pub(super) fn new(
        mut client: ClientConfig,
        group: &str,
        topic: &str,
        elected: Arc<AtomicBool>,
    ) -> KafkaResult<Self> {
        client
            .set("group.id", group)
            .set("partition.assignment.strategy", "range")
            .set("enable.auto.commit", "false")
            .set("session.timeout.ms", "10000")
            .set("auto.offset.reset", "latest");
        let consumer: BaseConsumer<Ballot> = client.create_with_context(Ballot { elected })?;
        consumer.subscribe(&[topic])?;
        Ok(Self(consumer))
    }

    /// Takes part; to be called again and again.
    pub(super) fn take_part(&self) {
        // Messages are of no interest here.
        drop(self.0.poll(Duration::ZERO));
    }
}
