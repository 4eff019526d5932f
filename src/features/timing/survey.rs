//! How the times of an observed trace hang on each other, as distances.

use super::clock::{Clock, Hung};
use super::habit::{Anchor, Habit, References};
use super::step::{Phase, PhaseClass};
use super::table::FARTHEST;
use super::{EndMode, StartMode};
use crate::features::Skeleton;
use crate::trace::Trace;

/// Why a trace's times have no codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unencodable {
    /// A sibling stands before one that starts earlier.
    #[error("siblings are not in the order of their starts")]
    Order,
    /// A start or an end is further than 73 years from the root's start.
    #[error("a time is more than 73 years away from the root's start")]
    TooFar,
    /// There is not one token per span.
    #[error("tokens and spans differ in number")]
    Tokens,
}

/// The references of every span of a trace, given which ends hang on their parents'.
pub(super) fn references(
    trace: &Trace,
    skeleton: &Skeleton,
    deferred: impl Fn(usize) -> bool,
) -> Result<Vec<References>, Unencodable> {
    let far = |time: i64| time.unsigned_abs() >= FARTHEST / 2;
    let mut references = Vec::with_capacity(trace.spans().len());
    for span in trace.spans() {
        let end = i64::try_from(span.duration).ok();
        let end = end.and_then(|duration| span.start.checked_add(duration));
        let end = end.filter(|&end| !far(span.start) && !far(end));
        references.push(References {
            start: span.start,
            first: None,
            end: end.ok_or(Unencodable::TooFar)?,
            children: span.start,
            last_start: span.start,
            later: None,
            parent: None,
        });
    }
    // From the last span to the first: siblings from the latest, and children before parents.
    let mut latest: Vec<Option<i64>> = vec![None; references.len()];
    for (at, place) in skeleton.places().iter().enumerate().rev() {
        // Where all children are deferred, their starts are all there is.
        references[at].children = latest[at].unwrap_or(references[at].last_start);
        let Some(parent) = place.parent.map(|parent| parent as usize) else {
            continue;
        };
        let start = trace.spans()[at].start;
        // The first child comes last.
        references[parent].first = Some(start);
        match place.next {
            None => references[parent].last_start = start,
            Some(next) => {
                let next = trace.spans()[next as usize].start;
                if next < start {
                    return Err(Unencodable::Order);
                }
                references[at].later = latest[parent].map(|later| (later, next));
            }
        }
        references[at].parent = Some(references[parent].end);
        if !deferred(at) {
            latest[parent] = latest[parent].max(Some(references[at].end));
        }
    }
    Ok(references)
}

/// How the start and the end of a span hang.
#[derive(Debug, Clone, Copy)]
pub(super) struct HungSpan {
    pub(super) start: Hung<StartMode>,
    pub(super) end: Hung<EndMode>,
    /// How far its service was into the period of its waits.
    pub(super) phase: PhaseClass,
}

/// How start and end of every span hang, given the habits of its (operation, parent operation), its
/// service, and whether it is a call to what a coarse clock times. The clock has begun.
pub(super) fn hung(
    trace: &Trace,
    skeleton: &Skeleton,
    habit: impl Fn(usize) -> Habit,
    (service, tick, calls): (
        impl Fn(usize) -> Option<u16>,
        impl Fn(usize) -> Option<u64>,
        impl Fn(usize) -> bool,
    ),
    clock: &mut Clock,
) -> Result<Vec<HungSpan>, Unencodable> {
    let deferred = |at| habit(at).anchor == Anchor::Parent;
    let references = references(trace, skeleton, deferred)?;
    let mut told = Vec::with_capacity(references.len());
    for (at, place) in skeleton.places().iter().enumerate() {
        clock.enter(skeleton, at);
        let span = &trace.spans()[at];
        let service = service(at);
        let mut start = match (place.parent, place.previous) {
            (None, _) => (StartMode::Gap, 0),
            (Some(parent), previous) => {
                let frontier = clock.frontier(parent);
                let previous = previous.map(|at| clock.starts()[at as usize]);
                match previous {
                    _ if span.start >= frontier => (StartMode::Gap, span.start.abs_diff(frontier)),
                    Some(previous) => (StartMode::Overlap, span.start.abs_diff(previous)),
                    None => (StartMode::Before, span.start.abs_diff(frontier)),
                }
            }
        };
        if start.0 == StartMode::Gap
            && let Some(told) = clock.start_in_step(place, service, start.1)
        {
            start = (StartMode::InStep, told);
        }
        // Of what a call takes longer than its callee, the smaller part is told: that before or that behind it.
        if let (Some(latest), Some(tick)) = (clock.latest(place), tick(at)) {
            let begin = place
                .parent
                .map_or(0, |parent| clock.starts()[parent as usize]);
            let behind = latest.saturating_sub(span.start);
            if behind < span.start - begin
                && let Ok(told) = u64::try_from(behind.saturating_add_unsigned(tick))
            {
                start = (StartMode::BeforeCallersEnd, told);
            }
        }
        let phase = Phase::class(clock.phase(service, place.parent));
        // The only child stands right behind.
        let callee = calls(at).then(|| &references[at + 1]);
        let end = end(&references[at], callee, habit(at));
        clock.push(skeleton, (at, service), span.start, end);
        told.push(HungSpan { start, end, phase });
    }
    clock.finish(skeleton);
    for (at, HungSpan { end, .. }) in told.iter_mut().enumerate() {
        if let Some(told) = clock.end_in_step(at) {
            *end = (end.0.in_step(), told);
        }
    }
    Ok(told)
}

fn end(references: &References, callee: Option<&References>, habit: Habit) -> Hung<EndMode> {
    use EndMode::*;
    // By how much a call takes longer than what it calls.
    let longer = callee.and_then(|callee| {
        let longer = (references.end - references.start) - (callee.end - callee.start);
        u64::try_from(longer).ok()
    });
    let overlapped = references.later.filter(|&(_, next)| references.end > next);
    let (from, after, before) = match (habit.anchor, overlapped) {
        (Anchor::Parent, _) => match references.parent {
            Some(parent) => (parent, AfterParent, BeforeParent),
            None => (references.start, Duration, Duration),
        },
        (Anchor::Later, Some((later, _))) => (later, AfterLater, BeforeLater),
        (Anchor::Next, Some((_, next))) => (next, AfterNext, BeforeNext),
        _ if references.is_over() => (references.start, Duration, Duration),
        _ if let Some(longer) = longer => return (AfterCallee, longer),
        _ if habit.last_start => (references.last_start, AfterLastStart, BeforeLastStart),
        _ => (references.children, AfterChildren, BeforeChildren),
    };
    let mode = if references.end >= from {
        after
    } else {
        before
    };
    (mode, references.end.abs_diff(from))
}
