//! Tells drawn traces from observed ones, and says how many of the drawn ones to keep.
//!
//! A decoder is right step by step; what a trace is over its whole length it only comes to. The
//! discriminator looks at whole traces. Its odds are the ratio of the density of observed traces to
//! that of drawn ones, and a drawn trace is kept with a chance in proportion to them, so that what
//! is kept is nearer to the observed distribution (Azadi et al. 2019, "Discriminator rejection
//! sampling", section 3). A trace is a function of its latents, so this refits the prior: it is the
//! resampled prior of Bauer and Mnih (2019), its acceptance read off the trace. It is learnt from
//! traces that the VAE learns from too, never from held-out ones, and keeps trees over numbers: no
//! trace and no text.

mod strata;
mod summary;

use std::collections::{BTreeMap, HashMap, HashSet};

use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};

use super::{Sampled, Token};
use crate::model::{Forest, Growth, Rows, Ungrown};
use crate::trace::Trace;
pub use strata::Stratum;
use strata::{Root, Strata};
use summary::{Column, Summary};

/// Traces that a column needs in which it is not what it is in most.
const FEW: u32 = 20;
/// Numbers of the table that is learnt from, at most: with more traces, fewer columns.
const CELLS: usize = 8_000_000;
/// Observed traces that are learnt from, at most.
const OBSERVED: usize = 12_000;
/// Of the drawn traces, one in so many is not learnt from: how many are kept is settled by what is
/// said of these.
const UNLEARNT: usize = 4;
/// Parts of the traces; each forest that looks closely learns from all but one of them.
const PARTS: usize = 3;
/// How those are grown.
const CLOSE: Growth = Growth {
    trees: 150,
    leaves: 31,
    rate: 0.05,
    least: 40.0,
    columns: (0.3, 80),
    pull: 40.0,
};
/// How the one is grown that weighs what they say of traces that they have not seen.
const WIDE: Growth = Growth {
    trees: 200,
    leaves: 8,
    rate: 0.05,
    least: 160.0,
    columns: (0.5, 128),
    pull: 40.0,
};

/// Says of drawn traces how likely each is to be kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Told", into = "Told")]
pub struct Discriminator {
    columns: Columns,
    /// Each learnt from all parts of the traces but one.
    close: [Forest; PARTS],
    /// Learnt from all columns and what each of those says of the part that it has not seen.
    whole: Forest,
    /// How many are kept of those of a kind.
    strata: Strata,
}

/// What the numbers of a row are.
#[derive(Debug, Clone, PartialEq, Default)]
struct Columns {
    columns: Vec<Column>,
    places: HashMap<Column, u32, FixedState>,
}

impl From<Vec<Column>> for Columns {
    fn from(columns: Vec<Column>) -> Self {
        Self {
            places: columns.iter().copied().zip(0..).collect(),
            columns,
        }
    }
}

impl Columns {
    /// The row of the trace that was looked at last.
    fn read(&self, look: &mut Look) {
        let Look { summary, row } = look;
        row.clear();
        row.extend(self.columns.iter().map(|column| column.absent()));
        summary.tell(|column, part| {
            if let Some(&at) = self.places.get(&column) {
                let value = &mut row[at as usize];
                *value = if value.is_nan() { part } else { *value + part };
            }
        });
    }
}

/// What of it is written down.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Told {
    columns: Vec<Column>,
    close: [Forest; PARTS],
    whole: Forest,
    strata: Strata,
}

impl From<Discriminator> for Told {
    fn from(discriminator: Discriminator) -> Self {
        Self {
            columns: discriminator.columns.columns,
            close: discriminator.close,
            whole: discriminator.whole,
            strata: discriminator.strata,
        }
    }
}

impl TryFrom<Told> for Discriminator {
    type Error = &'static str;

    fn try_from(told: Told) -> Result<Self, Self::Error> {
        let sound = |forests: &[Forest]| forests.iter().all(Forest::is_sound);
        if !sound(&told.close) || !told.whole.is_sound() {
            return Err("a tree of the discriminator leads nowhere");
        }
        Ok(Self {
            columns: told.columns.into(),
            close: told.close,
            whole: told.whole,
            strata: told.strata,
        })
    }
}

/// Looks at drawn traces for a [`Discriminator`]; buffers that are used again.
#[derive(Debug, Default)]
pub struct Look {
    summary: Summary,
    row: Vec<f32>,
}

impl Discriminator {
    /// Learns to tell observed traces, each with its tokens and how much it counts, from drawn ones.
    /// Takes time in proportion to the traces, and holds up to 8 million numbers in two forms.
    ///
    /// Forests that look closely know the traces that they learnt from by heart, and would call a
    /// trace drawn because it is none of the observed ones, most of all one that is long or slow.
    /// So each learns from a part of the traces, and what it says of the others is weighed. Whatever
    /// learnt from a drawn trace says "drawn" of it more surely than of the next one, so how many
    /// are kept is settled by drawn traces that none has learnt from.
    pub fn fit<'a>(
        observed: impl Iterator<Item = (&'a Trace, &'a [Token], f32)> + Clone,
        drawn: &[Sampled],
    ) -> Result<Self, Ungrown> {
        let (learnt, unlearnt) = drawn.split_at(drawn.len() - drawn.len() / UNLEARNT);
        let look = &mut Look::default();
        let seen = seen(observed.clone(), look);
        let Crosswise {
            columns,
            mut table,
            mut roots,
            close,
            said,
        } = Crosswise::learn(observed, learnt)?;
        table.widen(&said);
        let mut discriminator = Self {
            whole: table.grow(0..said.len(), &WIDE)?,
            columns,
            close,
            strata: Strata::default(),
        };
        let told = discriminator.told(unlearnt, look);
        roots.extend(told.iter().map(|&(root, _)| root));
        discriminator.strata = Strata::of(&seen, &roots, &told);
        discriminator.only_asked();
        Ok(discriminator)
    }

    /// How surely drawn traces are told from observed ones: the area under the curve of what forests
    /// say of traces that they have not learnt from. 0.5 is guessing.
    pub fn apart<'a>(
        observed: impl Iterator<Item = (&'a Trace, &'a [Token], f32)> + Clone,
        drawn: &[Sampled],
    ) -> Result<f64, Ungrown> {
        let Crosswise { table, said, .. } = Crosswise::learn(observed, drawn)?;
        Ok(area(&said, &table.truths, &table.weights))
    }

    /// The same, but that bounds are settled by other drawn traces: those of a generator that has
    /// moved on a little, none of which any forest has learnt from.
    pub fn with_bounds<'a>(
        &self,
        observed: impl Iterator<Item = (&'a Trace, &'a [Token], f32)>,
        drawn: &[Sampled],
    ) -> Self {
        let look = &mut Look::default();
        let seen = seen(observed, look);
        let told = self.told(drawn, look);
        let roots: Vec<Root> = told.iter().map(|&(root, _)| root).collect();
        Self {
            strata: Strata::of(&seen, &roots, &told),
            ..self.clone()
        }
    }

    /// By how much a drawn trace is above the bound of its kind: the logarithm of the chance that it is
    /// kept, unless above 0, when it is kept. And which kind that is, if it is of any.
    pub fn above(&self, drawn: &Sampled, look: &mut Look) -> (f32, Option<Stratum>) {
        let odds = self.tell(drawn, look);
        self.strata.above(look.summary.root(), odds)
    }

    /// What it kept of the drawn traces on average when it was fitted.
    pub fn kept(&self) -> f64 {
        self.strata.kept
    }

    /// Of each drawn trace what decides of its kind, and its log-odds of being observed.
    fn told(&self, drawn: &[Sampled], look: &mut Look) -> Vec<(Root, f32)> {
        let tell = |drawn| {
            let odds = self.tell(drawn, look);
            (look.summary.root(), odds)
        };
        drawn.iter().map(tell).collect()
    }

    fn tell(&self, drawn: &Sampled, look: &mut Look) -> f32 {
        look.summary.of_drawn(drawn);
        self.columns.read(look);
        let said = self.close.iter().map(|forest| forest.tell(&look.row));
        let said = said.sum::<f32>() / PARTS as f32;
        look.row.push(said);
        self.whole.tell(&look.row)
    }

    /// Leaves out the columns that no tree asks of.
    fn only_asked(&mut self) {
        let columns = &self.columns.columns;
        let said = columns.len() as u32;
        let forests = self.close.iter().chain([&self.whole]);
        let mut asked: Vec<u32> = forests.flat_map(Forest::asks).collect();
        // The last column is what the others say; it stays the last.
        asked.push(said);
        asked.sort_unstable();
        asked.dedup();
        for forest in self.close.iter_mut().chain([&mut self.whole]) {
            forest.renumber(&asked);
        }
        let asked = asked.iter().filter(|&&at| at != said);
        let columns: Vec<Column> = asked.map(|&at| columns[at as usize]).collect();
        self.columns = columns.into();
    }
}

/// What decides of the kind of each observed trace, with how much it counts.
fn seen<'a>(
    observed: impl Iterator<Item = (&'a Trace, &'a [Token], f32)>,
    look: &mut Look,
) -> Vec<(Root, f32)> {
    let seen = observed.map(|(trace, tokens, weight)| {
        look.summary.of_observed(trace, tokens);
        (look.summary.root(), weight)
    });
    seen.collect()
}

/// Traces that are learnt from, and what is said of each by forests that have not learnt from it:
/// each learns from all parts but one.
struct Crosswise {
    columns: Columns,
    table: Table,
    /// What decides of the kind of each drawn trace.
    roots: Vec<Root>,
    close: [Forest; PARTS],
    /// Log-odds of being observed; first the observed ones.
    said: Vec<f32>,
}

impl Crosswise {
    fn learn<'a>(
        observed: impl Iterator<Item = (&'a Trace, &'a [Token], f32)> + Clone,
        drawn: &[Sampled],
    ) -> Result<Self, Ungrown> {
        let step = observed.clone().count().div_ceil(OBSERVED).max(1);
        let observed = observed.step_by(step);
        let look = &mut Look::default();
        let columns = columns(observed.clone(), drawn, &mut look.summary);
        let columns = Columns::from(columns);
        let (mut table, mut roots) = (Table::default(), Vec::new());
        for (trace, tokens, weight) in observed {
            look.summary.of_observed(trace, tokens);
            columns.read(look);
            table.add(&look.row, 1.0, weight);
        }
        let total: f32 = table.weights.iter().sum();
        let scale = drawn.len() as f32 / total.max(f32::MIN_POSITIVE);
        table.weights.iter_mut().for_each(|weight| *weight *= scale);
        for drawn in drawn {
            look.summary.of_drawn(drawn);
            columns.read(look);
            table.add(&look.row, 0.0, 1.0);
            roots.push(look.summary.root());
        }
        let rows = table.truths.len();
        let mut close: [Forest; PARTS] = Default::default();
        for (part, forest) in close.iter_mut().enumerate() {
            *forest = table.grow((0..rows).filter(|row| row % PARTS != part), &CLOSE)?;
        }
        let said = (0..rows).map(|row| close[row % PARTS].tell(table.row(row)));
        Ok(Self {
            said: said.collect(),
            columns,
            table,
            roots,
            close,
        })
    }
}

/// The area under the curve: the chance that more is said of a true row than of a false one, half of
/// that where as much is, each row by its weight.
fn area(said: &[f32], truths: &[f64], weights: &[f32]) -> f64 {
    let mut rows: Vec<usize> = (0..said.len()).collect();
    rows.sort_unstable_by(|&a, &b| said[a].total_cmp(&said[b]));
    let (mut won, mut below, mut all) = (0.0, 0.0, 0.0);
    for alike in rows.chunk_by(|&a, &b| said[a] == said[b]) {
        let [mut trues, mut falses] = [0.0; 2];
        for &row in alike {
            let weight = f64::from(weights[row]);
            trues += weight * truths[row];
            falses += weight * (1.0 - truths[row]);
        }
        won += trues * (below + falses / 2.0);
        below += falses;
        all += trues;
    }
    if all * below > 0.0 {
        won / (all * below)
    } else {
        0.5
    }
}

/// Rows to learn from.
#[derive(Debug, Default)]
struct Table {
    /// Row after row.
    values: Vec<f32>,
    truths: Vec<f64>,
    weights: Vec<f32>,
}

impl Table {
    fn add(&mut self, row: &[f32], truth: f64, weight: f32) {
        self.values.extend(row);
        self.truths.push(truth);
        self.weights.push(weight);
    }

    fn width(&self) -> usize {
        self.values.len() / self.truths.len().max(1)
    }

    fn row(&self, row: usize) -> &[f32] {
        let width = self.width();
        &self.values[row * width..(row + 1) * width]
    }

    /// Adds a column.
    fn widen(&mut self, column: &[f32]) {
        let width = self.width().max(1);
        let rows = self.values.chunks_exact(width).zip(column);
        self.values = rows
            .flat_map(|(row, last)| row.iter().chain([last]).copied())
            .collect();
    }

    /// Trees of some of the rows.
    fn grow(
        &self,
        rows: impl Iterator<Item = usize> + Clone,
        growth: &Growth,
    ) -> Result<Forest, Ungrown> {
        let width = self.width();
        let column = |column: usize| {
            rows.clone()
                .map(move |row| self.values[row * width + column])
        };
        let values: Vec<f64> = (0..width).flat_map(column).map(f64::from).collect();
        let truths: Vec<f64> = rows.clone().map(|row| self.truths[row]).collect();
        let weights: Vec<f64> = rows.map(|row| self.weights[row].into()).collect();
        let rows = Rows {
            values: &values,
            truths: &truths,
            weights: &weights,
        };
        Forest::grow(&rows, growth)
    }
}

/// What is known of a column before the table is filled.
#[derive(Debug, Default)]
struct Known {
    /// Traces of which it is told.
    told: u32,
    /// Its value in the first of them, and in how many it is another.
    first: f32,
    others: u32,
    /// Of its values and where they stand: equal columns have equal ones.
    print: u64,
}

/// The columns that tell some traces from others, of equal ones the first; in order.
fn columns<'a>(
    observed: impl Iterator<Item = (&'a Trace, &'a [Token], f32)>,
    drawn: &[Sampled],
    summary: &mut Summary,
) -> Vec<Column> {
    let mut known: HashMap<Column, Known, FixedState> = HashMap::default();
    let mut row: BTreeMap<Column, f32> = BTreeMap::new();
    let mut traces = 0;
    let mut note = |summary: &mut Summary| {
        row.clear();
        summary.tell(|column, part| *row.entry(column).or_default() += part);
        for (column, &value) in &row {
            let known = known.entry(*column).or_default();
            if known.told == 0 {
                known.first = value;
            }
            known.told += 1;
            known.others += u32::from(value.to_bits() != known.first.to_bits());
            known.print = known.print.wrapping_add(print(traces, value));
        }
        traces += 1;
    };
    for (trace, tokens, _) in observed {
        summary.of_observed(trace, tokens);
        note(summary);
    }
    for drawn in drawn {
        summary.of_drawn(drawn);
        note(summary);
    }
    let tells = |known: &Known| {
        let absent = traces - known.told;
        let alike = known.told - known.others;
        known.told >= FEW && traces - absent.max(alike) >= FEW
    };
    let some = known.into_iter().filter(|(_, known)| tells(known));
    let mut some: Vec<(Column, Known)> = some.collect();
    some.sort_unstable_by_key(|&(column, _)| column);
    let mut seen = HashSet::<u64, FixedState>::default();
    some.retain(|(_, known)| seen.insert(known.print));
    // Those that most traces have.
    some.sort_by_key(|(_, known)| std::cmp::Reverse(known.told));
    some.truncate(CELLS / (traces as usize).max(1));
    let mut columns: Vec<Column> = some.into_iter().map(|(column, _)| column).collect();
    columns.sort_unstable();
    columns
}

/// Of a value in a trace.
fn print(trace: u32, value: f32) -> u64 {
    let mixed =
        (u64::from(trace) << 32 | u64::from(value.to_bits())).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

#[cfg(test)]
mod tests {
    use rand::RngExt as _;

    use super::*;
    use crate::chance::{Rng, stream};
    use crate::features::SampledSpan;
    use crate::trace::{Span, SpanKind, StatusCode, Symbol};

    /// A root and a child, the child's duration about the root's half if they are one mood, and
    /// drawn by itself otherwise.
    fn times(rng: &mut Rng, one_mood: bool) -> [u64; 2] {
        let mood = |rng: &mut Rng| if rng.random::<bool>() { 1_000 } else { 8_000 };
        let root = mood(rng);
        let child = if one_mood { root } else { mood(rng) };
        let noise = |rng: &mut Rng| rng.random_range(0..400);
        [root + noise(rng), child / 2 + noise(rng)]
    }

    fn drawn([root, child]: [u64; 2]) -> Sampled {
        let span = |parent, token, duration| SampledSpan {
            parent,
            token: Token(token),
            status: StatusCode::Unset,
            profile: 0,
            start: 0,
            duration,
        };
        Sampled {
            spans: vec![span(None, 0, root), span(Some(0), 1, child)],
            links: Vec::new(),
        }
    }

    fn observed([root, child]: [u64; 2]) -> Trace {
        let span = |parent, duration| Span {
            parent,
            service: Symbol(1),
            operation: Symbol(1),
            profile: Symbol(0),
            kind: SpanKind::Internal,
            status: StatusCode::Unset,
            start: 0,
            duration,
        };
        Trace::new(vec![span(None, root), span(Some(0), child)], Vec::new()).unwrap()
    }

    const TOKENS: [Token; 2] = [Token(0), Token(1)];

    fn fitted() -> Discriminator {
        let rng = &mut stream(1, "discriminator");
        let traces: Vec<Trace> = (0..400).map(|_| observed(times(rng, true))).collect();
        let samples: Vec<Sampled> = (0..800).map(|_| drawn(times(rng, false))).collect();
        let observed = traces.iter().map(|trace| (trace, &TOKENS[..], 1.0));
        Discriminator::fit(observed, &samples).unwrap()
    }

    #[test]
    fn what_hangs_together_in_observed_traces_does_so_in_those_that_are_kept() {
        let discriminator = fitted();
        let rng = &mut stream(2, "discriminator");
        let mut look = Look::default();
        let (mut kept, mut alike) = (0, 0);
        for _ in 0..1_000 {
            let [root, child] = times(rng, false);
            let (above, _) = discriminator.above(&drawn([root, child]), &mut look);
            let chance = above.min(0.0).exp();
            if rng.random::<f32>() < chance {
                kept += 1;
                alike += u32::from((root > 4_000) == (child > 2_000));
            }
        }
        // Of those drawn it is one half.
        assert!(
            f64::from(alike) / f64::from(kept) > 0.95,
            "{alike} of {kept}"
        );
        let share = f64::from(kept) / 1_000.0;
        assert!((share - discriminator.kept()).abs() < 0.15, "{share}");
        assert!(share > 0.2, "{share}");
    }

    #[test]
    fn a_generator_that_moved_on_keeps_the_observed_mix_under_new_bounds() {
        let rng = &mut stream(3, "discriminator");
        // It has become too slow in three of four cases.
        let slow = |rng: &mut Rng| loop {
            let drawn = times(rng, false);
            if drawn[0] > 4_000 || rng.random::<f32>() < 0.33 {
                return drawn;
            }
        };
        let traces: Vec<Trace> = (0..400).map(|_| observed(times(rng, true))).collect();
        let samples: Vec<Sampled> = (0..800).map(|_| drawn(slow(rng))).collect();
        let seen = traces.iter().map(|trace| (trace, &TOKENS[..], 1.0));
        let old = fitted();
        let mut share = |discriminator: &Discriminator| {
            let mut look = Look::default();
            let kept: Vec<(f32, bool)> = (0..4_000)
                .map(|_| slow(rng))
                .map(|times| {
                    let (above, _) = discriminator.above(&drawn(times), &mut look);
                    let chance = above.min(0.0).exp();
                    (chance, times[0] > 4_000)
                })
                .collect();
            let sum = |slow: bool| {
                let some = kept.iter().filter(|(_, is)| !slow || *is);
                some.map(|(chance, _)| chance).sum::<f32>()
            };
            sum(true) / sum(false)
        };
        let (before, after) = (share(&old), share(&old.with_bounds(seen, &samples)));
        assert!(
            before > 0.65 && (after - 0.5).abs() < 0.07,
            "{before} {after}"
        );
    }

    #[test]
    fn written_and_read_it_says_the_same_and_a_damaged_one_is_refused() {
        let discriminator = fitted();
        let json = serde_json::to_string(&discriminator).unwrap();
        let read: Discriminator = serde_json::from_str(&json).unwrap();
        assert_eq!(read, discriminator);
        let mut value: serde_json::Value = serde_json::from_str(&json).unwrap();
        value["whole"]["next"][0] = serde_json::json!([0, 0, 0]);
        assert!(serde_json::from_value::<Discriminator>(value).is_err());
    }
}
