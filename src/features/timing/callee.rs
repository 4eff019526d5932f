//! How much longer calls take than their callees, in classes.
//!
//! Where a callee's clock has coarse ticks, its start is told once it is known how much longer its call takes
//! (decision 14). That says most of where the start is: a call that waits for 20 ms nearly always does so on one side
//! of its callee. So its modes and bins are counted apart for each class (decision 16).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::spot::Given;
use crate::features::Token;

/// Levels where classes meet.
const EDGES: [f64; CLASSES - 1] = [0.08, 0.25, 0.5, 0.75, 0.88, 0.95];

/// Classes of each callee.
const CLASSES: usize = 7;

/// Calls that a callee needs to have classes.
const FEW: usize = 300;

/// Of a call of any class; those of the classes follow.
pub(super) const CALLED: Given = 64;

/// Of each token that is called so and often enough, where its classes meet, in nanoseconds.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Longer(BTreeMap<u32, [u64; CLASSES - 1]>);

impl Longer {
    /// Of calls: the token of the callee, and how much longer the call takes.
    pub(super) fn fit(calls: impl Iterator<Item = (Token, u64)>) -> Self {
        let mut by_token: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
        for (token, longer) in calls {
            by_token.entry(token.0).or_default().push(longer);
        }
        by_token.retain(|_, longer| longer.len() >= FEW);
        let edges = by_token.into_iter().map(|(token, mut longer)| {
            longer.sort_unstable();
            let last = (longer.len() - 1) as f64;
            (token, EDGES.map(|level| longer[(level * last) as usize]))
        });
        Self(edges.collect())
    }

    /// What is given where this token's call takes so much longer.
    pub(super) fn given(&self, token: Token, longer: u64) -> Option<Given> {
        let edges = self.0.get(&token.0)?;
        let class = edges.partition_point(|&edge| edge <= longer);
        Some(CALLED + 1 + class as Given)
    }

    pub(super) fn is_sound(&self) -> bool {
        self.0.values().all(|edges| edges.is_sorted())
    }
}

/// The class of a call, from 1; none of what is no call.
pub(super) fn class(given: Given) -> Option<u8> {
    let class = given.checked_sub(CALLED)?;
    (1..=CLASSES as u8).contains(&class).then_some(class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frequent_callee_has_classes_by_how_much_longer_its_calls_take() {
        let calls = (0..1_000).map(|at| (Token(3), at));
        let longer = Longer::fit(calls.chain([(Token(4), 7)]));
        let class_of = |longer_by| longer.given(Token(3), longer_by).and_then(class);
        assert_eq!([0, 78, 300, 600].map(class_of), [1, 1, 3, 4].map(Some));
        assert_eq!([900, 5_000].map(class_of), [6, 7].map(Some));
        assert_eq!(longer.given(Token(4), 7), None, "too few calls");
        assert!(longer.is_sound());
    }

    #[test]
    fn what_is_no_call_has_no_class() {
        assert_eq!([0, 1, CALLED, Given::MAX].map(class), [None; 4]);
    }
}
