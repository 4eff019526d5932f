//! The bounded queue in front of an exporter (`sending_queue`).
//!
//! Full means: `reserve` answers [`Refusal::Full`] (or waits, with `block_on_overflow`), and the
//! receiver tells its sender to retry. What was sent through a [`Permit`] is never dropped here.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::{Counter, counter};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, oneshot};

use super::Refusal;
use crate::otlp::Payload;
use crate::telemetry;

/// What `queue_size` counts (`sending_queue.sizer`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sizer {
    /// Requests.
    #[default]
    Requests,
    /// Spans.
    Items,
    /// Bytes.
    Bytes,
}

/// How a queue is bounded.
#[derive(Debug, Clone)]
pub struct QueueSettings {
    /// Unit of `size`.
    pub sizer: Sizer,
    /// Capacity, at least 1.
    pub size: u32,
    /// Wait for room instead of refusing.
    pub block_on_overflow: bool,
    /// Whether a sender waits for the exporter's result (`sending_queue.enabled: false`).
    pub wait_for_result: bool,
}

/// A payload in the queue, with the room that it takes until it is dropped.
#[derive(Debug)]
pub struct Item {
    /// What to send.
    pub payload: Payload,
    /// Where to tell the result, if somebody waits for it.
    pub done: Option<oneshot::Sender<Result<(), Refusal>>>,
    _room: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct Shared {
    name: String,
    settings: QueueSettings,
    room: Arc<Semaphore>,
    ready: Semaphore,
    items: Mutex<VecDeque<Item>>,
    enqueue_failed: Counter,
}

/// The end that a pipeline puts payloads into.
#[derive(Debug, Clone)]
pub struct QueueSender(Arc<Shared>);

/// The end that an exporter's consumers take payloads from; cloned for each consumer.
#[derive(Debug, Clone)]
pub struct QueueReceiver(Arc<Shared>);

/// Room for one payload, so that a request is given to all exporters of a pipeline or to none.
#[derive(Debug)]
pub struct Permit {
    queue: Arc<Shared>,
    room: OwnedSemaphorePermit,
}

/// A queue in front of the exporter `name`.
pub fn queue(name: &str, settings: QueueSettings) -> (QueueSender, QueueReceiver) {
    let shared = Arc::new(Shared {
        name: name.to_owned(),
        room: Arc::new(Semaphore::new(settings.size.max(1) as usize)),
        settings,
        ready: Semaphore::new(0),
        items: Mutex::default(),
        enqueue_failed: counter!(
            telemetry::EXPORTER_ENQUEUE_FAILED_SPANS.name,
            "exporter" => name.to_owned()
        ),
    });
    (QueueSender(shared.clone()), QueueReceiver(shared))
}

impl Shared {
    fn usage(&self) -> (u32, u32) {
        let capacity = self.settings.size.max(1);
        let free = u32::try_from(self.room.available_permits()).unwrap_or(u32::MAX);
        (capacity.saturating_sub(free), capacity)
    }

    fn cost(&self, payload: &Payload) -> u32 {
        let amount = match self.settings.sizer {
            Sizer::Requests => 1,
            Sizer::Items => payload.spans(),
            Sizer::Bytes => payload.bytes().len(),
        };
        // One payload larger than the whole queue may still pass through an empty one.
        u32::try_from(amount)
            .unwrap_or(u32::MAX)
            .clamp(1, self.settings.size.max(1))
    }
}

impl QueueSender {
    /// Asks for room for a payload; the spans of a refused one are counted.
    pub async fn reserve(&self, payload: &Payload) -> Result<Permit, Refusal> {
        let reserved = self.try_reserve(payload).await;
        if reserved.is_err() {
            self.0.enqueue_failed.increment(payload.spans() as u64);
        }
        reserved
    }

    /// As [`reserve`](Self::reserve), for one who waits and asks again: nothing is counted.
    pub async fn try_reserve(&self, payload: &Payload) -> Result<Permit, Refusal> {
        let cost = self.0.cost(payload);
        let room = if self.0.settings.block_on_overflow {
            let room = self.0.room.clone().acquire_many_owned(cost).await;
            room.map_err(|_| Refusal::Draining)?
        } else {
            match self.0.room.clone().try_acquire_many_owned(cost) {
                Ok(room) => room,
                Err(TryAcquireError::Closed) => return Err(Refusal::Draining),
                Err(TryAcquireError::NoPermits) => {
                    return Err(Refusal::Full {
                        what: format!("the sending queue of {}", self.0.name),
                        retry_after: Duration::from_secs(1),
                    });
                }
            }
        };
        Ok(Permit {
            queue: self.0.clone(),
            room,
        })
    }

    /// Takes nothing more; consumers drain what is there and then see the end.
    pub fn close(&self) {
        self.0.room.close();
        self.0.ready.close();
    }

    /// The exporter that this queue stands in front of.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Payloads waiting.
    pub fn len(&self) -> usize {
        let items = self.0.items.lock().unwrap_or_else(PoisonError::into_inner);
        items.len()
    }

    /// How much of the capacity is taken by what waits and what is on its way, from 0 to 1.
    pub fn fullness(&self) -> f64 {
        let (taken, capacity) = self.0.usage();
        f64::from(taken) / f64::from(capacity)
    }

    /// Whether no payload waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Capacity in the unit of the sizer.
    pub fn capacity(&self) -> u32 {
        self.0.settings.size
    }
}

impl Permit {
    /// Puts the payload into the queue; the answer comes back where the exporter has no queue.
    pub fn send(self, payload: Payload) -> Option<oneshot::Receiver<Result<(), Refusal>>> {
        let (done, answer) = if self.queue.settings.wait_for_result {
            let (tell, hear) = oneshot::channel();
            (Some(tell), Some(hear))
        } else {
            (None, None)
        };
        let item = Item {
            payload,
            done,
            _room: self.room,
        };
        self.queue
            .items
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(item);
        self.queue.ready.add_permits(1);
        answer
    }
}

impl QueueReceiver {
    /// As [`QueueSender::close`].
    pub fn close(&self) {
        self.0.room.close();
        self.0.ready.close();
    }

    /// The exporter that this queue stands in front of.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// How much of the capacity is taken by what waits and what is on its way to the backend,
    /// and the capacity, both in the unit of the sizer.
    pub fn usage(&self) -> (u32, u32) {
        self.0.usage()
    }

    /// The next payload; none when the queue is closed and empty.
    pub async fn next(&self) -> Option<Item> {
        self.next_if(|_| true).await
    }

    /// As [`next`](Self::next), but a payload that is not wanted stays where it is.
    ///
    /// Nothing is lost when the future is dropped before it is ready.
    pub async fn next_if(&self, wanted: impl Fn(&Payload) -> bool) -> Option<Item> {
        let ready = self.0.ready.acquire().await;
        let mut items = self.0.items.lock().unwrap_or_else(PoisonError::into_inner);
        let item = items.pop_front_if(|item| wanted(&item.payload))?;
        if let Ok(ready) = ready {
            ready.forget();
        }
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn settings(sizer: Sizer, size: u32) -> QueueSettings {
        QueueSettings {
            sizer,
            size,
            block_on_overflow: false,
            wait_for_result: false,
        }
    }

    fn payload(spans: usize) -> Payload {
        Payload::new(Bytes::from_static(b"x"), spans)
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_has_room_again_once_an_item_is_done() {
        let (sender, receiver) = queue("otlp_grpc", settings(Sizer::Items, 10));
        sender
            .reserve(&payload(10))
            .await
            .unwrap()
            .send(payload(10));
        assert!(matches!(
            sender.reserve(&payload(1)).await,
            Err(Refusal::Full { .. })
        ));
        let item = receiver.next().await.unwrap();
        assert!(sender.reserve(&payload(1)).await.is_err());
        drop(item);
        assert!(sender.reserve(&payload(1)).await.is_ok());
    }

    #[tokio::test]
    async fn a_closed_queue_gives_out_what_it_holds_and_then_ends() {
        let (sender, receiver) = queue("file", settings(Sizer::Requests, 2));
        sender.reserve(&payload(1)).await.unwrap().send(payload(1));
        sender.close();
        assert_eq!(
            sender.reserve(&payload(1)).await.unwrap_err(),
            Refusal::Draining
        );
        assert!(receiver.next().await.is_some());
        assert!(receiver.next().await.is_none());
    }
}
