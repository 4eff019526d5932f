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
//! - [`Credit`] keeps or refuses traces of a kind by systematic sampling of unequal chances
//!   (Madow 1949), so that refusals do not bring the unevenness back.
//! - [`Mix`] says by how much the bound of a stratum is to fall or to rise, for what it has had too few or
//!   too many of so far.

use std::collections::HashMap;
use std::hash::BuildHasher as _;

use foldhash::fast::FixedState;
use rand::RngExt as _;

use super::shapes::shape_of_sampled;
use crate::chance::Rng;
use crate::features::{Sampled, Stratum};

/// The golden ratio's fraction, in units of 2^-64: no other step fills intervals as evenly.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
/// A level decodes no further once what it has decoded is less likely than this: of its 53 bits, 20
/// are left.
const NARROWEST: f64 = 1.0 / (1_u64 << 33) as f64;
/// Kinds that have an account, at most; traces of others are kept with those of a wider kind.
const KINDS: usize = 65_536;
/// Traces of a shape from which on those that take as long are a kind of their own.
const OFTEN: u32 = 32;
/// Lengths that are told apart in a doubling of the duration.
const LENGTHS: f64 = 4.0;
/// Traces of a shape by which its mean chance is pulled towards that of its root.
const PULL: f64 = 16.0;

/// By how much a stratum's bound falls for each trace that it lacks, in log-odds.
const GAIN: f32 = 0.25;
/// By how much it falls, or rises, at most.
const STEERED: f32 = 1.4;
/// Strata of a larger share have enough draws to settle their bounds.
const RARE: f32 = 0.06;

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

/// Keeps of the traces of a kind as many as their chances add up to, to the nearest whole number up
/// or down.
///
/// A kind is a shape; where that comes often, a shape that takes about as long; and all shapes that
/// come for the first time are of one kind with those of the same root that take about as long. So
/// rare shapes come evenly, and so do slow traces, where hardly a shape comes twice as well.
///
/// Traces of some shapes have worse chances than others of the same root: those of long ones, which are
/// told apart best. Shapes are right as they are drawn, and these would become too few. So a chance is
/// raised or lowered by how much worse or better those of its shape were so far.
#[derive(Debug, Default)]
pub(super) struct Credit {
    accounts: HashMap<u64, Account, FixedState>,
    /// Of each shape and of each root.
    chances: HashMap<u64, Chances, FixedState>,
}

/// Traces so far, and what their chances add up to.
#[derive(Debug, Clone, Copy, Default)]
struct Chances {
    traces: u32,
    sum: f64,
}

/// What a kind is owed: what the chances of its traces, less those kept, come to, from 0 to 1.
#[derive(Debug, Clone, Copy)]
struct Account(f32);

impl Account {
    /// Pays a trace in; whether it is kept.
    fn pay(&mut self, chance: f32) -> bool {
        self.0 += chance;
        let kept = self.0 >= 1.0;
        if kept {
            self.0 -= 1.0;
        }
        kept
    }

    /// That of a kind whose first trace another has decided of: its beginning is chance, but such
    /// that it would have decided the same.
    fn opened(kept: bool, chance: f32, rng: &mut Rng) -> Self {
        let level: f32 = rng.random();
        Self(match kept {
            true => level * chance,
            false => chance + level * (1.0 - chance),
        })
    }
}

impl Credit {
    /// Whether a trace is kept: with this chance, but for what its shape lacks, and whatever others there
    /// are.
    pub(super) fn keeps(&mut self, drawn: &Sampled, chance: f32, rng: &mut Rng) -> bool {
        let (root, long) = drawn
            .spans
            .first()
            .map_or((0, 0), |root| (root.token.0, root.duration));
        let long = (LENGTHS * (long as f64 + 1.0).log2()) as u32;
        let shape = shape_of_sampled(drawn);
        let hasher = FixedState::with_seed(0xe7e2);
        let kinds = [
            hasher.hash_one((root, long)),
            shape,
            hasher.hash_one((shape, long)),
        ];
        let [of_root, of_shape] = [hasher.hash_one(root), shape].map(|of| self.count(of, chance));
        let chance = corrected(chance, of_root, of_shape);
        let often = of_shape.traces >= OFTEN;
        let kinds = if often { &kinds[..] } else { &kinds[..2] };
        // The narrowest kind that has an account decides, and one is opened for each narrower one.
        let has_account = |kind: &u64| self.accounts.contains_key(kind);
        let at = kinds.iter().rposition(has_account);
        let account = at.and_then(|at| self.accounts.get_mut(&kinds[at]));
        let kept = match account {
            Some(account) => account.pay(chance),
            None => rng.random::<f32>() < chance,
        };
        for &kind in &kinds[at.map_or(0, |at| at + 1)..] {
            if self.accounts.len() < KINDS {
                self.accounts
                    .insert(kind, Account::opened(kept, chance, rng));
            }
        }
        kept
    }

    /// Counts a trace of a shape or a root: what was known before it.
    fn count(&mut self, of: u64, chance: f32) -> Chances {
        let known = self.chances.get(&of).copied();
        if known.is_some() || self.chances.len() < KINDS {
            let chances = self.chances.entry(of).or_default();
            chances.traces = chances.traces.saturating_add(1);
            chances.sum += f64::from(chance);
        }
        known.unwrap_or_default()
    }
}

/// A chance, but for how much worse or better those of its shape were so far than those of its root.
fn corrected(chance: f32, of_root: Chances, of_shape: Chances) -> f32 {
    if of_root.sum <= 0.0 {
        return chance;
    }
    let usual = of_root.sum / f64::from(of_root.traces);
    let own = (of_shape.sum + PULL * usual) / (f64::from(of_shape.traces) + PULL);
    (f64::from(chance) * usual / own).min(1.0) as f32
}

/// Strata of traces, each at its share of those that are kept.
///
/// From which log-odds on traces are kept is settled by draws of their stratum, which are few where it is
/// rare: of the slowest one in a hundred half as many could come again, or half of them. So what was
/// kept is counted, and the bound of a stratum that lacks some falls. Which of its traces are kept first
/// does not change.
#[derive(Debug, Default)]
pub(super) struct Mix {
    /// Kept of each stratum so far, and of all.
    kept: Vec<u32>,
    all: u32,
}

impl Mix {
    /// By how much the bound of a stratum is to fall, in log-odds.
    pub(super) fn lacks(&self, stratum: Stratum) -> f32 {
        if stratum.share > RARE {
            return 0.0;
        }
        let kept = self.kept.get(stratum.number as usize);
        let lacking = stratum.share * self.all as f32 - kept.map_or(0.0, |&kept| kept as f32);
        (GAIN * lacking).clamp(-STEERED, STEERED)
    }

    /// Counts a trace that was kept.
    pub(super) fn count(&mut self, stratum: Stratum) {
        let at = stratum.number as usize;
        if self.kept.len() <= at {
            self.kept.resize(at + 1, 0);
        }
        self.kept[at] = self.kept[at].saturating_add(1);
        self.all = self.all.saturating_add(1);
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

    /// A trace of a root and a child.
    fn trace(child: u32, duration: u64) -> Sampled {
        let span = |parent, token| SampledSpan {
            parent,
            token: Token(token),
            status: StatusCode::Unset,
            profile: 0,
            start: 0,
            duration,
        };
        Sampled {
            spans: vec![span(None, 0), span(Some(0), child)],
            links: Vec::new(),
        }
    }

    /// How many of such traces are kept, and what their chances add up to.
    fn kept(traces: &[(Sampled, f32)], rng: &mut Rng) -> (f32, f32) {
        let mut credit = Credit::default();
        let kept = |(drawn, chance): &&(Sampled, f32)| credit.keeps(drawn, *chance, rng);
        let kept = traces.iter().filter(kept).count();
        (kept as f32, traces.iter().map(|(_, chance)| chance).sum())
    }

    #[test]
    fn of_each_kind_as_many_are_kept_as_chances_add_up_to() {
        for seed in 0..20 {
            let rng = &mut stream(seed, "credit");
            let chance = |at: u32| (at % 7) as f32 / 8.0;
            let one_shape = (0..30).map(|at| (trace(1, at.into()), chance(at)));
            let one_shape: Vec<(Sampled, f32)> = one_shape.collect();
            let (count, sum) = kept(&one_shape, rng);
            assert!((count - sum).abs() <= 1.0, "{count} of {sum}");
            let one_length = (0..400).map(|at| (trace(at, 9), chance(at)));
            let one_length: Vec<(Sampled, f32)> = one_length.collect();
            let (count, sum) = kept(&one_length, rng);
            assert!((count - sum).abs() <= 1.0, "{count} of {sum}");
        }
    }

    #[test]
    fn of_a_frequent_shape_slow_traces_come_evenly_too() {
        let rng = &mut stream(3, "credit");
        let mut credit = Credit::default();
        let (mut slow, mut sum) = (0.0_f32, 0.0);
        for at in 0..4_000 {
            let is_slow = rng.random::<f32>() < 0.05;
            let drawn = trace(1, if is_slow { 900 } else { 9 });
            let chance = (at % 5) as f32 / 8.0;
            if credit.keeps(&drawn, chance, rng) && is_slow {
                slow += 1.0;
            }
            sum += if is_slow { chance } else { 0.0 };
        }
        assert!((slow - sum).abs() <= 3.0, "{slow} of {sum}");
    }

    #[test]
    fn each_trace_is_kept_with_its_own_chance() {
        // Some of one shape, some of one length, some of neither.
        let traces = [(1, 9), (1, 9), (2, 9), (1, 900), (3, 9), (2, 900)];
        let chances = [0.1, 0.7, 0.4, 0.9, 0.5, 0.2];
        let mut kept = [0_u32; 6];
        for seed in 0..4_000 {
            let rng = &mut stream(seed, "credit");
            let mut credit = Credit::default();
            for ((kept, (child, long)), chance) in kept.iter_mut().zip(traces).zip(chances) {
                *kept += u32::from(credit.keeps(&trace(child, long), chance, rng));
            }
        }
        for (kept, chance) in kept.into_iter().zip(chances) {
            let share = f64::from(kept) / 4_000.0;
            assert!((share - f64::from(chance)).abs() < 0.03, "{share} {chance}");
        }
    }

    #[test]
    fn a_shape_whose_chances_are_worse_comes_as_often_as_it_is_drawn() {
        let rng = &mut stream(5, "credit");
        let mut credit = Credit::default();
        let mut kept = [0.0_f64; 2];
        for at in 0..6_000_u32 {
            let hard = at.is_multiple_of(4);
            let chance = rng.random::<f32>() * if hard { 0.3 } else { 0.6 };
            let drawn = trace(u32::from(hard), 9);
            kept[usize::from(hard)] += f64::from(u8::from(credit.keeps(&drawn, chance, rng)));
        }
        let share = kept[1] / (kept[0] + kept[1]);
        assert!((share - 0.25).abs() < 0.01, "{kept:?}");
    }

    #[test]
    fn rare_strata_come_at_their_shares_whatever_they_are_kept_with() {
        let rng = &mut stream(7, "mix");
        let shares = [0.94_f32, 0.05, 0.01];
        let mut mix = Mix::default();
        let mut kept = [0.0_f32; 3];
        for _ in 0..20_000 {
            // Half as many of the last are drawn as should be, half as many again of the second.
            let level: f32 = rng.random();
            let number = if level < 0.005 {
                2
            } else {
                u32::from(level < 0.08)
            };
            let share = shares[number as usize];
            let stratum = Stratum { number, share };
            if rng.random::<f32>() < 0.2 * mix.lacks(stratum).exp() {
                mix.count(stratum);
                kept[number as usize] += 1.0;
            }
        }
        let all: f32 = kept.iter().sum();
        for (kept, share) in kept.into_iter().zip(shares) {
            assert!(
                (kept - share * all).abs() < 8.0,
                "{kept} of {}",
                share * all
            );
        }
    }
}
