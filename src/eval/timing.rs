//! T1: how spans lie in time, per operation and per root operation.

use std::collections::BTreeMap;

use serde::Serialize;

use super::distance::{kolmogorov_smirnov, percentile, sorted, wasserstein};
use super::features::name;
use super::shape::{Label, end, label};
use crate::features::Interner;
use crate::trace::{Span, Trace};

/// Root operations with fewer observed traces have no steady percentiles.
const FEW: usize = 100;
/// Levels of the durations that are told of an operation.
const LEVELS: [f64; 5] = [0.05, 0.25, 0.5, 0.75, 0.95];

/// Kolmogorov-Smirnov statistics: 0 means alike.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Lie {
    /// Start after the parent's, over the parent's duration.
    pub(super) offset: f64,
    /// Time outside children, over duration; of spans with children.
    pub(super) self_time: f64,
    /// Share of a span's later children that start before an earlier one ends.
    pub(super) overlap: f64,
}

/// How spans lie in their parents.
pub(super) fn lie(observed: &[Trace], synthetic: &[Trace]) -> Lie {
    let sides = [observed, synthetic].map(|traces| {
        let mut all: [Vec<f64>; 3] = Default::default();
        for trace in traces {
            for (all, of_trace) in all.iter_mut().zip(shares(trace.spans())) {
                all.extend(of_trace);
            }
        }
        all.map(sorted)
    });
    let [a, b] = &sides;
    Lie {
        offset: kolmogorov_smirnov(&a[0], &b[0]),
        self_time: kolmogorov_smirnov(&a[1], &b[1]),
        overlap: kolmogorov_smirnov(&a[2], &b[2]),
    }
}

/// Offsets, self times and overlaps of the spans of a trace.
pub(super) fn shares(spans: &[Span]) -> [Vec<f64>; 3] {
    #[derive(Clone, Copy, Default)]
    struct Seen {
        children: u32,
        overlapping: u32,
        latest: i128,
        reached: i128,
        covered: i128,
    }
    let mut seen = vec![Seen::default(); spans.len()];
    let mut shares: [Vec<f64>; 3] = Default::default();
    for span in spans {
        let Some(parent) = span.parent else { continue };
        let (above, seen) = (&spans[parent as usize], &mut seen[parent as usize]);
        let from = i128::from(above.start);
        let start = i128::from(span.start);
        shares[0].push((start - from) as f64 / above.duration.max(1) as f64);
        if seen.children == 0 {
            (seen.latest, seen.reached) = (end(span), from);
        } else {
            seen.overlapping += u32::from(start < seen.latest);
            seen.latest = seen.latest.max(end(span));
        }
        let finish = end(span).min(end(above));
        seen.covered += (finish - start.max(seen.reached)).max(0);
        seen.reached = seen.reached.max(finish);
        seen.children += 1;
    }
    for (span, seen) in spans
        .iter()
        .zip(&seen)
        .filter(|(_, seen)| seen.children > 0)
    {
        let own = (i128::from(span.duration) - seen.covered) as f64;
        shares[1].push(own / span.duration.max(1) as f64);
        if seen.children > 1 {
            shares[2].push(f64::from(seen.overlapping) / f64::from(seen.children - 1));
        }
    }
    shares
}

/// Durations of one operation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OperationTiming {
    /// Service and operation.
    pub name: String,
    /// Observed and synthetic spans.
    pub spans: [usize; 2],
    /// 1-Wasserstein distance of log10 of nanoseconds; none where there is no synthetic span.
    pub distance: Option<f64>,
    /// Nanoseconds at 5, 25, 50, 75 and 95%, observed.
    pub observed: [f64; 5],
    /// The same, synthetic; zeros where there is no synthetic span.
    pub synthetic: [f64; 5],
}

/// The operations with the most observed spans, the most first.
pub(super) fn operations(
    observed: &[Trace],
    synthetic: &[Trace],
    most: usize,
    texts: &Interner,
) -> Vec<OperationTiming> {
    let by_label = |traces: &[Trace]| {
        let mut durations: BTreeMap<Label, Vec<f64>> = BTreeMap::new();
        for span in traces.iter().flat_map(Trace::spans) {
            let nanoseconds = span.duration.max(1) as f64;
            durations.entry(label(span)).or_default().push(nanoseconds);
        }
        durations
    };
    let mut drawn = by_label(synthetic);
    let mut seen: Vec<_> = by_label(observed).into_iter().collect();
    seen.sort_by_key(|(label, durations)| (std::cmp::Reverse(durations.len()), *label));
    seen.truncate(most);
    let at_levels = |durations: &[f64]| {
        LEVELS.map(|level| {
            if durations.is_empty() {
                0.0
            } else {
                percentile(durations, level)
            }
        })
    };
    let told = seen.into_iter().map(|(label, durations)| {
        let [a, b] = [durations, drawn.remove(&label).unwrap_or_default()].map(sorted);
        let logs = [&a, &b].map(|side| side.iter().map(|n| n.log10()).collect::<Vec<f64>>());
        OperationTiming {
            name: name(label, texts),
            spans: [a.len(), b.len()],
            distance: (!b.is_empty()).then(|| wasserstein(&logs[0], &logs[1])),
            observed: at_levels(&a),
            synthetic: at_levels(&b),
        }
    });
    told.collect()
}

/// Latency of the roots of one operation.
#[derive(Debug, Clone, PartialEq, Serialize, serde::Deserialize)]
pub struct RootTiming {
    /// Service and operation; "all" where no root operation has enough traces.
    pub name: String,
    /// Observed and synthetic traces.
    pub traces: [usize; 2],
    /// Synthetic over observed at 50, 95 and 99%; 0 where there is no synthetic trace.
    pub ratios: [f64; 3],
}

/// The latency of every root operation with a hundred observed traces, and the error (the ratio's
/// distance from 1) at 50, 95 and 99%, the mean by observed traces.
pub(super) fn roots(
    observed: &[Trace],
    synthetic: &[Trace],
    texts: &Interner,
) -> (Vec<RootTiming>, [f64; 3]) {
    let by_label = |traces: &[Trace]| {
        let mut durations: BTreeMap<Label, Vec<f64>> = BTreeMap::new();
        for root in traces.iter().map(Trace::root) {
            let of_label = durations.entry(label(root)).or_default();
            of_label.push(root.duration as f64);
        }
        durations
    };
    let [mut seen, mut drawn] = [observed, synthetic].map(by_label);
    seen.retain(|_, durations| durations.len() >= FEW);
    let mut pairs: Vec<(String, [Vec<f64>; 2])> = seen
        .into_iter()
        .map(|(label, seen)| {
            let drawn = drawn.remove(&label).unwrap_or_default();
            (name(label, texts), [seen, drawn])
        })
        .collect();
    if pairs.is_empty() {
        let all = |traces: &[Trace]| traces.iter().map(|t| t.root().duration as f64).collect();
        pairs.push(("all".to_owned(), [observed, synthetic].map(all)));
    }
    let mut rows: Vec<RootTiming> = pairs
        .into_iter()
        .map(|(name, durations)| {
            let [a, b] = durations.map(sorted);
            let ratio = |level: f64| match (a.is_empty(), b.is_empty()) {
                (false, false) => percentile(&b, level) / percentile(&a, level).max(1.0),
                _ => 0.0,
            };
            RootTiming {
                name,
                traces: [a.len(), b.len()],
                ratios: [0.5, 0.95, 0.99].map(ratio),
            }
        })
        .collect();
    rows.sort_by(|a, b| (b.traces[0], &a.name).cmp(&(a.traces[0], &b.name)));
    let total: usize = rows.iter().map(|row| row.traces[0]).sum();
    let error = |level: usize| {
        let weighted = rows
            .iter()
            .map(|row| row.traces[0] as f64 * (row.ratios[level] - 1.0).abs());
        weighted.sum::<f64>() / total.max(1) as f64
    };
    let errors = [error(0), error(1), error(2)];
    (rows, errors)
}

/// How far the latency of roots is off on average over samples, at 50, 95 or 99% (`level` 0 to 2): of each
/// root operation the mean of the signed errors, taken without its sign, then the mean by observed traces.
/// Of one sample it is the error; over several, chance goes out and what the generator gets wrong stays.
/// None if there is nothing to compare.
pub fn bias(samples: &[&[RootTiming]], level: usize) -> Option<f64> {
    let mut roots: BTreeMap<&str, (Vec<f64>, usize)> = BTreeMap::new();
    for root in samples.iter().copied().flatten() {
        let (errors, traces) = roots.entry(&root.name).or_default();
        errors.push(root.ratios[level] - 1.0);
        *traces += root.traces[0];
    }
    let all: usize = roots.values().map(|(_, traces)| traces).sum();
    let weighted = roots.values();
    let weighted =
        weighted.map(|(errors, traces)| super::features::mean(errors).abs() * *traces as f64);
    (all > 0).then(|| weighted.sum::<f64>() / all as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::testing::timed;

    #[test]
    fn offsets_self_times_and_overlaps_agree_with_values_worked_by_hand() {
        let trace = timed("a(b c d)", &[(0, 100), (10, 30), (30, 30), (90, 30)]);
        let [offsets, own, overlaps] = shares(trace.spans());
        assert_eq!(offsets, [0.1, 0.3, 0.9]);
        // Children cover 10 to 60 and 90 to 100.
        assert_eq!((own, overlaps), (vec![0.4], vec![0.5]));
    }

    #[test]
    fn a_root_operation_with_few_traces_has_no_row() {
        let texts = Interner::default();
        let slow = |slower: u64| -> Vec<Trace> {
            let often = (1..=200).map(|at| timed("a", &[(0, at * slower)]));
            often.chain([timed("b", &[(0, 7)])]).collect()
        };
        let (rows, errors) = roots(&slow(100), &slow(110), &texts);
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].traces, [200, 200]);
        assert!(
            errors.iter().all(|error| (error - 0.1).abs() < 1e-9),
            "{errors:?}"
        );
        let (rows, errors) = roots(&slow(1)[..50], &slow(1)[..50], &texts);
        assert_eq!((rows[0].name.as_str(), errors), ("all", [0.0; 3]));
        assert_eq!(roots(&slow(1), &[], &texts).1, [1.0; 3]);
    }

    #[test]
    fn over_samples_a_bias_is_what_errors_have_in_common() {
        let row = |name: &str, traces, ratio| RootTiming {
            name: name.to_owned(),
            traces: [traces, traces],
            ratios: [ratio, 1.0, 1.0],
        };
        let one = [row("a", 300, 1.2), row("b", 100, 1.3)];
        let other = [row("a", 300, 0.8), row("b", 100, 1.1)];
        let check = |samples: &[&[RootTiming]], expected: Option<f64>| {
            let told = bias(samples, 0).map(|bias| (bias * 1e9).round() / 1e9);
            assert_eq!(told, expected, "{samples:?}");
        };
        check(&[&one], Some(0.225));
        check(&[&one, &other], Some(0.05));
        check(&[], None);
        check(&[&[]], None);
    }

    #[test]
    fn operations_stand_in_the_order_of_their_spans() {
        let texts = Interner::default();
        let traces = vec![timed("a(b b)", &[(0, 100), (0, 10), (20, 1_000)])];
        let rows = operations(&traces, &traces, 10, &texts);
        assert_eq!(rows[0].spans, [2, 2]);
        assert_eq!((rows[0].observed[0], rows[0].observed[4]), (10.0, 1_000.0));
        assert_eq!(rows[1].distance, Some(0.0));
        assert_eq!(operations(&traces, &[], 1, &texts)[0].distance, None);
    }
}
