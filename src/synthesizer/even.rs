//! Draws that lie evenly over what a model draws: systematic sampling.
//!
//! Each trace is drawn as often as the model says and no oftener, but a run of them repeats itself
//! less than independent draws do: what has a chance of one in a thousand comes about once in a
//! thousand traces, not twice in one thousand and in the next one not at all. So fewer traces show
//! more of what is rare. Two parts:
//!
//! - [`Sequence`] gives the level that a structure is decoded from, [`Place`] decodes with it. As in
//!   arithmetic coding (Rissanen, Langdon 1979), equal beginnings share an interval of levels as
//!   wide as they are likely; levels come from a Kronecker sequence, whose points fill every
//!   interval evenly (Niederreiter 1992, section 3).
//! - [`Credit`] keeps or refuses traces of a shape by systematic sampling of unequal chances
//!   (Madow 1949), so that refusals do not bring the unevenness back.

use std::collections::HashMap;

use foldhash::fast::FixedState;
use rand::RngExt as _;

use super::shapes::shape_of_sampled;
use crate::chance::Rng;
use crate::features::Sampled;

/// The golden ratio's fraction, in units of 2^-64: no other step fills intervals as evenly.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
/// A level decodes no further once what it has decoded is less likely than this: of its 53 bits, 20
/// are left.
const NARROWEST: f64 = 1.0 / (1_u64 << 33) as f64;
/// Shapes that have a credit, at most; traces of others are kept or refused independently.
const SHAPES: usize = 65_536;

/// Levels from 0 to 1 that fill every interval evenly, from a beginning that is chance.
#[derive(Debug, Default)]
pub(super) struct Sequence(Option<u64>);

impl Sequence {
    /// The next level.
    pub(super) fn next(&mut self, rng: &mut Rng) -> f64 {
        let next = self.0.get_or_insert_with(|| rng.random());
        let level = *next >> 11;
        *next = next.wrapping_add(GOLDEN);
        level as f64 / (1_u64 << 53) as f64
    }
}

/// Where a trace's level lies within what it has decoded so far: uniform, whatever that is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    level: f64,
    /// How likely is what was decoded.
    width: f64,
}

impl Place {
    /// Nothing is decoded yet.
    pub(super) fn new(level: f64) -> Self {
        Self { level, width: 1.0 }
    }

    /// The level to decode the next outcome with; none once too little of it is left.
    pub(super) fn level(self) -> Option<f64> {
        (self.width > NARROWEST).then_some(self.level)
    }

    /// Goes on within an outcome: `within` says where in its cell the level lies, from 0 to 1, and
    /// `share` how wide the cell is.
    pub(super) fn enter(&mut self, within: f64, share: f64) {
        self.level = within.clamp(0.0, 1.0 - f64::EPSILON);
        self.width *= share;
    }
}

/// Keeps of the traces of each shape as many as their chances add up to, to the nearest whole number
/// up or down.
#[derive(Debug, Default)]
pub(super) struct Credit(HashMap<u64, f32, FixedState>);

impl Credit {
    /// Whether a trace is kept: with this chance, and whatever others there are.
    pub(super) fn keeps(&mut self, drawn: &Sampled, chance: f32, rng: &mut Rng) -> bool {
        let shape = shape_of_sampled(drawn);
        if self.0.len() >= SHAPES && !self.0.contains_key(&shape) {
            return rng.random::<f32>() < chance;
        }
        // A beginning that is chance gives each trace its chance.
        let credit = self.0.entry(shape).or_insert_with(|| rng.random());
        *credit += chance;
        let kept = *credit >= 1.0;
        if kept {
            *credit -= 1.0;
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::stream;
    use crate::features::{SampledSpan, Token};
    use crate::trace::StatusCode;

    #[test]
    fn every_interval_has_as_many_levels_as_it_is_wide() {
        let rng = &mut stream(1, "levels");
        let mut sequence = Sequence::default();
        let levels: Vec<f64> = (0..1_000).map(|_| sequence.next(rng)).collect();
        for width in [0.002, 0.01, 0.1, 0.5] {
            for start in 0..40 {
                let start = f64::from(start) / 40.0 * (1.0 - width);
                let within = levels.iter().filter(|&&l| l >= start && l < start + width);
                let count = within.count() as f64;
                assert!((count - 1_000.0 * width).abs() <= 2.5, "{width} {count}");
            }
        }
    }

    #[test]
    fn a_level_decodes_until_little_of_it_is_left() {
        let mut place = Place::new(0.3);
        for _ in 0..33 {
            assert!(place.level().is_some());
            place.enter(0.7, 0.5);
        }
        assert_eq!(place.level(), None);
    }

    fn traces_of(token: u32) -> Sampled {
        let span = SampledSpan {
            parent: None,
            token: Token(token),
            status: StatusCode::Unset,
            profile: 0,
            start: 0,
            duration: 1,
        };
        Sampled {
            spans: vec![span],
            links: Vec::new(),
        }
    }

    #[test]
    fn of_each_shape_as_many_are_kept_as_chances_add_up_to() {
        let rng = &mut stream(2, "credit");
        let mut credit = Credit::default();
        for token in 0..50 {
            let drawn = traces_of(token);
            let chances = (0..40).map(|at| (at % 7) as f32 / 8.0);
            let sum: f32 = chances.clone().sum();
            let kept = chances.filter(|&chance| credit.keeps(&drawn, chance, rng));
            let kept = kept.count() as f32;
            assert!((kept - sum).abs() <= 1.0, "{kept} of {sum}");
        }
    }

    #[test]
    fn each_trace_is_kept_with_its_own_chance() {
        let chances = [0.1, 0.7, 0.4, 0.9];
        let mut kept = [0_u32; 4];
        for seed in 0..4_000 {
            let rng = &mut stream(seed, "credit");
            let mut credit = Credit::default();
            for (kept, chance) in kept.iter_mut().zip(chances) {
                *kept += u32::from(credit.keeps(&traces_of(1), chance, rng));
            }
        }
        for (kept, chance) in kept.into_iter().zip(chances) {
            let share = f64::from(kept) / 4_000.0;
            assert!((share - f64::from(chance)).abs() < 0.03, "{share} {chance}");
        }
    }
}
