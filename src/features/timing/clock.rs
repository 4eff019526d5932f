//! The times of a trace, resolved span by span in pre-order.

use super::step::{Phase, Steps, Wait};
use super::tick::Grid;
use super::{Coder, EndMode, START_MODES, StartMode};
use crate::features::{Place, Skeleton};

/// A time as it hangs on another: its mode and its distance in nanoseconds.
pub(super) type Hung<Mode> = (Mode, u64);

/// Start and end of every span so far, from how they hang on each other.
///
/// Spans are pushed in pre-order. An end that hangs on children, later siblings or the parent's end
/// is resolved as soon as these are known; until then its span counts as open. Whatever is pushed, starts never
/// precede the previous sibling's and no span ends before it starts. Times are nanoseconds after
/// the root's start and stop at the limits of their type.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    starts: Vec<i64>,
    ends: Vec<i64>,
    rules: Vec<Hung<EndMode>>,
    /// Per span: the latest of its start, the ends of its closed children, the starts of open ones, and
    /// its own end if it is over before they start.
    frontiers: Vec<i64>,
    last_child: Vec<Option<u32>>,
    /// Whether some child's end hangs on the span's own.
    defers: Vec<bool>,
    walk: Vec<u32>,
    steps: Steps,
    /// The service of each span.
    services: Vec<Option<u16>>,
    /// What the ends of spans would be told by in step, of those whose modes are not.
    in_step: Vec<Option<u64>>,
}

impl Clock {
    /// Before a trace that is told with this coder; buffers stay.
    pub fn begin(&mut self, coder: &Coder) {
        let (quotas, services) = coder.quotas();
        self.steps.clear(quotas, services);
        self.services.clear();
        self.in_step.clear();
        self.starts.clear();
        self.ends.clear();
        self.rules.clear();
        self.frontiers.clear();
        self.last_child.clear();
        self.defers.clear();
        self.walk.clear();
    }

    /// One that keeps all waits.
    pub(super) fn hearing() -> Self {
        Self {
            steps: Steps::hearing(),
            ..Self::default()
        }
    }

    /// The waits that were kept.
    pub(super) fn heard(self) -> Vec<Wait> {
        self.steps.heard()
    }

    /// How far a service is into the period of its waits at the frontier of a parent, if that is known.
    pub(in crate::features) fn phase(
        &self,
        service: Option<u16>,
        parent: Option<u32>,
    ) -> Option<Phase> {
        let at = parent.map_or(0, |parent| self.frontier(parent));
        self.steps.phase(service, at)
    }

    /// The distances in each start mode, but the one in step, at which the start of the span at `place`, which
    /// was entered, is a whole number of ticks after the root's.
    pub(super) fn grids(&self, place: &Place, tick: u64) -> Option<[Option<Grid>; START_MODES]> {
        let parent = place.parent?;
        let begin = self.starts[parent as usize];
        let previous = place.previous.map(|at| self.starts[at as usize]);
        let after = |from: i64| Grid::through(tick, from.saturating_neg());
        let late = self.latest(place).map(|end| Grid::through(tick, end));
        Some([
            Some(after(self.frontier(parent))),
            Some(after(previous.unwrap_or(begin))),
            Some(Grid::through(tick, begin)),
            None,
            late,
        ])
    }

    /// When the only child of a call, which was entered, would start if it ended as its caller does; none, if
    /// the caller's end does not hang on how long it takes.
    pub(super) fn latest(&self, place: &Place) -> Option<i64> {
        let parent = place.parent? as usize;
        let (mode, distance) = self.rules[parent];
        let longer = i64::try_from(distance).ok()?;
        let start = self.starts[parent].saturating_add(longer);
        (mode == EndMode::AfterCallee).then_some(start)
    }

    /// What a start after the frontier of its parent would be told by in step.
    pub(super) fn start_in_step(
        &self,
        place: &Place,
        service: Option<u16>,
        distance: u64,
    ) -> Option<u64> {
        let from = self.frontier(place.parent?);
        self.steps.told(service, from, distance)
    }

    /// What the end of a span would be told by in step, once all are known.
    pub(super) fn end_in_step(&self, at: usize) -> Option<u64> {
        self.in_step[at]
    }

    /// Closes what is over before the next span, which is the one at `at`.
    pub fn enter(&mut self, skeleton: &Skeleton, at: usize) {
        let parent = skeleton.places()[at].parent;
        while let Some(&top) = self.walk.last() {
            if Some(top) == parent {
                break;
            }
            self.walk.pop();
            self.close(skeleton, top);
        }
    }

    /// Starts of the spans pushed so far.
    pub fn starts(&self) -> &[i64] {
        &self.starts
    }

    /// Ends of the spans pushed so far; that of an open span is still its start.
    pub fn ends(&self) -> &[i64] {
        &self.ends
    }

    /// From where the next child of a span counts its gap.
    pub fn frontier(&self, at: u32) -> i64 {
        self.frontiers[at as usize]
    }

    /// Whether the end of a span that was pushed hangs on siblings that are not known yet. To be
    /// asked about a sibling of the span entered last.
    pub fn is_open(&self, at: u32) -> bool {
        let mode = self.rules[at as usize].0;
        mode.is_open() || mode.is_deferred()
    }

    /// The start of the span at `place`, which was entered, from how it hangs.
    pub(super) fn start(
        &self,
        place: &Place,
        (service, tick): (Option<u16>, u64),
        (mode, distance): Hung<StartMode>,
    ) -> i64 {
        let Some(parent) = place.parent else {
            return 0;
        };
        let distance = match mode {
            StartMode::InStep => self
                .steps
                .distance(service, self.frontier(parent), distance),
            _ => distance,
        };
        let distance = i64::try_from(distance).unwrap_or(i64::MAX);
        let previous = place.previous.map(|at| self.starts[at as usize]);
        let begin = self.starts[parent as usize];
        match (mode, previous) {
            (StartMode::Gap | StartMode::InStep, _) => {
                self.frontier(parent).saturating_add(distance)
            }
            (StartMode::Overlap, previous) => previous.unwrap_or(begin).saturating_add(distance),
            (StartMode::BeforeCallersEnd, previous) => {
                let latest = self.latest(place).unwrap_or(begin);
                let start = latest
                    .saturating_add_unsigned(tick)
                    .saturating_sub(distance);
                previous.map_or(start, |previous| start.max(previous))
            }
            (StartMode::Before, None) => begin.saturating_sub(distance),
            (StartMode::Before, Some(previous)) => begin.saturating_sub(distance).max(previous),
        }
    }

    /// Adds the span at `at`, which was entered: its start, and how its end hangs.
    pub(super) fn push(
        &mut self,
        skeleton: &Skeleton,
        (at, service): (usize, Option<u16>),
        start: i64,
        end: Hung<EndMode>,
    ) {
        let place = &skeleton.places()[at];
        let over = match end {
            (EndMode::Duration, distance) if place.children > 0 => {
                hang(start, false, distance, start)
            }
            _ => start,
        };
        self.starts.push(start);
        self.ends.push(over);
        self.rules.push(end);
        self.frontiers.push(over);
        self.last_child.push(None);
        self.defers.push(false);
        self.walk.push(at as u32);
        self.services.push(service);
        self.in_step.push(None);
        let Some(parent) = place.parent else {
            return;
        };
        let parent = parent as usize;
        self.steps.wait(service, self.frontiers[parent], start);
        self.last_child[parent] = Some(at as u32);
        self.defers[parent] |= end.0.is_deferred();
        let mut frontier = self.frontiers[parent].max(start);
        if let Some(previous) = place.previous {
            let previous = previous as usize;
            let (mode, distance) = self.rules[previous];
            if matches!(mode, EndMode::AfterNext | EndMode::BeforeNext) {
                let back = mode == EndMode::BeforeNext;
                let end = hang(start, back, distance, self.starts[previous]);
                self.settle(skeleton, previous, end);
                frontier = frontier.max(self.ends[previous]);
            }
        }
        self.frontiers[parent] = frontier;
    }

    /// Closes all spans: every end is known afterwards.
    pub fn finish(&mut self, skeleton: &Skeleton) {
        while let Some(top) = self.walk.pop() {
            self.close(skeleton, top);
        }
    }

    /// Resolves the ends of the children that were still open, then the span's own if it can.
    fn close(&mut self, skeleton: &Skeleton, at: u32) {
        let place = &skeleton.places()[at as usize];
        let at = at as usize;
        let latest = self.close_children(skeleton, at);
        let start = self.starts[at];
        let last_start = self.last_child[at].map_or(start, |last| self.starts[last as usize]);
        let (mode, distance) = self.rules[at];
        let deferred = mode.is_deferred() && place.parent.is_some();
        if deferred || mode.is_open() && place.next.is_some() {
            return;
        }
        // Modes that say nothing here (open without a later sibling, about children without
        // children) fall back to the nearest that does.
        let (from, back) = match mode {
            EndMode::Duration | EndMode::InStep => (start, false),
            EndMode::AfterCallee => (start.saturating_add(self.callee(at)), false),
            EndMode::AfterChildren
            | EndMode::AfterLater
            | EndMode::AfterNext
            | EndMode::AfterParent
            | EndMode::ChildrenInStep => (latest, false),
            EndMode::BeforeChildren
            | EndMode::BeforeLater
            | EndMode::BeforeNext
            | EndMode::BeforeParent => (latest, self.last_child[at].is_some()),
            EndMode::AfterLastStart => (last_start, false),
            EndMode::BeforeLastStart => (last_start, self.last_child[at].is_some()),
        };
        let service = self.services[at];
        let waits = mode.is_wait(place.children == 0);
        let distance = match mode {
            EndMode::InStep | EndMode::ChildrenInStep => {
                self.steps.distance(service, from, distance)
            }
            _ if waits => {
                self.in_step[at] = self.steps.told(service, from, distance);
                distance
            }
            _ => distance,
        };
        let end = hang(from, back, distance, start);
        if waits {
            self.steps.wait(service, from, end);
        }
        self.settle(skeleton, at, end);
        if let Some(parent) = place.parent {
            let frontier = &mut self.frontiers[parent as usize];
            *frontier = (*frontier).max(end);
        }
    }

    /// How long the last child takes.
    fn callee(&self, at: usize) -> i64 {
        let took = |child: u32| {
            let child = child as usize;
            self.ends[child].saturating_sub(self.starts[child])
        };
        self.last_child[at].map_or(0, took)
    }

    /// Gives a span its end, and with it those of the children that were deferred.
    fn settle(&mut self, skeleton: &Skeleton, at: usize, end: i64) {
        self.ends[at] = end;
        if !self.defers[at] {
            return;
        }
        let mut next = self.last_child[at];
        while let Some(child) = next {
            let (mode, distance) = self.rules[child as usize];
            if mode.is_deferred() {
                let start = self.starts[child as usize];
                let back = mode == EndMode::BeforeParent;
                self.ends[child as usize] = hang(end, back, distance, start);
            }
            next = skeleton.places()[child as usize].previous;
        }
    }

    /// Resolves children whose ends hang on later siblings, from the last to the first, and
    /// returns the latest end of all that are not deferred; the start of the last child if all are,
    /// the span's own start if there are none.
    fn close_children(&mut self, skeleton: &Skeleton, at: usize) -> i64 {
        let mut latest = None;
        let mut next = self.last_child[at];
        while let Some(child) = next {
            let place = &skeleton.places()[child as usize];
            let child = child as usize;
            let (mode, distance) = self.rules[child];
            let start = self.starts[child];
            next = place.previous;
            if mode.is_deferred() {
                continue;
            }
            let open = matches!(mode, EndMode::AfterLater | EndMode::BeforeLater);
            if open && place.next.is_some() {
                // All later siblings may be deferred.
                let (later, back) = match latest {
                    Some(later) => (later, mode == EndMode::BeforeLater),
                    None => (start, false),
                };
                self.settle(skeleton, child, hang(later, back, distance, start));
            }
            latest = latest.max(Some(self.ends[child]));
        }
        let last = self.last_child[at].map_or(at, |last| last as usize);
        latest.unwrap_or(self.starts[last])
    }
}

/// An end that hangs on something. One that would lie before the start, as some that are drawn do and none
/// that is observed, is mirrored at the start, but lies no further behind than what it hangs on: a span of no
/// length at all would be told at once.
fn hang(from: i64, back: bool, distance: u64, start: i64) -> i64 {
    let distance = i64::try_from(distance).unwrap_or(i64::MAX);
    let end = if back {
        from.saturating_sub(distance)
    } else {
        from.saturating_add(distance)
    };
    if end >= start {
        return end;
    }
    let mirrored = start.saturating_add(start.saturating_sub(end));
    mirrored.min(from.max(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_before_its_start_is_mirrored_there_but_not_beyond_what_it_hangs_on() {
        assert_eq!(hang(100, true, 30, 60), 70);
        assert_eq!(hang(100, true, 50, 60), 70, "ten early, so ten late");
        assert_eq!(hang(100, true, 500, 60), 100);
        assert_eq!(hang(40, true, 5, 60), 60, "what it hangs on lies before it");
        assert_eq!(hang(i64::MIN, true, u64::MAX, 60), 60);
    }
}
