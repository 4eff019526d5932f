//! Where a connector puts what it made: the exporters of its pipelines, all of them or none.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use smallvec::SmallVec;

use super::{Permit, QueueSender, Refusal};
use crate::otlp::Payload;

/// Made payloads are not urgent: they wait while a queue is fuller than this.
const FULL_ENOUGH: f64 = 0.5;
/// How long they wait before they are offered again.
const WAIT: Duration = Duration::from_millis(100);

/// The exporters of the pipelines that a connector begins. Cloning shares the counter.
#[derive(Debug, Clone)]
pub struct Outlet {
    sinks: Arc<[QueueSender]>,
    given: Arc<AtomicU64>,
}

impl Outlet {
    /// An outlet into these queues.
    pub fn new(sinks: Vec<QueueSender>) -> Self {
        Self {
            sinks: sinks.into(),
            given: Arc::default(),
        }
    }

    /// Spans given to every exporter so far.
    pub fn given(&self) -> u64 {
        self.given.load(Ordering::Relaxed)
    }

    /// Gives a payload to every exporter, or to none and says why. Observed payloads come first:
    /// a queue that is half full refuses.
    pub async fn offer(&self, payload: &Payload) -> Result<(), Refusal> {
        let mut permits = SmallVec::<[Permit; 4]>::new();
        for sink in self.sinks.iter() {
            if sink.fullness() > FULL_ENOUGH {
                return Err(Refusal::Full {
                    what: format!("the sending queue of {}", sink.name()),
                    retry_after: WAIT,
                });
            }
            permits.push(sink.try_reserve(payload).await?);
        }
        for permit in permits {
            // An exporter without a queue answers later; nobody here can do anything with it.
            drop(permit.send(payload.clone()));
        }
        let spans = payload.spans() as u64;
        self.given.fetch_add(spans, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{QueueSettings, Sizer, queue};
    use super::*;
    use bytes::Bytes;

    async fn check(waiting: [usize; 2], expected: &str) {
        let queues = waiting.map(|_| {
            queue(
                "otlp_grpc",
                QueueSettings {
                    sizer: Sizer::Requests,
                    size: 4,
                    block_on_overflow: false,
                    wait_for_result: false,
                },
            )
        });
        let payload = Payload::new(Bytes::from_static(b"two spans"), 2);
        for ((sender, _), waiting) in queues.iter().zip(waiting) {
            for _ in 0..waiting {
                let permit = sender.reserve(&payload).await.unwrap();
                permit.send(payload.clone());
            }
        }
        let outlet = Outlet::new(queues.iter().map(|(sender, _)| sender.clone()).collect());
        let answer = outlet.offer(&payload).await;
        let answer = answer.map_or_else(|fault| fault.to_string(), |()| "ok".to_owned());
        let now: Vec<usize> = queues.iter().map(|(sender, _)| sender.len()).collect();
        assert_eq!(
            format!("{answer}: {now:?}, {} given", outlet.given()),
            expected
        );
    }

    #[tokio::test]
    async fn every_exporter_gets_it_or_none_and_observed_payloads_keep_half_of_a_queue() {
        check([0, 2], "ok: [1, 3], 2 given").await;
        check(
            [0, 3],
            "the sending queue of otlp_grpc is full; retry in 100ms: [0, 3], 0 given",
        )
        .await;
    }
}
