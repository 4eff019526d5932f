//! What a receiver hands bytes to: walks them once, and gives them to every exporter or to none.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use metrics::{Counter, counter};
use smallvec::SmallVec;
use tokio::sync::oneshot;

use super::{Permit, QueueSender, Refusal, off_reactor};
use crate::assembler::{Tap, TapBatch};
use crate::otlp::Payload;
use crate::otlp::view::{self, Limits, ResourceView, SpanView, Visit, WalkError, Walked};
use crate::telemetry;

/// A request longer than this is walked off the reactor.
const LONG: usize = 1 << 20;

/// A request was taken; what of it could not be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Accepted {
    /// Good spans, which went on.
    pub spans: usize,
    /// Bad spans, cut out: `partial_success.rejected_spans`.
    pub rejected: usize,
    /// The first bad span's fault: `partial_success.error_message`.
    pub reason: Option<String>,
}

/// Spans that an intake has met so far. Every span that was walked is in exactly one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IntakeCounts {
    /// Went on to every exporter and tap.
    pub accepted: u64,
    /// Good spans of requests that were turned away, their sender told.
    pub refused: u64,
    /// Good spans of requests whose fate an exporter did not tell.
    pub failed: u64,
    /// Bad spans, their sender told.
    pub rejected: u64,
}

/// Where the requests of one receiver over one transport go: the exporters and the taps of all
/// pipelines that name the receiver. Cloning shares the counters.
#[derive(Debug, Clone)]
pub struct Intake {
    limits: Limits,
    sinks: Arc<[QueueSender]>,
    taps: Arc<[Tap]>,
    tally: Arc<Tally>,
}

#[derive(Debug)]
struct Tally {
    accepted: Count,
    refused: Count,
    failed: Count,
    rejected: Count,
    undecodable: Counter,
}

#[derive(Debug)]
struct Count {
    total: AtomicU64,
    metric: Counter,
}

impl Count {
    fn new(metric: Counter) -> Self {
        Self {
            total: AtomicU64::new(0),
            metric,
        }
    }

    fn add(&self, spans: usize) {
        if spans > 0 {
            self.total.fetch_add(spans as u64, Ordering::Relaxed);
            self.metric.increment(spans as u64);
        }
    }

    fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }
}

impl Intake {
    /// An intake of `receiver` (its id) over `transport` (`grpc`, `http`, `file`), for the labels
    /// of its metrics.
    pub fn new(
        receiver: &str,
        transport: &'static str,
        limits: Limits,
        sinks: Vec<QueueSender>,
        taps: Vec<Tap>,
    ) -> Self {
        let metric = |metric: telemetry::Metric| {
            let receiver = receiver.to_owned();
            counter!(metric.name, "receiver" => receiver, "transport" => transport)
        };
        Self {
            limits,
            sinks: sinks.into(),
            taps: taps.into(),
            tally: Arc::new(Tally {
                accepted: Count::new(metric(telemetry::RECEIVER_ACCEPTED_SPANS)),
                refused: Count::new(metric(telemetry::RECEIVER_REFUSED_SPANS)),
                failed: Count::new(metric(telemetry::RECEIVER_FAILED_SPANS)),
                rejected: Count::new(metric(telemetry::RECEIVER_REJECTED_SPANS)),
                undecodable: metric(telemetry::RECEIVER_UNDECODABLE_REQUESTS),
            }),
        }
    }

    /// What it has met so far.
    pub fn counts(&self) -> IntakeCounts {
        IntakeCounts {
            accepted: self.tally.accepted.total(),
            refused: self.tally.refused.total(),
            failed: self.tally.failed.total(),
            rejected: self.tally.rejected.total(),
        }
    }

    /// Counts a request that did not even become protobuf bytes.
    pub fn count_undecodable(&self) {
        self.tally.undecodable.increment(1);
    }

    /// Takes a request, the protobuf bytes of an `ExportTraceServiceRequest`: all of its good
    /// spans go to every exporter, or none to any. Bytes without bad spans go on as they are.
    pub async fn accept(&self, bytes: Bytes) -> Result<Accepted, Refusal> {
        if bytes.is_empty() {
            return Ok(Accepted::default());
        }
        let (payload, walked, taps) = if bytes.len() > LONG {
            off_reactor(|| self.examine(bytes))
        } else {
            self.examine(bytes)
        }
        .map_err(|fault| {
            self.count_undecodable();
            match fault {
                WalkError::Malformed(_) => Refusal::Malformed(fault.to_string()),
                WalkError::TooManyElements(_) => Refusal::TooLarge(fault.to_string()),
            }
        })?;
        self.tally.rejected.add(walked.rejected);
        if walked.spans > 0 {
            self.forward(&payload, taps).await?;
        }
        Ok(Accepted {
            spans: walked.spans,
            rejected: walked.rejected,
            reason: walked.reason,
        })
    }

    fn examine(&self, bytes: Bytes) -> Result<(Payload, Walked, TapBatches), WalkError> {
        let mut taps = TapBatches(self.taps.iter().map(Tap::begin).collect());
        let walked = view::walk(&bytes, &self.limits, &mut taps)?;
        let good = if walked.needs_cut {
            view::cut(&bytes, &self.limits)?
        } else {
            bytes
        };
        Ok((Payload::new(good, walked.spans), walked, taps))
    }

    async fn forward(&self, payload: &Payload, taps: TapBatches) -> Result<(), Refusal> {
        let mut fate = Fate {
            tally: &self.tally,
            spans: payload.spans(),
            // Until the payload is in a queue, a sender that hangs up has been refused.
            counted_as: |tally| &tally.refused,
        };
        let mut permits = SmallVec::<[Permit; 4]>::new();
        for sink in self.sinks.iter() {
            permits.push(sink.reserve(payload).await?);
        }
        let answers: SmallVec<[_; 4]> = permits
            .into_iter()
            .filter_map(|permit| permit.send(payload.clone()))
            .collect();
        // Now exporters hold it, whether or not the sender stays to hear of it.
        fate.counted_as = |tally| &tally.accepted;
        if let Err(refusal) = all(answers).await {
            fate.counted_as = match refusal {
                Some(_) => |tally| &tally.refused,
                None => |tally| &tally.failed,
            };
            return Err(refusal.unwrap_or(Refusal::Draining));
        }
        taps.commit();
        Ok(())
    }
}

/// Counts the spans of a request once, however its way through the intake ends: also when its
/// sender hangs up and the call is dropped half-way.
struct Fate<'a> {
    tally: &'a Tally,
    spans: usize,
    counted_as: fn(&Tally) -> &Count,
}

impl Drop for Fate<'_> {
    fn drop(&mut self) {
        (self.counted_as)(self.tally).add(self.spans);
    }
}

/// Waits for the exporters that have no queue; the first bad answer, none where one went away
/// without an answer.
async fn all(
    answers: SmallVec<[oneshot::Receiver<Result<(), Refusal>>; 4]>,
) -> Result<(), Option<Refusal>> {
    let mut first = Ok(());
    for answer in answers {
        let result = answer.await.map_or(Err(None), |told| told.map_err(Some));
        first = first.and(result);
    }
    first
}

/// Collects for all taps in the one walk.
struct TapBatches(SmallVec<[TapBatch; 1]>);

impl TapBatches {
    fn commit(self) {
        for batch in self.0 {
            batch.commit();
        }
    }
}

impl Visit for TapBatches {
    fn resource(&mut self, resource: &ResourceView<'_>) {
        for batch in &mut self.0 {
            batch.resource(resource);
        }
    }

    fn span(&mut self, span: &SpanView<'_>) {
        for batch in &mut self.0 {
            batch.span(span);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{Item, QueueReceiver, QueueSettings, queue};

    fn sink(name: &str, size: u32, wait_for_result: bool) -> (QueueSender, QueueReceiver) {
        let settings = QueueSettings {
            sizer: Default::default(),
            size,
            block_on_overflow: false,
            wait_for_result,
        };
        queue(name, settings)
    }

    fn intake(sinks: &[&QueueSender]) -> Intake {
        let sinks = sinks.iter().copied().cloned().collect();
        Intake::new("otlp", "grpc", Limits::default(), sinks, Vec::new())
    }

    fn payload() -> (Payload, TapBatches) {
        let payload = Payload::new(Bytes::from_static(b"three spans"), 3);
        (payload, TapBatches(SmallVec::new()))
    }

    /// Sends three spans through sinks while one exporter answers as told; shows the counts.
    async fn check(sizes: &[u32], answer: Option<Result<(), Refusal>>, expected: &str) {
        let (senders, receivers): (Vec<_>, Vec<_>) = sizes
            .iter()
            .map(|&size| sink("otlp_grpc", size.max(1), answer.is_some()))
            .unzip();
        for (sender, _) in senders.iter().zip(sizes).filter(|(_, size)| **size == 0) {
            sender
                .reserve(&payload().0)
                .await
                .unwrap()
                .send(payload().0);
        }
        let intake = intake(&senders.iter().collect::<Vec<_>>());
        let (payload, taps) = payload();
        let exporter = async {
            let Some(answer) = answer else { return };
            for receiver in &receivers {
                let Item { done, .. } = receiver.next().await.unwrap();
                done.unwrap().send(answer.clone()).unwrap();
            }
        };
        let (result, ()) = tokio::join!(intake.forward(&payload, taps), exporter);
        let counts = intake.counts();
        let waiting: Vec<usize> = senders.iter().map(QueueSender::len).collect();
        let shown = format!(
            "{}: accepted {} refused {}, waiting {waiting:?}",
            result.map_or_else(|refusal| refusal.to_string(), |()| "ok".to_owned()),
            counts.accepted,
            counts.refused
        );
        assert_eq!(shown, expected);
    }

    #[tokio::test]
    async fn a_request_goes_to_every_exporter() {
        check(&[1, 1], None, "ok: accepted 3 refused 0, waiting [1, 1]").await;
    }

    #[tokio::test]
    async fn a_request_goes_to_no_exporter_if_one_is_full() {
        check(
            &[5, 0],
            None,
            "the sending queue of otlp_grpc is full; retry in 1s: accepted 0 refused 3, waiting [0, 1]",
        )
        .await;
    }

    #[tokio::test]
    async fn the_sender_waits_for_an_exporter_without_a_queue_and_hears_its_answer() {
        check(&[1], Some(Ok(())), "ok: accepted 3 refused 0, waiting [0]").await;
        check(
            &[1],
            Some(Err(Refusal::Draining)),
            "shutting down: accepted 0 refused 3, waiting [0]",
        )
        .await;
    }

    #[tokio::test]
    async fn an_exporter_that_goes_away_without_an_answer_leaves_failed_spans() {
        let (sender, receiver) = sink("otlp_http", 1, true);
        let intake = intake(&[&sender]);
        let (payload, taps) = payload();
        let (result, item) = tokio::join!(intake.forward(&payload, taps), async {
            receiver.next().await.map(drop)
        });
        assert!(result.is_err() && item.is_some());
        assert_eq!(intake.counts().failed, 3);
    }

    #[tokio::test]
    async fn a_sender_that_hangs_up_is_counted_once_where_its_spans_are() {
        let (sender, _receiver) = sink("otlp_http", 1, true);
        let intake = intake(&[&sender]);
        let (payload, taps) = payload();
        let mut call = Box::pin(intake.forward(&payload, taps));
        assert!(still_going(&mut call).await);
        drop(call);
        assert_eq!(intake.counts().accepted, 3);
    }

    /// Polls once; whether it is still going.
    async fn still_going<F: Future + Unpin>(call: &mut F) -> bool {
        tokio::select! {
            biased;
            _ = call => false,
            () = std::future::ready(()) => true,
        }
    }

    #[tokio::test]
    async fn an_empty_request_is_a_success() {
        let accepted = intake(&[]).accept(Bytes::new()).await;
        assert_eq!(accepted, Ok(Accepted::default()));
    }
}
