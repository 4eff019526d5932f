//! S1 to S3: shapes within sizes, triples of operations, shapes that are rare.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::distance::{Frequencies, kolmogorov_smirnov, sorted};
use super::shape::{Label, canonical, label};
use crate::features::Skeleton;
use crate::trace::Trace;

/// Sizes that are looked at apart: the largest number of spans of each.
const STRATA: [(&str, usize); 4] = [
    ("1 to 5 spans", 5),
    ("6 to 20 spans", 20),
    ("21 to 100 spans", 100),
    ("over 100 spans", usize::MAX),
];
/// A stratum with fewer observed traces says nothing.
const FEW: usize = 30;
/// A shape at most this frequent is rare.
const RARE: f64 = 1e-3;

/// S1 in one stratum of sizes: each is 1 - KS, between 0 and 1, and 1 means alike.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Stratum {
    /// Which sizes.
    pub sizes: &'static str,
    /// Observed and synthetic traces.
    pub traces: [usize; 2],
    /// Depth of the deepest span.
    pub depth: f64,
    /// Most children of a span.
    pub fan_out: f64,
    /// Spans without children.
    pub leaves: f64,
    /// Children whose label an earlier sibling has.
    pub repeated: f64,
}

impl Stratum {
    fn mean(&self) -> f64 {
        (self.depth + self.fan_out + self.leaves + self.repeated) / 4.0
    }
}

/// S1: the strata that have enough observed traces, and their mean by observed traces. None if
/// no stratum has.
pub(super) fn strata(observed: &[Trace], synthetic: &[Trace]) -> (Vec<Stratum>, Option<f64>) {
    let sides = [observed, synthetic].map(|traces| {
        let mut strata: [Vec<[f64; 4]>; STRATA.len()] = Default::default();
        for trace in traces {
            let size = trace.spans().len();
            let at = STRATA.iter().position(|(_, most)| size <= *most);
            strata[at.unwrap_or_default()].push(outline(trace));
        }
        strata
    });
    let mut found = Vec::new();
    for (at, (sizes, _)) in STRATA.into_iter().enumerate() {
        let [a, b] = [&sides[0][at], &sides[1][at]];
        if a.len() < FEW {
            continue;
        }
        let alike = |part: usize| {
            let [a, b] = [a, b].map(|side| sorted(side.iter().map(|o| o[part]).collect()));
            1.0 - kolmogorov_smirnov(&a, &b)
        };
        found.push(Stratum {
            sizes,
            traces: [a.len(), b.len()],
            depth: alike(0),
            fan_out: alike(1),
            leaves: alike(2),
            repeated: alike(3),
        });
    }
    let traces: usize = found.iter().map(|stratum| stratum.traces[0]).sum();
    let weighted = found.iter().map(|s| s.mean() * s.traces[0] as f64);
    let mean = (traces > 0).then(|| weighted.sum::<f64>() / traces as f64);
    (found, mean)
}

/// Depth, most children, leaves, repeated calls.
fn outline(trace: &Trace) -> [f64; 4] {
    let skeleton = Skeleton::of_trace(trace);
    let places = skeleton.places();
    let most = |of: fn(&crate::features::Place) -> u32| places.iter().map(of).max();
    let leaves = places.iter().filter(|place| place.children == 0).count();
    let spans = trace.spans().iter();
    let calls = spans.filter_map(|span| Some((span.parent?, label(span))));
    let distinct: BTreeSet<(u32, Label)> = calls.collect();
    [
        f64::from(most(|place| place.depth).unwrap_or_default()),
        f64::from(most(|place| place.children).unwrap_or_default()),
        leaves as f64,
        (places.len() - 1 - distinct.len()) as f64,
    ]
}

/// S2: 1 - sqrt(JSD) of (grandparent, parent, operation).
pub(super) fn triples(observed: &[Trace], synthetic: &[Trace]) -> f64 {
    let [a, b] = [observed, synthetic].map(|traces| {
        Frequencies::of(traces.iter().flat_map(|trace| {
            let spans = trace.spans();
            spans.iter().filter_map(move |span| {
                let parent = &spans[span.parent? as usize];
                let above = &spans[parent.parent? as usize];
                Some((label(above), label(parent), label(span)))
            })
        }))
    });
    1.0 - a.jensen_shannon(&b)
}

/// The rare shapes of held-out traces.
#[derive(Debug)]
pub(super) struct Rare {
    all: BTreeSet<u64>,
    /// Those that have no label below the floor: others must not be drawn.
    allowed: BTreeSet<u64>,
}

impl Rare {
    /// Those that at most one in a thousand of all observed traces has; and which traces may be drawn.
    pub(super) fn of(
        held_out: &[Trace],
        others: [&[Trace]; 2],
        may: impl Fn(&Trace) -> bool,
    ) -> Self {
        let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
        let mut shapes: BTreeMap<u64, &Trace> = BTreeMap::new();
        for trace in held_out {
            let shape = canonical(trace);
            *counts.entry(shape).or_default() += 1;
            shapes.insert(shape, trace);
        }
        for shape in others.into_iter().flatten().map(canonical) {
            *counts.entry(shape).or_default() += 1;
        }
        let most = RARE * counts.values().sum::<usize>() as f64;
        shapes.retain(|shape, _| counts[shape] as f64 <= most);
        let allowed = shapes.iter().filter(|(_, trace)| may(trace));
        Self {
            allowed: allowed.map(|(&shape, _)| shape).collect(),
            all: shapes.into_keys().collect(),
        }
    }

    /// How many there are, and how many of them may be drawn.
    pub(super) fn len(&self) -> [usize; 2] {
        [self.all.len(), self.allowed.len()]
    }

    /// Share of them, and of those that may be drawn, that a sample has. None of what there is none of.
    pub(super) fn recall(&self, traces: &[Trace]) -> [Option<f64>; 2] {
        let drawn: BTreeSet<u64> = traces.iter().map(canonical).collect();
        [&self.all, &self.allowed].map(|rare| {
            let found = rare.intersection(&drawn).count();
            (!rare.is_empty()).then(|| found as f64 / rare.len() as f64)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::testing::tree;

    #[test]
    fn strata_are_weighed_by_their_observed_traces() {
        let small = |count| (0..count).map(|_| tree("a(b b c)"));
        let large = |count| (0..count).map(|_| tree("a(b(c c) b(c c))"));
        let observed: Vec<Trace> = small(60).chain(large(30)).collect();
        let (strata_of_itself, mean) = strata(&observed, &observed);
        assert_eq!(mean, Some(1.0));
        assert_eq!(strata_of_itself[0].traces, [60, 60]);
        // Without a large one, a third of the observed traces is like nothing.
        let only_small: Vec<Trace> = small(60).collect();
        let mean = strata(&observed, &only_small).1.unwrap();
        assert!((mean - 2.0 / 3.0).abs() < 1e-9, "{mean}");
        assert_eq!(strata(&observed[..29], &observed).1, None);
    }

    #[test]
    fn an_outline_is_depth_fan_out_leaves_and_repeated_calls() {
        assert_eq!(outline(&tree("a(b b c(d))")), [2.0, 3.0, 3.0, 1.0]);
        assert_eq!(outline(&tree("a")), [0.0, 0.0, 1.0, 0.0]);
    }

    #[test]
    fn triples_tell_a_path_where_edges_do_not() {
        let [one, other] = ["a(b(c) d(b))", "a(b d(b(c)))"].map(|text| vec![tree(text)]);
        assert_eq!(triples(&one, &one), 1.0);
        assert!(triples(&one, &other) < 1.0);
        assert_eq!(super::super::fidelity(&one, &other).edges, 1.0);
    }

    #[test]
    fn a_rare_shape_is_recalled_by_a_sample_that_has_it() {
        let common = |count| (0..count).map(|_| tree("a(b)")).collect::<Vec<_>>();
        let held_out = [common(10), vec![tree("a(c)"), tree("a(d)")]].concat();
        let others = [common(1_500), common(500)];
        let not_d = |trace: &Trace| canonical(trace) != canonical(&tree("a(d)"));
        let rare = Rare::of(&held_out, [&others[0], &others[1]], not_d);
        assert_eq!(rare.len(), [2, 1]);
        assert_eq!(rare.recall(&held_out), [Some(1.0); 2]);
        let found = rare.recall(&[tree("a(d)"), tree("a(e)")]);
        assert_eq!(found, [Some(0.5), Some(0.0)]);
        assert_eq!(
            Rare::of(&common(5), [&[], &[]], not_d).recall(&[]),
            [None; 2]
        );
    }
}
