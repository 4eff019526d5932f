//! Which shapes are rare, by a model's own draws.

use std::collections::HashMap;
use std::hash::BuildHasher as _;

use super::Sampler;
use crate::chance::Rng;
use crate::features::Sampled;
use crate::model::Example;

/// Structures drawn to see which shapes are frequent.
const SEEN: usize = 10_000;
/// Drawn at once.
const TOGETHER: usize = 512;
/// Share of those structures that a rare shape has at most.
const RARE: f64 = 1e-3;

/// How often a model draws which shape: the tree with its labels, whatever the order of siblings.
///
/// A shape is *rare* if at most one in a thousand of 10,000 structures has it that the model drew,
/// without any condition, for this count alone. No observed trace takes part.
#[derive(Debug, Clone, Default)]
pub struct Shapes {
    counts: HashMap<u64, u32>,
}

impl Shapes {
    /// Draws structures and counts their shapes. The same sampler and chance count the same.
    pub fn of(sampler: &mut Sampler, rng: &mut Rng) -> Self {
        sampler.aside(|sampler| Self::count_of(sampler, rng))
    }

    fn count_of(sampler: &mut Sampler, rng: &mut Rng) -> Self {
        let mut counts = HashMap::new();
        let mut left = SEEN;
        while left > 0 {
            let some = left.min(TOGETHER);
            left -= some;
            for drawn in sampler.structures(rng, some, &super::Limits::default()) {
                *counts.entry(shape_of(drawn.example())).or_default() += 1;
            }
        }
        Self { counts }
    }

    /// Whether the shape of a trace is rare.
    pub fn is_rare(&self, sampled: &Sampled) -> bool {
        self.has_rare(shape_of_sampled(sampled))
    }

    /// Whether the shape of a trace is frequent beyond doubt: drawn more often than what is rare by
    /// three standard deviations of the difference of two such counts. A shape at the edge is rare
    /// by one count and not by another, whatever the model.
    pub fn is_frequent(&self, sampled: &Sampled) -> bool {
        let count = self.count(shape_of_sampled(sampled));
        let edge = RARE * SEEN as f64;
        count > edge + 3.0 * (edge + count).sqrt()
    }

    pub(super) fn is_rare_example(&self, example: &Example) -> bool {
        self.has_rare(shape_of(example))
    }

    fn has_rare(&self, shape: u64) -> bool {
        self.count(shape) <= RARE * SEEN as f64
    }

    fn count(&self, shape: u64) -> f64 {
        f64::from(self.counts.get(&shape).copied().unwrap_or_default())
    }
}

fn shape_of(example: &Example) -> u64 {
    shape(example.tokens.iter().copied().zip(example.parents()))
}

/// The shape of a trace that was drawn.
pub(super) fn shape_of_sampled(sampled: &Sampled) -> u64 {
    let spans = sampled.spans.iter();
    shape(spans.map(|span| (span.token.0, span.parent)))
}

/// A hash of the tree of (token, parent), parents first, whatever the order of siblings is.
fn shape(spans: impl Iterator<Item = (u32, Option<u32>)>) -> u64 {
    let hasher = foldhash::quality::FixedState::with_seed(7);
    let spans: Vec<(u32, Option<u32>)> = spans.collect();
    // The sum of the hashes of the children: whatever their order.
    let mut below = vec![0_u64; spans.len()];
    for (at, &(token, parent)) in spans.iter().enumerate().rev() {
        let hash = hasher.hash_one((token, below[at]));
        match parent {
            Some(parent) => {
                let sum = &mut below[parent as usize];
                *sum = sum.wrapping_add(hash);
            }
            None => return hash,
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(one: &[(u32, Option<u32>)], other: &[(u32, Option<u32>)], same: bool) {
        let [one, other] = [one, other].map(|spans| shape(spans.iter().copied()));
        assert_eq!(one == other, same);
    }

    #[test]
    fn a_shape_is_the_labelled_tree_whatever_the_order_of_siblings() {
        let root = (0, None);
        let tree = [root, (1, Some(0)), (2, Some(1)), (3, Some(0))];
        check(&tree, &tree, true);
        check(
            &tree,
            &[root, (3, Some(0)), (1, Some(0)), (2, Some(2))],
            true,
        );
        check(
            &tree,
            &[root, (1, Some(0)), (2, Some(0)), (3, Some(0))],
            false,
        );
        check(
            &tree,
            &[root, (1, Some(0)), (4, Some(1)), (3, Some(0))],
            false,
        );
    }
}
