//! The controls that every figure stands beside.

use rand::RngExt;
use serde::Serialize;

use super::{Report, fidelity};
use crate::chance::Rng;
use crate::features::timing::{BINS, Coder, END_MODES, START_MODES};
use crate::features::{Interner, Vocabulary, decode, encode};
use crate::model::{Grammar, GrammarSizes};
use crate::trace::{Span, Trace};

/// Labels that the grammar and the flat control learn, at most.
pub(super) const TOKENS: usize = 10_000;
/// Contexts that the grammar control counts, at most.
const CONTEXTS: usize = 2_000_000;
/// Spans of a trace that the grammar control draws, at most.
const SPANS: usize = 1_000;

/// What stands beside the synthetic traces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Control {
    /// Other observed traces: as good as it gets.
    Ceiling,
    /// Training traces, drawn with replacement: what a copier gets.
    Copier,
    /// The table grammar, trained on the training traces.
    Grammar,
    /// A VAE with one latent and no hierarchy, trained on the training traces.
    Flat,
    /// Sizes, labels, durations and parents of training spans drawn independently.
    Random,
}

impl Control {
    /// Every control, in the order of the report.
    pub const ALL: [Self; 5] = [
        Self::Ceiling,
        Self::Copier,
        Self::Grammar,
        Self::Flat,
        Self::Random,
    ];

    /// Its key in the report.
    pub fn key(self) -> &'static str {
        match self {
            Self::Ceiling => "ceiling",
            Self::Copier => "copier",
            Self::Grammar => "grammar",
            Self::Flat => "flat",
            Self::Random => "random",
        }
    }
}

/// A report on synthetic traces with its controls, all against the same held-out traces.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Controlled {
    /// The synthetic traces.
    pub synthetic: Report,
    /// Other observed traces: as good as it gets.
    pub ceiling: Report,
    /// Training traces, drawn with replacement: what a copier gets.
    pub copier: Report,
    /// Sizes, labels, durations and parents of training spans drawn independently.
    pub random: Report,
}

/// Compares synthetic traces with held-out ones, and the controls as well. The three observed
/// samples are disjoint. Controls are as many as there are synthetic traces.
pub fn controlled(
    training: &[Trace],
    held_out: &[Trace],
    second: &[Trace],
    synthetic: &[Trace],
    rng: &mut Rng,
) -> Controlled {
    let copied = copied(training, synthetic.len(), rng);
    Controlled {
        synthetic: fidelity(held_out, synthetic),
        ceiling: fidelity(held_out, second),
        copier: fidelity(held_out, &copied),
        random: fidelity(held_out, &random(training, synthetic.len(), rng)),
    }
}

/// Training traces, drawn with replacement. None if there is no training.
pub fn copied(training: &[Trace], count: usize, rng: &mut Rng) -> Vec<Trace> {
    match training.len() {
        0 => Vec::new(),
        traces => (0..count)
            .map(|_| training[rng.random_range(0..traces)].clone())
            .collect(),
    }
}

/// Traces of a table grammar that learnt the training traces of which every label stands in
/// `min_traces` of them.
pub fn grammar(
    training: &[Trace],
    count: usize,
    min_traces: u32,
    texts: &Interner,
    rng: &mut Rng,
) -> Vec<Trace> {
    let mut vocabulary = Vocabulary::new(min_traces, TOKENS);
    for trace in training {
        vocabulary.observe(trace, texts);
    }
    let known = training
        .iter()
        .filter_map(|trace| Some((trace, vocabulary.tokens(trace).ok()?)));
    let known: Vec<_> = known.collect();
    let coder = Coder::fit(known.iter().map(|(trace, tokens)| (*trace, &**tokens)));
    let mut grammar = Grammar::new(GrammarSizes {
        start_modes: START_MODES as u32,
        end_modes: END_MODES as u32,
        bins: BINS as u32,
        max_contexts: CONTEXTS,
        max_spans: SPANS,
    });
    for (trace, tokens) in &known {
        // What spans carry has no figure: it is left out.
        let bare = vec![0; tokens.len()];
        if let Ok(example) = encode(trace, tokens, bare, &coder) {
            grammar.learn(&example, 1.0);
        }
    }
    if grammar.traces() == 0 {
        return Vec::new();
    }
    let drawn = (0..count).map(|_| decode(&grammar.sample(rng, None), &coder));
    drawn
        .filter_map(|sampled| vocabulary.observed(&sampled).ok())
        .collect()
}

/// Traces whose sizes, labels, durations, start offsets and parents come independently from
/// training spans; every earlier span is an equally likely parent. None if there is no training.
pub fn random(training: &[Trace], count: usize, rng: &mut Rng) -> Vec<Trace> {
    let spans: Vec<&Span> = training.iter().flat_map(Trace::spans).collect();
    if spans.is_empty() {
        return Vec::new();
    }
    let offset = |trace: &Trace, span: &Span| {
        let parent = span
            .parent
            .map(|parent| trace.spans()[parent as usize].start);
        parent.map(|start| span.start.saturating_sub(start))
    };
    let mut offsets: Vec<i64> = training
        .iter()
        .flat_map(|trace| {
            trace
                .spans()
                .iter()
                .filter_map(move |span| offset(trace, span))
        })
        .collect();
    if offsets.is_empty() {
        offsets.push(0);
    }
    let drawn = (0..count).filter_map(|_| {
        let size = training[rng.random_range(0..training.len())].spans().len();
        let mut drawn: Vec<Span> = Vec::with_capacity(size);
        for at in 0..size {
            let mut span = spans[rng.random_range(0..spans.len())].clone();
            span.duration = spans[rng.random_range(0..spans.len())].duration;
            span.parent = (at > 0).then(|| rng.random_range(0..at as u32));
            let from = span.parent.map(|parent| drawn[parent as usize].start);
            let offset = offsets[rng.random_range(0..offsets.len())];
            span.start = from.map_or(0, |from: i64| from.saturating_add(offset));
            drawn.push(span);
        }
        Trace::new(in_pre_order(&drawn), Vec::new()).ok()
    });
    drawn.collect()
}

/// Brings spans whose parents only precede them into pre-order, siblings by start.
pub(super) fn in_pre_order(spans: &[Span]) -> Vec<Span> {
    let mut children: Vec<Vec<u32>> = vec![Vec::new(); spans.len()];
    for (at, span) in (0_u32..).zip(spans) {
        if let Some(parent) = span.parent {
            children[parent as usize].push(at);
        }
    }
    let mut ordered = Vec::with_capacity(spans.len());
    let mut open = vec![(0_u32, None)];
    while let Some((at, parent)) = open.pop() {
        let below = &mut children[at as usize];
        below.sort_by_key(|&child| std::cmp::Reverse(spans[child as usize].start));
        let position = ordered.len() as u32;
        open.extend(below.iter().map(|&child| (child, Some(position))));
        let mut span = spans[at as usize].clone();
        span.parent = parent;
        ordered.push(span);
    }
    ordered
}
