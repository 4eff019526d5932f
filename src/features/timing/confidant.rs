//! Which earlier time tells most about a span's start or end, and what it tells.
//!
//! Distant spans are often slow in the same few traces, which a network does not find among the
//! noise of all others. Here it is counted: of all times before it, each kind of span
//! hears the one with most mutual information, as in a Chow-Liu tree (Chow & Liu 1968,
//! "Approximating discrete probability distributions with dependence trees") whose order is that of
//! the walk. What is kept is how much likelier each class of levels is, given the other's class.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};

/// Levels where classes of levels meet, finer at both tails.
const EDGES: [f32; CLASSES - 1] = [
    0.005, 0.02, 0.05, 0.08, 0.14, 0.2, 0.35, 0.5, 0.65, 0.8, 0.86, 0.9, 0.92, 0.935, 0.95, 0.965,
    0.98, 0.99, 0.995,
];

/// Classes of levels.
pub(super) const CLASSES: usize = 20;

/// The wide class that each class lies in: confidants are chosen by these, and where a class is
/// seldom, its wide class speaks for it.
const WIDE: [usize; CLASSES] = [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 5, 6, 6, 6, 6, 7, 7, 7];

/// Wide classes.
const WIDES: usize = 8;

/// How much likelier each class is than by itself.
pub(super) type Ratios = [f32; CLASSES];

/// Of two classes: how often each pair occurred.
type Counts = [[u32; CLASSES]; CLASSES];

/// Whose times: (token, parent token, whether it is the first with this token in its trace).
pub(super) type Teller = (u32, u32, bool);

/// Tellers that others may hear, at most: the most frequent.
const VOICES: usize = 96;

/// Tellers that may hear others, at most: the most frequent.
const LISTENERS: usize = 384;

/// Spans that a listener needs.
const SPANS: u32 = 150;

/// Spans that are counted, at most.
const COUNTED: usize = 600_000;

/// Nats that a confidant must tell beyond chance.
const WORTH: f64 = 0.02;

/// By how much twice the nats of all spans must exceed their degrees of freedom: among a hundred
/// candidates that tell nothing, none does.
const SURE: f64 = 60.0;

/// Counts of a pair of classes that are taken to agree with chance.
const PRIOR: f32 = 2.0;

/// What a teller hears.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listener {
    /// Where others hear it.
    pub(super) voice: Option<u16>,
    /// Whom its start and its end hear.
    pub(super) confidants: [Option<Confidant>; 2],
}

/// An earlier time that tells about a later one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Confidant {
    /// Whose: the last span before with this voice; none for an end that hears its own start.
    pub(super) voice: Option<u16>,
    /// 0 for its start, 1 for its end.
    pub(super) side: u8,
    /// Ratios of the classes, by the class of what is heard.
    ratios: [Ratios; CLASSES],
}

/// All listeners.
pub(super) type Listeners = HashMap<Teller, Listener, FixedState>;

/// The class of a level.
pub(super) fn class(level: f32) -> usize {
    EDGES.iter().filter(|&&edge| level >= edge).count()
}

/// The class of a score (see [`super::table::score`]).
fn class_of_score(score: f32) -> usize {
    class(1.0 / (1.0 + (-1.702 * score).exp()))
}

impl Confidant {
    /// What it says when its score is this one.
    pub(super) fn says(&self, score: f32) -> &Ratios {
        &self.ratios[class_of_score(score)]
    }

    fn is_sound(&self, voices: usize) -> bool {
        let sound = |ratio: &f32| ratio.is_finite() && *ratio > 0.0;
        self.voice.is_none_or(|voice| usize::from(voice) < voices)
            && self.side < 2
            && self.ratios.iter().flatten().all(sound)
    }
}

/// Number of voices.
pub(super) fn voices(listeners: &Listeners) -> usize {
    let voices = listeners.values().filter_map(|listener| listener.voice);
    voices.max().map_or(0, |most| usize::from(most) + 1)
}

/// Whether nobody hears what there is not, and no ratio is out of range.
pub(super) fn are_sound(listeners: &Listeners) -> bool {
    let voices = voices(listeners);
    let confidants = listeners.values().flat_map(|it| &it.confidants).flatten();
    voices <= VOICES && confidants.into_iter().all(|it| it.is_sound(voices))
}

/// Teller and scores (of start and end) of each span of a trace, in the order of the walk.
pub(super) type Told = Vec<(Teller, [f32; 2])>;

/// Finds whom each teller hears.
pub(super) fn fit(traces: &[Told]) -> Listeners {
    let mut spans: BTreeMap<Teller, u32> = BTreeMap::new();
    for (teller, _) in traces.iter().flatten() {
        *spans.entry(*teller).or_default() += 1;
    }
    spans.retain(|_, spans| *spans >= SPANS);
    let mut ranked: Vec<(Teller, u32)> = spans.into_iter().collect();
    ranked.sort_by_key(|&(teller, spans)| (std::cmp::Reverse(spans), teller));
    ranked.truncate(LISTENERS);
    let places: HashMap<Teller, usize, FixedState> = (ranked
        .iter()
        .enumerate()
        .map(|(at, &(teller, _))| (teller, at)))
    .collect();
    let (pairs, own) = count(traces, &places);

    let mut listeners: Vec<Listener> = vec![Listener::default(); ranked.len()];
    let mut heard = Vec::new();
    for (listener, (pairs, own)) in listeners.iter_mut().zip(pairs.iter().zip(&own)) {
        let start = best(pairs, 0, None);
        let end = best(pairs, 1, Some(own));
        listener.confidants = [start, end];
        let confidants = listener.confidants.iter().flatten();
        heard.extend(confidants.filter_map(|confidant| confidant.voice));
    }
    heard.sort_unstable();
    heard.dedup();
    // Only those that somebody hears keep a voice.
    for (number, &voice) in heard.iter().enumerate() {
        listeners[usize::from(voice)].voice = Some(number as u16);
    }
    let number = |voice| heard.partition_point(|&known| known < voice) as u16;
    let confidants = listeners.iter_mut().flat_map(|it| &mut it.confidants);
    for confidant in confidants.flatten() {
        confidant.voice = confidant.voice.map(number);
    }
    let tellers = ranked.into_iter().map(|(teller, _)| teller);
    let says = |it: &Listener| it.voice.is_some() || it.confidants.iter().any(Option::is_some);
    tellers.zip(listeners).filter(|(_, it)| says(it)).collect()
}

/// For each listener and each voice, by place: counts of [side of the voice][own side].
type Pairs = Vec<Option<Box<[[Counts; 2]; 2]>>>;

/// Counts of what each could hear, and of each one's own start and end.
fn count(
    traces: &[Told],
    places: &HashMap<Teller, usize, FixedState>,
) -> (Vec<Pairs>, Vec<Counts>) {
    let mut starts = vec![[[0; CLASSES]; CLASSES]; places.len()];
    let voices = places.len().min(VOICES);
    let mut pairs: Vec<Pairs> = vec![vec![None; voices]; places.len()];
    let mut last: Vec<Option<[usize; 2]>> = Vec::new();
    let mut left = COUNTED;
    for trace in traces {
        if left < trace.len() {
            break;
        }
        left -= trace.len();
        last.clear();
        last.resize(voices, None);
        for (teller, scores) in trace {
            let Some(&at) = places.get(teller) else {
                continue;
            };
            let own = scores.map(class_of_score);
            starts[at][own[0]][own[1]] += 1;
            for (said, pairs) in last.iter().zip(&mut pairs[at]) {
                let Some(said) = said else {
                    continue;
                };
                let pairs = pairs.get_or_insert_default();
                for (said, pairs) in said.iter().zip(&mut **pairs) {
                    for (own, pairs) in own.iter().zip(pairs) {
                        pairs[*said][*own] += 1;
                    }
                }
            }
            if let Some(last) = last.get_mut(at) {
                *last = Some(own);
            }
        }
    }
    (pairs, starts)
}

/// The one that tells most about this side, if any tells enough: an earlier span, or the start.
fn best(pairs: &Pairs, own: usize, start: Option<&Counts>) -> Option<Confidant> {
    let earlier = pairs.iter().enumerate().flat_map(|(voice, pairs)| {
        let sides = pairs.iter().flat_map(|sides| sides.iter()).enumerate();
        sides.map(move |(side, pairs)| (Some(voice as u16), side as u8, &pairs[own]))
    });
    let start = start.map(|counts| (None, 0, counts));
    let mut best: Option<(f64, Option<u16>, u8, &Counts)> = None;
    for (voice, side, counts) in start.into_iter().chain(earlier) {
        let Some(nats) = beyond_chance(&wide(counts)) else {
            continue;
        };
        if best.is_none_or(|(most, ..)| nats > most) {
            best = Some((nats, voice, side, counts));
        }
    }
    let (_, voice, side, counts) = best?;
    let ratios = ratios(counts);
    Some(Confidant {
        voice,
        side,
        ratios,
    })
}

/// The same counts of wide classes.
fn wide(counts: &Counts) -> [[u32; WIDES]; WIDES] {
    let mut wide = [[0; WIDES]; WIDES];
    for (row, counts) in WIDE.iter().zip(counts) {
        for (column, count) in WIDE.iter().zip(counts) {
            wide[*row][*column] += count;
        }
    }
    wide
}

/// Sums of rows, of columns, of all.
fn sums<const N: usize>(counts: &[[u32; N]; N]) -> ([u32; N], [u32; N], u32) {
    let (mut rows, mut columns) = ([0; N], [0; N]);
    for (row, counts) in rows.iter_mut().zip(counts) {
        for (column, count) in columns.iter_mut().zip(counts) {
            *row += count;
            *column += count;
        }
    }
    (rows, columns, rows.iter().sum())
}

/// The mutual information of two classes in nats, less what chance gives on average; none if that
/// is not enough.
fn beyond_chance<const N: usize>(counts: &[[u32; N]; N]) -> Option<f64> {
    let (rows, columns, all) = sums(counts);
    if all < SPANS {
        return None;
    }
    let mut nats = 0.0;
    for (row, counts) in rows.iter().zip(counts) {
        for (column, &count) in columns.iter().zip(counts) {
            if count > 0 {
                let (joint, apart) = (f64::from(count), f64::from(*row) * f64::from(*column));
                nats += joint * (joint * f64::from(all) / apart).ln();
            }
        }
    }
    let filled = |sums: &[u32]| sums.iter().filter(|sum| **sum > 0).count() as f64 - 1.0;
    let freedom = filled(&rows) * filled(&columns);
    let beyond = (nats - freedom / 2.0) / f64::from(all);
    (beyond > WORTH && 2.0 * nats - freedom > SURE).then_some(beyond)
}

/// How much likelier each pair of classes is than by chance, given how much likelier that is by
/// default.
fn smoothed<const N: usize>(
    counts: &[[u32; N]; N],
    default: impl Fn(usize, usize) -> f32,
) -> [[f32; N]; N] {
    let (rows, columns, all) = sums(counts);
    let mut ratios = [[1.0; N]; N];
    for (row, ratios) in ratios.iter_mut().enumerate() {
        for (column, ratio) in ratios.iter_mut().enumerate() {
            let chance = rows[row] as f32 * columns[column] as f32 / all.max(1) as f32;
            let count = counts[row][column] as f32;
            *ratio = (count + PRIOR * default(row, column)) / (chance + PRIOR);
        }
    }
    ratios
}

fn ratios(counts: &Counts) -> [Ratios; CLASSES] {
    let wide = smoothed(&wide(counts), |_, _| 1.0);
    smoothed(counts, |row, column| wide[WIDE[row]][WIDE[column]])
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;
    use crate::chance::Rng;
    use crate::features::timing::table::score;

    /// Traces of three spans with ends drawn by `draw`; starts are all the same.
    fn fitted(draw: impl Fn(&mut Rng) -> [f32; 3]) -> Listeners {
        let mut rng = Rng::seed_from_u64(1);
        let mut trace = || {
            let ends = draw(&mut rng).into_iter().enumerate();
            let told = ends.map(|(at, end)| ((at as u32, 9, true), [0.0, score(end)]));
            told.collect::<Told>()
        };
        let traces: Vec<Told> = (0..4_000).map(|_| trace()).collect();
        let listeners = fit(&traces);
        assert!(are_sound(&listeners));
        listeners
    }

    /// Whom the last span's end hears, and how much likelier its highest class is when that is
    /// in its highest.
    fn check(draw: impl Fn(&mut Rng) -> [f32; 3], expected: Option<(u32, std::ops::Range<f32>)>) {
        let listeners = fitted(draw);
        let confidant = listeners
            .get(&(2, 9, true))
            .and_then(|it| it.confidants[1].as_ref());
        assert_eq!(confidant.is_some(), expected.is_some(), "{confidant:?}");
        if let (Some(confidant), Some((token, ratio))) = (confidant, expected) {
            let heard = &listeners[&(token, 9, true)];
            assert_eq!((heard.voice, 1), (confidant.voice, confidant.side));
            let said = confidant.says(score(0.999))[CLASSES - 1];
            assert!(ratio.contains(&said), "{said}");
        }
    }

    #[test]
    fn whom_it_hears_is_the_one_that_is_slow_in_the_same_traces() {
        check(
            |rng| {
                let [first, second, third]: [f32; 3] = rng.random();
                // In one trace of twenty, first and third are slow together.
                match rng.random::<f32>() < 0.05 {
                    true => [0.95 + first / 20.0, second, 0.95 + third / 20.0],
                    false => [first * 0.95, second, third * 0.95],
                }
            },
            Some((0, 8.0..25.0)),
        );
    }

    #[test]
    fn a_chain_hears_the_nearest() {
        let near = |rng: &mut Rng, level: f32| (level + rng.random::<f32>() * 0.2 - 0.1).abs();
        check(
            |rng| {
                let first = rng.random();
                let second = near(rng, first);
                [first, second, near(rng, second)]
            },
            Some((1, 3.0..60.0)),
        );
    }

    #[test]
    fn those_that_have_nothing_to_do_with_each_other_hear_nothing() {
        check(|rng| rng.random(), None);
    }
}
