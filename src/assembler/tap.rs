//! The tap: takes compact records of a request's spans to the assembler shards, and never waits.
//!
//! A shard that falls behind is given less: a channel that is full sheds its batch, and from then
//! on fewer traces are admitted, chosen by a hash of the trace id, so that what is admitted comes
//! whole. So it is where more traces are open than a shard has room for, which would otherwise give
//! up each before it is whole. [`Feed::learnable`] tells afterwards which traces lost nothing on the way.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::filter::Filter;
use super::profile::profile;
use crate::features::{Interner, InternerCounts};
use crate::otlp::view::{ResourceView, SpanView, Visit};
use crate::trace::{SpanId, SpanRecord, Symbol, TraceId};

/// How the channels between taps and shards are bounded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TapSettings {
    /// Assembler shards.
    pub shards: usize,
    /// Spans that may wait in front of each shard.
    pub waiting_spans: usize,
    /// How long a trace may be open, and so for how long what was shed must be remembered.
    pub max_wait: Duration,
}

/// What a tap has seen and shed, over all of its clones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TapCounts {
    /// Spans of accepted requests.
    pub seen: u64,
    /// Spans that went to a shard.
    pub fed: u64,
    /// Spans shed, of whole traces.
    pub shed: u64,
}

#[derive(Debug, Default)]
struct Counters {
    seen: AtomicU64,
    fed: AtomicU64,
    shed: AtomicU64,
}

/// What both ends of a channel know.
#[derive(Debug)]
struct Lane {
    /// Traces whose hash is above this are not admitted.
    admitted: AtomicU32,
    /// Something was shed since the shard last looked.
    overflowed: AtomicBool,
    waiting: AtomicUsize,
    limit: usize,
    shed: Filter,
}

/// The end of a channel that taps put records into.
type Mouth = (Sender<Vec<SpanRecord>>, Arc<Lane>);

/// A shard that is fuller than this is given less.
const NEARLY_FULL: f64 = 0.9;
/// One that is fuller than this is given no more than now.
const HALF_FULL: f64 = 0.5;
/// How long to wait for what giving less has done before giving less again.
const STEP: Duration = Duration::from_secs(1);

/// Taken once per receiver; clones share channels and counters.
#[derive(Debug, Clone)]
pub struct Tap {
    interner: Arc<Interner>,
    lanes: Arc<[Mouth]>,
    counters: Arc<Counters>,
}

/// The records of one request, collected while it is walked, handed over once it is accepted.
#[derive(Debug)]
pub struct TapBatch {
    tap: Tap,
    service: Symbol,
    parts: Vec<Vec<SpanRecord>>,
    seen: u64,
    shed: u64,
}

/// The end of a channel from which one shard takes its records.
#[derive(Debug)]
pub struct Feed {
    records: Receiver<Vec<SpanRecord>>,
    lane: Arc<Lane>,
    max_wait: Duration,
    /// Admission in the recent past, newest last: a trace that was open while less was admitted
    /// may have lost spans.
    past: VecDeque<(Duration, u32)>,
    turned: Duration,
    /// When less was asked for because the shard is nearly full.
    lessened: Option<Duration>,
}

/// Where a trace belongs: the high half chooses the lane, the low half whether it is admitted.
fn place(id: TraceId) -> u64 {
    foldhash::fast::FixedState::with_seed(0x0074_6170).hash_one(id.number())
}

impl Tap {
    /// A tap and the shards' ends of its channels.
    pub fn new(settings: &TapSettings, interner: Arc<Interner>) -> (Self, Vec<Feed>) {
        let (lanes, feeds): (Vec<_>, Vec<_>) = (0..settings.shards.max(1))
            .map(|_| {
                let (sender, records) = crossbeam_channel::bounded(1024);
                let lane = Arc::new(Lane {
                    admitted: AtomicU32::new(u32::MAX),
                    overflowed: AtomicBool::new(false),
                    waiting: AtomicUsize::new(0),
                    limit: settings.waiting_spans,
                    shed: Filter::default(),
                });
                let feed = Feed {
                    records,
                    lane: lane.clone(),
                    max_wait: settings.max_wait,
                    past: VecDeque::new(),
                    turned: Duration::ZERO,
                    lessened: None,
                };
                ((sender, lane), feed)
            })
            .unzip();
        let tap = Self {
            interner,
            lanes: lanes.into(),
            counters: Arc::default(),
        };
        (tap, feeds)
    }

    /// Begins a request.
    pub fn begin(&self) -> TapBatch {
        TapBatch {
            tap: self.clone(),
            service: Symbol(0),
            parts: Vec::new(),
            seen: 0,
            shed: 0,
        }
    }

    /// What its interner remembered and turned away.
    pub fn texts(&self) -> InternerCounts {
        self.interner.counts()
    }

    /// What was seen and shed so far; `seen` is the sum of the others.
    pub fn counts(&self) -> TapCounts {
        TapCounts {
            seen: self.counters.seen.load(Ordering::Relaxed),
            fed: self.counters.fed.load(Ordering::Relaxed),
            shed: self.counters.shed.load(Ordering::Relaxed),
        }
    }
}

impl Visit for TapBatch {
    fn resource(&mut self, resource: &ResourceView<'_>) {
        self.service = self.tap.interner.symbol(resource.service);
    }

    fn span(&mut self, span: &SpanView<'_>) {
        self.seen += 1;
        let place = place(span.trace_id);
        let lanes = self.tap.lanes.len();
        let at = ((place >> 32) as usize * lanes) >> 32;
        if place as u32 > self.tap.lanes[at].1.admitted.load(Ordering::Relaxed) {
            self.shed += 1;
            return;
        }
        if self.parts.is_empty() {
            self.parts.resize_with(lanes, Vec::new);
        }
        self.parts[at].push(SpanRecord {
            trace_id: span.trace_id,
            span_id: span.span_id,
            parent: span.parent,
            service: self.service,
            operation: self.tap.interner.symbol(span.name),
            profile: profile(span, &self.tap.interner),
            kind: span.kind,
            status: span.status,
            start: span.start,
            end: span.end,
            links: links(span),
        });
    }
}

/// The spans of the same trace that a span links to.
fn links(span: &SpanView<'_>) -> Option<Box<[SpanId]>> {
    if span.links == 0 {
        return None;
    }
    let linked: Box<[SpanId]> = span
        .links()
        .filter(|(trace_id, _)| *trace_id == Some(span.trace_id))
        .filter_map(|(_, span_id)| span_id)
        .collect();
    (!linked.is_empty()).then_some(linked)
}

impl TapBatch {
    /// Hands the records over, the request having been accepted. Sheds what a shard has no room
    /// for, and remembers those traces, so that no half of one is learnt.
    pub fn commit(mut self) {
        for (part, (sender, lane)) in self.parts.into_iter().zip(&*self.tap.lanes) {
            if part.is_empty() {
                continue;
            }
            let count = part.len();
            let waiting = lane.waiting.fetch_add(count, Ordering::AcqRel);
            let refused = if waiting > lane.limit {
                Some(part)
            } else {
                sender.try_send(part).err().map(|full| full.into_inner())
            };
            if let Some(refused) = refused {
                lane.waiting.fetch_sub(count, Ordering::AcqRel);
                lane.shed(&refused);
                self.shed += count as u64;
            }
        }
        let counters = &self.tap.counters;
        counters.seen.fetch_add(self.seen, Ordering::Relaxed);
        counters.shed.fetch_add(self.shed, Ordering::Relaxed);
        counters
            .fed
            .fetch_add(self.seen - self.shed, Ordering::Relaxed);
    }
}

impl Lane {
    fn shed(&self, records: &[SpanRecord]) {
        for record in records {
            self.shed.insert(place(record.trace_id));
        }
        // Once until the shard has looked: senders that fail together ask for less only once.
        if !self.overflowed.swap(true, Ordering::AcqRel) {
            self.lessen();
        }
    }

    fn lessen(&self) {
        let admitted = self.admitted.load(Ordering::Relaxed);
        let fewer = (admitted / 4).saturating_mul(3).max(u32::MAX / 1024);
        self.admitted.store(fewer, Ordering::Release);
    }
}

impl Feed {
    /// The next records; nothing when none came in time, an error when every tap is gone.
    pub fn next(&self, wait: Duration) -> Result<Option<Vec<SpanRecord>>, Closed> {
        match self.records.recv_timeout(wait) {
            Ok(records) => {
                self.lane.waiting.fetch_sub(records.len(), Ordering::AcqRel);
                Ok(Some(records))
            }
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(Closed),
        }
    }

    /// Admits more again where nothing was shed lately and the shard has room, less where it is
    /// nearly full. To be called a few times a second.
    pub fn adjust(&mut self, now: Duration, fullness: f64) {
        let admitted = self.lane.admitted.load(Ordering::Acquire);
        let overflowed = self.lane.overflowed.swap(false, Ordering::AcqRel);
        if fullness > NEARLY_FULL {
            // What is open now ends a while later: less is asked for step by step.
            if self
                .lessened
                .is_none_or(|at| now.saturating_sub(at) >= STEP)
            {
                self.lessened = Some(now);
                self.lane.lessen();
            }
        } else if !overflowed && fullness < HALF_FULL && admitted < u32::MAX {
            let more = admitted.saturating_add(admitted / 20);
            self.lane.admitted.store(more, Ordering::Release);
        }
        if self.past.back().is_none_or(|&(_, last)| last != admitted) {
            self.past.push_back((now, admitted));
        }
        // An admission held until its successor came: it matters for two waits after that.
        while self
            .past
            .get(1)
            .is_some_and(|&(since, _)| now.saturating_sub(since) > self.max_wait * 2)
        {
            self.past.pop_front();
        }
        if now.saturating_sub(self.turned) > self.max_wait * 2 {
            self.turned = now;
            self.lane.shed.turn();
        }
    }

    /// Whether every span of the trace that came lately was admitted.
    pub fn learnable(&self, id: TraceId) -> bool {
        let place = place(id);
        let least = self.past.iter().map(|&(_, admitted)| admitted).min();
        place as u32 <= least.unwrap_or(u32::MAX)
            && place as u32 <= self.lane.admitted.load(Ordering::Acquire)
            && !self.lane.shed.contains(place)
    }

    /// Share of the traces that are admitted at present.
    pub fn admitted(&self) -> f64 {
        f64::from(self.lane.admitted.load(Ordering::Relaxed)) / f64::from(u32::MAX)
    }
}

/// Every tap of a feed is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("every tap is gone")]
pub struct Closed;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{SpanKind, StatusCode};
    use std::num::NonZeroU128;

    const SECOND: Duration = Duration::from_secs(1);

    fn tap(waiting_spans: usize) -> (Tap, Feed) {
        let settings = TapSettings {
            shards: 1,
            waiting_spans,
            max_wait: SECOND,
        };
        let (tap, mut feeds) = Tap::new(&settings, Arc::default());
        (tap, feeds.remove(0))
    }

    fn id(number: u128) -> TraceId {
        TraceId::from_number(NonZeroU128::new(number).unwrap())
    }

    fn send(tap: &Tap, traces: impl IntoIterator<Item = u128>) {
        let mut batch = tap.begin();
        batch.resource(&ResourceView {
            service: "cart",
            raw: &[],
        });
        for number in traces {
            batch.span(&SpanView {
                trace_id: id(number),
                span_id: SpanId::from_slice(&[1; 8]).unwrap(),
                parent: None,
                name: "GET",
                kind: SpanKind::Server,
                start: 1,
                end: 2,
                status: StatusCode::Ok,
                links: 0,
                carries: 0,
                carries_from: 0,
                raw: &[],
            });
        }
        batch.commit();
    }

    #[test]
    fn records_of_an_accepted_request_reach_their_shard_and_others_do_not() {
        let (tap, feed) = tap(1000);
        drop(tap.begin());
        send(&tap, [1, 2]);
        let records = feed.next(Duration::ZERO).unwrap().unwrap();
        assert_eq!(records.len(), 2);
        assert_eq!(records[0].trace_id, id(1));
        assert_eq!(
            tap.interner.text(records[0].service).as_deref(),
            Some("cart")
        );
        assert_eq!(feed.next(Duration::ZERO), Ok(None));
        drop(tap);
        assert_eq!(feed.next(Duration::ZERO), Err(Closed));
    }

    #[test]
    fn a_full_channel_sheds_whole_traces_and_none_of_them_is_learnable() {
        let (tap, mut feed) = tap(10);
        feed.adjust(Duration::ZERO, 0.0);
        send(&tap, 1..=11);
        send(&tap, 1..=5); // No room: the first five lost a span each.
        let counts = tap.counts();
        assert_eq!((counts.seen, counts.fed, counts.shed), (16, 11, 5));
        assert!((1..=5).all(|number| !feed.learnable(id(number))));
        assert!((6..=11).any(|number| feed.learnable(id(number))));
    }

    #[test]
    fn less_is_admitted_after_shedding_and_all_again_once_there_is_room() {
        let (tap, mut feed) = tap(10);
        send(&tap, 1..=11);
        send(&tap, 12..=20);
        assert!(feed.admitted() < 0.76);
        let all = (1..=1000).filter(|&n| feed.learnable(id(n))).count();
        assert!((600..850).contains(&all), "{all}");
        for tick in 0..20 {
            feed.adjust(SECOND * tick, 0.0);
        }
        assert!(feed.admitted() > 0.999);
        assert!((1..=20).all(|number| feed.learnable(id(number))));
    }

    #[test]
    fn a_shard_that_is_nearly_full_is_given_less_each_second_and_more_once_it_has_room() {
        let (tap, mut feed) = tap(1000);
        let mut check = |millis: u64, fullness: f64, expected: f64| {
            feed.adjust(Duration::from_millis(millis), fullness);
            let got = feed.admitted();
            assert!((got - expected).abs() < 0.01, "{got} at {millis} ms");
        };
        check(0, 0.89, 1.0);
        check(50, 0.95, 0.75);
        check(100, 1.0, 0.75);
        check(1_050, 1.0, 0.5625);
        check(1_100, 0.7, 0.5625);
        check(1_150, 0.4, 0.59);
        drop(tap);
    }

    #[test]
    fn a_trace_that_began_while_it_was_not_admitted_is_not_learnable_when_it_is_again() {
        let (tap, mut feed) = tap(10);
        send(&tap, 1..=11);
        send(&tap, 12..=20);
        let left_out = (100..1000).find(|&n| !feed.learnable(id(n))).unwrap();
        for tick in 0..10 {
            feed.adjust(Duration::from_millis(tick * 10), 0.0);
        }
        assert!(feed.admitted() > 0.999);
        assert!(!feed.learnable(id(left_out)));
        for tick in 0..4 {
            feed.adjust(SECOND * (tick + 2), 0.0);
        }
        assert!(feed.learnable(id(left_out)));
    }
}
