//! Notices that the traffic is no longer what it was.
//!
//! The newest traces are compared with those just before them, in two ways: which kinds of trace
//! come (by the labels in them), and how long each operation takes. Model and weights take no part:
//! a model that knows both regimes would not notice a change from one to the other.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher as _, Hash as _, Hasher as _};

use foldhash::fast::FixedState;

use crate::trace::{Span, Trace};

/// The newest traces, which are compared.
const RECENT: usize = 250;
/// Traces before them that they are compared with: at least, and at most.
const EARLIER: std::ops::RangeInclusive<usize> = 500..=1_000;
/// Traces between two comparisons.
const EVERY: u64 = 50;
/// Comparisons in a row that must tell of another mix, and of another latency: a burst is no regime,
/// and a store that is slow for a while, which happens in steady traffic, is not either. The second
/// is as long as all the newest traces.
const IN_A_ROW: [u32; 2] = [2, 5];
/// Labels of a trace whose durations are looked at, at most.
const LABELS: usize = 64;
/// An operation needs so many of the newest traces, and twice as many earlier ones.
const TRACES: usize = 30;
/// Total variation of the kinds of trace, beyond that of chance, from which on it is drift.
const MIX: f64 = 0.15;
/// An operation drifts if its durations differ by this Kolmogorov-Smirnov distance, beyond chance,
const APART: f64 = 0.3;
/// and their medians by this much of log10: half as long again.
const SHIFT: f64 = 0.176;

/// How far the newest traces are from those before them.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Drift {
    /// Changes of regime noticed so far.
    pub noticed: u64,
    /// Whether the last change is so recent that there is no telling yet if it is over.
    pub on: bool,
    /// Traces seen when the last change was noticed.
    pub at: Option<u64>,
    /// Total variation of the kinds of trace beyond that of chance, at the last comparison.
    pub mix: f64,
    /// Of the operation that moved most, the shift of the median duration in log10, at the last
    /// comparison; 0 where none moved for sure.
    pub latency: f64,
}

/// What is kept of a trace: no text, no ids.
#[derive(Debug)]
struct Summary {
    /// A hash of its root's label and of the set of labels in it.
    kind: u64,
    /// Per label: its hash and the mean of log10 duration.
    durations: Box<[(u64, f32)]>,
}

impl Summary {
    fn of(trace: &Trace) -> Self {
        let mut sums: BTreeMap<u64, (f32, f32)> = BTreeMap::new();
        for span in trace.spans() {
            let sum = sums.entry(label(span)).or_default();
            sum.0 += (span.duration.max(1) as f32).log10();
            sum.1 += 1.0;
        }
        let mut hasher = FixedState::with_seed(0xd21f).build_hasher();
        label(trace.root()).hash(&mut hasher);
        sums.keys().for_each(|label| label.hash(&mut hasher));
        let means = sums.into_iter().map(|(at, (sum, count))| (at, sum / count));
        Self {
            kind: hasher.finish(),
            durations: means.take(LABELS).collect(),
        }
    }
}

fn label(span: &Span) -> u64 {
    let hasher = FixedState::with_seed(0xd21f);
    hasher.hash_one((span.service, span.operation, span.kind))
}

/// Compares as traces come. The same traces give the same answers.
#[derive(Debug, Default)]
pub(super) struct Watch {
    recent: VecDeque<Summary>,
    earlier: VecDeque<Summary>,
    seen: u64,
    /// Comparisons so far that told of another mix, and of another latency, without a break.
    in_a_row: [u32; 2],
}

impl Watch {
    /// Takes a trace in, and brings `drift` up to date; whether a change was noticed just now.
    pub(super) fn see(&mut self, trace: &Trace, number: u64, drift: &mut Drift) -> bool {
        self.seen += 1;
        self.recent.push_back(Summary::of(trace));
        if self.recent.len() > RECENT {
            self.earlier.extend(self.recent.pop_front());
        }
        if self.earlier.len() > *EARLIER.end() {
            self.earlier.pop_front();
        }
        if self.earlier.len() < *EARLIER.start() || !self.seen.is_multiple_of(EVERY) {
            return false;
        }
        drift.mix = mix(&self.earlier, &self.recent);
        drift.latency = latency(&self.earlier, &self.recent);
        let apart = [drift.mix >= MIX, drift.latency >= SHIFT];
        for (row, apart) in self.in_a_row.iter_mut().zip(apart) {
            *row = if apart { *row + 1 } else { 0 };
        }
        if self
            .in_a_row
            .iter()
            .zip(IN_A_ROW)
            .all(|(row, least)| *row < least)
        {
            drift.on &= apart.contains(&true);
            return false;
        }
        // What was before is no measure of what comes now, and some of the newest are of before.
        self.earlier.clear();
        self.recent.clear();
        self.in_a_row = [0; 2];
        drift.noticed += 1;
        drift.on = true;
        drift.at = Some(number);
        true
    }
}

/// Total variation of the kinds of trace, less what chance alone makes of two such samples.
fn mix(earlier: &VecDeque<Summary>, recent: &VecDeque<Summary>) -> f64 {
    let mut counts: BTreeMap<u64, [f64; 2]> = BTreeMap::new();
    for (side, traces) in [earlier, recent].into_iter().enumerate() {
        for trace in traces {
            counts.entry(trace.kind).or_default()[side] += 1.0;
        }
    }
    let [n, m] = [earlier, recent].map(|traces| traces.len().max(1) as f64);
    let (mut apart, mut chance) = (0.0, 0.0);
    for [a, b] in counts.into_values() {
        apart += (a / n - b / m).abs();
        let share = (a + b) / (n + m);
        // The mean of |x| of a normal x is sqrt(2 / pi) of its deviation.
        let deviation = (share * (1.0 - share) * (1.0 / n + 1.0 / m)).sqrt();
        chance += deviation * std::f64::consts::FRAC_2_PI.sqrt();
    }
    ((apart - chance) / 2.0).max(0.0)
}

/// The largest shift of the median of an operation's log10 duration, of those that surely moved.
fn latency(earlier: &VecDeque<Summary>, recent: &VecDeque<Summary>) -> f64 {
    let mut durations: BTreeMap<u64, [Vec<f32>; 2]> = BTreeMap::new();
    for (side, traces) in [earlier, recent].into_iter().enumerate() {
        for &(label, duration) in traces.iter().flat_map(|trace| &trace.durations) {
            durations.entry(label).or_default()[side].push(duration);
        }
    }
    let moved = durations.into_values().filter_map(|mut sides| {
        let [a, b] = &mut sides;
        if b.len() < TRACES || a.len() < 2 * TRACES {
            return None;
        }
        a.sort_unstable_by(f32::total_cmp);
        b.sort_unstable_by(f32::total_cmp);
        let (n, m) = (a.len() as f64, b.len() as f64);
        let chance = 1.63 * (1.0 / n + 1.0 / m).sqrt();
        let shift = f64::from((a[a.len() / 2] - b[b.len() / 2]).abs());
        (apart(a, b) >= APART + chance).then_some(shift)
    });
    moved.fold(0.0, f64::max)
}

/// The Kolmogorov-Smirnov distance of two sorted samples.
fn apart(a: &[f32], b: &[f32]) -> f64 {
    let (mut i, mut j, mut most) = (0, 0, 0.0_f64);
    while i < a.len() && j < b.len() {
        let at = a[i].min(b[j]);
        i += a[i..].iter().take_while(|&&x| x <= at).count();
        j += b[j..].iter().take_while(|&&x| x <= at).count();
        most = most.max((i as f64 / a.len() as f64 - j as f64 / b.len() as f64).abs());
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::{self, Rng};
    use crate::trace::{SpanKind, StatusCode, Symbol};
    use rand::RngExt as _;
    use rand_distr::{Distribution as _, StandardNormal};

    /// How requests come for a while: how many, the share of the second kind, and how many times
    /// as long as usual its call takes.
    type Regime = (usize, f64, f64);

    fn trace(second: bool, slow: f64, rng: &mut Rng) -> Trace {
        let mut span = |operation: u32, parent, usual: f64| {
            let noise: f64 = StandardNormal.sample(rng);
            Span {
                parent,
                service: Symbol(1),
                operation: Symbol(operation.into()),
                profile: Symbol(0),
                kind: SpanKind::Server,
                status: StatusCode::Unset,
                start: 0,
                duration: (usual * (0.4 * noise).exp()) as u64,
            }
        };
        let call = if second { (3, slow) } else { (2, 1.0) };
        let spans = vec![span(1, None, 1e7), span(call.0, Some(0), 1e6 * call.1)];
        Trace::new(spans, Vec::new()).unwrap()
    }

    /// The numbers of the traces at which a change was noticed.
    fn check(regimes: &[Regime], expected: &[(u64, u64)]) {
        let rng = &mut chance::stream(4, "regimes");
        let (mut watch, mut drift) = (Watch::default(), Drift::default());
        let (mut number, mut noticed) = (0, Vec::new());
        for &(traces, second, slow) in regimes {
            for _ in 0..traces {
                let second = rng.random::<f64>() < second;
                number += 1;
                if watch.see(&trace(second, slow, rng), number, &mut drift) {
                    noticed.push(number);
                }
            }
        }
        let told = noticed.len() == expected.len()
            && noticed
                .iter()
                .zip(expected)
                .all(|(at, (from, to))| (from..to).contains(&at));
        assert!(told, "{noticed:?}, not {expected:?}; {drift:?}");
        assert_eq!(drift.noticed as usize, expected.len());
        assert_eq!(drift.at, noticed.last().copied());
    }

    #[test]
    fn steady_traffic_never_drifts() {
        check(&[(6_000, 0.3, 1.0)], &[]);
        check(&[(6_000, 0.02, 1.0)], &[]);
    }

    #[test]
    fn another_mix_of_requests_is_noticed_once_and_so_is_the_way_back() {
        check(&[(3_000, 0.2, 1.0), (3_000, 0.6, 1.0)], &[(3_050, 3_300)]);
        let there_and_back = [(2_000, 0.0, 1.0), (2_000, 1.0, 1.0), (2_000, 0.0, 1.0)];
        check(&there_and_back, &[(2_050, 2_200), (4_050, 4_200)]);
    }

    #[test]
    fn a_doubled_latency_of_one_operation_is_noticed() {
        check(&[(3_000, 0.5, 1.0), (3_000, 0.5, 2.0)], &[(3_250, 3_550)]);
    }

    #[test]
    fn a_burst_and_a_slight_change_are_no_drift() {
        check(&[(3_000, 0.3, 1.0), (40, 0.9, 6.0), (3_000, 0.3, 1.0)], &[]);
        check(&[(3_000, 0.3, 1.0), (3_000, 0.36, 1.1)], &[]);
    }

    #[test]
    fn a_change_is_over_once_the_new_regime_is_a_measure_of_itself() {
        let rng = &mut chance::stream(5, "over");
        let (mut watch, mut drift) = (Watch::default(), Drift::default());
        let mut on = Vec::new();
        for number in 0..4_000 {
            watch.see(&trace(number >= 2_000, 1.0, rng), number, &mut drift);
            on.push(drift.on);
        }
        assert_eq!((on[1_999], on[2_250], on[3_999]), (false, true, false));
    }
}
