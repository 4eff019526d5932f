//! Long waits that end in step.
//!
//! A container that has used up its share of the processor sleeps until the next period of its quota begins
//! (Linux's CFS bandwidth control; 100 ms unless set otherwise), so that the long waits of one service end a
//! whole number of periods apart, whatever happens in between. A wait's length alone does not show that: it is
//! what is left of a period. Where the traces have such a period, a wait that ends in step with the one before
//! it in its service is told from there. The periods of two services need not begin together, but how far they
//! are apart stays the same, so that the first wait of one can be told from another's.

use std::collections::BTreeMap;
use std::sync::Arc;

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

/// First waits of a service after a wait of another that it takes to say how far apart their periods are.
const PAIRS_APART: usize = 40;

/// Where phases are cut into classes, in periods: finest at the beginning, when a service that has just woken
/// uses up its next share.
const CUTS: [f32; 7] = [0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75];

/// How the long waits of a system's services end.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Quotas {
    period: Period,
    /// (teller, listener, nanoseconds): how long after the end of a wait of the one, and after any whole number
    /// of periods more, waits of the other end.
    apart: Vec<(u16, u16, i64)>,
}

impl Quotas {
    /// Those of these waits, trace after trace, in the order in which they were resolved.
    pub(super) fn fit(traces: &[Vec<Wait>]) -> Self {
        let period = Period::fit(traces);
        if period.is_none() {
            return Self::default();
        }
        let mut firsts: BTreeMap<(u16, u16), Vec<i64>> = BTreeMap::new();
        for trace in traces {
            let mut last: BTreeMap<u16, i64> = BTreeMap::new();
            let long = trace
                .iter()
                .filter(|&&(_, from, to)| period.is_long(from, to));
            for &(service, _, to) in long {
                if !last.contains_key(&service) {
                    for (&teller, &before) in &last {
                        let apart = (to - before).rem_euclid(period.0);
                        firsts.entry((teller, service)).or_default().push(apart);
                    }
                }
                last.insert(service, to);
            }
        }
        let apart = firsts
            .into_iter()
            .filter_map(|((teller, listener), apart)| {
                let apart = period.densest(apart)?;
                Some((teller, listener, apart))
            });
        Self {
            period,
            apart: apart.collect(),
        }
    }

    pub(super) fn is_none(&self) -> bool {
        self.period.is_none()
    }

    /// Whether the period is none, or one that is tried.
    pub(super) fn is_sound(&self) -> bool {
        self.is_none() || PERIODS.contains(&self.period.0)
    }
}

/// The period of a system's waits; 0 for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Period(i64);

impl Period {
    /// The longest period that these waits are in step with: (service, from, to), trace after trace, in the
    /// order in which they were resolved.
    fn fit(traces: &[Vec<Wait>]) -> Self {
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

    fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Where most of these distances lie, from 0 to a period, which are so few or so scattered that they lie
    /// nowhere: the middle of those in step with each other.
    fn densest(self, mut apart: Vec<i64>) -> Option<i64> {
        let count = apart.len();
        if count < PAIRS_APART {
            return None;
        }
        apart.sort_unstable();
        // Once more behind themselves: a period has no end.
        let again: Vec<i64> = apart.iter().map(|apart| apart + self.0).collect();
        apart.extend(again);
        let within = |from: usize| {
            let end = apart[from] + 2 * self.0 / NEAR;
            (from..apart
                .partition_point(|&apart| apart <= end)
                .min(from + count))
                .len()
        };
        let from = (0..count).rev().max_by_key(|&from| within(from))?;
        let most = within(from);
        let enough = most as f64 >= SHARE * count as f64;
        enough.then(|| apart[from + most / 2].rem_euclid(self.0))
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

/// Where a wait ended.
#[derive(Debug, Clone, Copy)]
struct Woken {
    at: i64,
    /// Whether the service has waited itself.
    itself: bool,
}

/// How far a service is into its period, and whether that is known by a wait of its own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Phase {
    /// In periods.
    pub into: f32,
    /// Whether the service has waited itself; else another's wait says it.
    pub itself: bool,
}

/// Classes of phases: 0 where nothing is known.
pub(super) type PhaseClass = u8;

/// The first class of those that another service's wait says.
pub(super) const TOLD: PhaseClass = CUTS.len() as PhaseClass + 2;

/// The class of any phase that is known.
pub(super) const WAITED: PhaseClass = PhaseClass::MAX;

impl Phase {
    /// The class of a phase, if it is known.
    pub(super) fn class(phase: Option<Self>) -> PhaseClass {
        let Some(Self { into, itself }) = phase else {
            return 0;
        };
        let at = CUTS.partition_point(|&cut| cut <= into) as PhaseClass;
        if itself { 1 + at } else { TOLD + at }
    }
}

/// The waits of a trace so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Steps {
    quotas: Arc<Quotas>,
    /// Where the last long wait of each service ended, or, before it has waited, where one would have by what
    /// another's says.
    last: Vec<Option<Woken>>,
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
    pub(super) fn clear(&mut self, quotas: &Arc<Quotas>, services: usize) {
        if !Arc::ptr_eq(&self.quotas, quotas) {
            self.quotas = Arc::clone(quotas);
        }
        self.last.clear();
        self.last
            .resize(if quotas.is_none() { 0 } else { services }, None);
    }

    /// Where the last long wait of a service ended.
    fn last(&self, service: Option<u16>) -> Option<Woken> {
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
        let Quotas { period, apart } = &*self.quotas;
        if !period.is_long(from, to) {
            return;
        }
        let told = apart.iter().filter(|&&(teller, ..)| teller == service);
        for &(_, listener, apart) in told {
            if let Some(last) = self.last.get_mut(usize::from(listener))
                && last.is_none_or(|last| !last.itself)
            {
                let at = to.saturating_add(apart);
                *last = Some(Woken { at, itself: false });
            }
        }
        if let Some(last) = self.last.get_mut(usize::from(service)) {
            *last = Some(Woken {
                at: to,
                itself: true,
            });
        }
    }

    /// How far a service is into its period at a time.
    pub(super) fn phase(&self, service: Option<u16>, at: i64) -> Option<Phase> {
        let last = self.last(service)?;
        let period = self.quotas.period.0;
        let into = at.saturating_sub(last.at).rem_euclid(period);
        Some(Phase {
            into: into as f32 / period as f32,
            itself: last.itself,
        })
    }

    /// What a wait that ends in step is told by: its end after half a period before the next step from its
    /// beginning. None of one that does not, or that has none to be in step with.
    pub(super) fn told(&self, service: Option<u16>, from: i64, distance: u64) -> Option<u64> {
        let next = self.next(service, from)?;
        let distance = i64::try_from(distance).ok()?;
        let steps = self.quotas.period;
        let Period(period) = steps;
        if distance < period / LEAST || steps.off(distance - next).abs() > period / NEAR {
            return None;
        }
        u64::try_from(distance - next + period / 2).ok()
    }

    /// The wait that is told so.
    pub(super) fn distance(&self, service: Option<u16>, from: i64, told: u64) -> u64 {
        let half = self.quotas.period.0 / 2;
        let next = self.next(service, from).unwrap_or(half);
        told.saturating_add_signed(next - half)
    }

    /// How long it is from a time to the next step.
    fn next(&self, service: Option<u16>, from: i64) -> Option<i64> {
        let last = self.last(service)?;
        let until = last.at.saturating_sub(from);
        Some(until.rem_euclid(self.quotas.period.0))
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
    fn how_far_periods_are_apart_is_found_where_it_is_always_as_far() {
        let mut rng = Rng::seed_from_u64(2);
        // Two services wake 40 ms apart, or 97 ms (and so 3 ms early); a third one wakes whenever it likes.
        let mut traces = |apart: i64| -> Vec<Vec<Wait>> {
            let mut trace = || {
                let until = rng.random_range(60 * MS..90 * MS);
                let other = until + apart + rng.random_range(-4 * MS..4 * MS);
                let any = until + rng.random_range(0..100 * MS);
                let wait = |service, until: i64| (service, until - 50 * MS, until);
                vec![
                    wait(3, until),
                    wait(5, other),
                    wait(4, any),
                    wait(3, until + 100 * MS),
                ]
            };
            (0..200).map(|_| trace()).collect()
        };
        for apart in [40 * MS, 97 * MS] {
            let quotas = Quotas::fit(&traces(apart));
            assert_eq!(quotas.period, Period(100 * MS));
            let [(3, 5, found)] = quotas.apart[..] else {
                panic!("{quotas:?}");
            };
            assert!((found - apart).abs() < MS, "{found}");
        }
        assert_eq!(Quotas::fit(&traces(40 * MS)[..30]), Quotas::default());
    }

    #[test]
    fn phases_are_told_apart_most_finely_where_a_service_has_just_woken() {
        let class = |into, itself| Phase::class(Some(Phase { into, itself }));
        assert_eq!(Phase::class(None), 0);
        let own = [0.0, 0.04, 0.06, 0.12, 0.22, 0.4, 0.99].map(|into| class(into, true));
        assert_eq!(own, [1, 1, 2, 3, 5, 6, 8]);
        assert_eq!([0.0, 0.99].map(|into| class(into, false)), [9, 16]);
    }

    #[test]
    fn what_a_wait_is_told_by_gives_it_back() {
        let mut steps = Steps::default();
        let quotas = Quotas {
            period: Period(100 * MS),
            apart: vec![(3, 1, 30 * MS)],
        };
        steps.clear(&Arc::new(quotas), 4);
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
        assert!((phase.into - 0.25).abs() < 1e-6 && phase.itself);
        assert_eq!(steps.distance(Some(2), from, told), told);

        // Another service has not waited, but wakes 30 ms after this one.
        let phase = steps.phase(Some(1), from).unwrap();
        assert!((phase.into - 0.95).abs() < 1e-6 && !phase.itself);
        let told = steps.told(Some(1), from, 106 * MS as u64).unwrap();
        assert_eq!(told, 151 * MS as u64);
        steps.wait(Some(1), from, 120 * MS);
        assert!(steps.phase(Some(1), from).unwrap().itself);
        steps.wait(service, 110 * MS, 160 * MS);
        let phase = steps.phase(Some(1), 130 * MS).unwrap();
        assert!((phase.into - 0.1).abs() < 1e-6, "its own waits count");
    }
}
