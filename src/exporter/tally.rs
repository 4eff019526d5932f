//! What became of the spans of an exporter: counters, and a log line when a bad time begins and
//! when it ends.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use metrics::{Counter, counter};
use tokio::time::Instant;

use crate::telemetry;

/// Spans by what became of them. `sent + rejected + refused + dropped` is what left the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExporterCounts {
    /// Acknowledged by the backend.
    pub sent: u64,
    /// Left out by the backend, which took the rest of their request (`partial_success`).
    pub rejected: u64,
    /// Not delivered, and a sender who waited was told so.
    pub refused: u64,
    /// Not delivered, after their sender had been told that they were accepted.
    pub dropped: u64,
}

/// Why spans were given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// The backend said that another attempt won't help.
    Failed,
    /// `max_elapsed_time` is over.
    Expired,
    /// The deadline of the shutdown is over.
    Shutdown,
}

/// Counts of one exporter, shared by its consumers and whoever wants to read them.
#[derive(Debug)]
pub struct Tally {
    name: String,
    sent: AtomicU64,
    rejected: AtomicU64,
    refused: AtomicU64,
    dropped: AtomicU64,
    sent_metric: Counter,
    send_failed_metric: Counter,
    rejected_metric: Counter,
    failed_metric: Counter,
    expired_metric: Counter,
    shutdown_metric: Counter,
    unreachable: Spell,
    losing: Spell,
    trouble: Mutex<Option<String>>,
}

impl Tally {
    pub(super) fn new(name: &str) -> Self {
        let plain =
            |metric: telemetry::Metric| counter!(metric.name, "exporter" => name.to_owned());
        let dropped = |reason: &'static str| {
            let metric = telemetry::EXPORTER_DROPPED_SPANS.name;
            counter!(metric, "exporter" => name.to_owned(), "reason" => reason)
        };
        Self {
            name: name.to_owned(),
            sent: AtomicU64::default(),
            rejected: AtomicU64::default(),
            refused: AtomicU64::default(),
            dropped: AtomicU64::default(),
            sent_metric: plain(telemetry::EXPORTER_SENT_SPANS),
            send_failed_metric: plain(telemetry::EXPORTER_SEND_FAILED_SPANS),
            rejected_metric: dropped("rejected"),
            failed_metric: dropped("failed"),
            expired_metric: dropped("expired"),
            shutdown_metric: dropped("shutdown"),
            unreachable: Spell::default(),
            losing: Spell::default(),
            trouble: Mutex::default(),
        }
    }

    /// Why spans were lost last, in the backend's words or in those of who tried; nothing if none
    /// were.
    pub fn trouble(&self) -> Option<String> {
        let trouble = self.trouble.lock();
        trouble.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, message: &str) {
        let trouble = self.trouble.lock();
        *trouble.unwrap_or_else(PoisonError::into_inner) = Some(message.to_owned());
    }

    /// The exporter's id.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What became of its spans so far.
    pub fn counts(&self) -> ExporterCounts {
        ExporterCounts {
            sent: self.sent.load(Relaxed),
            rejected: self.rejected.load(Relaxed),
            refused: self.refused.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
        }
    }

    /// A backend took `spans` spans but for the last `rejected`.
    pub(super) fn accepted(&self, spans: u64, rejected: u64, message: &str) {
        let rejected = rejected.min(spans);
        self.sent.fetch_add(spans - rejected, Relaxed);
        self.sent_metric.increment(spans - rejected);
        if let Some(lasted) = self.unreachable.end(Duration::ZERO) {
            tracing::info!(exporter = self.name, ?lasted, "delivering again");
        }
        if rejected > 0 {
            self.rejected.fetch_add(rejected, Relaxed);
            self.rejected_metric.increment(rejected);
            self.note(message);
            if self.losing.begin() {
                tracing::warn!(
                    exporter = self.name,
                    reason = message,
                    "the backend rejects spans; they are counted and not sent again"
                );
            }
        } else if let Some(lasted) = self.losing.end(CALM) {
            tracing::info!(exporter = self.name, ?lasted, "no longer losing spans");
        }
    }

    /// An attempt failed and another one follows.
    pub(super) fn tried(&self, message: &str) {
        if self.unreachable.begin() {
            tracing::warn!(
                exporter = self.name,
                reason = message,
                "can't deliver; requests are kept and tried again"
            );
        }
    }

    /// `spans` spans are not tried again; `told` of them have a sender who hears of it.
    pub(super) fn lost(&self, spans: u64, told: u64, reason: Reason, message: &str) {
        let dropped = spans - told;
        // The end of the program is no reason: what came before it is.
        if reason != Reason::Shutdown || self.trouble().is_none() {
            self.note(message);
        }
        self.refused.fetch_add(told, Relaxed);
        self.dropped.fetch_add(dropped, Relaxed);
        self.send_failed_metric.increment(spans);
        match reason {
            Reason::Failed => self.failed_metric.increment(dropped),
            Reason::Expired => self.expired_metric.increment(dropped),
            Reason::Shutdown => self.shutdown_metric.increment(dropped),
        }
        if dropped > 0 && self.losing.begin() {
            tracing::error!(
                exporter = self.name,
                reason = message,
                "accepted spans are dropped and counted"
            );
        }
    }
}

/// A spell of losses ends once this long nothing was lost: one bad request among many good ones
/// must not write two lines each time.
const CALM: Duration = Duration::from_secs(60);

/// A bad time that has a beginning and an end.
#[derive(Debug, Default)]
struct Spell {
    on: AtomicBool,
    times: Mutex<Option<(Instant, Instant)>>,
}

impl Spell {
    /// Something bad happened; whether that is news.
    fn begin(&self) -> bool {
        let now = Instant::now();
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let news = times.is_none();
        *times = Some((times.map_or(now, |(begun, _)| begun), now));
        self.on.store(true, Relaxed);
        news
    }

    /// Something good happened; how long the bad time was, if this ends it.
    fn end(&self, calm: Duration) -> Option<Duration> {
        if !self.on.load(Relaxed) {
            return None;
        }
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let (begun, last) = (*times)?;
        if last.elapsed() < calm {
            return None;
        }
        *times = None;
        self.on.store(false, Relaxed);
        Some(begun.elapsed())
    }
}
