//! The consumers against a backend that answers from a script.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::failure::{Accepted, Failure};
use super::*;
use crate::chance::stream;
use crate::config::{Period, Present};
use crate::pipeline::Refusal;

/// What a scripted backend says to the next request.
#[derive(Debug, Clone, Copy)]
enum Say {
    Ok,
    Reject(u64),
    Later,
    Never,
    Nothing,
}

/// Answers in order, then OK; keeps what it took.
#[derive(Debug, Default)]
pub(super) struct Script {
    answers: Mutex<VecDeque<Say>>,
    taken: Arc<Mutex<Vec<Bytes>>>,
}

impl Script {
    pub(super) async fn send(&self, payload: &Payload) -> Result<Accepted, Failure> {
        let answer = self.answers.lock().unwrap().pop_front();
        let accepted = |rejected| {
            self.taken.lock().unwrap().push(payload.bytes().clone());
            Ok(Accepted {
                rejected,
                message: "no".to_owned(),
            })
        };
        match answer.unwrap_or(Say::Ok) {
            Say::Ok => accepted(0),
            Say::Reject(spans) => accepted(spans),
            Say::Later => Err(Failure::passing("later".to_owned())),
            Say::Never => Err(Failure::lasting("never".to_owned())),
            Say::Nothing => std::future::pending().await,
        }
    }
}

struct Case {
    says: &'static [Say],
    settings: SendingQueue,
    give_up_at: Period,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            says: &[],
            settings: SendingQueue::in_order(),
            give_up_at: Period::ZERO,
        }
    }
}

struct Outcome {
    counts: ExporterCounts,
    taken: Vec<Bytes>,
    answers: Vec<Option<Result<(), Refusal>>>,
}

/// Three requests of one, two and three spans go in, then the queue is closed and drains; `dead`
/// says whether the deadline is over from the start.
async fn outcome(case: &Case, dead: bool) -> Outcome {
    let script = Script {
        answers: Mutex::new(case.says.iter().copied().collect()),
        ..Script::default()
    };
    let taken = script.taken.clone();
    let retry = RetryOnFailure {
        initial_interval: Period::from_millis(1),
        max_interval: Period::from_millis(1),
        max_elapsed_time: case.give_up_at,
        ..RetryOnFailure::default()
    };
    let (sender, exporter) = assemble(
        "scripted",
        Backend::Scripted(script),
        &case.settings,
        retry,
        Duration::from_millis(20),
        stream(1, "exporter"),
    );
    let mut waiting = Vec::new();
    for spans in 1..=3 {
        let bytes = Bytes::from(sample::request(spans, u64::from(spans)));
        let payload = Payload::new(bytes, usize::from(spans));
        waiting.push(sender.reserve(&payload).await.unwrap().send(payload));
    }
    sender.close();
    let tally = exporter.tally();
    let deadline = CancellationToken::new();
    if dead {
        deadline.cancel();
    }
    exporter.run(deadline).await;
    let mut answers = Vec::new();
    for answer in waiting {
        answers.push(match answer {
            Some(answer) => Some(answer.await.unwrap()),
            None => None,
        });
    }
    let taken = taken.lock().unwrap().clone();
    Outcome {
        counts: tally.counts(),
        taken,
        answers,
    }
}

async fn check(case: Case, expected: &str) {
    let ExporterCounts {
        sent,
        rejected,
        refused,
        dropped,
    } = outcome(&case, false).await.counts;
    let shown = format!("sent {sent} rejected {rejected} refused {refused} dropped {dropped}");
    assert_eq!(shown, expected);
}

#[tokio::test]
async fn a_closed_queue_drains_and_loses_nothing() {
    let out = outcome(&Case::default(), false).await;
    assert_eq!(out.counts.sent, 6);
    assert_eq!(out.taken.len(), 3);
}

#[tokio::test]
async fn what_may_pass_is_sent_again_while_draining() {
    let says = &[Say::Later, Say::Nothing, Say::Later, Say::Ok, Say::Later];
    let case = Case {
        says,
        ..Case::default()
    };
    check(case, "sent 6 rejected 0 refused 0 dropped 0").await;
}

#[tokio::test]
async fn what_will_not_pass_is_dropped_and_counted() {
    let case = Case {
        says: &[Say::Ok, Say::Never],
        ..Case::default()
    };
    check(case, "sent 4 rejected 0 refused 0 dropped 2").await;
}

#[tokio::test]
async fn a_request_is_given_up_when_its_time_is_over() {
    let case = Case {
        says: &[Say::Later],
        give_up_at: Period::from(Duration::from_nanos(1)),
        ..Case::default()
    };
    check(case, "sent 5 rejected 0 refused 0 dropped 1").await;
}

#[tokio::test]
async fn rejected_spans_are_counted_and_not_sent_again() {
    let case = Case {
        says: &[Say::Ok, Say::Ok, Say::Reject(2)],
        ..Case::default()
    };
    check(case, "sent 4 rejected 2 refused 0 dropped 0").await;
}

#[tokio::test]
async fn what_is_left_at_the_deadline_is_dropped_and_counted() {
    let out = outcome(&Case::default(), true).await;
    assert_eq!((out.counts.sent, out.counts.dropped), (0, 6));
}

#[tokio::test]
async fn without_a_queue_the_sender_hears_the_answer() {
    let case = Case {
        says: &[Say::Ok, Say::Never],
        settings: SendingQueue {
            enabled: false,
            ..SendingQueue::in_order()
        },
        ..Case::default()
    };
    let out = outcome(&case, false).await;
    assert_eq!(
        (out.counts.sent, out.counts.refused, out.counts.dropped),
        (4, 2, 0)
    );
    let never = Refusal::Undelivered {
        exporter: "scripted".to_owned(),
        message: "never".to_owned(),
        retryable: false,
        code: tonic::Code::Internal,
        retry_after: None,
    };
    assert_eq!(out.answers, [Some(Ok(())), Some(Err(never)), Some(Ok(()))]);
}

#[tokio::test]
async fn a_batch_is_the_bytes_of_its_requests_one_after_the_other() {
    let check = async |batch: Batch, expected: &[&[u8]]| {
        let case = Case {
            settings: SendingQueue {
                batch: Present(Some(batch)),
                ..SendingQueue::default()
            },
            ..Case::default()
        };
        let mut taken = outcome(&case, false).await.taken;
        taken.sort();
        let mut wanted: Vec<Vec<u8>> = expected
            .iter()
            .map(|spans| {
                let parts = spans
                    .iter()
                    .map(|&spans| sample::request(spans, spans.into()));
                parts.collect::<Vec<_>>().concat()
            })
            .collect();
        wanted.sort();
        assert_eq!(taken, wanted);
    };
    check(Batch::default(), &[&[1, 2, 3]]).await;
    let sized = |min_size, max_size| Batch {
        min_size,
        max_size,
        ..Batch::default()
    };
    check(sized(3, 0), &[&[1, 2], &[3]]).await;
    check(sized(5, 5), &[&[1, 2], &[3]]).await;
}
