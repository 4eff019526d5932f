//! What of the structure around a span tells most about its times.
//!
//! A root ends sooner behind the last of eight children than behind the last of twenty; the first of
//! many queries takes longest. Bins of one context are split by the aspect of the structure that says most,
//! as a decision tree of one level would, so that what is counted knows it and needs no network.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::features::{Skeleton, Token};

/// Number of [`Aspect`]s.
pub(super) const ASPECTS: usize = Aspect::ALL.len();

/// Spans with the same token before, at most, that are told apart.
const BEFORE: usize = 3;

/// In place of a token: there is no such span.
const NONE: u32 = u32::MAX;

/// Classes of values that aspects are chosen by: where they meet.
const EDGES: [f64; CLASSES - 1] = [
    0.01, 0.03, 0.06, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.94, 0.97, 0.99,
];
const CLASSES: usize = 16;

/// By how much twice the nats of all values must exceed their degrees of freedom, and how many nats each
/// value must have of it.
const SURE: f64 = 60.0;
const WORTH: f64 = 0.01;

/// One thing about the structure around a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Aspect {
    /// How many spans before have its token.
    Before,
    /// How many spans the trace has.
    Spans,
    /// How many children it has.
    Children,
    /// The token of the sibling before it, of the one after it.
    Previous,
    Next,
    /// The token of its parent's parent.
    Above,
    /// How many spans lie under its parent.
    Parent,
    /// The tokens of its parent's siblings.
    ParentPrevious,
    ParentNext,
}

impl Aspect {
    pub(super) const ALL: [Self; 9] = [
        Self::Before,
        Self::Spans,
        Self::Children,
        Self::Previous,
        Self::Next,
        Self::Above,
        Self::Parent,
        Self::ParentPrevious,
        Self::ParentNext,
    ];

    /// What it is of the span at `at`.
    pub(super) fn of(self, skeleton: &Skeleton, tokens: &[Token], at: usize) -> u32 {
        let places = skeleton.places();
        let place = &places[at];
        let parent = place.parent.map(|parent| &places[parent as usize]);
        let token = |at: Option<u32>| at.map_or(NONE, |at| tokens[at as usize].0);
        match self {
            Self::Before => {
                let same = tokens[..at].iter().filter(|&&token| token == tokens[at]);
                same.take(BEFORE).count() as u32
            }
            Self::Spans => skeleton.len() as u32,
            Self::Children => place.children,
            Self::Previous => token(place.previous),
            Self::Next => token(place.next),
            Self::Above => token(parent.and_then(|parent| parent.parent)),
            Self::Parent => parent.map_or(0, |parent| parent.size),
            Self::ParentPrevious => token(parent.and_then(|parent| parent.previous)),
            Self::ParentNext => token(parent.and_then(|parent| parent.next)),
        }
    }
}

/// The aspect that tells most about these values, if any tells enough: values, and what each aspect is
/// where they are from. Only what at least `least` values have in common is told from the rest.
pub(super) fn most_telling(values: &[(u64, [u32; ASPECTS])], least: usize) -> Option<Aspect> {
    let mut sorted: Vec<u64> = values.iter().map(|(value, _)| *value).collect();
    sorted.sort_unstable();
    let edges = EDGES.map(|level| sorted[(level * (sorted.len() - 1) as f64) as usize]);
    let class = |value: u64| edges.partition_point(|&edge| edge <= value);
    let mut best: Option<(f64, Aspect)> = None;
    for aspect in Aspect::ALL {
        let mut counts: BTreeMap<u32, [u32; CLASSES]> = BTreeMap::new();
        for (value, aspects) in values {
            counts.entry(aspects[aspect as usize]).or_default()[class(*value)] += 1;
        }
        let (mut rows, mut rest) = (Vec::new(), [0; CLASSES]);
        for counts in counts.into_values() {
            match counts.iter().sum::<u32>() as usize >= least {
                true => rows.push(counts),
                false => rest
                    .iter_mut()
                    .zip(counts)
                    .for_each(|(rest, count)| *rest += count),
            }
        }
        rows.push(rest);
        if let Some(nats) = beyond_chance(&rows)
            && best.is_none_or(|(most, _)| nats > most)
        {
            best = Some((nats, aspect));
        }
    }
    best.map(|(_, aspect)| aspect)
}

/// The mutual information of row and class in nats, less what chance gives on average; none if that is
/// not enough.
fn beyond_chance(rows: &[[u32; CLASSES]]) -> Option<f64> {
    let sums: Vec<f64> = rows
        .iter()
        .map(|row| f64::from(row.iter().sum::<u32>()))
        .collect();
    let mut columns = [0.0; CLASSES];
    for row in rows {
        columns
            .iter_mut()
            .zip(row)
            .for_each(|(sum, &count)| *sum += f64::from(count));
    }
    let all: f64 = sums.iter().sum();
    let mut nats = 0.0;
    for (row, sum) in rows.iter().zip(&sums) {
        for (&count, column) in row.iter().zip(columns) {
            if count > 0 {
                let count = f64::from(count);
                nats += count * (count * all / (sum * column)).ln();
            }
        }
    }
    let filled = |sums: &[f64]| sums.iter().filter(|sum| **sum > 0.0).count() as f64 - 1.0;
    let freedom = filled(&sums) * filled(&columns);
    let beyond = (nats - freedom / 2.0) / all;
    (beyond > WORTH && 2.0 * nats - freedom > SURE).then_some(beyond)
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;
    use crate::chance::Rng;

    #[test]
    fn the_aspect_that_values_hang_on_is_found_and_none_where_they_hang_on_none() {
        let mut rng = Rng::seed_from_u64(1);
        let mut values = Vec::new();
        for _ in 0..2_000 {
            let mut aspects = [0; ASPECTS];
            aspects.fill_with(|| rng.random_range(0..3));
            let children = u64::from(aspects[Aspect::Children as usize]);
            values.push((rng.random_range(0..100) + children * 40, aspects));
        }
        assert_eq!(most_telling(&values, 150), Some(Aspect::Children));
        assert_eq!(
            most_telling(&values, 2_000),
            None,
            "too few have anything in common"
        );
        values
            .iter_mut()
            .for_each(|(value, _)| *value = rng.random_range(0..100));
        assert_eq!(most_telling(&values, 150), None);
    }
}
