//! Which earlier time tells most about a span's start or end, and what it tells.
//!
//! Distant spans are often slow in the same few traces, which a network does not find among the
//! noise of all others. Here it is counted: of all times before it, each kind of span
//! hears the one with most mutual information, as in a Chow-Liu tree (Chow & Liu 1968,
//! "Approximating discrete probability distributions with dependence trees") whose order is that of
//! the walk. What is kept is how much likelier each class of distances is, given the other's class.
//! Classes are of distances and not of levels: an injected delay is as long in every context, but as seldom
//! in none as in another.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};

use super::mode::position;
use super::table::score;

/// Levels where classes of distances meet, finer at both tails.
const EDGES: [f32; CLASSES - 1] = [
    0.005, 0.01, 0.02, 0.035, 0.05, 0.08, 0.14, 0.2, 0.35, 0.5, 0.65, 0.8, 0.86, 0.9, 0.92, 0.935,
    0.945, 0.95, 0.955, 0.96, 0.965, 0.97, 0.975, 0.98, 0.985, 0.99, 0.995,
];

/// Classes of distances.
pub(super) const CLASSES: usize = 28;

/// Which of the edges are those of wide classes, but for where a wider gap is near: confidants are chosen
/// by wide classes, and where a class is seldom, its wide class speaks for it.
const WIDE_EDGES: [usize; WIDES - 1] = [2, 5, 7, 9, 11, 14, 20];

/// How many edges further a wider gap may be.
const NEAR: usize = 2;

/// The wide class of each class.
type Wide = [usize; CLASSES];

/// Wide classes.
const WIDES: usize = 8;

/// How much likelier each class is than by itself.
pub(super) type Ratios = [f32; CLASSES];

/// Whose times: (token, parent token, whether it is the first with this token in its trace).
pub(super) type Teller = (u32, u32, bool);

/// Tellers that may hear others, and be heard, at most: the most frequent.
const LISTENERS: usize = 384;

/// Listeners whose confidants are looked for at once: what is counted for so many takes 50 MB at most.
const AT_ONCE: usize = 64;

/// Spans that a listener needs.
const SPANS: u32 = 150;

/// Spans that are counted, at most.
const COUNTED: usize = 600_000;

/// Nats that a confidant must tell beyond chance, per span of the listener: also of those before which it
/// was not there.
const WORTH: f64 = 0.02;

/// By how much twice the nats of all spans must exceed their degrees of freedom: among a hundred
/// candidates that tell nothing, none does.
const SURE: f64 = 60.0;

/// Counts of a pair of classes that are taken to agree with what is expected.
const PRIOR: f32 = 1.0;

/// What a teller hears.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listener {
    /// Where others hear it.
    pub(super) voice: Option<u16>,
    /// Of the first span with its token: where others hear it as one of all that have its token and
    /// its parent's.
    pub(super) also: Option<u16>,
    /// Whom its start and its end hear.
    pub(super) confidants: [Option<Confidant>; 2],
    /// Classes of its own start and end.
    pub(super) classes: [Classes; 2],
}

impl Listener {
    /// Where others hear it.
    pub(super) fn voices(&self) -> impl Iterator<Item = u16> {
        self.voice.into_iter().chain(self.also)
    }
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

/// Where the classes of one side of a teller's times meet: keys (see [`super::StartMode::key`]) near the
/// levels of the edges, where the widest gap is, so that what lies beyond one, such as an injected delay, has classes to itself.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Classes([i64; CLASSES - 1]);

impl Default for Classes {
    fn default() -> Self {
        Self([0; CLASSES - 1])
    }
}

impl Classes {
    /// Fits them to keys, which get sorted.
    fn fit(keys: &mut [i64]) -> (Self, Wide) {
        keys.sort_unstable();
        let mut classes = Self::default();
        let mut gaps = [0.0; CLASSES - 1];
        let Some(last) = keys.len().checked_sub(1) else {
            return (classes, wide(&gaps));
        };
        let rank = |level: f32| (f64::from(level) * last as f64) as usize;
        for (at, edge) in classes.0.iter_mut().enumerate() {
            let level = EDGES[at];
            let before = at.checked_sub(1).map_or(0.0, |before| EDGES[before]);
            let after = EDGES.get(at + 1).copied().unwrap_or(1.0);
            let from = rank(level.midpoint(before)).max(1);
            let to = rank(level.midpoint(after));
            *edge = keys[rank(level)];
            for place in from..to {
                let gap = position(keys[place]) - position(keys[place - 1]);
                if gap > gaps[at] {
                    (gaps[at], *edge) = (gap, keys[place]);
                }
            }
        }
        (classes, wide(&gaps))
    }

    /// The class of a key.
    pub(super) fn of(&self, key: i64) -> usize {
        self.0.partition_point(|&edge| edge <= key)
    }

    /// Calls `each` with the class of each of the keys, which never decrease or never increase.
    pub(super) fn of_each(&self, keys: impl Iterator<Item = i64>, mut each: impl FnMut(usize)) {
        let mut class = None;
        for key in keys {
            let mut at = class.unwrap_or_else(|| self.of(key));
            while at < self.0.len() && self.0[at] <= key {
                at += 1;
            }
            while at > 0 && self.0[at - 1] > key {
                at -= 1;
            }
            class = Some(at);
            each(at);
        }
    }

    fn is_sound(&self) -> bool {
        self.0.is_sorted()
    }
}

/// The wide class of each class, from the gaps at the edges.
fn wide(gaps: &[f64; CLASSES - 1]) -> Wide {
    let mut wide = [0; CLASSES];
    for edge in WIDE_EDGES {
        let near = edge.saturating_sub(NEAR)..=(edge + NEAR).min(CLASSES - 2);
        let widest = near.max_by(|&a, &b| {
            let nearer = |at: usize| std::cmp::Reverse(at.abs_diff(edge));
            gaps[a].total_cmp(&gaps[b]).then(nearer(a).cmp(&nearer(b)))
        });
        let first = widest.unwrap_or(edge) + 1;
        wide[first..].iter_mut().for_each(|wide| *wide += 1);
    }
    wide
}

/// The score in the middle of a class (see [`super::table::score`]).
pub(super) fn score_of_class(class: usize) -> f32 {
    let low = class.checked_sub(1).map_or(0.0, |at| EDGES[at]);
    let high = EDGES.get(class).copied().unwrap_or(1.0);
    score(low.midpoint(high))
}

impl Confidant {
    /// What it says when it is of this class.
    pub(super) fn says(&self, class: usize) -> &Ratios {
        &self.ratios[class]
    }

    fn is_sound(&self, voices: usize) -> bool {
        let sound = |ratio: &f32| ratio.is_finite() && *ratio > 0.0;
        self.voice.is_none_or(|voice| usize::from(voice) < voices)
            && self.side < 2
            && self.ratios.iter().flatten().all(sound)
    }
}

/// The classes of start and end of each voice.
pub(super) fn voices(listeners: &Listeners) -> Vec<[Classes; 2]> {
    let spoken = listeners
        .values()
        .filter_map(|it| Some((it.voice?, it.classes)));
    let spoken: BTreeMap<u16, [Classes; 2]> = spoken.collect();
    let most = spoken
        .last_key_value()
        .map_or(0, |(&most, _)| usize::from(most) + 1);
    let mut voices = vec![<[Classes; 2]>::default(); most];
    for (voice, classes) in spoken {
        voices[usize::from(voice)] = classes;
    }
    voices
}

/// Whether nobody hears what there is not, and no ratio is out of range.
pub(super) fn are_sound(listeners: &Listeners) -> bool {
    let voices = voices(listeners).len();
    let also = listeners.values().filter_map(|listener| listener.also);
    let classes = listeners.values().flat_map(|it| &it.classes);
    let confidants = listeners.values().flat_map(|it| &it.confidants).flatten();
    voices <= LISTENERS
        && also.into_iter().all(|voice| usize::from(voice) < voices)
        && classes.into_iter().all(Classes::is_sound)
        && confidants.into_iter().all(|it| it.is_sound(voices))
}

/// Teller and keys (of start and end) of each span of a trace, in the order of the walk.
pub(super) type Told = Vec<(Teller, [i64; 2])>;

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
    let mut listeners: Vec<Listener> = vec![Listener::default(); ranked.len()];
    let wides = classify(traces, &places, &mut listeners);
    let shares = shares(traces, &places, &listeners);
    hear(traces, &places, &mut listeners, &wides, &shares);
    let confidants = listeners.iter().flat_map(|it| &it.confidants).flatten();
    let mut heard: Vec<u16> = confidants.filter_map(|it| it.voice).collect();
    heard.sort_unstable();
    heard.dedup();
    // Only those that somebody hears keep a voice.
    for (number, &voice) in heard.iter().enumerate() {
        listeners[usize::from(voice)].voice = Some(number as u16);
    }
    for at in 0..ranked.len() {
        let (token, parent, first) = ranked[at].0;
        let later = places.get(&(token, parent, false)).filter(|_| first);
        listeners[at].also = later.and_then(|&later| listeners[later].voice);
    }
    let number = |voice| heard.partition_point(|&known| known < voice) as u16;
    let confidants = listeners.iter_mut().flat_map(|it| &mut it.confidants);
    for confidant in confidants.flatten() {
        confidant.voice = confidant.voice.map(number);
    }
    let tellers = ranked.into_iter().map(|(teller, _)| teller);
    let says =
        |it: &Listener| it.voices().next().is_some() || it.confidants.iter().any(Option::is_some);
    tellers.zip(listeners).filter(|(_, it)| says(it)).collect()
}

/// Finds the classes of each listener's times.
fn classify(
    traces: &[Told],
    places: &HashMap<Teller, usize, FixedState>,
    listeners: &mut [Listener],
) -> Vec<[Wide; 2]> {
    let mut keys: Vec<[Vec<i64>; 2]> = vec![Default::default(); listeners.len()];
    let mut left = COUNTED;
    for (teller, told) in traces.iter().flatten() {
        if left == 0 {
            break;
        }
        left -= 1;
        if let Some(&at) = places.get(teller) {
            let sides = keys[at].iter_mut().zip(told);
            sides.for_each(|(keys, &key)| keys.push(key));
        }
    }
    let fitted = listeners.iter_mut().zip(keys).map(|(listener, mut keys)| {
        let [start, end] = keys.each_mut().map(|keys| Classes::fit(keys));
        listener.classes = [start.0, end.0];
        [start.1, end.1]
    });
    fitted.collect()
}

/// Shares of the classes of each listener's start and end.
fn shares(
    traces: &[Told],
    places: &HashMap<Teller, usize, FixedState>,
    listeners: &[Listener],
) -> Vec<[Ratios; 2]> {
    let mut shares = vec![[[0.0; CLASSES]; 2]; listeners.len()];
    let all = 0..listeners.len();
    walk(traces, places, (listeners, &all), |at, own, _| {
        for (shares, own) in shares[at].iter_mut().zip(own) {
            shares[own] += 1.0;
        }
    });
    for shares in shares.iter_mut().flatten() {
        let all: f32 = shares.iter().sum();
        shares.iter_mut().for_each(|share| *share /= all.max(1.0));
    }
    shares
}

/// Visits all spans of some of the listeners, with the classes of their starts and ends and of what they
/// could hear.
fn walk(
    traces: &[Told],
    places: &HashMap<Teller, usize, FixedState>,
    (listeners, some): (&[Listener], &Range<usize>),
    mut visit: impl FnMut(usize, [usize; 2], &[Option<[usize; 2]>]),
) {
    let mut last: Vec<Option<[usize; 2]>> = Vec::new();
    let mut left = COUNTED;
    for trace in traces {
        if left < trace.len() {
            break;
        }
        left -= trace.len();
        last.clear();
        last.resize(places.len(), None);
        for (teller, keys) in trace {
            let Some(&at) = places.get(teller) else {
                continue;
            };
            let classes = |at: usize| {
                let [start, end] = &listeners[at].classes;
                [start.of(keys[0]), end.of(keys[1])]
            };
            if some.contains(&at) {
                visit(at, classes(at), &last);
            }
            let later = places.get(&(teller.0, teller.1, false));
            for at in [Some(&at), later.filter(|_| teller.2)]
                .into_iter()
                .flatten()
            {
                last[*at] = Some(classes(*at));
            }
        }
    }
}

/// How often pairs of classes occurred, and how often they would by chance.
#[derive(Clone)]
struct Pairs<const R: usize, const C: usize> {
    counts: [[u32; C]; R],
    expected: [[f32; C]; R],
}

impl<const R: usize, const C: usize> Default for Pairs<R, C> {
    fn default() -> Self {
        Self {
            counts: [[0; C]; R],
            expected: [[0.0; C]; R],
        }
    }
}

impl<const R: usize, const C: usize> Pairs<R, C> {
    fn add(&mut self, row: usize, column: usize, chances: &[f32; C]) {
        self.counts[row][column] += 1;
        let expected = self.expected[row].iter_mut().zip(chances);
        expected.for_each(|(expected, chance)| *expected += chance);
    }
}

/// Of wide classes.
type Wides = Pairs<WIDES, WIDES>;

/// What a listener could hear: by voice, own side, and side of the voice.
type Heard = Vec<Option<Box<[[Wides; 2]; 2]>>>;

/// Whom a side is to hear: a voice and its side, or the own start.
type Choice = (Option<u16>, u8);

/// Gives each listener's sides the confidants that tell most.
fn hear(
    traces: &[Told],
    places: &HashMap<Teller, usize, FixedState>,
    listeners: &mut [Listener],
    wides: &[[Wide; 2]],
    shares: &[[Ratios; 2]],
) {
    let mut chosen: Vec<[Option<Choice>; 2]> = Vec::with_capacity(listeners.len());
    while chosen.len() < listeners.len() {
        let some = chosen.len()..(chosen.len() + AT_ONCE).min(listeners.len());
        chosen.extend(choose(traces, places, (listeners, some), wides, shares));
    }
    let mut fine: Vec<[Pairs<CLASSES, CLASSES>; 2]> = vec![Default::default(); listeners.len()];
    let all = 0..listeners.len();
    walk(traces, places, (listeners, &all), |at, own, last| {
        for side in 0..2 {
            let heard = match chosen[at][side] {
                None => None,
                Some((None, _)) => Some(own[0]),
                Some((Some(voice), of)) => {
                    last[usize::from(voice)].map(|said| said[usize::from(of)])
                }
            };
            if let Some(heard) = heard {
                fine[at][side].add(heard, own[side], &shares[at][side]);
            }
        }
    });
    for (at, listener) in listeners.iter_mut().enumerate() {
        for (side, confidant) in listener.confidants.iter_mut().enumerate() {
            let Some((voice, of)) = chosen[at][side] else {
                continue;
            };
            let heard = voice.map_or(at, usize::from);
            let (rows, columns) = (&wides[heard][usize::from(of)], &wides[at][side]);
            *confidant = Some(Confidant {
                voice,
                side: of,
                ratios: ratios(&fine[at][side], rows, columns),
            });
        }
    }
}

/// Whom start and end of each of some listeners are to hear.
fn choose(
    traces: &[Told],
    places: &HashMap<Teller, usize, FixedState>,
    (listeners, some): (&[Listener], Range<usize>),
    wides: &[[Wide; 2]],
    shares: &[[Ratios; 2]],
) -> Vec<[Option<Choice>; 2]> {
    let mut pairs: Vec<Heard> = vec![vec![None; listeners.len()]; some.len()];
    let mut starts: Vec<Wides> = vec![Wides::default(); some.len()];
    walk(traces, places, (listeners, &some), |at, own, last| {
        let (starts, pairs) = (&mut starts[at - some.start], &mut pairs[at - some.start]);
        for side in 0..2 {
            let chances = shares[at][side];
            let column = &wides[at][side];
            let mut wide = [0.0; WIDES];
            for (class, chance) in column.iter().zip(chances) {
                wide[*class] += chance;
            }
            let column = column[own[side]];
            if side == 1 {
                starts.add(wides[at][0][own[0]], column, &wide);
            }
            for (voice, (said, pairs)) in last.iter().zip(&mut *pairs).enumerate() {
                if let Some(said) = said {
                    let pairs = &mut pairs.get_or_insert_default()[side];
                    for (of, pairs) in pairs.iter_mut().enumerate() {
                        pairs.add(wides[voice][of][said[of]], column, &wide);
                    }
                }
            }
        }
    });
    let choose = |(starts, pairs): (&Wides, &Heard)| {
        let spans: u32 = starts.counts.iter().flatten().sum();
        std::array::from_fn(|side| {
            let start = (side == 1).then_some((None, 0, starts));
            let earlier = pairs.iter().enumerate().flat_map(|(voice, pairs)| {
                let sides = pairs
                    .iter()
                    .flat_map(|pairs| pairs[side].iter())
                    .enumerate();
                sides.map(move |(of, pairs)| (Some(voice as u16), of as u8, pairs))
            });
            let (mut most, mut chosen) = (f64::NEG_INFINITY, None);
            for (voice, of, pairs) in start.into_iter().chain(earlier) {
                if let Some(nats) = beyond_expected(pairs, spans.into())
                    && nats > most
                {
                    (most, chosen) = (nats, Some((voice, of)));
                }
            }
            chosen
        })
    };
    starts.iter().zip(&pairs).map(choose).collect()
}

/// The same pairs, rows and columns put together.
fn widened<const R: usize, const C: usize>(
    pairs: &Pairs<CLASSES, CLASSES>,
    rows: &Wide,
    columns: &Wide,
) -> Pairs<R, C> {
    let mut wide = Pairs::default();
    for (row, &to) in rows.iter().enumerate() {
        for (column, &at) in columns.iter().enumerate() {
            wide.counts[to][at] += pairs.counts[row][column];
            wide.expected[to][at] += pairs.expected[row][column];
        }
    }
    wide
}

/// How many nats all classes are likelier, given others, than by themselves, less what chance gives on
/// average; none if that is not enough for so many spans.
fn beyond_expected<const N: usize>(pairs: &Pairs<N, N>, spans: f64) -> Option<f64> {
    let (mut rows, mut columns, mut nats) = ([0; N], [0; N], 0.0);
    for (row, (counts, expected)) in pairs.counts.iter().zip(&pairs.expected).enumerate() {
        for (column, (&count, &expected)) in counts.iter().zip(expected).enumerate() {
            rows[row] += count;
            columns[column] += count;
            if count > 0 {
                let times = f64::from(count) / f64::from(expected.max(1e-6));
                nats += f64::from(count) * times.ln();
            }
        }
    }
    let all: u32 = rows.iter().sum();
    if all < SPANS {
        return None;
    }
    let filled = |sums: &[u32]| sums.iter().filter(|sum| **sum > 0).count() as f64 - 1.0;
    let freedom = filled(&rows) * filled(&columns);
    let beyond = nats - freedom / 2.0;
    (beyond > WORTH * spans && 2.0 * nats - freedom > SURE).then_some(beyond)
}

/// How much likelier each pair of classes is than expected, given how much likelier that is by default.
fn smoothed<const R: usize, const C: usize>(
    pairs: &Pairs<R, C>,
    default: impl Fn(usize, usize) -> f32,
) -> [[f32; C]; R] {
    let mut ratios = [[1.0; C]; R];
    for (row, ratios) in ratios.iter_mut().enumerate() {
        for (column, ratio) in ratios.iter_mut().enumerate() {
            let (count, expected) = (pairs.counts[row][column], pairs.expected[row][column]);
            *ratio = (count as f32 + PRIOR * default(row, column)) / (expected + PRIOR);
        }
    }
    ratios
}

/// Where a row is seldom, the others of its wide class speak for it; where a column is as well, the others
/// of its own do.
fn ratios(pairs: &Pairs<CLASSES, CLASSES>, rows: &Wide, columns: &Wide) -> [Ratios; CLASSES] {
    let all: Wide = std::array::from_fn(|class| class);
    let wide: Pairs<WIDES, WIDES> = widened(pairs, rows, columns);
    let wide = smoothed(&wide, |_, _| 1.0);
    let half: Pairs<WIDES, CLASSES> = widened(pairs, rows, &all);
    let half = smoothed(&half, |row, column| wide[row][columns[column]]);
    smoothed(pairs, |row, column| half[rows[row]][column])
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;
    use crate::chance::Rng;

    /// Traces of three spans with ends drawn by `draw`; starts are all the same.
    fn fitted(draw: impl Fn(&mut Rng) -> [f32; 3]) -> Listeners {
        let mut rng = Rng::seed_from_u64(1);
        let mut trace = || {
            let ends = draw(&mut rng).into_iter().enumerate();
            let told = ends.map(|(at, end)| ((at as u32, 9, true), [0, (end * 1e6) as i64]));
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
            let said = confidant.says(CLASSES - 1)[CLASSES - 1];
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
