//! Fidelity: how alike observed and synthetic traces are.

use std::collections::BTreeMap;

use serde::Serialize;

use super::distance::{Frequencies, exp_mmd, kolmogorov_smirnov, percentile, sorted, wasserstein};
use super::shape::{Label, Shape, canonical, containment, label};
use crate::features::{Sampled, Vocabulary};
use crate::trace::{Span, Trace};

/// Traces of each side that the kernel distance looks at, at most.
const KERNEL_TRACES: usize = 800;

/// F1, structure: each part is between 0 and 1, and 1 means alike.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Structure {
    /// 1 - KS of the number of spans.
    pub nodes: f64,
    /// 1 - KS of the number of edges, links included.
    pub edges: f64,
    /// 1 - KS of e / (n (n - 1)).
    pub density: f64,
    /// 1 - KS of the average degree.
    pub average_degree: f64,
    /// 1 - KS of the maximum degree.
    pub max_degree: f64,
    /// 1 - KS of all degrees.
    pub degrees: f64,
    /// exp(-MMD²) of the pooled features.
    pub kernel: f64,
    /// The mean of the seven.
    pub mean: f64,
}

/// F2, durations: each part is between 0 and 1, and 1 means alike.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Durations {
    /// 1 - KS of the mean duration of each trace's spans.
    pub per_trace: f64,
    /// 1 - KS of all durations.
    pub all: f64,
    /// The mean of the two.
    pub mean: f64,
}

/// F3, labels: each part is between 0 and 1, and 1 means alike.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Semantics {
    /// 1 - sqrt(JSD) of services.
    pub services: f64,
    /// 1 - sqrt(JSD) of operations.
    pub operations: f64,
    /// 1 - sqrt(JSD) of (service, operation).
    pub pairs: f64,
    /// Share of synthetic spans whose (service, operation) was observed.
    pub valid: f64,
    /// The mean of the four.
    pub mean: f64,
}

/// Ratio of synthetic to observed latency of the root at a level; 1 means alike.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RootLatency {
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
}

/// What is measured between observed and synthetic traces.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Report {
    /// Observed and synthetic traces looked at.
    pub traces: [usize; 2],
    /// F1.
    pub structure: Structure,
    /// F2.
    pub durations: Durations,
    /// F3.
    pub semantics: Semantics,
    /// The mean of F1, F2 and F3.
    pub overall: f64,
    /// V2: share of children that leave their parent's time, observed and synthetic.
    pub outside: [f64; 2],
    /// V2: the difference of the two.
    pub outside_difference: f64,
    /// S2: 1 - sqrt(JSD) of (parent operation, operation).
    pub edges: f64,
    /// S3: total-variation distance of the frequencies of labelled shapes; 0 means alike.
    pub shape_distance: f64,
    /// S3: share of observed traces whose shape is among the synthetic ones.
    pub shape_coverage: f64,
    /// Share of synthetic traces whose shape was not observed.
    pub shape_novelty: f64,
    /// T1: 1-Wasserstein distance of log10 duration in nanoseconds per (service, operation), mean
    /// over observed spans whose label both sides have.
    pub operation_durations: f64,
    /// T1: latency of the root.
    pub root_latency: RootLatency,
}

/// Compares observed traces with synthetic ones, or with a control. Neither may be empty; of
/// empty ones the report says nothing (0 for likeness).
pub fn fidelity(observed: &[Trace], synthetic: &[Trace]) -> Report {
    let shapes = [observed, synthetic].map(|traces| traces.iter().map(Shape::of).collect());
    let structure = structure(&shapes);
    let durations = durations(&shapes, [observed, synthetic]);
    let semantics = semantics(observed, synthetic);
    let [seen, drawn] =
        [observed, synthetic].map(|traces| Frequencies::of(traces.iter().map(canonical)));
    let edges = [observed, synthetic].map(|traces| Frequencies::of(traces.iter().flat_map(edges)));
    let outside = [observed, synthetic].map(outside);
    Report {
        traces: [observed.len(), synthetic.len()],
        structure,
        durations,
        semantics,
        overall: mean(&[structure.mean, durations.mean, semantics.mean]),
        outside,
        outside_difference: (outside[0] - outside[1]).abs(),
        edges: 1.0 - edges[0].jensen_shannon(&edges[1]),
        shape_distance: seen.total_variation(&drawn),
        shape_coverage: seen.covered_by(&drawn),
        shape_novelty: 1.0 - drawn.covered_by(&seen),
        operation_durations: operation_durations(observed, synthetic),
        root_latency: root_latency(observed, synthetic),
    }
}

/// V1: share of drawn traces that are valid: one root at 0, every parent there and before its
/// children, siblings in order, every token in the vocabulary. 1 if none was drawn.
pub fn validity(drawn: &[Sampled], vocabulary: &Vocabulary) -> f64 {
    let valid = |sampled: &&Sampled| {
        vocabulary.observed(sampled).is_ok_and(|trace| {
            let mut latest = vec![i64::MIN; trace.spans().len()];
            trace.spans().iter().all(|span| {
                let Some(parent) = span.parent else {
                    return true;
                };
                let before = std::mem::replace(&mut latest[parent as usize], span.start);
                before <= span.start
            })
        })
    };
    if drawn.is_empty() {
        return 1.0;
    }
    drawn.iter().filter(valid).count() as f64 / drawn.len() as f64
}

fn alike(sides: [Vec<f64>; 2]) -> f64 {
    let [a, b] = sides.map(sorted);
    1.0 - kolmogorov_smirnov(&a, &b)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn structure(shapes: &[Vec<Shape>; 2]) -> Structure {
    let of = |measure: fn(&Shape) -> f64| {
        alike(
            shapes
                .each_ref()
                .map(|side| side.iter().map(measure).collect()),
        )
    };
    let degrees = shapes.each_ref().map(|side| {
        let all = side.iter().flat_map(|shape| &shape.degrees);
        all.copied().collect::<Vec<f64>>()
    });
    // Evenly spread over each side in the order of their features, so that the choice is the same
    // whatever order the traces come in.
    let [a, b] = shapes.each_ref().map(|side| {
        let mut pooled: Vec<[f64; 11]> = side.iter().map(|shape| shape.pooled).collect();
        pooled.sort_unstable_by(|a, b| {
            let mut orders = a.iter().zip(b).map(|(a, b)| a.total_cmp(b));
            orders
                .find(|order| order.is_ne())
                .unwrap_or(std::cmp::Ordering::Equal)
        });
        let step = side.len().div_ceil(KERNEL_TRACES).max(1);
        pooled.into_iter().step_by(step).collect::<Vec<_>>()
    });
    let mut parts = Structure {
        nodes: of(|shape| shape.nodes),
        edges: of(|shape| shape.edges),
        density: of(|shape| shape.density),
        average_degree: of(|shape| shape.average_degree),
        max_degree: of(|shape| shape.max_degree),
        degrees: alike(degrees),
        kernel: exp_mmd(&a, &b),
        mean: 0.0,
    };
    let p = &parts;
    let seven = [
        p.nodes,
        p.edges,
        p.density,
        p.average_degree,
        p.max_degree,
        p.degrees,
        p.kernel,
    ];
    parts.mean = mean(&seven);
    parts
}

fn durations(shapes: &[Vec<Shape>; 2], sides: [&[Trace]; 2]) -> Durations {
    let per_trace = shapes.each_ref().map(|side| {
        let means = side.iter().map(|shape| shape.mean_duration);
        means.collect::<Vec<f64>>()
    });
    let (per_trace, all) = (
        alike(per_trace),
        alike(sides.map(|side| spans(side).map(|span| span.duration as f64).collect())),
    );
    Durations {
        per_trace,
        all,
        mean: mean(&[per_trace, all]),
    }
}

fn semantics(observed: &[Trace], synthetic: &[Trace]) -> Semantics {
    fn likeness<T: Ord>(sides: [&[Trace]; 2], of: fn(&Span) -> T) -> f64 {
        let [a, b] = sides.map(|side| Frequencies::of(spans(side).map(of)));
        1.0 - a.jensen_shannon(&b)
    }
    let sides = [observed, synthetic];
    let services = likeness(sides, |span| span.service);
    let operations = likeness(sides, |span| span.operation);
    let pairs = likeness(sides, label);
    let [seen, drawn] = sides.map(|side| Frequencies::of(spans(side).map(label)));
    let valid = drawn.covered_by(&seen);
    Semantics {
        services,
        operations,
        pairs,
        valid,
        mean: mean(&[services, operations, pairs, valid]),
    }
}

fn spans(traces: &[Trace]) -> impl Iterator<Item = &Span> {
    traces.iter().flat_map(Trace::spans)
}

fn edges(trace: &Trace) -> impl Iterator<Item = (Label, Label)> + '_ {
    let parent = |span: &Span| {
        span.parent
            .map(|parent| label(&trace.spans()[parent as usize]))
    };
    trace
        .spans()
        .iter()
        .filter_map(move |span| Some((parent(span)?, label(span))))
}

fn outside(traces: &[Trace]) -> f64 {
    let counts = traces.iter().map(containment);
    let (pairs, outside) = counts.fold((0, 0), |(a, b), (pairs, outside)| (a + pairs, b + outside));
    outside as f64 / pairs.max(1) as f64
}

fn operation_durations(observed: &[Trace], synthetic: &[Trace]) -> f64 {
    let [seen, drawn] = [observed, synthetic].map(|traces| {
        let mut durations: BTreeMap<Label, Vec<f64>> = BTreeMap::new();
        for span in spans(traces) {
            let duration = (span.duration.max(1) as f64).log10();
            durations.entry(label(span)).or_default().push(duration);
        }
        durations
    });
    let (mut total, mut weight) = (0.0, 0.0);
    for (label, seen) in seen {
        let Some(drawn) = drawn.get(&label) else {
            continue;
        };
        let share = seen.len() as f64;
        total += share * wasserstein(&sorted(seen), &sorted(drawn.clone()));
        weight += share;
    }
    total / f64::max(weight, 1.0)
}

fn root_latency(observed: &[Trace], synthetic: &[Trace]) -> RootLatency {
    let [seen, drawn] = [observed, synthetic].map(|traces| {
        sorted(
            traces
                .iter()
                .map(|trace| trace.root().duration as f64)
                .collect(),
        )
    });
    let ratio = |level: f64| {
        if seen.is_empty() || drawn.is_empty() {
            return 0.0;
        }
        percentile(&drawn, level) / percentile(&seen, level).max(1.0)
    };
    RootLatency {
        p50: ratio(0.5),
        p95: ratio(0.95),
        p99: ratio(0.99),
    }
}
