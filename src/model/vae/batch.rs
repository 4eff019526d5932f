//! Lessons as arrays of whole numbers, packed so that nothing is padded.

use std::sync::Arc;

use super::gru::Steps;
use super::profiles::ProfileRows;
use super::tree::{LABELS, SLOT_FEATURES, Tree, link_class};
use super::{Lesson, VaeSettings};
use crate::model::Example;

/// Sequences ordered by step; see [`super::gru`].
pub(super) struct Packed {
    pub(super) steps: Steps,
    /// Which sequence each column is: the longest first.
    order: Vec<usize>,
    /// First row of each step.
    pub(super) offsets: Vec<usize>,
}

impl Packed {
    fn new(lengths: &[usize]) -> Self {
        let mut order: Vec<usize> = (0..lengths.len()).collect();
        order.sort_by_key(|&sequence| std::cmp::Reverse(lengths[sequence]));
        let longest = order.first().map_or(0, |&first| lengths[first]);
        let mut width = order.len();
        let mut steps = Vec::with_capacity(longest);
        let mut offsets = vec![0];
        for step in 0..longest {
            while width > 0 && lengths[order[width - 1]] <= step {
                width -= 1;
            }
            steps.push(width);
            offsets.push(offsets[step] + width);
        }
        let steps = Arc::from(steps);
        Self {
            steps,
            order,
            offsets,
        }
    }

    /// Visits every row in order with its sequence, its span and its column.
    fn walk(&self, mut visit: impl FnMut(usize, usize, usize)) {
        for (step, &width) in self.steps.iter().enumerate() {
            for (column, &sequence) in self.order[..width].iter().enumerate() {
                visit(sequence, step, column);
            }
        }
    }

    fn row(&self, step: usize, column: usize) -> u32 {
        (self.offsets[step] + column) as u32
    }

    pub(super) fn rows(&self) -> usize {
        self.offsets.last().copied().unwrap_or_default()
    }
}

/// What the structure network reads and is to tell. One entry per row unless said otherwise.
#[derive(Default)]
pub(super) struct Structures {
    pub(super) steps: Option<Packed>,
    /// Which sequence it belongs to.
    pub(super) sequence: Vec<u32>,
    pub(super) labels: [Vec<u32>; LABELS],
    /// [rows * SLOT_FEATURES].
    pub(super) features: Vec<f32>,
    /// The row whose state knows of the parent and nothing later; its own row for the root.
    pub(super) parent: Vec<u32>,
    pub(super) token: Vec<u32>,
    pub(super) status: Vec<u32>,
    /// Rows of profile tables.
    pub(super) profile: Vec<u32>,
    /// Rows whose token has several profiles.
    pub(super) several: Vec<u32>,
    /// Profiles that each of these may have: 1 for those of its token. [several * profiles].
    pub(super) own: Vec<u8>,
    pub(super) arity: Vec<u32>,
    pub(super) link: Vec<u32>,
    /// Nats of what the networks don't tell: numbers of children above the last class, and which
    /// other span a link goes to.
    pub(super) beyond: Vec<f64>,
}

impl Structures {
    pub(super) fn new(
        examples: &[&Example],
        settings: &VaeSettings,
        profiles: &ProfileRows,
    ) -> Self {
        let lengths: Vec<usize> = examples.iter().map(|example| example.len()).collect();
        let packed = Packed::new(&lengths);
        let rows: Vec<Vec<u32>> = examples
            .iter()
            .map(|example| {
                let spans = example.tokens.iter().zip(&example.profile);
                spans
                    .map(|(&token, &slot)| profiles.row(token, slot))
                    .collect()
            })
            .collect();
        // Slots in the order of each example's spans.
        let slots: Vec<Vec<_>> = examples
            .iter()
            .map(|example| {
                let mut tree = Tree::default();
                let slot = |&children: &u32| {
                    let slot = tree.slot();
                    tree.add(children);
                    slot
                };
                example.arity.iter().map(slot).collect()
            })
            .collect();
        let mut told = Self::default();
        told.features.reserve(packed.rows() * SLOT_FEATURES);
        packed.walk(|sequence, at, column| {
            let example = examples[sequence];
            let slot = &slots[sequence][at];
            let Example {
                tokens,
                status,
                arity,
                links,
                ..
            } = example;
            let rows = &rows[sequence];
            let labels = slot.labels(tokens, status, rows, arity, settings.arities);
            for (all, label) in told.labels.iter_mut().zip(labels) {
                all.push(label);
            }
            told.features.extend(slot.features());
            let parent = slot.parent.map_or(at, |parent| parent as usize + 1);
            told.parent.push(packed.row(parent, column));
            told.sequence.push(sequence as u32);
            told.token.push(tokens[at]);
            told.status.push(u32::from(status[at].min(2)));
            told.profile.push(rows[at]);
            let among = profiles.of(tokens[at]);
            if !among.is_empty() {
                told.several.push(told.token.len() as u32 - 1);
                let from = told.own.len();
                told.own.resize(from + profiles.count(), 0);
                for &row in among {
                    told.own[from + row as usize] = 1;
                }
            }
            let (class, mut beyond) = arity_class(arity[at], settings.arities);
            told.arity.push(class);
            let (link, target) = link_class(links, slot);
            if link == 3 && target.is_some() {
                beyond += f64::from(slot.at).ln();
            }
            told.link.push(link as u32);
            told.beyond.push(beyond);
        });
        told.steps = Some(packed);
        told
    }
}

/// The class of a number of children, and the nats of the number given the class: all numbers from
/// the last class on are told by 1 / ((n + 1)(n + 2)), n counted from there.
pub(super) fn arity_class(children: u32, arities: usize) -> (u32, f64) {
    let last = arities as u32 - 1;
    if children < last {
        return (children, 0.0);
    }
    let n = f64::from(children - last);
    (last, ((n + 1.0) * (n + 2.0)).ln())
}

/// Labels around a span that the timing network reads.
pub(super) const TIMING_LABELS: usize = 6;

/// What the timing network reads and is to tell. One entry per row unless said otherwise.
#[derive(Default)]
pub(super) struct Times {
    pub(super) steps: Option<Packed>,
    pub(super) sequence: Vec<u32>,
    /// [rows * features].
    pub(super) told: Vec<f32>,
    /// Tokens of the span, its parent, its previous and its next sibling, its grandparent and its
    /// first child, each plus one; 0 for none.
    pub(super) labels: [Vec<u32>; TIMING_LABELS],
    /// Scores of start and end. [rows * 2].
    pub(super) scores: Vec<f32>,
    /// Bits of the modes that say something.
    pub(super) start_fits: Vec<u16>,
    pub(super) end_fits: Vec<u16>,
    /// [rows * bins].
    pub(super) start_shares: Vec<f32>,
    pub(super) end_shares: Vec<f32>,
    /// [rows * start modes], [rows * end modes].
    pub(super) start_mode_shares: Vec<f32>,
    pub(super) end_mode_shares: Vec<f32>,
    pub(super) start_mode: Vec<u32>,
    pub(super) start_bin: Vec<u32>,
    pub(super) end_mode: Vec<u32>,
    pub(super) end_bin: Vec<u32>,
    /// 1 where a start is told: everywhere but at the root.
    pub(super) starts: Vec<f32>,
}

impl Times {
    pub(super) fn new(lessons: &[&Lesson], settings: &VaeSettings) -> Self {
        let lengths: Vec<usize> = lessons.iter().map(|lesson| lesson.example.len()).collect();
        let packed = Packed::new(&lengths);
        let labels: Vec<Vec<[u32; TIMING_LABELS]>> = lessons
            .iter()
            .map(|lesson| timing_labels(&lesson.example))
            .collect();
        let mut told = Self::default();
        packed.walk(|sequence, at, _| {
            let lesson = lessons[sequence];
            let part = |all: &[f32], width: usize| all[at * width..(at + 1) * width].to_vec();
            told.sequence.push(sequence as u32);
            told.told.extend(part(&lesson.told, settings.features));
            for (all, label) in told.labels.iter_mut().zip(labels[sequence][at]) {
                all.push(label);
            }
            told.scores.extend(part(&lesson.scores, 2));
            told.start_fits.push(lesson.start_fits[at]);
            told.end_fits.push(lesson.end_fits[at]);
            told.start_shares
                .extend(part(&lesson.start_shares, settings.bins));
            told.end_shares
                .extend(part(&lesson.end_shares, settings.bins));
            told.start_mode_shares
                .extend(part(&lesson.start_mode_shares, settings.start_modes));
            told.end_mode_shares
                .extend(part(&lesson.end_mode_shares, settings.end_modes));
            let (start, end) = (lesson.example.start[at], lesson.example.end[at]);
            told.start_mode.push(start.mode.into());
            told.start_bin.push(start.bin.into());
            told.end_mode.push(end.mode.into());
            told.end_bin.push(end.bin.into());
            told.starts.push(if at == 0 { 0.0 } else { 1.0 });
        });
        told.steps = Some(packed);
        told
    }
}

fn timing_labels(example: &Example) -> Vec<[u32; TIMING_LABELS]> {
    let mut tree = Tree::default();
    let mut parents: Vec<Option<u32>> = Vec::with_capacity(example.len());
    let mut labels: Vec<[u32; TIMING_LABELS]> = Vec::with_capacity(example.len());
    for (at, &children) in example.arity.iter().enumerate() {
        let slot = tree.slot();
        tree.add(children);
        let token = |at: Option<u32>| at.map_or(0, |at| example.tokens[at as usize] + 1);
        let own = example.tokens[at] + 1;
        if let Some(previous) = slot.previous {
            labels[previous as usize][3] = own;
        } else if let Some(parent) = slot.parent {
            labels[parent as usize][5] = own;
        }
        let above = slot.parent.and_then(|parent| parents[parent as usize]);
        parents.push(slot.parent);
        labels.push([
            own,
            token(slot.parent),
            token(slot.previous),
            0,
            token(above),
            0,
        ]);
    }
    labels
}

/// What the encoder reads: spans one trace after another, and the edges between them.
#[derive(Default)]
pub(super) struct Graphs {
    pub(super) sequence: Vec<u32>,
    pub(super) token: Vec<u32>,
    pub(super) status: Vec<u32>,
    /// Number of children, levels of start and end, whether it is the root. [spans * 4].
    pub(super) features: Vec<f32>,
    /// Edges from (children, and spans that link) to (parents, and what they link to).
    pub(super) from: Vec<u32>,
    pub(super) to: Vec<u32>,
    /// Row of each trace's root.
    pub(super) roots: Vec<u32>,
}

impl Graphs {
    pub(super) fn new(examples: &[&Example], settings: &VaeSettings) -> Self {
        let mut graphs = Self::default();
        let level = |bin: u8| match settings.graph_times {
            true => (f32::from(bin) + 0.5) / settings.bins as f32 * 2.0 - 1.0,
            false => 0.0,
        };
        for (sequence, example) in examples.iter().enumerate() {
            let first = graphs.token.len() as u32;
            graphs.roots.push(first);
            let mut tree = Tree::default();
            for (at, &children) in example.arity.iter().enumerate() {
                let slot = tree.slot();
                tree.add(children);
                graphs.sequence.push(sequence as u32);
                graphs.token.push(example.tokens[at] + 1);
                graphs.status.push(u32::from(example.status[at].min(2)) + 1);
                let root = at == 0;
                let start = if root {
                    0.0
                } else {
                    level(example.start[at].bin)
                };
                let end = level(example.end[at].bin);
                let width = (children as f32).ln_1p() / 2.0;
                graphs
                    .features
                    .extend([width, start, end, f32::from(u8::from(root))]);
                if let Some(parent) = slot.parent {
                    graphs.from.push(first + slot.at);
                    graphs.to.push(first + parent);
                }
            }
            let spans = example.len() as u32;
            for &(from, to) in &example.links {
                if from.max(to) < spans && from != to {
                    graphs.from.push(first + from);
                    graphs.to.push(first + to);
                }
            }
        }
        graphs
    }
}
