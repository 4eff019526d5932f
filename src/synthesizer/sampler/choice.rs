//! How the outcome of each choice is found: by chance, at the median, or (in tests) as an example
//! has it.

use std::ops::{AddAssign, Div, Mul, SubAssign};

use rand::{RngExt as _, SeedableRng as _};

use crate::chance::Rng;
use crate::features::Skeleton;
use crate::model::Example;
use crate::synthesizer::even::Place;

/// What is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    Token,
    Status,
    Profile,
    Arity,
    Link,
    StartMode,
    StartBin,
    EndMode,
    EndBin,
}

/// Finds outcomes for many traces abreast.
pub(super) trait Choose {
    /// An outcome of the span at `at` of a trace: unless the chooser says otherwise, the one whose
    /// cell its next number lies in. `weights` are shares but for a common factor.
    fn choose(
        &mut self,
        trace: usize,
        _at: usize,
        _event: Event,
        weights: &[f32],
        allowed: &dyn Fn(usize) -> bool,
    ) -> usize {
        pick(self.number(trace), weights, allowed)
    }

    /// A number from [0, 1).
    fn number(&mut self, trace: usize) -> f64;
}

/// What an example has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outcome<'a> {
    pub(super) example: &'a Example,
    /// Numbers of children that are told apart.
    pub(super) arities: usize,
}

impl Outcome<'_> {
    /// The outcome of a choice at a span. Beyond the example's end, 0.
    pub(super) fn of(self, event: Event, at: usize) -> usize {
        let example = self.example;
        if at >= example.len() {
            return 0;
        }
        match event {
            Event::Token => example.tokens[at] as usize,
            Event::Status => example.status[at].into(),
            Event::Profile => example.profile[at] as usize,
            Event::Arity => (example.arity[at] as usize).min(self.arities - 1),
            Event::Link if example.links.is_empty() => 0,
            Event::Link => {
                let mut skeleton = Skeleton::default();
                skeleton.read(&example.arity);
                let place = skeleton.places()[at];
                let link = example.links.iter().find(|link| link.0 as usize == at);
                match link {
                    None => 0,
                    Some(&(_, to)) if Some(to) == place.parent => 1,
                    Some(&(_, to)) if Some(to) == place.previous => 2,
                    Some(_) => 3,
                }
            }
            Event::StartMode => example.start[at].mode.into(),
            Event::StartBin => example.start[at].bin.into(),
            Event::EndMode => example.end[at].mode.into(),
            Event::EndBin => example.end[at].bin.into(),
        }
    }
}

/// The outcome whose cell a level (from 0 to 1) lies in: the inverse CDF of the shares.
pub(super) fn pick<N: Number>(level: N, weights: &[f32], allowed: &dyn Fn(usize) -> bool) -> usize {
    cell(level, weights, allowed).outcome
}

/// What levels and shares are computed in.
pub(super) trait Number:
    Copy + From<f32> + PartialOrd + AddAssign + SubAssign + Mul<Output = Self> + Div<Output = Self>
{
}

impl Number for f32 {}
impl Number for f64 {}

/// The cell of an outcome that a level lies in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cell<N> {
    pub(super) outcome: usize,
    /// Where in the cell the level lies, from 0 to 1.
    pub(super) within: N,
    /// The outcome's share.
    pub(super) share: N,
}

/// As [`pick`], with where in its cell the level lies.
pub(super) fn cell<N: Number>(
    level: N,
    weights: &[f32],
    allowed: &dyn Fn(usize) -> bool,
) -> Cell<N> {
    let zero = N::from(0.0);
    let mut total = zero;
    for (outcome, &weight) in weights.iter().enumerate() {
        if allowed(outcome) {
            total += N::from(weight);
        }
    }
    let mut left = level * total;
    let mut last = None;
    for (outcome, &weight) in weights.iter().enumerate() {
        if weight > 0.0 && allowed(outcome) {
            let weight = N::from(weight);
            last = Some((outcome, left, weight));
            left -= weight;
            if left < zero {
                break;
            }
        }
    }
    match last {
        Some((outcome, left, weight)) => Cell {
            outcome,
            within: left / weight,
            share: weight / total,
        },
        // Where nothing allowed has a share, the first that is allowed.
        None => Cell {
            outcome: (0..weights.len()).find(|&o| allowed(o)).unwrap_or(0),
            within: level,
            share: N::from(1.0),
        },
    }
}

/// Chance: a generator for each trace, so that a trace does not depend on those beside it.
pub(super) struct Draw(Vec<Rng>);

impl Draw {
    pub(super) fn new(traces: usize, rng: &mut Rng) -> Self {
        Self(
            (0..traces)
                .map(|_| Rng::seed_from_u64(rng.random()))
                .collect(),
        )
    }
}

/// What shapes a structure is decoded from a level each, the rest comes by chance.
pub(super) struct Decode {
    places: Vec<Place>,
    rest: Draw,
}

impl Decode {
    /// Places of the structures, once their codes are decoded.
    pub(super) fn new(places: Vec<Place>, rng: &mut Rng) -> Self {
        Self {
            rest: Draw::new(places.len(), rng),
            places,
        }
    }
}

impl Choose for Decode {
    fn choose(
        &mut self,
        trace: usize,
        at: usize,
        event: Event,
        weights: &[f32],
        allowed: &dyn Fn(usize) -> bool,
    ) -> usize {
        let place = &mut self.places[trace];
        let level = match event {
            Event::Token | Event::Status | Event::Arity => place.level(),
            // A level has few digits: none for what leaves the shape as it is.
            _ => None,
        };
        let Some(level) = level else {
            return self.rest.choose(trace, at, event, weights, allowed);
        };
        let cell = cell(level, weights, allowed);
        place.enter(cell.within, cell.share);
        cell.outcome
    }

    fn number(&mut self, trace: usize) -> f64 {
        self.rest.number(trace)
    }
}

/// z_v at its median: every choice is the outcome that the middle of its shares lies in.
pub(super) struct Median;

impl Choose for Median {
    fn number(&mut self, _trace: usize) -> f64 {
        0.5
    }
}

impl Choose for Draw {
    fn choose(
        &mut self,
        trace: usize,
        _at: usize,
        _event: Event,
        weights: &[f32],
        allowed: &dyn Fn(usize) -> bool,
    ) -> usize {
        let level = self.0[trace].random::<f32>();
        pick(level, weights, allowed)
    }

    fn number(&mut self, trace: usize) -> f64 {
        self.0[trace].random()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::stream;

    #[test]
    fn whatever_was_decoded_before_an_outcome_has_its_share() {
        let places: Vec<Place> = (0..1_600)
            .map(|at| Place::new((f64::from(at) + 0.5) / 1_600.0))
            .collect();
        let mut decode = Decode::new(places, &mut stream(1, "decode"));
        let mut seen = [[0; 3]; 2];
        for trace in 0..1_600 {
            let first = decode.choose(trace, 0, Event::Token, &[1.0, 3.0], &|_| true);
            let second = decode.choose(trace, 0, Event::Arity, &[2.0, 1.0, 1.0], &|_| true);
            seen[first][second] += 1;
        }
        assert_eq!(seen, [[200, 100, 100], [600, 300, 300]]);
    }
}
