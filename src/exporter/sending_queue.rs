//! `sending_queue`: the bounded queue in front of an exporter, in the Collector's keys.

use serde::{Deserialize, Serialize};

use crate::config::{Faults, Period, Present};
use crate::pipeline::{QueueSettings, Sizer};

/// The queue between a pipeline and the backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SendingQueue {
    /// Whether the sender is answered as soon as the request is in the queue; without it the
    /// sender waits for the backend's answer.
    pub enabled: bool,
    /// Requests on their way to the backend at the same time.
    pub num_consumers: u32,
    /// Capacity, in the unit of `sizer`.
    pub queue_size: u32,
    /// What `queue_size` counts: `requests`, `items` (spans) or `bytes`.
    pub sizer: Sizer,
    /// Whether a sender waits for room instead of being told to come back.
    pub block_on_overflow: bool,
    /// Whether a sender waits for the backend's answer although there is a queue.
    pub wait_for_result: bool,
    /// Puts requests together before they are sent; off unless written.
    pub batch: Present<Batch>,
    /// The extension that keeps the queue on disk; not built.
    pub storage: Option<String>,
}

/// Requests put together before they are sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Batch {
    /// How long the first request waits for others.
    pub flush_timeout: Period,
    /// Sent as soon as it has grown to this size, in the unit of `sizer`.
    pub min_size: u64,
    /// No request is added that would make it larger; 0 is without limit. One request that is
    /// larger by itself is sent as it came.
    pub max_size: u64,
    /// What the sizes count: `requests`, `items` (spans) or `bytes`.
    pub sizer: Sizer,
}

impl Default for SendingQueue {
    fn default() -> Self {
        Self {
            enabled: true,
            num_consumers: 10,
            queue_size: 1000,
            sizer: Sizer::Requests,
            block_on_overflow: false,
            wait_for_result: false,
            batch: Present(None),
            storage: None,
        }
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            flush_timeout: Period::from_millis(200),
            min_size: 8192,
            max_size: 0,
            sizer: Sizer::Items,
        }
    }
}

impl SendingQueue {
    /// A queue whose requests are sent one after the other.
    pub(super) fn in_order() -> Self {
        Self {
            num_consumers: 1,
            ..Self::default()
        }
    }

    /// What serde can't say.
    pub fn check(&self, faults: &mut Faults) {
        if self.num_consumers == 0 {
            faults.push("num_consumers", "must be at least 1, got 0");
        }
        if self.queue_size == 0 {
            faults.push("queue_size", "must be at least 1, got 0");
        }
        if self.storage.is_some() {
            faults.push(
                "storage",
                "a queue on disk is not built yet; leave the key out to queue in memory",
            );
        }
        if let Some(batch) = self.batch.as_ref() {
            faults.below("batch", |faults| batch.check(faults));
        }
    }

    pub(super) fn settings(&self) -> QueueSettings {
        QueueSettings {
            sizer: self.sizer,
            size: self.queue_size,
            block_on_overflow: self.block_on_overflow,
            wait_for_result: self.wait_for_result || !self.enabled,
        }
    }
}

impl Batch {
    fn check(&self, faults: &mut Faults) {
        if self.flush_timeout.is_zero() {
            faults.push("flush_timeout", "must be longer than 0, got 0s");
        }
        if self.max_size > 0 && self.max_size < self.min_size {
            faults.push(
                "max_size",
                format!(
                    "must be 0 or at least min_size ({}), got {}",
                    self.min_size, self.max_size
                ),
            );
        }
    }
}
