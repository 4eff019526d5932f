//! The learner's thread: the one that owns the weights.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};
use rustix::time::{ClockId, clock_gettime};

use super::board::Board;
use super::budget::Budget;
use super::exchange::{Arrived, Exchange};
use super::gauge::LearnerGauge;
use crate::learner::{Broken, Checkpoint, Drift, Judgement, Learner, Published, Serving, Standing};
use crate::model::vae::one_core;
use crate::synthesizer::{tell_apart, try_out};
use crate::trace::Trace;

/// Traces taken in one go before training has its turn.
const GULP: usize = 256;
/// How long the thread waits for a trace at most.
const NAP: Duration = Duration::from_millis(100);
/// A score comes when so many times its own cost was spent on steps. So many times that of telling drawn
/// traces from observed ones is, before that is done again: until then what the VAE serves stays.
const STEPS_PER_SCORE: u32 = 8;
const STEPS_PER_TELLING: u32 = 2;
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
    /// Models of other instances, where they are exchanged.
    pub(super) exchange: Option<Exchange>,
    /// How far the model of another instance is that serves; none while an own one does.
    pub(super) foreign: Option<Standing>,
    /// The newest good model of another instance, for one that may be elected.
    pub(super) newest: Option<Checkpoint>,
    /// When a model was sent last, and how far it was.
    pub(super) sent: Option<(Duration, Standing)>,
    pub(super) began: Instant,
}

/// How a spell of learning, or of following, ended.
enum Over {
    /// Every shard has ended.
    Ended,
    /// Another instance is to learn, or this one.
    Changed,
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
        if let Err(fault) = self.take_turns() {
            tracing::error!(%fault, "learning ended; what was published last goes on serving");
            // Shards that offer traces go on counting them as dropped.
            return;
        }
        if self.trains() {
            self.save();
            self.send_last();
        }
        self.tell();
    }

    /// Learns, or follows, as its role says, until every shard has ended.
    fn take_turns(&mut self) -> Result<(), Broken> {
        loop {
            let over = match self.cpu.filter(|_| self.trains()) {
                Some(cpu) => {
                    self.take_over()?;
                    self.teach(cpu)?
                }
                None => self.stand_by()?,
            };
            if let Over::Ended = over {
                return Ok(());
            }
        }
    }

    fn trains(&self) -> bool {
        let elsewhere = self.exchange.as_ref().is_some_and(|e| !e.trains());
        self.cpu.is_some() && !elsewhere
    }

    fn teach(&mut self, cpu: f64) -> Result<Over, Broken> {
        let mut budget = Budget::new(cpu);
        let (mut told, mut saved) = (Duration::ZERO, Duration::ZERO);
        let (mut since_score, mut next_score) = (Duration::ZERO, Duration::ZERO);
        // What is still to be spent on steps before traces are told apart again.
        let mut owed = Duration::ZERO;
        let mut scored_at = 0;
        let mut drift = self.learner.status().drift;
        loop {
            let before = worked();
            for _ in 0..GULP {
                match self.traces.try_recv() {
                    Ok(trace) => self.learner.take(trace),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return Ok(Over::Ended),
                }
            }
            self.hear()?;
            if !self.trains() {
                return Ok(Over::Changed);
            }
            drift = self.tell_drift(drift);
            let refitted = self.learner.refit();
            let wait = budget.wait(self.began.elapsed());
            let stepped = wait.is_zero() && self.learner.step()?;
            let spent = worked() - before;
            since_score += spent;
            owed = owed.saturating_sub(spent);
            budget.spend(spent);
            let seen = self.learner.status().traces_seen;
            let due = refitted || since_score > next_score && (stepped || seen > scored_at);
            let waits = !owed.is_zero() && self.learner.status().serving == Serving::Vae;
            if due && seen > 0 && !waits {
                let before = worked();
                let published = self.learner.score()?;
                let scoring = (worked() - before).max(Duration::from_millis(20));
                if let Some(published) = published {
                    let published = tell_apart(&mut self.learner, published);
                    self.publish(published);
                }
                if owed.is_zero() {
                    try_out(&mut self.learner);
                }
                let spent = worked() - before;
                owed += spent.saturating_sub(scoring) * STEPS_PER_TELLING;
                next_score = scoring * STEPS_PER_SCORE;
                budget.spend(spent);
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
                    Err(RecvTimeoutError::Disconnected) => return Ok(Over::Ended),
                }
            }
        }
    }

    /// Learns nothing; takes traces away, so that nobody waits, until every shard has ended or this
    /// instance is to learn. Where models are exchanged, some traces are held out to judge them by.
    fn stand_by(&mut self) -> Result<Over, Broken> {
        let mut told = None;
        loop {
            self.hear()?;
            if self.trains() {
                return Ok(Over::Changed);
            }
            let now = self.began.elapsed();
            if told.is_none_or(|told| now - told >= TELL) {
                told = Some(now);
                self.tell();
            }
            match self.traces.recv_timeout(NAP) {
                Ok(trace) if self.exchange.is_some() => self.learner.hold_out(trace),
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(Over::Ended),
            }
        }
    }

    /// Looks at models of other instances that came.
    fn hear(&mut self) -> Result<(), Broken> {
        let Some(exchange) = &self.exchange else {
            return Ok(());
        };
        // Of several only the newest is of interest.
        match exchange.arrived.try_iter().last() {
            Some(arrived) => self.consider(&arrived),
            None => Ok(()),
        }
    }

    /// Serves a model of another instance, goes on from it, or lets it be.
    fn consider(&mut self, arrived: &Arrived) -> Result<(), Broken> {
        let from = &arrived.from;
        let checkpoint = match Checkpoint::from_bytes(&arrived.model) {
            Ok(checkpoint) => checkpoint,
            Err(fault) => {
                self.gauge.exchanged("unreadable");
                tracing::warn!(from, %fault, "a model of another instance can't be used");
                return Ok(());
            }
        };
        let standing = checkpoint.standing();
        let trains = self.trains();
        let behind = self.learner.standing().is_far_behind(standing);
        let serves_others = self.exchange.as_ref().is_some_and(Exchange::serves_others);
        let present = self.foreign.unwrap_or_else(|| self.learner.standing());
        let wanted =
            trains && behind || (serves_others || !trains) && standing.may_replace(present);
        if !wanted {
            self.gauge.exchanged("declined");
            tracing::debug!(
                from,
                ?standing,
                ?present,
                "a model of another instance is no further"
            );
            return Ok(());
        }
        let published = match self.learner.judge(&checkpoint)? {
            Judgement::Good(published) => *published,
            judgement => {
                self.gauge.exchanged("declined");
                tracing::info!(
                    from,
                    ?standing,
                    "a model of another instance is declined: {judgement}"
                );
                return Ok(());
            }
        };
        if trains && behind {
            self.learner.go_on_from(&checkpoint)?;
            self.gauge.exchanged("continued");
            tracing::info!(
                from,
                ?standing,
                "learning goes on from a model of another instance"
            );
            self.foreign = None;
        } else {
            self.gauge.exchanged("served");
            if self
                .foreign
                .is_none_or(|before| before.serving != standing.serving)
            {
                tracing::info!(from, ?standing, "a model of another instance serves");
            }
            self.foreign = Some(standing);
            if self.exchange.as_ref().is_some_and(Exchange::stands_by) {
                self.newest = Some(checkpoint);
            }
        }
        self.serve(published);
        Ok(())
    }

    /// This instance is to learn: it goes on from the newest model that it has heard of.
    fn take_over(&mut self) -> Result<(), Broken> {
        let newest = self.newest.take();
        let own = self.learner.standing();
        if let Some(newest) = newest.filter(|newest| newest.standing().learnt > own.learnt) {
            self.learner.go_on_from(&newest)?;
            self.gauge.exchanged("continued");
            tracing::info!(
                standing = ?newest.standing(),
                "learning goes on from the newest model of another instance"
            );
            self.foreign = None;
        }
        Ok(())
    }

    /// Sends the model as it is, unless one was sent a short while ago.
    fn send(&mut self) {
        let Some(exchange) = &self.exchange else {
            return;
        };
        let now = self.began.elapsed();
        if self
            .sent
            .is_some_and(|(at, _)| now - at < exchange.interval)
        {
            return;
        }
        match Checkpoint::of(&self.learner).to_bytes() {
            Ok(model) => exchange.outbox.put(model),
            Err(fault) => tracing::warn!(%fault, "the model can't be written"),
        }
        self.sent = Some((now, self.learner.standing()));
    }

    /// At the end: what was learnt since the last time.
    fn send_last(&mut self) {
        let standing = self.learner.standing();
        let new = self.sent.is_none_or(|(_, sent)| sent != standing);
        if new && standing.serving != Serving::Nothing && self.foreign.is_none() {
            self.sent = None;
            self.send();
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

    /// A snapshot of this learner; a model of another instance that is further goes on serving.
    fn publish(&mut self, published: Published) {
        let standing = self.learner.standing();
        if self
            .foreign
            .is_some_and(|foreign| !standing.may_replace(foreign))
        {
            return;
        }
        self.foreign = None;
        self.serve(published);
        self.send();
    }

    /// Has a snapshot serve, under the next number.
    fn serve(&mut self, mut published: Published) {
        let serving = published.serving();
        let before = self.published.load_full();
        published.number = before.as_ref().map_or(0, |before| before.number) + 1;
        self.published.store(Some(Arc::new(published)));
        if before.is_none_or(|before| before.serving() != serving) {
            let status = self.learner.status();
            tracing::info!(
                ?serving,
                traces = status.traces_seen,
                steps = status.steps,
                held_out_nats_vae = status.held_out_vae,
                held_out_nats_grammar = status.held_out_grammar,
                told_apart_vae = status.tried.map(|[vae, _]| vae),
                told_apart_grammar = status.tried.map(|[_, grammar]| grammar),
                "another sampler serves"
            );
        }
    }

    fn tell(&mut self) {
        let mut status = self.learner.status().clone();
        status.cpu_seconds = worked().as_secs_f64();
        status.traces_dropped = self.gauge.dropped();
        // Whoever made it: this is what the synthetic traces come from.
        let serving = self
            .published
            .load()
            .as_ref()
            .map(|published| published.serving());
        status.serving = serving.unwrap_or_default();
        let standing = self.foreign.unwrap_or_else(|| self.learner.standing());
        self.gauge.tell_served(standing.learnt);
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
