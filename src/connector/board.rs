//! What the page shows: a bounded, sampled picture of both pipelines.
//!
//! Threads that carry traces offer them and never wait: where the board is busy, or has taken
//! enough within the second, the trace is only counted.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::Duration;

use serde::Serialize;

use crate::features::{Interner, Sampled, Word};
use crate::learner::Status;
use crate::trace::{SpanKind, StatusCode, Trace};

/// Traces kept of each side.
const RECENT: usize = 40;
/// Spans of a kept trace at most; larger traces are counted and not kept.
const LARGEST: usize = 2_000;
/// Spans of all the kept traces of a side at most: the oldest traces give way.
const RECENT_SPANS: usize = 10_000;
/// Traces looked at per second and side.
const PER_SECOND: u32 = 100;
/// Distinct operations, and edges, of each generation of a side at most.
const ROWS: usize = 1_024;
/// Traces of a generation of counts: the picture tells of the present one and the one before.
const GENERATION: u64 = 4_000;
/// Bins of a duration histogram: four per decade from 1 us to 1,000 s.
pub const DURATION_BINS: usize = 36;

/// A trace with its texts, to be drawn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShownTrace {
    /// Spans in depth-first pre-order, root first.
    pub spans: Vec<ShownSpan>,
    /// (from, to) positions of links.
    pub links: Vec<(u32, u32)>,
}

/// A trace among the recent ones of its side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recent {
    /// Counts the traces that were taken into the picture, so that a reader knows one again.
    pub number: u64,
    /// The trace.
    pub trace: Arc<ShownTrace>,
}

/// A span of a [`ShownTrace`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShownSpan {
    /// Position of the parent; none for the root.
    pub parent: Option<u32>,
    /// `service.name`.
    pub service: Arc<str>,
    /// Span name.
    pub operation: Arc<str>,
    /// `internal`, `server`, `client`, `producer`, `consumer` or `unspecified`.
    pub kind: &'static str,
    /// Whether its status is error.
    pub error: bool,
    /// Nanoseconds after the root's start.
    pub start_ns: i64,
    /// Nanoseconds.
    pub duration_ns: u64,
}

/// Calls and durations of one operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShownOperation {
    /// `service.name`.
    pub service: Arc<str>,
    /// Span name.
    pub operation: Arc<str>,
    /// Spans seen among the last few thousand traces looked at.
    pub calls: u64,
    /// Of them, with an error.
    pub errors: u64,
    /// How many of them lie in each of [`DURATION_BINS`] bins, four per decade from 1 us.
    pub durations: Vec<u64>,
}

/// Calls from one service to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShownEdge {
    /// The caller's `service.name`.
    pub from: Arc<str>,
    /// The callee's `service.name`; the same for calls inside one service.
    pub to: Arc<str>,
    /// Parent-child pairs among the last few thousand traces looked at.
    pub calls: u64,
}

/// One side of the page.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct ShownSide {
    /// Whole traces since the start.
    pub traces: u64,
    /// Their spans.
    pub spans: u64,
    /// Whole traces per second, lately.
    pub traces_per_second: f64,
    /// Spans per second, lately.
    pub spans_per_second: f64,
    /// Recent traces, newest first.
    pub recent: Vec<Recent>,
    /// Operations, by service and name.
    pub operations: Vec<ShownOperation>,
    /// The service graph.
    pub edges: Vec<ShownEdge>,
}

/// Since when the present sampler serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct ServingSince {
    /// Optimiser steps at that time.
    pub steps: u64,
    /// Traces that the learner had seen by then.
    pub traces: u64,
}

/// What passes on one side.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Flow {
    /// Whole traces since the start.
    pub traces: u64,
    /// Their spans.
    pub spans: u64,
    /// Whole traces per second, lately.
    pub traces_per_second: f64,
    /// Spans per second, lately.
    pub spans_per_second: f64,
}

/// The figures of a board without its traces and tables: cheap enough for every second.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Pulse {
    /// What comes in.
    pub observed: Flow,
    /// What goes out.
    pub synthetic: Flow,
    /// The state of learning, with the last point of its curve only.
    pub learner: Status,
    /// Since when the present sampler serves.
    pub serving_since: ServingSince,
    /// Traces being assembled.
    pub open_traces: u64,
    /// Share of the observed traces that the tap admits at present.
    pub admitted: f64,
}

/// All that the page shows of one synthesizer.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct BoardSnapshot {
    /// What came in.
    pub observed: ShownSide,
    /// What went out.
    pub synthetic: ShownSide,
    /// The state of learning.
    pub learner: Status,
    /// Since when the present sampler serves.
    pub serving_since: ServingSince,
    /// Traces being assembled.
    pub open_traces: u64,
    /// Share of the observed traces that the tap admits at present.
    pub admitted: f64,
}

/// Shared by the threads of a synthesizer, which offer, and the page, which reads.
#[derive(Debug, Default)]
pub struct Board {
    /// What came in.
    pub observed: Side,
    /// What went out.
    pub synthetic: Side,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    learner: Status,
    serving_since: ServingSince,
    open_traces: u64,
    admitted: f64,
}

/// What is known of one side.
#[derive(Debug, Default)]
pub struct Side {
    traces: AtomicU64,
    spans: AtomicU64,
    // Apart from the sample, so that who asks for rates never waits for a copy of the sample.
    rate: Mutex<Rate>,
    sample: Mutex<Sample>,
}

#[derive(Debug, Default)]
struct Sample {
    second: u64,
    taken: u32,
    number: u64,
    recent: VecDeque<Recent>,
    recent_spans: usize,
    counts: Counts,
    // Whole generations are forgotten, never a part of a row: shares between rows stay true.
    earlier: Counts,
}

/// What was counted of a generation of traces.
#[derive(Debug, Clone, Default)]
struct Counts {
    traces: u64,
    operations: BTreeMap<(Arc<str>, Arc<str>), Calls>,
    edges: BTreeMap<(Arc<str>, Arc<str>), u64>,
}

#[derive(Debug, Clone)]
struct Calls {
    calls: u64,
    errors: u64,
    durations: [u64; DURATION_BINS],
}

#[derive(Debug, Default)]
struct Rate {
    at: Duration,
    traces: u64,
    spans: u64,
    per_second: Option<(f64, f64)>,
}

impl Board {
    /// The present picture. Costs a copy of what is shown; nobody waits for it longer than that.
    pub fn snapshot(&self) -> BoardSnapshot {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let learner = state.learner.clone();
        let (serving_since, open_traces, admitted) =
            (state.serving_since, state.open_traces, state.admitted);
        drop(state);
        BoardSnapshot {
            observed: self.observed.snapshot(),
            synthetic: self.synthetic.snapshot(),
            learner,
            serving_since,
            open_traces,
            admitted,
        }
    }

    /// The present figures.
    pub fn pulse(&self) -> Pulse {
        let (observed, synthetic) = (self.observed.flow(), self.synthetic.flow());
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut learner = state.learner.clone();
        learner.curve.drain(..learner.curve.len().saturating_sub(1));
        Pulse {
            observed,
            synthetic,
            learner,
            serving_since: state.serving_since,
            open_traces: state.open_traces,
            admitted: state.admitted,
        }
    }

    /// The state of learning as last told, without the rest.
    pub fn learner(&self) -> Status {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.learner.clone()
    }

    /// Takes the learner's newest word.
    pub fn tell_learner(&self, status: Status) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.learner.serving != status.serving {
            state.serving_since = ServingSince {
                steps: status.steps,
                traces: status.traces_seen,
            };
        }
        state.learner = status;
    }

    /// Takes the assembler's newest word.
    pub fn tell_assembler(&self, open_traces: u64, admitted: f64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.open_traces, state.admitted) = (open_traces, admitted);
    }

    /// Works out the rates; to be called about once a second.
    pub fn tick(&self, now: Duration) {
        self.observed.tick(now);
        self.synthetic.tick(now);
    }
}

impl Side {
    /// Whole traces since the start.
    pub fn traces(&self) -> u64 {
        self.traces.load(Ordering::Relaxed)
    }

    /// Counts a trace and, where the board has time for it, takes it into the picture.
    pub fn offer(&self, now: Duration, spans: usize, show: impl FnOnce() -> ShownTrace) {
        self.traces.fetch_add(1, Ordering::Relaxed);
        self.spans.fetch_add(spans as u64, Ordering::Relaxed);
        if spans > LARGEST {
            return;
        }
        let mut sample = match self.sample.try_lock() {
            Ok(sample) => sample,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        if sample.second != now.as_secs() {
            (sample.second, sample.taken) = (now.as_secs(), 0);
        }
        if sample.taken < PER_SECOND {
            sample.taken += 1;
            sample.take(show());
        }
    }

    /// What passes, in figures.
    pub fn flow(&self) -> Flow {
        let rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        let (traces_per_second, spans_per_second) = rate.per_second.unwrap_or_default();
        Flow {
            traces: self.traces.load(Ordering::Relaxed),
            spans: self.spans.load(Ordering::Relaxed),
            traces_per_second,
            spans_per_second,
        }
    }

    fn snapshot(&self) -> ShownSide {
        let flow = self.flow();
        let sample = self.sample.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = sample.earlier.with(&sample.counts);
        let recent = sample.recent.iter().cloned().collect();
        drop(sample);
        ShownSide {
            traces: flow.traces,
            spans: flow.spans,
            traces_per_second: flow.traces_per_second,
            spans_per_second: flow.spans_per_second,
            recent,
            operations: counts
                .operations
                .into_iter()
                .map(|((service, operation), calls)| ShownOperation {
                    service,
                    operation,
                    calls: calls.calls,
                    errors: calls.errors,
                    durations: calls.durations.to_vec(),
                })
                .collect(),
            edges: counts
                .edges
                .into_iter()
                .map(|((from, to), calls)| ShownEdge { from, to, calls })
                .collect(),
        }
    }

    fn tick(&self, now: Duration) {
        let (traces, spans) = (self.traces(), self.spans.load(Ordering::Relaxed));
        let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_sub(rate.at).as_secs_f64();
        if passed <= 0.0 {
            return;
        }
        let per_second = |new: u64, old: u64| new.saturating_sub(old) as f64 / passed;
        let (new_traces, new_spans) = (
            per_second(traces, rate.traces),
            per_second(spans, rate.spans),
        );
        let keep = (-passed / 5.0).exp();
        let (old_traces, old_spans) = rate.per_second.unwrap_or((new_traces, new_spans));
        *rate = Rate {
            at: now,
            traces,
            spans,
            per_second: Some((
                new_traces + (old_traces - new_traces) * keep,
                new_spans + (old_spans - new_spans) * keep,
            )),
        };
    }
}

impl Sample {
    fn take(&mut self, trace: ShownTrace) {
        if self.counts.traces >= GENERATION {
            self.earlier = std::mem::take(&mut self.counts);
        }
        self.counts.take(&trace);
        self.number += 1;
        self.recent_spans += trace.spans.len();
        self.recent.push_front(Recent {
            number: self.number,
            trace: Arc::new(trace),
        });
        while self.recent.len() > RECENT || self.recent_spans > RECENT_SPANS {
            let oldest = self.recent.pop_back();
            self.recent_spans -= oldest.map_or(0, |oldest| oldest.trace.spans.len());
        }
    }
}

impl Counts {
    fn take(&mut self, trace: &ShownTrace) {
        self.traces += 1;
        for span in &trace.spans {
            let key = (span.service.clone(), span.operation.clone());
            if self.operations.len() < ROWS || self.operations.contains_key(&key) {
                self.operations.entry(key).or_default().add(span);
            }
            let parent = span.parent.and_then(|at| trace.spans.get(at as usize));
            if let Some(parent) = parent {
                let key = (parent.service.clone(), span.service.clone());
                if self.edges.len() < ROWS || self.edges.contains_key(&key) {
                    *self.edges.entry(key).or_default() += 1;
                }
            }
        }
    }

    /// These counts and those.
    fn with(&self, newer: &Self) -> Self {
        let mut sum = self.clone();
        sum.traces += newer.traces;
        for (key, calls) in &newer.operations {
            sum.operations.entry(key.clone()).or_default().join(calls);
        }
        for (key, calls) in &newer.edges {
            *sum.edges.entry(key.clone()).or_default() += calls;
        }
        sum
    }
}

impl Default for Calls {
    fn default() -> Self {
        Self {
            calls: 0,
            errors: 0,
            durations: [0; DURATION_BINS],
        }
    }
}

impl Calls {
    fn add(&mut self, span: &ShownSpan) {
        self.calls += 1;
        self.errors += u64::from(span.error);
        self.durations[bin(span.duration_ns)] += 1;
    }

    fn join(&mut self, other: &Self) {
        self.calls += other.calls;
        self.errors += other.errors;
        for (sum, count) in self.durations.iter_mut().zip(&other.durations) {
            *sum += count;
        }
    }
}

/// The bin of a duration: four per decade, the first from 1 us (and below), the last to 1,000 s
/// (and above).
fn bin(duration_ns: u64) -> usize {
    let decades = (duration_ns.max(1) as f64 / 1_000.0).log10();
    ((decades * 4.0).max(0.0) as usize).min(DURATION_BINS - 1)
}

fn kind_word(kind: SpanKind) -> &'static str {
    match kind {
        SpanKind::Unspecified => "unspecified",
        SpanKind::Internal => "internal",
        SpanKind::Server => "server",
        SpanKind::Client => "client",
        SpanKind::Producer => "producer",
        SpanKind::Consumer => "consumer",
    }
}

impl ShownTrace {
    /// An observed trace with its texts; a text that is forgotten by now reads as `other`.
    pub fn observed(trace: &Trace, texts: &Interner) -> Self {
        let text = |symbol| texts.text(symbol).unwrap_or_else(|| "other".into());
        let spans = trace.spans().iter().map(|span| ShownSpan {
            parent: span.parent,
            service: text(span.service),
            operation: text(span.operation),
            kind: kind_word(span.kind),
            error: span.status == StatusCode::Error,
            start_ns: span.start,
            duration_ns: span.duration,
        });
        Self {
            spans: spans.collect(),
            links: trace.links().iter().map(|l| (l.from, l.to)).collect(),
        }
    }

    /// A synthetic trace with the texts of its vocabulary.
    pub fn synthetic(sampled: &Sampled, words: &[Word]) -> Self {
        let unknown: Arc<str> = "other".into();
        let spans = sampled.spans.iter().map(|span| {
            let word = words.get(span.token.0 as usize);
            ShownSpan {
                parent: span.parent,
                service: word.map_or(&unknown, |word| &word.service).clone(),
                operation: word.map_or(&unknown, |word| &word.operation).clone(),
                kind: kind_word(word.map(|word| word.kind).unwrap_or_default()),
                error: span.status == StatusCode::Error,
                start_ns: span.start,
                duration_ns: span.duration,
            }
        });
        Self {
            spans: spans.collect(),
            links: sampled.links.iter().map(|l| (l.from, l.to)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learner::Serving;

    fn shown(services: &[&str]) -> ShownTrace {
        let spans = services.iter().enumerate().map(|(at, &service)| ShownSpan {
            parent: at.checked_sub(1).map(|parent| parent as u32),
            service: service.into(),
            operation: "GET".into(),
            kind: "server",
            error: at == 1,
            start_ns: 0,
            duration_ns: 5_000_000,
        });
        ShownTrace {
            spans: spans.collect(),
            links: Vec::new(),
        }
    }

    #[test]
    fn the_picture_holds_recent_traces_operations_and_the_service_graph() {
        let board = Board::default();
        for _ in 0..3 {
            board
                .observed
                .offer(Duration::ZERO, 2, || shown(&["web", "cart"]));
        }
        let picture = board.snapshot().observed;
        assert_eq!((picture.traces, picture.spans), (3, 6));
        assert_eq!(picture.recent.len(), 3);
        let edge = &picture.edges[0];
        assert_eq!((&*edge.from, &*edge.to, edge.calls), ("web", "cart", 3));
        let cart = &picture.operations[0];
        assert_eq!((&*cart.service, cart.calls, cart.errors), ("cart", 3, 3));
        assert_eq!(cart.durations[14], 3, "5 ms is 3.7 decades above 1 us");
    }

    #[test]
    fn a_flood_is_counted_and_the_picture_stays_bounded() {
        let board = Board::default();
        for at in 0..5_000_u64 {
            let name = format!("service {at}");
            let now = Duration::from_secs(at / 200);
            board.observed.offer(now, 2, || shown(&["web", &name]));
        }
        let picture = board.snapshot().observed;
        assert_eq!(picture.traces, 5_000);
        assert_eq!(picture.recent.len(), RECENT);
        assert_eq!(picture.operations.len(), ROWS);
        assert_eq!(picture.edges.len(), ROWS);
    }

    #[test]
    fn shares_stay_true_however_long_it_runs_and_old_traces_are_forgotten() {
        let board = Board::default();
        let offer = |at: u64, names: &[&str]| {
            let now = Duration::from_secs(at / 50);
            board.observed.offer(now, 2, || shown(names));
        };
        for at in 0..GENERATION {
            offer(at, &["web", "old"]);
        }
        // Nine of ten call the cart: that stays so when both have been called very often.
        for at in GENERATION..GENERATION * 5 / 2 + GENERATION {
            let callee = if at % 10 == 0 { "mail" } else { "cart" };
            offer(at, &["web", callee]);
        }
        let picture = board.snapshot().observed;
        let calls: Vec<_> = picture
            .edges
            .iter()
            .map(|edge| (&*edge.to, edge.calls))
            .collect();
        let kept = GENERATION * 3 / 2;
        assert_eq!(calls, [("cart", kept * 9 / 10), ("mail", kept / 10)]);
        let cart = picture
            .operations
            .iter()
            .find(|row| &*row.service == "cart");
        assert_eq!(cart.map(|row| row.calls), Some(kept * 9 / 10));
    }

    #[test]
    fn large_traces_push_older_ones_out() {
        let board = Board::default();
        for second in 0..10 {
            let large = || shown(&["web"; LARGEST]);
            board
                .observed
                .offer(Duration::from_secs(second), LARGEST, large);
        }
        let numbers: Vec<u64> = board
            .snapshot()
            .observed
            .recent
            .iter()
            .map(|recent| recent.number)
            .collect();
        assert_eq!(numbers, [10, 9, 8, 7, 6]);
    }

    #[test]
    fn the_pulse_says_since_when_the_present_sampler_serves() {
        let board = Board::default();
        let told = [
            (Serving::Grammar, 10),
            (Serving::Grammar, 20),
            (Serving::Vae, 30),
            (Serving::Vae, 40),
        ];
        for (serving, steps) in told {
            board.tell_learner(Status {
                serving,
                steps,
                traces_seen: steps * 2,
                curve: vec![(0, 9.0, 9.0, 8.0); 3],
                ..Status::default()
            });
        }
        let pulse = board.pulse();
        let since = ServingSince {
            steps: 30,
            traces: 60,
        };
        assert_eq!(pulse.serving_since, since);
        assert_eq!(pulse.learner.curve.len(), 1);
    }

    #[test]
    fn rates_follow_what_passes() {
        let board = Board::default();
        for second in 0..20 {
            for _ in 0..50 {
                board
                    .synthetic
                    .offer(Duration::from_secs(second), 1, || shown(&["web"]));
            }
            board.tick(Duration::from_secs(second + 1));
        }
        let rate = board.pulse().synthetic.traces_per_second;
        assert!((rate - 50.0).abs() < 0.5, "{rate}");
    }
}
