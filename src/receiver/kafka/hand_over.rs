//! One message on its way into the pipeline: given again until it is taken, or passed over.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::marks::{Flight, Marks, Partition};
use crate::kafka::Encoding;
use crate::pipeline::{Intake, Refusal, off_reactor};
use crate::receiver::json;

/// How long a refused message waits before it is given again, unless the refusal says.
const AGAIN: Duration = Duration::from_millis(200);
/// JSON longer than this is read off the reactor.
const LONG: usize = 1 << 16;
/// Messages that were passed over get a line each, but no more than one in so long.
const QUIET: Duration = Duration::from_secs(10);

/// Messages on their way, and who waits for them.
#[derive(Debug, Default)]
pub(super) struct Flights {
    marks: Mutex<Marks>,
    landed: Condvar,
}

impl Flights {
    pub(super) fn marks(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the marks are as wanted, or for so long at most; whether they are. Blocking.
    pub(super) fn wait(&self, longest: Duration, wanted: impl Fn(&Marks) -> bool) -> bool {
        let waited = self
            .landed
            .wait_timeout_while(self.marks(), longest, |marks| !wanted(marks));
        let (marks, _) = waited.unwrap_or_else(PoisonError::into_inner);
        wanted(&marks)
    }

    fn land(&self, flight: &Flight, handed_over: bool) {
        self.marks().end(flight, handed_over);
        self.landed.notify_all();
    }
}

/// What all messages of a receiver have in common.
#[derive(Debug)]
pub(super) struct HandOver {
    pub(super) intake: Intake,
    pub(super) encoding: Encoding,
    pub(super) flights: Arc<Flights>,
    pub(super) stop: CancellationToken,
    pub(super) passed_over: Mutex<PassedOver>,
}

/// Whose passing over the log was told, and when.
#[derive(Debug, Default)]
pub(super) struct PassedOver {
    told: BTreeMap<Partition, (Instant, u64)>,
}

impl HandOver {
    /// Gives a message to the pipeline until it is taken, is found to be of no use, or the
    /// service stops.
    pub(super) async fn run(&self, flight: Flight, message: Bytes) {
        let landing = Landing {
            flights: &self.flights,
            flight: &flight,
            handed_over: false,
        };
        let handed_over = self.give(&flight, message).await;
        landing.conclude(handed_over);
    }

    async fn give(&self, flight: &Flight, message: Bytes) -> bool {
        let bytes = match self.read(message) {
            Ok(bytes) => bytes,
            Err(fault) => {
                self.intake.count_undecodable();
                self.pass_over(flight, &fault);
                return true;
            }
        };
        loop {
            let wait = match self.intake.accept(bytes.clone()).await {
                Ok(accepted) => {
                    if let Some(reason) = accepted.reason {
                        self.pass_over(flight, &format!("bad spans are cut out: {reason}"));
                    }
                    return true;
                }
                Err(Refusal::Draining) => return false,
                Err(Refusal::Full { retry_after, .. }) => retry_after.min(AGAIN),
                Err(Refusal::Undelivered {
                    retryable: true, ..
                }) => AGAIN,
                Err(fault) => {
                    self.pass_over(flight, &fault.to_string());
                    return true;
                }
            };
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return false,
                () = sleep(wait) => {}
            }
        }
    }

    fn read(&self, message: Bytes) -> Result<Bytes, String> {
        match self.encoding {
            Encoding::Proto => Ok(message),
            // A message without a value says nothing in either encoding.
            Encoding::Json if message.is_empty() => Ok(message),
            Encoding::Json => {
                let read = || json::to_protobuf(&message).map_err(|fault| fault.to_string());
                if message.len() > LONG {
                    off_reactor(read)
                } else {
                    read()
                }
            }
        }
    }

    /// Names a message of which something is left out; of many that follow each other, some.
    fn pass_over(&self, flight: &Flight, fault: &str) {
        let mut passed = self
            .passed_over
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let (since, unnamed) = match passed.told.get_mut(&flight.partition) {
            Some((told, more)) if now - *told < QUIET => {
                *more += 1;
                return;
            }
            Some((told, more)) => (std::mem::replace(told, now), std::mem::take(more)),
            None => {
                passed.told.insert(flight.partition.clone(), (now, 0));
                (now, 0)
            }
        };
        let (topic, partition) = &flight.partition;
        tracing::warn!(
            topic,
            partition,
            offset = flight.offset,
            fault,
            unnamed,
            since = ?(now - since),
            "a message is passed over, or some of its spans are"
        );
    }
}

/// Says that a message has landed, however its task ends.
struct Landing<'a> {
    flights: &'a Flights,
    flight: &'a Flight,
    handed_over: bool,
}

impl Landing<'_> {
    fn conclude(mut self, handed_over: bool) {
        self.handed_over = handed_over;
    }
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.flights.land(self.flight, self.handed_over);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::view::Limits;
    use crate::pipeline::{QueueReceiver, QueueSettings, Sizer, queue};

    const JSON: &str = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"0102030405060708","name":"a"}]}]}]}"#;

    fn hand_over(encoding: Encoding, room: u32) -> (Arc<HandOver>, QueueReceiver) {
        let settings = QueueSettings {
            sizer: Sizer::Requests,
            size: room,
            block_on_overflow: false,
            wait_for_result: false,
        };
        let (sender, sink) = queue("debug", settings);
        let intake = Intake::new(
            "kafka",
            "kafka",
            Limits::default(),
            vec![sender],
            Vec::new(),
        );
        let hand_over = HandOver {
            intake,
            encoding,
            flights: Arc::default(),
            stop: CancellationToken::new(),
            passed_over: Mutex::default(),
        };
        (Arc::new(hand_over), sink)
    }

    /// Sends messages of one partition; what reaches the sink, and where reading goes on.
    async fn check(encoding: Encoding, messages: &[&[u8]], expected: (usize, i64)) {
        let (hand_over, sink) = hand_over(encoding, 100);
        for (offset, message) in messages.iter().enumerate() {
            let partition = ("spans".to_owned(), 0);
            let flight = hand_over.flights.marks().begin(partition, offset as i64, 9);
            hand_over.run(flight, Bytes::copy_from_slice(message)).await;
        }
        sink.close();
        let mut arrived = 0;
        while sink.next().await.is_some() {
            arrived += 1;
        }
        let next = hand_over.flights.marks().take_next();
        assert_eq!((arrived, next[0].1), expected);
    }

    #[tokio::test]
    async fn messages_of_no_use_are_passed_over_and_the_others_go_on() {
        let proto = json::to_protobuf(JSON.as_bytes()).unwrap();
        let mixed: [&[u8]; 4] = [&proto, b"\xff\xff", b"", &proto];
        check(Encoding::Proto, &mixed, (2, 4)).await;
        let mixed = [JSON.as_bytes(), b"{nonsense", b"", JSON.as_bytes()];
        check(Encoding::Json, &mixed, (2, 4)).await;
    }

    #[tokio::test]
    async fn a_refused_message_is_given_again_and_stays_unread_when_the_service_stops() {
        let (hand_over, sink) = hand_over(Encoding::Json, 1);
        let begin = |offset| {
            let partition = ("spans".to_owned(), 0);
            hand_over.flights.marks().begin(partition, offset, 9)
        };
        let message = || Bytes::from_static(JSON.as_bytes());
        hand_over.run(begin(0), message()).await;
        let next = || hand_over.flights.marks().take_next();
        assert_eq!(next()[0].1, 1);
        let (flight, second) = (begin(1), hand_over.clone());
        let waiting = tokio::spawn(async move { second.run(flight, message()).await });
        // Refused, and given again.
        while hand_over.intake.counts().refused < 2 {
            sleep(Duration::from_millis(5)).await;
        }
        assert!(next().is_empty());
        drop(sink.next().await);
        waiting.await.unwrap();
        assert_eq!(next()[0].1, 2);
        let (flight, third) = (begin(2), hand_over.clone());
        let waiting = tokio::spawn(async move { third.run(flight, message()).await });
        hand_over.stop.cancel();
        waiting.await.unwrap();
        assert!(next().is_empty());
        assert_eq!(hand_over.flights.marks().flying(), Default::default());
    }
}
