//! The consumers of a sending queue: take, put together, send, try again, count.

use std::time::Duration;

use bytes::BytesMut;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::Backend;
use super::failure::{Accepted, Failure};
use super::retry::{RetryOnFailure, Schedule};
use super::sending_queue::Batch;
use super::tally::{Reason, Tally};
use crate::chance::Rng;
use crate::otlp::Payload;
use crate::pipeline::{Item, QueueReceiver, Refusal, Sizer};

/// What all consumers of one exporter share.
#[derive(Debug)]
pub(super) struct Consumers {
    pub(super) backend: Backend,
    pub(super) queue: QueueReceiver,
    pub(super) batch: Option<Batch>,
    pub(super) retry: RetryOnFailure,
    /// Of one attempt; zero is without limit.
    pub(super) timeout: Duration,
    pub(super) tally: std::sync::Arc<Tally>,
    /// Held while one consumer gathers, so that batches are filled one after the other.
    pub(super) turn: Mutex<()>,
}

/// How the delivery of some items ended.
enum End {
    Accepted(Accepted),
    Lost(Reason, Failure),
}

impl Consumers {
    /// Sends until the queue is closed and empty, or until the deadline.
    pub(super) async fn consume(&self, mut rng: Rng, deadline: &CancellationToken) {
        loop {
            let items = self.gather(deadline).await;
            if items.is_empty() {
                return;
            }
            self.deliver(items, &mut rng, deadline).await;
        }
    }

    /// Counts what is still in the queue as dropped; nothing can come after it.
    pub(super) async fn give_up_rest(&self) {
        self.queue.close();
        while let Some(item) = self.queue.next().await {
            self.conclude(vec![item], End::Lost(Reason::Shutdown, shutting_down()));
        }
    }

    /// The next items to send together; none at the end.
    async fn gather(&self, deadline: &CancellationToken) -> Vec<Item> {
        let Some(batch) = &self.batch else {
            return tokio::select! {
                biased;
                () = deadline.cancelled() => Vec::new(),
                item = self.queue.next() => item.into_iter().collect(),
            };
        };
        let _turn = tokio::select! {
            biased;
            () = deadline.cancelled() => return Vec::new(),
            turn = self.turn.lock() => turn,
        };
        let mut items = Vec::new();
        let mut size = 0;
        let mut flush = Instant::now();
        while items.is_empty() || size < batch.min_size {
            let item = tokio::select! {
                biased;
                () = deadline.cancelled() => break,
                () = sleep_until(flush), if !items.is_empty() => break,
                item = self.queue.next_if(|payload| {
                    let more = measure(batch.sizer, payload);
                    items.is_empty() || batch.max_size == 0 || size + more <= batch.max_size
                }) => item,
            };
            let Some(item) = item else { break };
            if items.is_empty() {
                flush = Instant::now() + batch.flush_timeout.duration();
            }
            size += measure(batch.sizer, &item.payload);
            items.push(item);
        }
        items
    }

    async fn deliver(&self, items: Vec<Item>, rng: &mut Rng, deadline: &CancellationToken) {
        let payload = concatenated(&items);
        let begun = Instant::now();
        let mut schedule = Schedule::new(&self.retry);
        let end = loop {
            let attempt = tokio::select! {
                biased;
                () = deadline.cancelled() => break End::Lost(Reason::Shutdown, shutting_down()),
                attempt = self.attempt(&payload) => attempt,
            };
            let failure = match attempt {
                Ok(accepted) => break End::Accepted(accepted),
                Err(failure) if !failure.retryable => break End::Lost(Reason::Failed, failure),
                Err(failure) => failure,
            };
            let Some(wait) = schedule.next(begun.elapsed(), failure.after, rng) else {
                break End::Lost(Reason::Expired, failure);
            };
            self.tally.tried(&failure.message);
            tokio::select! {
                biased;
                () = deadline.cancelled() => break End::Lost(Reason::Shutdown, failure),
                () = sleep(wait) => {}
            }
        };
        self.conclude(items, end);
    }

    async fn attempt(&self, payload: &Payload) -> Result<Accepted, Failure> {
        if self.timeout.is_zero() {
            return self.backend.send(payload).await;
        }
        match timeout(self.timeout, self.backend.send(payload)).await {
            Ok(answer) => answer,
            Err(_) => Err(Failure::passing(format!(
                "no answer within {:?}",
                self.timeout
            ))),
        }
    }

    /// Counts, and answers those who wait.
    fn conclude(&self, items: Vec<Item>, end: End) {
        let spans = |items: &[Item]| items.iter().map(|item| item.payload.spans() as u64).sum();
        let answer = match end {
            End::Accepted(Accepted { rejected, message }) => {
                self.tally.accepted(spans(&items), rejected, &message);
                Ok(())
            }
            End::Lost(reason, failure) => {
                let waited =
                    |item: &&Item| item.done.as_ref().is_some_and(|done| !done.is_closed());
                let told = items.iter().filter(waited);
                let told = told.map(|item| item.payload.spans() as u64).sum();
                self.tally
                    .lost(spans(&items), told, reason, &failure.message);
                Err(Refusal::Undelivered {
                    exporter: self.tally.name().to_owned(),
                    message: failure.message,
                    retryable: failure.retryable,
                    code: failure.code,
                    retry_after: failure.after,
                })
            }
        };
        for item in items {
            if let Some(done) = item.done {
                // A sender that has gone away needs no answer.
                drop(done.send(answer.clone()));
            }
        }
    }
}

fn shutting_down() -> Failure {
    Failure::passing("the deadline of the shutdown is over".to_owned())
}

fn measure(sizer: Sizer, payload: &Payload) -> u64 {
    match sizer {
        Sizer::Requests => 1,
        Sizer::Items => payload.spans() as u64,
        Sizer::Bytes => payload.bytes().len() as u64,
    }
}

/// One request of several: the protobuf bytes of messages, one after the other, are the bytes of
/// one message that holds the repeated fields of all.
fn concatenated(items: &[Item]) -> Payload {
    if let [item] = items {
        return item.payload.clone();
    }
    let length = items.iter().map(|item| item.payload.bytes().len()).sum();
    let mut bytes = BytesMut::with_capacity(length);
    for item in items {
        bytes.extend_from_slice(item.payload.bytes());
    }
    let spans = items.iter().map(|item| item.payload.spans()).sum();
    Payload::new(bytes.freeze(), spans)
}
