//! Long waits that end in step.
//!
//! A container that has used up its share of the processor sleeps until the next period of its quota begins
//! (Linux's CFS bandwidth control; 100 ms unless set otherwise), so that the long waits of one service end a
//! whole number of periods apart, whatever happens in between. A wait's length alone does not show that: it is
//! what is left of a period. Where the traces have such a period, a wait that ends in step with the one before
//! it in its service is told from there.

use serde::{Deserialize, Serialize};

/// Periods that are tried, in nanoseconds.
const PERIODS: [i64; 7] = [
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    200_000_000,
    500_000_000,
    1_000_000_000,
];

/// Waits from a quarter of a period to two and a half are taken for the quota's.
const LEAST: i64 = 4;
const MOST: (i64, i64) = (5, 2);

/// An eighth of a period early or late is in step.
const NEAR: i64 = 8;

/// Pairs of waits that a period needs, and which share of them must be in step (a quarter is by chance).
const PAIRS: u32 = 100;
const SHARE: f64 = 0.6;

/// The period of a system's waits; 0 for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Period(i64);

impl Period {
    /// The longest period that these waits are in step with: (service, from, to), trace after trace, in the
    /// order in which they were resolved.
    pub(super) fn fit(traces: &[Vec<Wait>]) -> Self {
        let in_step = |&&period: &&i64| {
            let steps = Self(period);
            let (mut pairs, mut near) = (0_u32, 0_u32);
            for trace in traces {
                for (at, &(service, from, to)) in trace.iter().enumerate() {
                    if !steps.is_long(from, to) {
                        continue;
                    }
                    let same =
                        |&&(other, from, to): &&Wait| other == service && steps.is_long(from, to);
                    let Some(&(_, _, before)) = trace[..at].iter().rev().find(same) else {
                        continue;
                    };
                    let apart = (to - before).abs();
                    if apart >= period / LEAST {
                        pairs += 1;
                        near += u32::from(steps.off(apart).abs() <= period / NEAR);
                    }
                }
            }
            pairs >= PAIRS && f64::from(near) >= SHARE * f64::from(pairs)
        };
        Self(
            PERIODS
                .iter()
                .rev()
                .find(in_step)
                .copied()
                .unwrap_or_default(),
        )
    }

    pub(super) fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Whether it is none, or one that is tried.
    pub(super) fn is_sound(self) -> bool {
        self.is_none() || PERIODS.contains(&self.0)
    }

    fn is_long(self, from: i64, to: i64) -> bool {
        let wait = to.saturating_sub(from);
        self.0 > 0 && wait >= self.0 / LEAST && wait <= self.0 / MOST.1 * MOST.0
    }

    /// How far a distance is from a whole number of periods.
    fn off(self, distance: i64) -> i64 {
        (distance + self.0 / 2).rem_euclid(self.0) - self.0 / 2
    }
}

/// A wait: of which service, from when until when.
pub(super) type Wait = (u16, i64, i64);

/// Shortest wait that a period may be found from.
const HEARD: i64 = PERIODS[0] / LEAST;

/// The waits of a trace so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Steps {
    period: Period,
    /// Where the last long wait of each service ended.
    last: Vec<Option<i64>>,
    /// All waits, where they are asked for.
    heard: Option<Vec<Wait>>,
}

impl Steps {
    /// Keeps all waits.
    pub(super) fn hearing() -> Self {
        Self {
            heard: Some(Vec::new()),
            ..Self::default()
        }
    }

    /// The waits that were kept.
    pub(super) fn heard(self) -> Vec<Wait> {
        self.heard.unwrap_or_default()
    }

    /// Forgets the trace.
    pub(super) fn clear(&mut self, period: Period, services: usize) {
        self.period = period;
        self.last.clear();
        self.last
            .resize(if period.is_none() { 0 } else { services }, None);
    }

    /// Where the last long wait of a service ended.
    pub(super) fn last(&self, service: Option<u16>) -> Option<i64> {
        self.last.get(usize::from(service?)).copied().flatten()
    }

    /// A wait of a service that was resolved.
    pub(super) fn wait(&mut self, service: Option<u16>, from: i64, to: i64) {
        let Some(service) = service else {
            return;
        };
        if let Some(heard) = &mut self.heard
            && to.saturating_sub(from) >= HEARD
        {
            heard.push((service, from, to));
        }
        if self.period.is_long(from, to)
            && let Some(last) = self.last.get_mut(usize::from(service))
        {
            *last = Some(to);
        }
    }

    /// How far a service is into its period at a time, in periods.
    pub(super) fn phase(&self, service: Option<u16>, at: i64) -> Option<f32> {
        let last = self.last(service)?;
        let into = at.saturating_sub(last).rem_euclid(self.period.0);
        Some(into as f32 / self.period.0 as f32)
    }

    /// What a wait that ends in step is told by: its end after half a period before the next step from its
    /// beginning. None of one that does not, or that has none to be in step with.
    pub(super) fn told(&self, service: Option<u16>, from: i64, distance: u64) -> Option<u64> {
        let next = self.next(service, from)?;
        let distance = i64::try_from(distance).ok()?;
        let Period(period) = self.period;
        if distance < period / LEAST || self.period.off(distance - next).abs() > period / NEAR {
            return None;
        }
        u64::try_from(distance - next + period / 2).ok()
    }

    /// The wait that is told so.
    pub(super) fn distance(&self, service: Option<u16>, from: i64, told: u64) -> u64 {
        let half = self.period.0 / 2;
        let next = self.next(service, from).unwrap_or(half);
        told.saturating_add_signed(next - half)
    }

    /// How long it is from a time to the next step.
    fn next(&self, service: Option<u16>, from: i64) -> Option<i64> {
        let last = self.last(service)?;
        Some(last.saturating_sub(from).rem_euclid(self.period.0))
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;
    use crate::chance::Rng;

    const MS: i64 = 1_000_000;

    /// Traces whose service sleeps three times, each time until `until` says, a while after it has woken.
    fn traces(until: impl Fn(&mut Rng, i64, i64) -> i64) -> Vec<Vec<Wait>> {
        let mut rng = Rng::seed_from_u64(1);
        let mut trace = || {
            let phase = rng.random_range(0..100 * MS);
            let mut from = 500 * MS;
            let mut wait = || {
                let to = until(&mut rng, phase, from);
                let wait = (3, from, to);
                from = to + rng.random_range(0..60 * MS);
                wait
            };
            vec![wait(), wait(), wait()]
        };
        (0..200).map(|_| trace()).collect()
    }

    #[test]
    fn a_period_is_found_where_waits_end_in_step_and_nowhere_else() {
        let in_step = traces(|rng, phase, from| {
            let next = from + (phase - from).rem_euclid(100 * MS);
            next + rng.random_range(0..3 * MS)
        });
        assert_eq!(Period::fit(&in_step), Period(100 * MS));
        let any = traces(|rng, _, from| from + rng.random_range(30 * MS..100 * MS));
        assert_eq!(Period::fit(&any), Period::default());
        assert_eq!(Period::fit(&in_step[..20]), Period::default());
    }

    #[test]
    fn what_a_wait_is_told_by_gives_it_back() {
        let mut steps = Steps::default();
        steps.clear(Period(100 * MS), 4);
        let service = Some(3);
        assert_eq!(
            steps.told(service, 0, 90 * MS as u64),
            None,
            "nothing to be in step with"
        );
        steps.wait(service, 10 * MS, 60 * MS);
        // Until the second step from now, two milliseconds late.
        let from = 85 * MS;
        let distance = (175 + 2) * MS as u64;
        let told = steps.told(service, from, distance).unwrap();
        assert_eq!(told, 152 * MS as u64);
        assert_eq!(steps.distance(service, from, told), distance);
        assert_eq!(
            steps.told(service, from, 140 * MS as u64),
            None,
            "out of step"
        );
        assert_eq!(
            steps.told(service, 140 * MS, 20 * MS as u64),
            None,
            "too short"
        );
        assert_eq!(steps.told(Some(2), from, distance), None, "another service");
        let phase = steps.phase(service, from).unwrap();
        assert!((phase - 0.25).abs() < 1e-6);
        assert_eq!(steps.distance(Some(2), from, told), told);
    }
}
