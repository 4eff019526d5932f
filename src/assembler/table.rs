//! The table of open traces.

use std::time::Duration;

use hashbrown::HashMap;

use super::build::{Built, Part, Partial, build, without_duplicates};
use super::config::AssemblerSettings;
use super::lists::Lists;
use super::quiet::Quiet;
use super::tombs::{Tomb, Tombs};
use crate::trace::{SpanRecord, Trace, TraceId};

/// Lists of the timer wheel; one turn takes `max_wait`.
const WHEEL: u64 = 4_096;
/// Bytes that an open trace takes besides itself and its spans: table, lists, allocations.
const OVERHEAD: usize = 96;

/// A trace that is over, whole or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// Its observed id, which goes no further than the assembler's owner.
    pub id: TraceId,
    /// The trace, or why there is none.
    pub trace: Result<Trace, Partial>,
}

/// What became of spans and traces. At any time `received` = `complete` + `partial` + `late` +
/// `duplicate` + `evicted` + `oversized` + `open`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AssemblerCounts {
    /// Spans taken in.
    pub received: u64,
    /// Spans of complete traces.
    pub complete: u64,
    /// Spans of partial traces.
    pub partial: u64,
    /// Spans that came after their trace was over.
    pub late: u64,
    /// Spans whose id their trace had already.
    pub duplicate: u64,
    /// Spans of traces that were given up to make room.
    pub evicted: u64,
    /// Spans of traces with more than `max_spans_per_trace`.
    pub oversized: u64,
    /// Spans of open traces.
    pub open: u64,
    /// Complete traces.
    pub traces_complete: u64,
    /// Partial traces, by reason in the order of [`Partial::ALL`].
    pub traces_partial: [u64; 4],
    /// Traces given up to make room.
    pub traces_evicted: u64,
    /// Traces with more than `max_spans_per_trace` spans.
    pub traces_oversized: u64,
    /// Open traces.
    pub traces_open: u64,
    /// Bytes that open traces take.
    pub bytes_open: u64,
    /// Cycles broken at their earliest span.
    pub cycles: u64,
    /// Spans that ended before they started; their duration reads as 0.
    pub backwards: u64,
}

#[derive(Debug)]
struct Open {
    id: TraceId,
    parts: Vec<Part>,
    bytes: usize,
    first_seen: Duration,
    last_seen: Duration,
    longest_pause: Duration,
    /// The quiet that it must keep before it is looked at, once its root is there.
    wait: Option<Duration>,
    root: Option<u64>,
    /// Number of spans at which duplicates are dropped and the rest counted.
    check_at: usize,
    /// It had too many spans, which were let go.
    oversized: bool,
}

/// Spans of interleaved requests to traces. Synchronous; times are those since any one moment.
///
/// Adding a span takes constant time. A trace is built when it has been quiet for as long as its
/// root operation taught, again (at growing intervals) if it was not whole then, and at `max_wait`
/// at the latest.
#[derive(Debug)]
pub struct Assembler {
    settings: AssemblerSettings,
    slots: Vec<Option<Open>>,
    free: Vec<u32>,
    by_id: HashMap<TraceId, u32, foldhash::quality::FixedState>,
    /// One list: open traces, oldest first.
    ages: Lists,
    timers: Lists,
    /// Ticks of the wheel that are past.
    ticked: u64,
    quiet: Quiet,
    tombs: Tombs,
    counts: AssemblerCounts,
}

impl Assembler {
    /// An empty table.
    pub fn new(settings: AssemblerSettings) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_id: HashMap::with_hasher(foldhash::quality::FixedState::with_seed(settings.key)),
            ages: Lists::new(1),
            timers: Lists::new(WHEEL as usize),
            ticked: 0,
            quiet: Quiet::new(
                settings.initial_quiet,
                settings.min_quiet,
                settings.max_wait,
            ),
            tombs: Tombs::new(
                settings.max_open_traces,
                settings.max_wait * 4,
                settings.key,
            ),
            counts: AssemblerCounts::default(),
            settings,
        }
    }

    /// Takes spans in.
    pub fn add(&mut self, records: impl IntoIterator<Item = SpanRecord>, now: Duration) {
        let mut last: Option<(TraceId, u32)> = None;
        for record in records {
            self.counts.received += 1;
            let id = record.trace_id;
            let slot = match last {
                Some((known, slot)) if known == id => slot,
                _ => match self.by_id.get(&id).copied() {
                    Some(slot) => slot,
                    None if self.is_late(id, now) => continue,
                    None => self.open(id, now),
                },
            };
            self.put(slot, record.into(), now);
            last = self.slots[slot as usize].is_some().then_some((id, slot));
            if self.counts.bytes_open > self.settings.max_bytes as u64 {
                self.evict(now);
                last = None;
            }
        }
    }

    /// The traces that are over by now, in the order in which they came to be.
    pub fn take_done(&mut self, now: Duration) -> Vec<Done> {
        let mut done = Vec::new();
        let tick = self.tick_at(now);
        // After a long pause one turn of the wheel finds every timer.
        for list in (self.ticked + 1).max(tick.saturating_sub(WHEEL - 1))..=tick {
            self.ticked = list;
            // What is armed again lies in another list, so this one runs dry.
            while let Some(slot) = self.timers.front((list % WHEEL) as usize) {
                self.timers.remove(slot);
                self.look(slot, now, &mut done);
            }
        }
        while let Some(slot) = self.ages.front(0) {
            let too_young = self.slots[slot as usize]
                .as_ref()
                .is_some_and(|open| open.first_seen + self.settings.max_wait > now);
            if too_young {
                break;
            }
            self.close(slot, now, &mut done);
        }
        done
    }

    /// Closes every open trace, whole or not: the stream is at its end.
    pub fn finish(&mut self, now: Duration) -> Vec<Done> {
        let mut done = Vec::new();
        while let Some(slot) = self.ages.front(0) {
            self.close(slot, now, &mut done);
        }
        done
    }

    /// How much of its room is taken, from 0 to 1; once it is full the oldest traces are given up.
    pub fn fullness(&self) -> f64 {
        let part = |taken: u64, room: usize| taken as f64 / room.max(1) as f64;
        let traces = part(self.counts.traces_open, self.settings.max_open_traces);
        traces.max(part(self.counts.bytes_open, self.settings.max_bytes))
    }

    /// What became of everything so far.
    pub fn counts(&self) -> AssemblerCounts {
        self.counts
    }

    fn is_late(&mut self, id: TraceId, now: Duration) -> bool {
        let Some(tomb) = self.tombs.find(id) else {
            return false;
        };
        self.counts.late += 1;
        if let Some(root) = tomb.root.take() {
            let pause = now.saturating_sub(Duration::from_millis(tomb.last_seen_ms));
            self.quiet.learn(root, pause);
        }
        true
    }

    fn open(&mut self, id: TraceId, now: Duration) -> u32 {
        if self.by_id.len() >= self.settings.max_open_traces.max(1) {
            self.evict(now);
        }
        let bytes = size_of::<Open>() + OVERHEAD;
        let open = Open {
            id,
            parts: Vec::new(),
            bytes,
            first_seen: now,
            last_seen: now,
            longest_pause: Duration::ZERO,
            wait: None,
            root: None,
            check_at: self.settings.max_spans_per_trace + 1,
            oversized: false,
        };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(open);
                slot
            }
            None => {
                self.slots.push(Some(open));
                self.slots.len() as u32 - 1
            }
        };
        self.by_id.insert(id, slot);
        self.ages.push_back(0, slot);
        self.counts.traces_open += 1;
        self.counts.bytes_open += bytes as u64;
        slot
    }

    fn put(&mut self, slot: u32, part: Part, now: Duration) {
        let Some(open) = &mut self.slots[slot as usize] else {
            return;
        };
        let pause = now.saturating_sub(open.last_seen);
        open.longest_pause = open.longest_pause.max(pause);
        open.last_seen = now;
        if open.oversized {
            self.counts.oversized += 1;
            return;
        }
        if let Some(root) = part.root().filter(|_| open.root.is_none()) {
            open.root = Some(root);
            open.wait = Some(self.quiet.wait(root));
        }
        let outside = part.outside();
        let capacity = open.parts.capacity();
        open.parts.push(part);
        let grown = (open.parts.capacity() - capacity) * size_of::<Part>() + outside;
        open.bytes += grown;
        self.counts.bytes_open += grown as u64;
        self.counts.open += 1;
        if open.parts.len() >= open.check_at && self.settle(slot) {
            return;
        }
        let Some(open) = &mut self.slots[slot as usize] else {
            return;
        };
        let due = open.wait.map(|wait| now + wait);
        if let Some(due) = due.filter(|_| !self.timers.holds(slot)) {
            self.arm(slot, due);
        }
    }

    /// Drops duplicates, and all spans if there are too many without them; whether that was so.
    fn settle(&mut self, slot: u32) -> bool {
        let most = self.settings.max_spans_per_trace;
        let Some(open) = self.slots[slot as usize].as_mut() else {
            return true;
        };
        let duplicates = without_duplicates(&mut open.parts) as u64;
        self.counts.duplicate += duplicates;
        self.counts.open -= duplicates;
        // As many again as may be kept, so that a flood of duplicates is sorted seldom.
        open.check_at = open.parts.len() + most + 1;
        if open.oversized || open.parts.len() <= most {
            return open.oversized;
        }
        let spans = std::mem::take(&mut open.parts).len() as u64;
        let kept = size_of::<Open>() + OVERHEAD;
        self.counts.bytes_open -= (open.bytes - kept) as u64;
        open.bytes = kept;
        open.oversized = true;
        self.counts.open -= spans;
        self.counts.oversized += spans;
        self.counts.traces_oversized += 1;
        self.timers.remove(slot);
        true
    }

    fn tick_length(&self) -> u128 {
        (self.settings.max_wait.as_nanos() / u128::from(WHEEL - 1)).max(1_000_000)
    }

    fn tick_at(&self, now: Duration) -> u64 {
        u64::try_from(now.as_nanos() / self.tick_length()).unwrap_or(u64::MAX)
    }

    /// Has the slot looked at in the first tick that ends no earlier than `due`, or a turn of the
    /// wheel from now, if that is sooner.
    fn arm(&mut self, slot: u32, due: Duration) {
        let tick = u64::try_from(due.as_nanos().div_ceil(self.tick_length())).unwrap_or(u64::MAX);
        let tick = tick.clamp(self.ticked + 1, self.ticked + WHEEL - 1);
        self.timers.push_back((tick % WHEEL) as usize, slot);
    }

    /// A timer fired: the trace is done if it has been quiet and is whole, or is looked at later.
    fn look(&mut self, slot: u32, now: Duration, done: &mut Vec<Done>) {
        let Some(open) = &mut self.slots[slot as usize] else {
            return;
        };
        let wait = open.wait.unwrap_or(self.settings.max_wait);
        let due = open.last_seen + wait;
        if due > now {
            self.arm(slot, due);
            return;
        }
        if self.settle(slot) {
            return;
        }
        let Some(open) = &mut self.slots[slot as usize] else {
            return;
        };
        let built = build(&open.parts);
        if built.trace.is_ok() {
            self.end(slot, built, now, done);
            return;
        }
        // Twice as long each time, so that a trickle of spans costs a few looks and not one each.
        let wait = (wait * 2).max(self.settings.min_quiet);
        open.wait = Some(wait);
        if now + wait < open.first_seen + self.settings.max_wait {
            self.arm(slot, now + wait);
        }
    }

    fn close(&mut self, slot: u32, now: Duration, done: &mut Vec<Done>) {
        if self.settle(slot) {
            self.forget(slot, now, false);
            return;
        }
        if let Some(open) = &self.slots[slot as usize] {
            let built = build(&open.parts);
            self.end(slot, built, now, done);
        }
    }

    fn end(&mut self, slot: u32, built: Built, now: Duration, done: &mut Vec<Done>) {
        let whole = built.trace.is_ok();
        let Some(open) = self.forget(slot, now, whole) else {
            return;
        };
        let spans = open.parts.len() as u64;
        let counts = &mut self.counts;
        counts.open -= spans;
        counts.cycles += u64::from(built.cycles);
        counts.backwards += u64::from(built.backwards);
        match &built.trace {
            Ok(_) => {
                counts.complete += spans;
                counts.traces_complete += 1;
                if let Some(root) = open.root {
                    self.quiet.learn(root, open.longest_pause);
                }
            }
            Err(reason) => {
                counts.partial += spans;
                counts.traces_partial[*reason as usize] += 1;
            }
        }
        done.push(Done {
            id: open.id,
            trace: built.trace,
        });
    }

    /// Gives up the oldest traces until there is room for another.
    fn evict(&mut self, now: Duration) {
        while self.counts.bytes_open > self.settings.max_bytes as u64
            || self.by_id.len() >= self.settings.max_open_traces.max(1)
        {
            let Some(slot) = self.ages.front(0) else {
                return;
            };
            let Some(open) = self.forget(slot, now, false) else {
                return;
            };
            let spans = open.parts.len() as u64;
            self.counts.open -= spans;
            self.counts.evicted += spans;
            self.counts.traces_evicted += u64::from(!open.oversized);
        }
    }

    /// Takes a trace out of every table and remembers that it is over.
    fn forget(&mut self, slot: u32, now: Duration, whole: bool) -> Option<Open> {
        self.ages.remove(slot);
        self.timers.remove(slot);
        let open = self.slots[slot as usize].take()?;
        self.free.push(slot);
        self.by_id.remove(&open.id);
        self.counts.traces_open -= 1;
        self.counts.bytes_open -= open.bytes as u64;
        let tomb = Tomb {
            root: open.root.filter(|_| whole),
            last_seen_ms: u64::try_from(open.last_seen.as_millis()).unwrap_or(u64::MAX),
        };
        self.tombs.bury(open.id, tomb, now);
        Some(open)
    }
}
