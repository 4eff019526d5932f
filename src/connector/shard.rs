//! One assembler shard: a thread that makes traces of records and hands them to the learner.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, TrySendError};
use tokio_util::sync::CancellationToken;

use super::board::{Board, ShownTrace};
use super::gauge::ShardGauge;
use crate::assembler::{Assembler, Done, Feed};
use crate::features::Interner;
use crate::trace::Trace;

/// How often traces that are over are taken, and how long a shard waits for records at most.
const TURN: Duration = Duration::from_millis(50);

/// What a shard works with.
pub(super) struct Shard {
    pub(super) number: usize,
    /// Open traces of every shard; the first tells the board of all.
    pub(super) open: Arc<[AtomicU64]>,
    pub(super) assembler: Assembler,
    pub(super) feed: Feed,
    pub(super) texts: Arc<Interner>,
    pub(super) traces: Sender<Trace>,
    pub(super) board: Arc<Board>,
    pub(super) gauge: ShardGauge,
    pub(super) began: Instant,
}

impl Shard {
    /// Runs until told to stop; then takes what still waits, closes what is open, and ends.
    pub(super) fn run(mut self, stop: &CancellationToken) {
        let mut turned = Duration::ZERO;
        loop {
            let records = self.feed.next(TURN);
            let now = self.began.elapsed();
            let idle = match records {
                Ok(Some(records)) => {
                    self.assembler.add(records, now);
                    false
                }
                Ok(None) => true,
                Err(_) => break,
            };
            if now - turned >= TURN {
                turned = now;
                let done = self.assembler.take_done(now);
                self.hand_over(done, now);
                self.feed.adjust(now, self.assembler.fullness());
                self.tell();
            }
            if idle && stop.is_cancelled() {
                break;
            }
        }
        let now = self.began.elapsed();
        let done = self.assembler.finish(now);
        self.hand_over(done, now);
        self.tell();
    }

    fn hand_over(&mut self, done: Vec<Done>, now: Duration) {
        for Done { id, trace } in done {
            let Ok(trace) = trace else { continue };
            let texts = &self.texts;
            self.board.observed.offer(now, trace.spans().len(), || {
                ShownTrace::observed(&trace, texts)
            });
            if !self.feed.learnable(id) {
                self.gauge.torn(1);
                continue;
            }
            match self.traces.try_send(trace) {
                Ok(()) => {}
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => self.gauge.missed(1),
            }
        }
    }

    fn tell(&mut self) {
        let counts = self.assembler.counts();
        let admitted = self.feed.admitted();
        self.gauge.tell(&counts, admitted);
        self.open[self.number].store(counts.traces_open, Ordering::Relaxed);
        if self.number == 0 {
            let open = self.open.iter().map(|open| open.load(Ordering::Relaxed));
            self.board.tell_assembler(open.sum(), admitted);
        }
    }
}
