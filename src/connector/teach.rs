//! The learner's thread: the one that owns the weights.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};
use rustix::time::{ClockId, clock_gettime};

use super::board::Board;
use super::budget::Budget;
use super::gauge::LearnerGauge;
use crate::learner::{Broken, Checkpoint, Drift, Learner, Published};
use crate::model::vae::one_core;
use crate::trace::Trace;

/// Traces taken in one go before training has its turn.
const GULP: usize = 256;
/// How long the thread waits for a trace at most.
const NAP: Duration = Duration::from_millis(100);
/// A score comes when so many times its own cost was spent on steps.
const STEPS_PER_SCORE: u32 = 8;
/// How often the board and the metrics hear of it.
const TELL: Duration = Duration::from_millis(500);

/// What the learner's thread works with.
pub(super) struct Teacher {
    pub(super) learner: Learner,
    /// Share of a core for training; none: it takes traces in and learns nothing of them.
    pub(super) cpu: Option<f64>,
    pub(super) traces: Receiver<Trace>,
    pub(super) published: Arc<ArcSwapOption<Published>>,
    pub(super) board: Arc<Board>,
    pub(super) gauge: LearnerGauge,
    /// Where and how often to save.
    pub(super) checkpoint: Option<(PathBuf, Duration)>,
    pub(super) began: Instant,
}

/// CPU time of this thread.
fn worked() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

impl Teacher {
    /// Runs until every shard has ended, then saves.
    pub(super) fn run(mut self) {
        // Matrix products stay on this thread while this lives.
        let _core = one_core();
        if let Err(fault) = self.teach() {
            tracing::error!(%fault, "learning ended; what was published last goes on serving");
            // Shards that offer traces go on counting them as dropped.
            return;
        }
        self.save();
        self.tell();
    }

    fn teach(&mut self) -> Result<(), Broken> {
        let Some(cpu) = self.cpu else {
            return self.stand_by();
        };
        let mut budget = Budget::new(cpu);
        let (mut told, mut saved) = (Duration::ZERO, Duration::ZERO);
        let (mut since_score, mut score_cost) = (Duration::ZERO, Duration::ZERO);
        let mut scored_at = 0;
        let mut drift = self.learner.status().drift;
        loop {
            let before = worked();
            for _ in 0..GULP {
                match self.traces.try_recv() {
                    Ok(trace) => self.learner.take(trace),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return Ok(()),
                }
            }
            drift = self.tell_drift(drift);
            let refitted = self.learner.refit();
            let wait = budget.wait(self.began.elapsed());
            let stepped = wait.is_zero() && self.learner.step()?;
            let spent = worked() - before;
            since_score += spent;
            budget.spend(spent);
            let seen = self.learner.status().traces_seen;
            let due = refitted
                || since_score > score_cost * STEPS_PER_SCORE && (stepped || seen > scored_at);
            if due && seen > 0 {
                let before = worked();
                if let Some(published) = self.learner.score()? {
                    self.publish(published);
                }
                score_cost = (worked() - before).max(Duration::from_millis(20));
                budget.spend(score_cost);
                (since_score, scored_at) = (Duration::ZERO, seen);
            }
            let now = self.began.elapsed();
            if now - told >= TELL {
                told = now;
                self.tell();
            }
            if let Some((_, interval)) = self.checkpoint
                && now - saved >= interval
            {
                saved = now;
                self.save();
            }
            if !stepped {
                // No step to take until a trace comes, or none that the budget has room for yet.
                let nap = if wait.is_zero() { NAP } else { wait.min(NAP) };
                match self.traces.recv_timeout(nap) {
                    Ok(trace) => self.learner.take(trace),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return Ok(()),
                }
            }
        }
    }

    /// Learns nothing; takes traces away, so that nobody waits, until every shard has ended.
    fn stand_by(&mut self) -> Result<(), Broken> {
        self.checkpoint = None;
        let mut told = None;
        loop {
            let now = self.began.elapsed();
            if told.is_none_or(|told| now - told >= TELL) {
                told = Some(now);
                self.tell();
            }
            if let Err(RecvTimeoutError::Disconnected) = self.traces.recv_timeout(TELL) {
                return Ok(());
            }
        }
    }

    /// Says when the traffic has changed since `before`, and when that is over.
    fn tell_drift(&self, before: Drift) -> Drift {
        let status = self.learner.status();
        let drift = status.drift;
        if drift.noticed > before.noticed {
            tracing::warn!(
                traces = drift.at,
                mix = drift.mix,
                latency = drift.latency,
                "the traffic has changed; codes are fitted anew and the new regime is learnt"
            );
        } else if before.on && !drift.on {
            tracing::info!(traces = status.traces_seen, "the traffic is steady again");
        }
        drift
    }

    fn publish(&mut self, published: Published) {
        let serving = published.serving();
        let before = self.published.swap(Some(Arc::new(published)));
        if before.is_none_or(|before| before.serving() != serving) {
            let status = self.learner.status();
            tracing::info!(
                ?serving,
                traces = status.traces_seen,
                steps = status.steps,
                held_out_nats_vae = status.held_out_vae,
                held_out_nats_grammar = status.held_out_grammar,
                "another sampler serves"
            );
        }
    }

    fn tell(&mut self) {
        let mut status = self.learner.status().clone();
        status.cpu_seconds = worked().as_secs_f64();
        status.traces_dropped = self.gauge.dropped();
        self.gauge.tell(&status);
        self.board.tell_learner(status);
        self.board.tick(self.began.elapsed());
    }

    fn save(&mut self) {
        let Some((path, _)) = &self.checkpoint else {
            return;
        };
        match Checkpoint::of(&self.learner).save(path) {
            Ok(()) => tracing::debug!(path = %path.display(), "checkpoint saved"),
            Err(fault) => tracing::warn!(%fault, "the checkpoint was not saved"),
        }
    }
}
