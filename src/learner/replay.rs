//! The replay reservoir: traces by their labelled shape, so that rare shapes stay and every shape
//! is drawn as often as it comes.
//!
//! A shape is drawn with a mixture of its share lately and its share for ever, so that the mix of
//! requests is followed at once and an old regime is not forgotten at once. When there is no room,
//! a trace goes from the shape that has most of them for its weight; how many a shape keeps then
//! grows with the square root of its share.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;
use rand::RngExt as _;

use crate::chance::Rng;
use crate::features::Token;
use crate::model::Example;
use crate::trace::Trace;

/// Traces after which an old one counts half in what came lately.
const HALF_LIFE: f64 = 1_500.0;

/// A count that grows by more than this is scaled down with all others.
const LARGEST: f64 = 1e100;

/// A trace to learn from.
#[derive(Debug)]
pub(super) struct Kept {
    /// As it was observed.
    pub(super) trace: Trace,
    /// The token of each span.
    pub(super) tokens: Vec<Token>,
    /// As the model sees it, under the present coder; none before the first.
    pub(super) example: Option<Arc<Example>>,
}

#[derive(Debug, Default)]
struct Shape {
    kept: Vec<Kept>,
    /// Traces of this shape so far, newer ones counting more: in units of [`Replay::unit`].
    lately: f64,
    /// Traces of this shape so far.
    ever: f64,
}

/// Bounded in traces; the same traces and the same chance keep the same.
#[derive(Debug)]
pub(super) struct Replay {
    room: usize,
    /// How much what came lately counts next to what came ever, from 0 to 1.
    recent: f64,
    kept: usize,
    shapes: Vec<Shape>,
    numbers: HashMap<u64, usize, FixedState>,
    /// What one more trace adds to `lately`: it grows, in place of all others shrinking.
    unit: f64,
}

impl Replay {
    pub(super) fn new(room: usize, recent: f64) -> Self {
        Self {
            room: room.max(1),
            recent: recent.clamp(0.0, 1.0),
            kept: 0,
            shapes: Vec::new(),
            numbers: HashMap::default(),
            unit: 1.0,
        }
    }

    /// Takes a trace in; another may have to go.
    pub(super) fn add(&mut self, kept: Kept, rng: &mut Rng) {
        let key = key(&kept);
        let number = *self.numbers.entry(key).or_insert_with(|| {
            self.shapes.push(Shape::default());
            self.shapes.len() - 1
        });
        let shape = &mut self.shapes[number];
        shape.lately += self.unit;
        shape.ever += 1.0;
        shape.kept.push(kept);
        self.kept += 1;
        self.unit *= 2_f64.powf(1.0 / HALF_LIFE);
        if self.unit > LARGEST {
            for shape in &mut self.shapes {
                shape.lately /= self.unit;
            }
            self.unit = 1.0;
        }
        while self.kept > self.room {
            self.let_one_go(rng);
        }
        // Shapes that keep nothing are only a memory of counts: a bounded one.
        if self.shapes.len() > self.room * 2 {
            self.forget_empty();
        }
    }

    /// Traces kept.
    pub(super) fn len(&self) -> usize {
        self.kept
    }

    /// Distinct shapes kept.
    pub(super) fn shapes(&self) -> usize {
        self.shapes.iter().filter(|s| !s.kept.is_empty()).count()
    }

    /// Draws traces, with replacement.
    pub(super) fn draw(&self, count: usize, rng: &mut Rng) -> Vec<&Kept> {
        let weights = self.weights();
        let mut sums = Vec::with_capacity(weights.len());
        let mut total = 0.0;
        for weight in weights {
            total += weight;
            sums.push(total);
        }
        let mut drawn = Vec::with_capacity(count);
        while drawn.len() < count && total > 0.0 {
            let at = rng.random::<f64>() * total;
            let number = sums.partition_point(|&sum| sum <= at);
            let Some(shape) = self.shapes.get(number).filter(|s| !s.kept.is_empty()) else {
                continue;
            };
            drawn.push(&shape.kept[rng.random_range(0..shape.kept.len())]);
        }
        drawn
    }

    /// Every trace kept, with the number of observed ones that it stands for.
    pub(super) fn weighted(&self) -> impl Iterator<Item = (&Kept, f32)> + Clone {
        let weights = self.weights();
        let seen: f64 = self.shapes.iter().map(|shape| shape.ever).sum();
        let total: f64 = weights.iter().sum();
        let scale = seen / total.max(f64::MIN_POSITIVE);
        self.shapes
            .iter()
            .zip(weights)
            .flat_map(move |(shape, weight)| {
                let each = weight * scale / shape.kept.len().max(1) as f64;
                shape.kept.iter().map(move |kept| (kept, each as f32))
            })
    }

    /// The traces alone.
    pub(super) fn into_traces(self) -> impl Iterator<Item = Trace> {
        let kept = self.shapes.into_iter().flat_map(|shape| shape.kept);
        kept.map(|kept| kept.trace)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Kept> {
        self.shapes.iter().flat_map(|shape| &shape.kept)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Kept> {
        self.shapes.iter_mut().flat_map(|shape| &mut shape.kept)
    }

    /// The share of each shape that keeps a trace: lately and ever, mixed.
    fn weights(&self) -> Vec<f64> {
        let held = |shape: &&Shape| !shape.kept.is_empty();
        let sums = self
            .shapes
            .iter()
            .filter(held)
            .fold((0.0, 0.0), |sums, s| (sums.0 + s.lately, sums.1 + s.ever));
        let share = |shape: &Shape| match shape.kept.is_empty() {
            true => 0.0,
            false => {
                self.recent * shape.lately / sums.0 + (1.0 - self.recent) * shape.ever / sums.1
            }
        };
        self.shapes.iter().map(share).collect()
    }

    fn let_one_go(&mut self, rng: &mut Rng) {
        let weights = self.weights();
        let crowded = |at: usize| {
            let kept = self.shapes[at].kept.len() as f64;
            kept * kept / weights[at].max(f64::MIN_POSITIVE)
        };
        let most = (0..self.shapes.len())
            .filter(|&at| !self.shapes[at].kept.is_empty())
            .max_by(|&a, &b| crowded(a).total_cmp(&crowded(b)));
        if let Some(at) = most {
            let kept = &mut self.shapes[at].kept;
            kept.swap_remove(rng.random_range(0..kept.len()));
            self.kept -= 1;
        }
    }

    fn forget_empty(&mut self) {
        let mut numbers = HashMap::default();
        let mut shapes = Vec::new();
        let mut keys: Vec<(u64, usize)> = self.numbers.drain().collect();
        keys.sort_unstable_by_key(|&(_, number)| number);
        for (key, number) in keys {
            let shape = std::mem::take(&mut self.shapes[number]);
            if !shape.kept.is_empty() {
                numbers.insert(key, shapes.len());
                shapes.push(shape);
            }
        }
        (self.numbers, self.shapes) = (numbers, shapes);
    }
}

/// A shape's key: its labels and, from the parents, its tree.
fn key(kept: &Kept) -> u64 {
    use std::hash::{BuildHasher as _, Hash as _, Hasher as _};
    let mut hasher = FixedState::with_seed(0x5ea1).build_hasher();
    for (span, token) in kept.trace.spans().iter().zip(&kept.tokens) {
        (span.parent, token.0).hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance;
    use crate::trace::{Span, SpanKind, StatusCode, Symbol};

    fn kept(shape: u32) -> Kept {
        let span = Span {
            parent: None,
            service: Symbol(1),
            operation: Symbol(1),
            profile: Symbol(0),
            kind: SpanKind::Server,
            status: StatusCode::Unset,
            start: 0,
            duration: 1,
        };
        Kept {
            trace: Trace::new(vec![span], Vec::new()).unwrap(),
            tokens: vec![Token(shape)],
            example: None,
        }
    }

    fn share(replay: &Replay, shape: u32, rng: &mut Rng) -> f64 {
        let drawn = replay.draw(4_000, rng);
        let like = drawn.iter().filter(|kept| kept.tokens[0] == Token(shape));
        like.count() as f64 / 4_000.0
    }

    /// Adds traces of the shapes given, so many times each, into a replay of 100.
    fn filled(runs: &[(u32, usize)], rng: &mut Rng) -> Replay {
        let mut replay = Replay::new(100, 0.5);
        for &(shape, times) in runs {
            for _ in 0..times {
                replay.add(kept(shape), rng);
            }
        }
        replay
    }

    #[test]
    fn a_rare_shape_stays_and_is_drawn_as_seldom_as_it_comes() {
        let rng = &mut chance::stream(1, "replay");
        let mut replay = filled(&[(7, 2)], rng);
        for _ in 0..398 {
            replay.add(kept(1), rng);
        }
        assert_eq!((replay.len(), replay.shapes()), (100, 2));
        let rare = share(&replay, 7, rng);
        assert!((0.001..0.012).contains(&rare), "{rare}");
    }

    #[test]
    fn a_new_regime_is_followed_and_the_old_one_is_not_forgotten() {
        let rng = &mut chance::stream(2, "replay");
        let replay = filled(&[(1, 20_000), (2, 4_000)], rng);
        let old = share(&replay, 1, rng);
        assert!((0.4..0.65).contains(&old), "{old}");
    }

    #[test]
    fn shapes_that_never_come_again_do_not_pile_up() {
        let rng = &mut chance::stream(3, "replay");
        let runs: Vec<(u32, usize)> = (0..2_000).map(|shape| (shape, 1)).collect();
        let replay = filled(&runs, rng);
        assert_eq!(replay.len(), 100);
        assert!(replay.shapes.len() <= 201);
    }

    #[test]
    fn weights_add_up_to_the_traces_seen() {
        let rng = &mut chance::stream(4, "replay");
        let replay = filled(&[(1, 300), (2, 100)], rng);
        let total: f32 = replay.weighted().map(|(_, weight)| weight).sum();
        assert!((total - 400.0).abs() < 1.0, "{total}");
    }
}
