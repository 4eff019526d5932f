//! What is measured of one trace.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};

use crate::features::Skeleton;
use crate::trace::{Span, Symbol, Trace};

/// (service, operation) of a span.
pub(super) type Label = (Symbol, Symbol);

pub(super) fn label(span: &Span) -> Label {
    (span.service, span.operation)
}

/// End of a span, relative to the root's start.
pub(super) fn end(span: &Span) -> i128 {
    i128::from(span.start) + i128::from(span.duration)
}

/// Sizes and degrees of one trace as a graph: tree edges and links.
#[derive(Debug, Clone, Default)]
pub(super) struct Shape {
    pub(super) nodes: f64,
    pub(super) edges: f64,
    pub(super) density: f64,
    pub(super) average_degree: f64,
    pub(super) max_degree: f64,
    pub(super) degrees: Vec<f64>,
    /// Mean of the spans' durations, in nanoseconds.
    pub(super) mean_duration: f64,
    /// The pooled features of the kernel distance, counts and durations by log1p: nodes, edges,
    /// density, average and maximum degree, roots ratio, leaves ratio, mean and standard deviation
    /// of durations, services, operations.
    pub(super) pooled: [f64; 11],
}

impl Shape {
    pub(super) fn of(trace: &Trace) -> Self {
        let spans = trace.spans();
        let nodes = spans.len() as f64;
        let mut degrees = vec![0.0; spans.len()];
        let mut leaf = vec![true; spans.len()];
        for (at, span) in spans.iter().enumerate() {
            if let Some(parent) = span.parent {
                degrees[at] += 1.0;
                degrees[parent as usize] += 1.0;
                leaf[parent as usize] = false;
            }
        }
        for link in trace.links() {
            degrees[link.from as usize] += 1.0;
            degrees[link.to as usize] += 1.0;
        }
        let edges = nodes - 1.0 + trace.links().len() as f64;
        let density = edges / (nodes * (nodes - 1.0)).max(1.0);
        let average_degree = 2.0 * edges / nodes;
        let max_degree = degrees.iter().copied().fold(0.0, f64::max);
        let mean_duration = spans.iter().map(|span| span.duration as f64).sum::<f64>() / nodes;
        let spread = |span: &Span| (span.duration as f64 - mean_duration).powi(2);
        let deviation = (spans.iter().map(spread).sum::<f64>() / nodes).sqrt();
        let leaves = leaf.iter().filter(|leaf| **leaf).count() as f64;
        let pooled = [
            nodes.ln_1p(),
            edges.ln_1p(),
            density,
            average_degree,
            max_degree.ln_1p(),
            1.0 / nodes,
            leaves / nodes,
            mean_duration.ln_1p(),
            deviation.ln_1p(),
            distinct(spans.iter().map(|span| span.service)).ln_1p(),
            distinct(spans.iter().map(|span| span.operation)).ln_1p(),
        ];
        Self {
            nodes,
            edges,
            density,
            average_degree,
            max_degree,
            degrees,
            mean_duration,
            pooled,
        }
    }
}

fn distinct(symbols: impl Iterator<Item = Symbol>) -> f64 {
    let mut symbols: Vec<Symbol> = symbols.collect();
    symbols.sort_unstable();
    symbols.dedup();
    symbols.len() as f64
}

/// A hash of the tree with its labels, whatever the order of siblings is.
pub(super) fn canonical(trace: &Trace) -> u64 {
    let hasher = foldhash::quality::FixedState::with_seed(7);
    let skeleton = Skeleton::of_trace(trace);
    let mut below: HashMap<u32, Vec<u64>> = HashMap::new();
    for (at, (span, place)) in trace
        .spans()
        .iter()
        .zip(skeleton.places())
        .enumerate()
        .rev()
    {
        let mut children = below.remove(&(at as u32)).unwrap_or_default();
        children.sort_unstable();
        let hash = hash(&hasher, &(label(span), children));
        match place.parent {
            Some(parent) => below.entry(parent).or_default().push(hash),
            None => return hash,
        }
    }
    0
}

fn hash(hasher: &impl BuildHasher, value: &impl Hash) -> u64 {
    hasher.hash_one(value)
}

/// Parent-child pairs, and how many of them have a child that leaves its parent's time.
pub(super) fn containment(trace: &Trace) -> (u64, u64) {
    let spans = trace.spans();
    let (mut pairs, mut outside) = (0, 0);
    for span in spans {
        let Some(parent) = span.parent.map(|parent| &spans[parent as usize]) else {
            continue;
        };
        pairs += 1;
        outside += u64::from(span.start < parent.start || end(span) > end(parent));
    }
    (pairs, outside)
}
