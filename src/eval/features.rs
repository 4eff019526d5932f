//! What a classifier is told of one trace: the features of the two-sample test.

use std::collections::BTreeMap;
use std::ops::Range;

use super::shape::{Label, end, label};
use crate::features::{Interner, Skeleton};
use crate::trace::{Span, Trace};

/// Features that every trace has, structure first.
const FIXED: [&str; 20] = [
    "size",
    "roots",
    "depth max",
    "depth mean",
    "fan-out max",
    "fan-out std",
    "leaves",
    "distinct labels",
    "log duration max",
    "log duration median",
    "log duration std",
    "log duration root",
    "contained share",
    "child/parent duration mean",
    "child/parent duration std",
    "gap mean",
    "gap std",
    "child coverage mean",
    "child coverage std",
    "sibling overlap",
];
/// Those of [`FIXED`] that tell nothing of times.
const STRUCTURE: Range<usize> = 0..8;

/// A column of the classifier's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Feature {
    /// One of those that every trace has.
    Fixed(usize),
    /// How often a label occurs.
    Count(Label),
    /// How often a child of a label stands under a parent of a label: (parent, child).
    Edge(Label, Label),
    /// Mean of ln(1 + nanoseconds) of a label's spans; missing where there is none.
    Duration(Label),
}

impl Feature {
    /// Whether it tells of times.
    pub(super) fn is_of_time(self) -> bool {
        match self {
            Self::Fixed(at) => !STRUCTURE.contains(&at),
            Self::Count(_) | Self::Edge(..) => false,
            Self::Duration(_) => true,
        }
    }

    /// Whether it is a logarithm of durations.
    pub(super) fn is_log_duration(self) -> bool {
        match self {
            Self::Fixed(at) => FIXED[at].starts_with("log duration"),
            Self::Count(_) | Self::Edge(..) => false,
            Self::Duration(_) => true,
        }
    }

    /// What a trace has that has it not.
    fn absent(self) -> f64 {
        match self {
            Self::Duration(_) => f64::NAN,
            _ => 0.0,
        }
    }

    /// Its name, with the texts of labels.
    pub(super) fn name(self, texts: &Interner) -> String {
        let name = |label| name(label, texts);
        match self {
            Self::Fixed(at) => FIXED[at].to_owned(),
            Self::Count(label) => format!("count {}", name(label)),
            Self::Edge(parent, child) => format!("edge {} > {}", name(parent), name(child)),
            Self::Duration(label) => format!("duration {}", name(label)),
        }
    }
}

/// The text of a label.
pub(super) fn name(label: Label, texts: &Interner) -> String {
    let text = |symbol| texts.text(symbol).map_or("?".to_owned(), |t| t.to_string());
    format!("{} {}", text(label.0), text(label.1))
}

/// The features of one trace.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Features(BTreeMap<Feature, f64>);

impl Features {
    pub(super) fn of(trace: &Trace) -> Self {
        let spans = trace.spans();
        let skeleton = Skeleton::of_trace(trace);
        let places = skeleton.places();
        let logs: Vec<f64> = spans
            .iter()
            .map(|span| (span.duration as f64).ln_1p())
            .collect();
        let mut sparse: BTreeMap<Feature, f64> = BTreeMap::new();
        let mut durations: BTreeMap<Label, Vec<f64>> = BTreeMap::new();
        for (span, log) in spans.iter().zip(&logs) {
            *sparse.entry(Feature::Count(label(span))).or_default() += 1.0;
            durations.entry(label(span)).or_default().push(*log);
            if let Some(parent) = span.parent {
                let edge = Feature::Edge(label(&spans[parent as usize]), label(span));
                *sparse.entry(edge).or_default() += 1.0;
            }
        }
        let depths: Vec<f64> = places.iter().map(|place| f64::from(place.depth)).collect();
        let inner = places.iter().filter(|place| place.children > 0);
        let fan_outs: Vec<f64> = inner.map(|place| f64::from(place.children)).collect();
        let times = Times::of(spans);
        let fixed: [f64; FIXED.len()] = [
            spans.len() as f64,
            1.0,
            largest(&depths),
            mean(&depths),
            largest(&fan_outs),
            deviation(&fan_outs),
            (spans.len() - fan_outs.len()) as f64,
            durations.len() as f64,
            largest(&logs),
            median(&logs),
            deviation(&logs),
            logs[0],
            times.contained,
            mean(&times.ratios),
            deviation(&times.ratios),
            mean(&times.gaps),
            deviation(&times.gaps),
            mean(&times.coverages),
            deviation(&times.coverages),
            mean(&times.overlaps),
        ];
        sparse.extend((0..).map(Feature::Fixed).zip(fixed));
        let durations = durations.into_iter();
        sparse.extend(durations.map(|(label, logs)| (Feature::Duration(label), mean(&logs))));
        Self(sparse)
    }

    /// Of many traces.
    pub(super) fn all(traces: &[Trace]) -> Vec<Self> {
        traces.iter().map(Self::of).collect()
    }

    fn value(&self, feature: Feature) -> f64 {
        self.0
            .get(&feature)
            .copied()
            .unwrap_or_else(|| feature.absent())
    }
}

/// Columns of numbers, all of one length; what is missing is not a number.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    /// Number of rows.
    pub(super) rows: usize,
    /// What the columns are.
    pub(super) columns: Vec<Feature>,
    /// Column after column.
    pub(super) values: Vec<f64>,
}

impl Table {
    /// The table of the features that are wanted. Of columns that are equal in every row only the
    /// first stays, and columns that fewer than `least` rows tell apart are left out: no tree
    /// could use them.
    pub(super) fn of(rows: &[&Features], least: usize, wanted: impl Fn(Feature) -> bool) -> Self {
        let mut features: Vec<Feature> = rows
            .iter()
            .flat_map(|row| row.0.keys().copied())
            .filter(|&feature| wanted(feature))
            .collect();
        features.sort_unstable();
        features.dedup();
        let mut table = Self {
            rows: rows.len(),
            ..Self::default()
        };
        let mut seen = std::collections::HashSet::new();
        for feature in features {
            let column: Vec<f64> = rows.iter().map(|row| row.value(feature)).collect();
            let bits: Vec<u64> = column.iter().map(|value| value.to_bits()).collect();
            if tells_apart(&bits, least) && seen.insert(bits) {
                table.columns.push(feature);
                table.values.extend(column);
            }
        }
        table
    }

    /// Some of the rows, in this order, column after column.
    pub(super) fn select(&self, rows: &[usize]) -> Vec<f64> {
        let columns = self.values.chunks_exact(self.rows.max(1));
        let chosen = columns.flat_map(|column| rows.iter().map(|&row| column[row]));
        chosen.collect()
    }
}

/// Whether at least so many rows have something else than what most of them have.
fn tells_apart(bits: &[u64], least: usize) -> bool {
    let mut counts: std::collections::HashMap<u64, usize> = std::collections::HashMap::new();
    for value in bits {
        *counts.entry(*value).or_default() += 1;
    }
    bits.len() - counts.into_values().max().unwrap_or_default() >= least
}

/// How children lie in their parents.
#[derive(Debug, Default)]
struct Times {
    contained: f64,
    ratios: Vec<f64>,
    gaps: Vec<f64>,
    coverages: Vec<f64>,
    overlaps: Vec<f64>,
}

/// What of a parent's children came so far.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    children: u32,
    /// The latest end of a child.
    latest: i128,
    /// Up to where the parent's time was looked at, and how much of it children cover.
    reached: i128,
    covered: i128,
    overlapping: u32,
}

impl Times {
    fn of(spans: &[Span]) -> Self {
        let mut seen = vec![Seen::default(); spans.len()];
        let mut times = Self::default();
        let (mut pairs, mut inside) = (0_u32, 0_u32);
        for span in spans {
            let Some(parent) = span.parent else { continue };
            let above = &spans[parent as usize];
            let seen = &mut seen[parent as usize];
            let (start, finish) = (i128::from(span.start), end(span));
            let (from, to) = (i128::from(above.start), end(above));
            let length = above.duration.max(1) as f64;
            pairs += 1;
            inside += u32::from(start >= from && finish <= to);
            times.ratios.push(span.duration as f64 / length);
            if seen.children == 0 {
                (seen.latest, seen.reached) = (from, from);
            } else {
                seen.overlapping += u32::from(start < seen.latest);
            }
            times.gaps.push((start - seen.latest) as f64 / length);
            seen.latest = if seen.children == 0 {
                finish
            } else {
                seen.latest.max(finish)
            };
            let high = finish.min(to);
            seen.covered += (high - start.max(seen.reached)).max(0);
            seen.reached = seen.reached.max(high);
            seen.children += 1;
        }
        for (span, seen) in spans
            .iter()
            .zip(&seen)
            .filter(|(_, seen)| seen.children > 0)
        {
            times
                .coverages
                .push(seen.covered as f64 / span.duration.max(1) as f64);
            if seen.children > 1 {
                let later = f64::from(seen.children - 1);
                times.overlaps.push(f64::from(seen.overlapping) / later);
            }
        }
        times.contained = match pairs {
            0 => 1.0,
            pairs => f64::from(inside) / f64::from(pairs),
        };
        times
    }
}

fn largest(values: &[f64]) -> f64 {
    values.iter().copied().reduce(f64::max).unwrap_or_default()
}

/// The mean; 0 of nothing.
pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn deviation(values: &[f64]) -> f64 {
    let middle = mean(values);
    let squares: Vec<f64> = values
        .iter()
        .map(|value| (value - middle).powi(2))
        .collect();
    mean(&squares).sqrt()
}

fn median(values: &[f64]) -> f64 {
    let sorted = super::distance::sorted(values.to_vec());
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) {
        (sorted[middle - 1] + sorted[middle]) / 2.0
    } else {
        sorted[middle]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{SpanKind, StatusCode, Symbol};

    /// A root (0 to 100) with children at 10 to 40 and 30 to 60, and one that leaves it, 90 to 120.
    fn trace() -> Trace {
        let span = |parent, operation, start: i64, finish: i64| Span {
            parent,
            service: Symbol(1),
            operation: Symbol(operation),
            profile: Symbol(0),
            kind: SpanKind::Server,
            status: StatusCode::Unset,
            start,
            duration: (finish - start) as u64,
        };
        let spans = vec![
            span(None, 7, 0, 100),
            span(Some(0), 8, 10, 40),
            span(Some(0), 8, 30, 60),
            span(Some(0), 9, 90, 120),
        ];
        Trace::new(spans, Vec::new()).unwrap()
    }

    fn check(name: &str, expected: f64) {
        let features = Features::of(&trace());
        let at = FIXED.iter().position(|n| *n == name);
        let told = features.value(Feature::Fixed(at.unwrap()));
        assert!((told - expected).abs() < 1e-9, "{name}: {told}");
    }

    #[test]
    fn features_of_a_trace_agree_with_values_worked_by_hand() {
        check("size", 4.0);
        check("depth mean", 0.75);
        check("fan-out max", 3.0);
        check("fan-out std", 0.0);
        check("leaves", 3.0);
        check("distinct labels", 3.0);
        check("log duration median", 31_f64.ln());
        check("log duration root", 101_f64.ln());
        check("contained share", 2.0 / 3.0);
        check("child/parent duration mean", 0.3);
        check("child/parent duration std", 0.0);
        // 10 after the start, 10 before the first's end, 30 after the second's.
        check("gap mean", 0.1);
        // 10 to 60 and 90 to 100 of 100.
        check("child coverage mean", 0.6);
        check("sibling overlap", 0.5);
    }

    #[test]
    fn labels_and_edges_are_counted_and_their_durations_averaged() {
        let features = Features::of(&trace());
        let label = |operation| (Symbol(1), Symbol(operation));
        let value = |feature| features.value(feature);
        assert_eq!(value(Feature::Count(label(8))), 2.0);
        assert_eq!(value(Feature::Edge(label(7), label(8))), 2.0);
        assert_eq!(value(Feature::Edge(label(8), label(7))), 0.0);
        assert!((value(Feature::Duration(label(8))) - 31_f64.ln()).abs() < 1e-12);
        assert!(value(Feature::Duration(label(1))).is_nan());
    }

    #[test]
    fn a_table_leaves_out_equal_columns_and_those_that_hardly_ever_differ() {
        let one = Features::of(&trace());
        let mut other = one.clone();
        other.0.insert(Feature::Fixed(0), 9.0);
        // Now as many leaves as the largest fan-out, in every row.
        other.0.insert(Feature::Fixed(4), 5.0);
        other.0.insert(Feature::Fixed(6), 5.0);
        let rows = [&one, &one, &other, &other];
        let columns = |least| Table::of(&rows, least, |_| true).columns;
        assert_eq!(columns(2), [Feature::Fixed(0), Feature::Fixed(4)]);
        assert!(columns(3).is_empty());
        let table = Table::of(&rows, 2, |feature| feature == Feature::Fixed(0));
        assert_eq!(table.select(&[2, 0]), [9.0, 4.0]);
    }
}
