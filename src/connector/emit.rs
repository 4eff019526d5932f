//! The synthesizer's thread: draws traces from what was published last and puts them out.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::board::{Board, ShownTrace};
use super::gauge::EmitterGauge;
use crate::chance::Rng;
use crate::features::Sampled;
use crate::learner::Published;
use crate::model::VaeError;
use crate::otlp::Payload;
use crate::pipeline::{Outlet, Refusal};
use crate::synthesizer::{Asked, Conditions, Identity, Pace, Sampler, UnknownRoot, Writer};

/// Traces drawn before they are put out, at most.
const DRAWN: u64 = 64;
/// Spans of a request, about.
const SPANS: usize = 2_000;
/// The longest nap: a stop and a new snapshot are noticed after it.
const NAP: Duration = Duration::from_millis(50);

/// What the thread works with.
pub(super) struct Emitter {
    pub(super) published: Arc<ArcSwapOption<Published>>,
    pub(super) pace: Pace,
    /// What traces are to be like.
    pub(super) conditions: Conditions,
    /// Whether the log was told that the conditions can't be met, since they last could.
    pub(super) complained: bool,
    pub(super) outlet: Outlet,
    pub(super) runtime: Handle,
    pub(super) board: Arc<Board>,
    pub(super) gauge: EmitterGauge,
    pub(super) chance: Rng,
    pub(super) identity: Identity,
    pub(super) began: Instant,
}

/// A snapshot made ready to draw from.
struct Ready {
    number: u64,
    published: Arc<Published>,
    sampler: Sampler,
    asked: Result<Asked, UnknownRoot>,
    writer: Writer,
}

impl Ready {
    fn new(published: Arc<Published>, conditions: &Conditions) -> Result<Self, VaeError> {
        let mut sampler = Sampler::new(&published)?;
        Ok(Self {
            number: published.number,
            asked: Asked::of_known(conditions, &mut sampler, &published.words),
            sampler,
            writer: Writer::new(&published.words),
            published,
        })
    }
}

impl Emitter {
    /// Runs until told to stop. What was drawn and not taken by then is given up: it was nobody's.
    #[expect(
        clippy::disallowed_methods,
        reason = "the loop that owns the thread reads the clocks"
    )]
    pub(super) fn run(mut self, stop: &CancellationToken) {
        let mut ready: Option<Ready> = None;
        let mut observed = 0;
        while !stop.is_cancelled() {
            let now = self.began.elapsed();
            let seen = self.board.observed.traces();
            let owed = self
                .pace
                .owed(now, seen - std::mem::replace(&mut observed, seen));
            let published = self.published.load_full();
            if let Some(published) = published
                && ready.as_ref().is_none_or(|r| r.number != published.number)
            {
                match Ready::new(published, &self.conditions) {
                    Ok(newer) => ready = Some(newer),
                    Err(fault) => tracing::error!(%fault, "a snapshot can't be drawn from"),
                }
            }
            let Some(ready) = ready.as_mut().filter(|_| owed > 0) else {
                std::thread::sleep(self.pace.next_due(now).clamp(Duration::from_millis(1), NAP));
                continue;
            };
            let mut left = owed;
            while left > 0 && !stop.is_cancelled() {
                let count = left.min(DRAWN);
                left -= count;
                let unix = SystemTime::now().duration_since(UNIX_EPOCH);
                let unix = unix.map_or(0, |since| since.as_nanos() as u64);
                self.draw(ready, count, unix, stop);
            }
        }
    }

    fn draw(&mut self, ready: &mut Ready, count: u64, unix: u64, stop: &CancellationToken) {
        let asked = ready.asked.as_mut();
        let met = asked
            .map(|asked| asked.sample_many(&mut ready.sampler, &mut self.chance, count as usize));
        let (drawn, fault) = match met {
            Ok(met) => (met.traces, met.unmet.map(|unmet| unmet.to_string())),
            Err(unknown) => (Vec::new(), Some(format!("condition roots: {unknown}"))),
        };
        self.tell_unmet(count - drawn.len() as u64, fault);
        for sampled in drawn {
            let words = &ready.published.words;
            self.board
                .synthetic
                .offer(self.began.elapsed(), sampled.spans.len(), || {
                    ShownTrace::synthetic(&sampled, words)
                });
            // It ends now, as an observed trace that was just told.
            let start = unix.saturating_sub(latest_end(&sampled));
            if !ready.writer.add(&sampled, start, &mut self.identity) {
                self.gauge.given_up(sampled.spans.len() as u64);
            }
            if ready.writer.spans() >= SPANS {
                self.put_out(&ready.writer.take(), stop);
            }
        }
        if ready.writer.spans() > 0 {
            self.put_out(&ready.writer.take(), stop);
        }
    }

    /// Counts traces that the model has none of, and says why once, until all were made again.
    fn tell_unmet(&mut self, missing: u64, fault: Option<String>) {
        self.gauge.unmet(missing);
        match fault {
            Some(fault) if !self.complained => {
                self.complained = true;
                tracing::warn!(%fault, "the model does not meet generation.conditions");
            }
            None if missing == 0 => self.complained = false,
            _ => {}
        }
    }

    fn put_out(&self, payload: &Payload, stop: &CancellationToken) {
        loop {
            match self.runtime.block_on(self.outlet.offer(payload)) {
                Ok(()) => return self.gauge.produced(payload.spans() as u64),
                Err(Refusal::Full { retry_after, .. }) if !stop.is_cancelled() => {
                    std::thread::sleep(retry_after.min(NAP));
                }
                Err(_) => return self.gauge.given_up(payload.spans() as u64),
            }
        }
    }
}

/// Nanoseconds from the root's start to the latest end of a span.
fn latest_end(sampled: &Sampled) -> u64 {
    let ends = sampled.spans.iter().map(|span| {
        let end = i128::from(span.start) + i128::from(span.duration);
        u64::try_from(end).unwrap_or_default()
    });
    ends.max().unwrap_or_default()
}
