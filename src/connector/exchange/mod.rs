//! The exchange of models between instances: what its keys say, and the ends that the learner's
//! thread holds. How models travel is the courier's.

#[cfg(feature = "kafka")]
mod config;
#[cfg(feature = "kafka")]
mod courier;
#[cfg(feature = "kafka")]
mod election;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::Receiver;

use serde::{Deserialize, Serialize};

#[cfg(feature = "kafka")]
pub use config::{KafkaExchangeConfig, ModelExchangeConfig};
#[cfg(feature = "kafka")]
pub(super) use courier::Courier;

/// Who learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Every instance, on its share of the traces; all serve the newest good model.
    #[default]
    Peer,
    /// One instance at a time, whoever the cluster picks; another one goes on where it is lost.
    Elected,
    /// This instance.
    Trainer,
    /// Others: this one serves what they have learnt.
    Follower,
}

/// Models that came and that nobody has looked at yet: only the newest is of interest.
#[cfg(feature = "kafka")]
const ARRIVED: usize = 2;

/// A model from another instance, as the bytes of its file.
#[derive(Debug, Clone)]
pub(super) struct Arrived {
    /// The instance that sent it.
    pub(super) from: String,
    pub(super) model: Bytes,
}

/// What is to be sent: the newest model, which pushes out one that was not sent yet.
#[derive(Debug, Default)]
pub(super) struct Outbox(Mutex<Option<Vec<u8>>>);

impl Outbox {
    pub(super) fn put(&self, model: Vec<u8>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(model);
    }

    #[cfg(feature = "kafka")]
    fn take(&self) -> Option<Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The ends of the exchange that the learner's thread holds.
#[derive(Debug)]
pub(super) struct Exchange {
    role: Role,
    /// Whether this instance was elected; only the courier writes it.
    elected: Arc<AtomicBool>,
    pub(super) arrived: Receiver<Arrived>,
    pub(super) outbox: Arc<Outbox>,
    /// How often a model is sent at most.
    pub(super) interval: Duration,
}

impl Exchange {
    /// Whether this instance learns at present.
    pub(super) fn trains(&self) -> bool {
        match self.role {
            Role::Peer | Role::Trainer => true,
            Role::Elected => self.elected.load(Ordering::Relaxed),
            Role::Follower => false,
        }
    }

    /// Whether it may serve a model of another instance while it learns itself.
    pub(super) fn serves_others(&self) -> bool {
        self.role == Role::Peer
    }

    /// Whether it may have to go on from what others have learnt, at any time.
    pub(super) fn stands_by(&self) -> bool {
        self.role == Role::Elected
    }
}
