//! When which spans are sent. Knows no clock: times are handed in, in nanoseconds since the epoch.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::RngExt as _;

use crate::chance::Rng;
use crate::import::Observed;

/// What the beginnings of traces hang on.
#[derive(Debug, Clone, Copy)]
pub(super) enum Beat {
    /// The observed gaps, divided by this.
    Speed(f64),
    /// So many a second.
    Rate(f64),
}

/// Spans that leave together.
pub(super) struct Part {
    pub(super) spans: Vec<Observed>,
    /// Whether they are late.
    pub(super) is_late: bool,
}

/// Traces that have begun and were not sent yet.
pub(super) struct Schedule {
    beat: Beat,
    /// When this pass began.
    now: u64,
    /// When its first trace began as it was observed.
    first: Option<u64>,
    /// Traces of this pass.
    count: u64,
    /// When the last trace begins.
    last: u64,
    /// By when they are due, and in the order in which they came.
    parts: BTreeMap<(u64, u64), Part>,
    came: u64,
    waiting: usize,
}

impl Schedule {
    /// The first trace begins at this time.
    pub(super) fn new(beat: Beat, now: u64) -> Self {
        Self {
            beat,
            now,
            first: None,
            count: 0,
            last: now,
            parts: BTreeMap::new(),
            came: 0,
            waiting: 0,
        }
    }

    /// When a trace begins that began at `start` as it was observed.
    pub(super) fn begin(&mut self, start: u64) -> u64 {
        let first = *self.first.get_or_insert(start);
        let after = match self.beat {
            Beat::Speed(speed) => start.saturating_sub(first) as f64 / speed,
            Beat::Rate(rate) => self.count as f64 / rate * 1e9,
        };
        self.count += 1;
        let begins = self.now.saturating_add(after.round() as u64);
        self.last = self.last.max(begins);
        begins
    }

    /// The files begin anew: the first trace follows the last one as the others follow each other.
    pub(super) fn next_pass(&mut self) {
        let gap = match self.beat {
            Beat::Rate(rate) => (1e9 / rate) as u64,
            Beat::Speed(_) => (self.last - self.now) / self.count.saturating_sub(1).max(1),
        };
        // Files of one trace have no gap of their own.
        self.now = self.last.saturating_add(gap.max(1_000_000));
        self.last = self.now;
        self.first = None;
        self.count = 0;
    }

    /// Takes a trace whose times were moved: it is due when it ends, but a share of its spans so
    /// much later. The number of those.
    pub(super) fn put(
        &mut self,
        trace: Vec<Observed>,
        (share, by): (f64, Duration),
        chance: &mut Rng,
    ) -> u64 {
        let ends = trace.iter().map(|it| it.span.end_time_unix_nano);
        let due = ends.max().unwrap_or_default();
        let is_late = |_: &Observed| share > 0.0 && chance.random::<f64>() < share;
        let (late, punctual): (Vec<_>, Vec<_>) = trace.into_iter().partition(is_late);
        let count = late.len() as u64;
        self.add(due, punctual, false);
        self.add(due.saturating_add(by.as_nanos() as u64), late, true);
        count
    }

    fn add(&mut self, due: u64, spans: Vec<Observed>, is_late: bool) {
        if !spans.is_empty() {
            self.came += 1;
            self.waiting += spans.len();
            self.parts.insert((due, self.came), Part { spans, is_late });
        }
    }

    /// Takes out what is due first, if it is due by now.
    pub(super) fn take(&mut self, now: u64) -> Option<Part> {
        let first = self.parts.first_entry().filter(|it| it.key().0 <= now)?;
        let part = first.remove();
        self.waiting -= part.spans.len();
        Some(part)
    }

    /// When the next part is due.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.parts.keys().next().map(|(due, _)| *due)
    }

    /// Spans that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use opentelemetry_proto::tonic::resource::v1::Resource;
    use opentelemetry_proto::tonic::trace::v1::Span;

    use super::*;
    use crate::chance::stream;

    #[test]
    fn gaps_are_divided_by_the_speed_or_even_by_the_rate() {
        let check = |beat: Beat, starts: &[u64], expected: &[u64]| {
            let mut schedule = Schedule::new(beat, 1_000_000_000);
            let begins: Vec<_> = starts.iter().map(|&it| schedule.begin(it)).collect();
            let begins: Vec<_> = begins.iter().map(|it| it - 1_000_000_000).collect();
            assert_eq!(begins, expected, "{beat:?}");
        };
        check(Beat::Speed(1.0), &[500, 600, 900], &[0, 100, 400]);
        check(Beat::Speed(2.0), &[500, 600, 900], &[0, 50, 200]);
        check(Beat::Speed(0.5), &[500, 600], &[0, 200]);
        check(Beat::Speed(1.0), &[500, 400], &[0, 0]);
        check(
            Beat::Rate(2.0),
            &[9, 9, 1],
            &[0, 500_000_000, 1_000_000_000],
        );
    }

    #[test]
    fn a_pass_begins_a_gap_after_the_last_trace_of_the_one_before() {
        let mut schedule = Schedule::new(Beat::Speed(1.0), 0);
        for start in [0, 4_000_000, 10_000_000] {
            schedule.begin(start);
        }
        schedule.next_pass();
        assert_eq!(schedule.begin(0), 15_000_000);
        assert_eq!(schedule.begin(4_000_000), 19_000_000);
    }

    fn trace(spans: u8, end: u64) -> Vec<Observed> {
        let observed = |id| Observed {
            resource: Arc::new(Resource::default()),
            scope: None,
            span: Span {
                span_id: vec![id; 8],
                end_time_unix_nano: end,
                ..Span::default()
            },
        };
        (1..=spans).map(observed).collect()
    }

    #[test]
    fn a_trace_is_due_when_it_ends_and_its_late_spans_later() {
        let mut schedule = Schedule::new(Beat::Speed(1.0), 0);
        let mut chance = stream(1, "late");
        let late = (0.25, Duration::from_nanos(1_000));
        let mut count = 0;
        for _ in 0..10 {
            count += schedule.put(trace(100, 50), late, &mut chance);
        }
        assert!((200..300).contains(&count), "{count} of 1000 are late");
        assert_eq!((schedule.waiting(), schedule.next_due()), (1_000, Some(50)));
        assert!(schedule.take(49).is_none());
        let mut punctual = 0;
        while let Some(part) = schedule.take(1_049) {
            assert!(!part.is_late);
            punctual += part.spans.len() as u64;
        }
        assert_eq!(punctual, 1_000 - count);
        assert_eq!(schedule.next_due(), Some(1_050));
        let mut late = 0;
        while let Some(part) = schedule.take(1_050) {
            assert!(part.is_late);
            late += part.spans.len() as u64;
        }
        assert_eq!((late, schedule.waiting()), (count, 0));
    }
}
