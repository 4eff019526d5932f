//! When a connection has been silent or has lived for too long.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// When a connection is ended. Requests in flight are answered first, always.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Idleness {
    /// Without a request since it began.
    pub(super) first: Duration,
    /// Without a request since the last was answered; none: never.
    pub(super) idle: Option<Duration>,
    /// Since it began; none: never.
    pub(super) age: Option<Duration>,
    /// How long a peer may take to leave once it was asked to and has nothing in flight.
    pub(super) grace: Duration,
}

/// What a connection is doing; clones share it.
#[derive(Debug, Clone)]
pub(super) struct Activity(Arc<State>);

#[derive(Debug)]
struct State {
    began: Instant,
    requests: AtomicU64,
    in_flight: AtomicUsize,
    /// Milliseconds from `began` to the last answer.
    last: AtomicU64,
}

/// A request in flight.
#[derive(Debug)]
pub(super) struct Busy(Arc<State>);

impl Activity {
    /// A connection that begins now.
    pub(super) fn new() -> Self {
        Self(Arc::new(State {
            began: Instant::now(),
            requests: AtomicU64::new(0),
            in_flight: AtomicUsize::new(0),
            last: AtomicU64::new(0),
        }))
    }

    /// A request begins; it is over when the answer is dropped.
    pub(super) fn begin(&self) -> Busy {
        self.0.requests.fetch_add(1, Ordering::Relaxed);
        self.0.in_flight.fetch_add(1, Ordering::AcqRel);
        Busy(self.0.clone())
    }

    /// How long nothing has been in flight.
    fn silence(&self) -> Duration {
        if self.0.in_flight.load(Ordering::Acquire) > 0 {
            return Duration::ZERO;
        }
        let last = Duration::from_millis(self.0.last.load(Ordering::Acquire));
        self.0.began.elapsed().saturating_sub(last)
    }

    /// Whether the peer should be asked to leave.
    pub(super) fn is_over(&self, bounds: &Idleness) -> bool {
        let silence = self.silence();
        let limit = match self.0.requests.load(Ordering::Relaxed) {
            0 => Some(bounds.first),
            _ => bounds.idle,
        };
        limit.is_some_and(|limit| silence >= limit)
            || bounds.age.is_some_and(|age| self.0.began.elapsed() >= age)
    }

    /// Whether a peer that was asked to leave at `asked` has had its time.
    pub(super) fn has_had_its_time(&self, asked: Instant, bounds: &Idleness) -> bool {
        self.silence().min(asked.elapsed()) >= bounds.grace
    }
}

impl Idleness {
    /// How often to look: often enough to be a quarter late at most.
    pub(super) fn interval(&self) -> Duration {
        let shortest = [Some(self.first), self.idle, self.age, Some(self.grace)]
            .into_iter()
            .flatten()
            .min();
        let quarter = shortest.unwrap_or(self.grace) / 4;
        quarter.clamp(Duration::from_millis(5), Duration::from_secs(15))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let now = u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.last.fetch_max(now, Ordering::AcqRel);
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}
