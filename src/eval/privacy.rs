//! P1 to P3: copies, membership, labels below the floor.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::boosted::auc;
use super::distance::{percentile, sorted};
use super::features::{Features, Table};
use super::shadow::{Far, Shadow, far};
use super::shape::{Label, canonical, label};
use crate::trace::{Span, SpanKind, StatusCode, Trace};

/// Durations that differ by no more than this share are the same.
const SAME: f64 = 0.01;
/// Members, and others, that an attack judges, at most of each: with all there are, chance is least.
const JUDGED: usize = 1_500;
/// Synthetic and reference traces that an attack compares with.
pub(super) const COMPARED: usize = 2_000;
/// The share of traces farthest from all others that are outliers.
const OUTLIERS: f64 = 0.1;

/// What copies are looked for in: the training traces.
#[derive(Debug)]
pub(super) struct Originals<'a> {
    shapes: HashSet<u64>,
    /// Traces by their spans without times, those with the shorter root first.
    records: HashMap<Vec<SpanKey>, Vec<&'a Trace>>,
}

/// What of a span is not time.
type SpanKey = (Option<u32>, Label, SpanKind, StatusCode);

fn key(trace: &Trace) -> Vec<SpanKey> {
    let key = |span: &crate::trace::Span| (span.parent, label(span), span.kind, span.status);
    trace.spans().iter().map(key).collect()
}

impl<'a> Originals<'a> {
    pub(super) fn of(train: &'a [Trace]) -> Self {
        let mut sorted: Vec<&Trace> = train.iter().collect();
        sorted.sort_by_key(|trace| trace.root().duration);
        let mut records: HashMap<Vec<SpanKey>, Vec<&Trace>> = HashMap::new();
        for trace in sorted {
            records.entry(key(trace)).or_default().push(trace);
        }
        Self {
            shapes: train.iter().map(canonical).collect(),
            records,
        }
    }

    /// Shares of traces whose labelled shape is a training trace's, and whose full record is:
    /// spans in the same order with the same labels, kinds and statuses, and durations within 1%.
    pub(super) fn copied(&self, traces: &[Trace]) -> [f64; 2] {
        let shapes = traces
            .iter()
            .filter(|t| self.shapes.contains(&canonical(t)));
        let records = traces.iter().filter(|trace| self.has_record(trace));
        [shapes.count(), records.count()].map(|copied| copied as f64 / traces.len().max(1) as f64)
    }

    fn has_record(&self, trace: &Trace) -> bool {
        let Some(same) = self.records.get(&key(trace)) else {
            return false;
        };
        let near = |a: u64, b: u64| a.abs_diff(b) as f64 <= SAME * a.max(b) as f64;
        let root = trace.root().duration;
        let from = same.partition_point(|other| {
            let other = other.root().duration;
            other < root && !near(other, root)
        });
        let with_root = same[from..]
            .iter()
            .take_while(|other| near(other.root().duration, root));
        let mut alike = with_root.map(|other| other.spans().iter().zip(trace.spans()));
        alike.any(|mut spans| spans.all(|(a, b)| near(a.duration, b.duration)))
    }
}

/// What an attacker makes of synthetic traces who knows traces of the system and asks which of
/// them were learnt from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Membership {
    /// AUC of: the nearer a synthetic trace, the likelier a member.
    pub(super) nearest: f64,
    /// AUC of: the nearer a synthetic trace in comparison with another observed one (DOMIAS, with
    /// the density at a point by the distance of the nearest neighbour).
    pub(super) density: f64,
    /// AUC of what was learnt on shadows, if there are some.
    pub(super) shadow: Option<f64>,
    /// The largest of these.
    pub(super) best: f64,
    /// The largest AUC among traces that lie far from all others.
    pub(super) outliers: f64,
    /// Share of members found when one in a hundred others is taken for one, the largest.
    pub(super) tpr: f64,
    /// The same among traces that lie far from all others.
    pub(super) outliers_tpr: f64,
}

/// Attacks. Members are from the training traces, others from held-out ones, the reference is a
/// sample of neither. None if a side is empty.
pub(super) fn membership(
    [members, others, reference, synthetic]: [&[Features]; 4],
    shadow: Option<&Shadow>,
) -> Option<Membership> {
    let spread = |side: &'_ [Features], most: usize| -> Vec<usize> {
        let count = side.len().min(most);
        (0..count).map(|at| at * side.len() / count).collect()
    };
    let sides = [
        (members, JUDGED),
        (others, JUDGED),
        (reference, COMPARED),
        (synthetic, COMPARED),
    ];
    let chosen = sides.map(|(side, most)| spread(side, most));
    if chosen.iter().any(Vec::is_empty) {
        return None;
    }
    let mut rows: Vec<&Features> = Vec::new();
    for ((side, _), chosen) in sides.iter().zip(&chosen) {
        rows.extend(chosen.iter().map(|&at| &side[at]));
    }
    let points = standardised(&Table::of(&rows, 1, |_| true));
    let (judged, compared) = points.split_at(chosen[0].len() + chosen[1].len());
    let (reference, synthetic) = compared.split_at(chosen[2].len());
    let far: Vec<Far> = judged
        .iter()
        .map(|point| far(point, [synthetic, reference]))
        .collect();
    let by_distance: Vec<f64> = far.iter().map(|far| -far.nearest).collect();
    let by_ratio: Vec<f64> = far
        .iter()
        .map(|far| (far.reference + 1e-6).ln() - (far.nearest + 1e-6).ln())
        .collect();
    let by_shadow = shadow.map(|shadow| shadow.tell(&far));
    let truths: Vec<f64> = (0..judged.len())
        .map(|at| f64::from(u8::from(at < chosen[0].len())))
        .collect();
    let to_reference: Vec<f64> = far.iter().map(|far| far.reference).collect();
    let border = percentile(&sorted(to_reference.clone()), 1.0 - OUTLIERS);
    let outlying: Vec<usize> = (0..judged.len())
        .filter(|&at| to_reference[at] >= border)
        .collect();
    let of_outlying =
        |values: &[f64]| -> Vec<f64> { outlying.iter().map(|&at| values[at]).collect() };
    let outlying_truths = of_outlying(&truths);
    let attacks: Vec<&Vec<f64>> = [&by_distance, &by_ratio]
        .into_iter()
        .chain(&by_shadow)
        .collect();
    let largest = |of: &dyn Fn(&[f64]) -> f64| {
        let each = attacks.iter().map(|told| of(told));
        each.fold(0.0, f64::max)
    };
    Some(Membership {
        nearest: auc(&truths, &by_distance),
        density: auc(&truths, &by_ratio),
        shadow: by_shadow.as_ref().map(|told| auc(&truths, told)),
        best: largest(&|told| auc(&truths, told)),
        outliers: largest(&|told| auc(&outlying_truths, &of_outlying(told))),
        tpr: largest(&|told| tpr(&truths, told)),
        outliers_tpr: largest(&|told| tpr(&outlying_truths, &of_outlying(told))),
    })
}

/// Rows with mean 0 and deviation 1 in each column; what is missing is the mean. Shapes: table of
/// columns -> [rows][columns].
pub(super) fn standardised(table: &Table) -> Vec<Vec<f32>> {
    let mut rows = vec![Vec::with_capacity(table.columns.len()); table.rows];
    for column in table.values.chunks_exact(table.rows.max(1)) {
        let there: Vec<f64> = column.iter().copied().filter(|v| !v.is_nan()).collect();
        let mean = super::features::mean(&there);
        let squares: Vec<f64> = there.iter().map(|value| (value - mean).powi(2)).collect();
        let deviation = super::features::mean(&squares).sqrt().max(1e-9);
        for (row, value) in rows.iter_mut().zip(column) {
            let scaled = if value.is_nan() {
                0.0
            } else {
                (value - mean) / deviation
            };
            row.push(scaled as f32);
        }
    }
    rows
}

/// Share of rows of truth 1 told above all but one in a hundred of those of truth 0.
fn tpr(truths: &[f64], told: &[f64]) -> f64 {
    let of = |truth: f64| {
        truths
            .iter()
            .zip(told)
            .filter(move |(t, _)| **t == truth)
            .map(|(_, told)| *told)
    };
    let others = sorted(of(0.0).collect());
    let members: Vec<f64> = of(1.0).collect();
    if others.is_empty() || members.is_empty() {
        return 0.0;
    }
    let border = percentile(&others, 0.99);
    members.iter().filter(|told| **told > border).count() as f64 / members.len() as f64
}

/// The labels that enough training traces have for a synthetic one to have them.
#[derive(Debug)]
pub(super) struct Shared(BTreeSet<Label>);

impl Shared {
    /// Those of at least `floor` traces.
    pub(super) fn of(train: &[Trace], floor: usize) -> Self {
        let mut traces: BTreeMap<Label, usize> = BTreeMap::new();
        for trace in train {
            let mut labels: Vec<Label> = trace.spans().iter().map(label).collect();
            labels.sort_unstable();
            labels.dedup();
            for label in labels {
                *traces.entry(label).or_default() += 1;
            }
        }
        traces.retain(|_, traces| *traces >= floor);
        Self(traces.into_keys().collect())
    }

    fn has(&self, span: &Span) -> bool {
        self.0.contains(&label(span))
    }

    /// Whether a trace has none but these.
    pub(super) fn allow(&self, trace: &Trace) -> bool {
        trace.spans().iter().all(|span| self.has(span))
    }

    /// Share of spans that have others.
    pub(super) fn below(&self, traces: &[Trace]) -> f64 {
        let spans = || traces.iter().flat_map(Trace::spans);
        let below = spans().filter(|span| !self.has(span)).count();
        below as f64 / spans().count().max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt as _;

    use super::*;
    use crate::chance::stream;
    use crate::eval::testing::{timed, tree};

    fn sample(seed: u64) -> Vec<Trace> {
        let mut rng = stream(seed, "privacy tests");
        let mut duration = || 100 + rng.random_range(0..100_000_u64);
        let trace = |_| timed("a(b c)", &[0, 1, 2].map(|start| (start, duration())));
        (0..300).map(trace).collect()
    }

    #[test]
    fn a_copy_has_durations_within_a_hundredth_and_a_shape_alone_is_none() {
        let train = [timed("a(b c)", &[(0, 1_000), (1, 100), (2, 200)])];
        let originals = Originals::of(&train);
        let check = |text: &str, durations: [u64; 3], expected: [f64; 2]| {
            let times: Vec<(i64, u64)> = (0..).zip(durations).collect();
            assert_eq!(
                originals.copied(&[timed(text, &times)]),
                expected,
                "{text} {durations:?}"
            );
        };
        check("a(b c)", [1_000, 100, 200], [1.0, 1.0]);
        check("a(b c)", [1_009, 101, 199], [1.0, 1.0]);
        check("a(b c)", [991, 99, 202], [1.0, 1.0]);
        check("a(b c)", [1_020, 100, 200], [1.0, 0.0]);
        check("a(b c)", [1_000, 100, 210], [1.0, 0.0]);
        check("a(c b)", [1_000, 200, 100], [1.0, 0.0]);
        check("a(b b)", [1_000, 100, 200], [0.0, 0.0]);
    }

    #[test]
    fn an_attack_finds_what_a_copier_learnt_from_and_guesses_about_another_sample() {
        let [train, held_out, second, other] =
            [1, 2, 3, 4].map(|seed| Features::all(&sample(seed)));
        let told = membership([&train, &held_out, &second, &train], None).unwrap();
        assert!(
            told.nearest > 0.95 && told.density > 0.95 && told.tpr > 0.9,
            "{told:?}"
        );
        let told = membership([&train, &held_out, &second, &other], None).unwrap();
        assert!((told.nearest - 0.5).abs() < 0.1, "{told:?}");
        assert!((told.density - 0.5).abs() < 0.1, "{told:?}");
        assert_eq!(membership([&train, &[], &second, &other], None), None);
    }

    #[test]
    fn a_label_below_the_floor_is_seen_in_each_span_that_has_it() {
        let train = [tree("a(b b)"), tree("a(b)"), tree("a(c)")];
        let shared = Shared::of(&train, 2);
        assert_eq!(shared.below(&[tree("a(b b b)")]), 0.0);
        assert_eq!(shared.below(&[tree("a(c d b)")]), 0.5);
        assert_eq!(
            ["a(b b)", "a(c b)"].map(|text| shared.allow(&tree(text))),
            [true, false]
        );
    }
}
