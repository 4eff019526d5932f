//! Keys of `debug`.

use serde::{Deserialize, Serialize};

use crate::config::Faults;
use crate::exporter::SendingQueue;

/// Writes what passes to the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `basic` counts, `normal` names each span, `detailed` shows everything in it.
    pub verbosity: Verbosity,
    /// Requests that are logged in each second.
    pub sampling_initial: u32,
    /// After those, one in so many is logged; 0 logs none of them.
    pub sampling_thereafter: u32,
    /// The queue in front of the log.
    pub sending_queue: SendingQueue,
}

/// How much is said of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verbosity {
    /// Its number of resources and spans.
    #[default]
    Basic,
    /// A line for each span.
    Normal,
    /// Every field of each span.
    Detailed,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            verbosity: Verbosity::Basic,
            sampling_initial: 2,
            sampling_thereafter: 1,
            sending_queue: SendingQueue::in_order(),
        }
    }
}

impl Config {
    /// What serde can't say.
    pub fn check(&self, faults: &mut Faults) {
        faults.below("sending_queue", |faults| self.sending_queue.check(faults));
    }
}
