//! What training traces taught about times: habits and quantile bins per context.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};

use super::survey::{self, Anchor, Habit, HungSpan, References};
use super::table::Table;
use super::{BINS, EndMode, StartMode};
use crate::features::{Place, Skeleton, Token};
use crate::trace::Trace;

/// Values that bins of (operation, parent operation, mode, sibling index) need; with fewer, those
/// of (operation, mode) are used.
const FINE_VALUES: usize = 150;

/// Values that bins of (operation, mode) need; with fewer, those of the mode are used.
const COARSE_VALUES: usize = 30;

/// Spans that a habit is chosen from, at least.
const HABIT_SPANS: usize = 8;

/// Contexts with bins of their own, at most.
const MAX_TABLES: usize = 16_384;

/// Sibling indices that are told apart: first, second, later.
const INDICES: u32 = 2;

/// In place of a token: no matter which, or none.
const ANY: u32 = u32::MAX;

/// Whose bins: (token, parent token, start mode or end mode after the start modes, sibling index).
type Context = (u32, u32, u8, u32);

/// Whose habit: (token, parent token, whether it has no children).
type Pair = (u32, u32, bool);

/// The codes of times: how ends hang, and which distance each bin stands for.
///
/// Fitted to training traces as a whole ([`Coder::fit`]) and never changed after that: what was
/// encoded with one is to be decoded with the same. To follow a system, fit a new one to the
/// traces at hand now and encode them again; levels keep their meaning, so that weights carry
/// over. The same traces in the same order give the same coder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Saved", into = "Saved")]
pub struct Coder {
    habits: HashMap<Pair, Habit, FixedState>,
    tables: HashMap<Context, Table, FixedState>,
    unfitted: Table,
}

/// A coder as a checkpoint holds it: in order.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    habits: Vec<(Pair, Habit)>,
    tables: Vec<(Context, Table)>,
}

impl Default for Coder {
    /// A coder that has seen nothing: wide bins for everything, no span held open.
    fn default() -> Self {
        Self {
            habits: HashMap::default(),
            tables: HashMap::default(),
            unfitted: Table::unfitted(),
        }
    }
}

impl Coder {
    /// Fits habits and bins. Traces that have no codes (see [`super::Unencodable`]) are left out.
    pub fn fit<'a>(traces: impl Iterator<Item = (&'a Trace, &'a [Token])> + Clone) -> Self {
        let mut coder = Self::default();
        let mut spans: BTreeMap<Pair, Vec<References>> = BTreeMap::new();
        for (trace, tokens) in traces.clone() {
            let skeleton = Skeleton::of_trace(trace);
            let Ok(references) = survey::references(trace, &skeleton) else {
                continue;
            };
            if tokens.len() != references.len() {
                continue;
            }
            for (at, references) in references.into_iter().enumerate() {
                let pair = pair(&skeleton.places()[at], tokens, at);
                spans.entry(pair).or_default().push(references);
            }
        }
        coder.habits = spans
            .into_iter()
            .map(|(pair, spans)| (pair, habit(pair.2, &spans)))
            .filter(|(_, habit)| *habit != Habit::default())
            .collect();
        coder.tables = coder.survey(traces);
        coder
    }

    /// Collects the distances of every context and fits the bins of those that have enough.
    fn survey<'a>(
        &self,
        traces: impl Iterator<Item = (&'a Trace, &'a [Token])>,
    ) -> HashMap<Context, Table, FixedState> {
        let mut values: BTreeMap<Context, Vec<u64>> = BTreeMap::new();
        for (trace, tokens) in traces {
            let skeleton = Skeleton::of_trace(trace);
            let Ok(hung) = self.hung(trace, &skeleton, tokens) else {
                continue;
            };
            for (at, (start, end)) in hung.into_iter().enumerate() {
                let place = &skeleton.places()[at];
                let mut keep = |slot, distance| {
                    let context = context(place, tokens, at, slot);
                    values.entry(context).or_default().push(distance);
                };
                if at > 0 {
                    keep(start_slot(start.0), start.1);
                }
                keep(end_slot(end.0), end.1);
            }
        }
        let mut coarse: BTreeMap<Context, Vec<u64>> = BTreeMap::new();
        for ((token, _, slot, _), distances) in &values {
            for context in [(*token, ANY, *slot, 0), (ANY, ANY, *slot, 0)] {
                coarse.entry(context).or_default().extend(distances);
            }
        }
        values.retain(|_, distances| distances.len() >= FINE_VALUES);
        coarse.retain(|context, distances| context.0 == ANY || distances.len() >= COARSE_VALUES);
        // Coarse ones first: they stand in for whatever finds no room.
        let fitted = coarse.into_iter().chain(values).take(MAX_TABLES);
        fitted
            .map(|(context, mut distances)| (context, Table::fit(&mut distances)))
            .collect()
    }

    /// How start and end of every span hang.
    pub(super) fn hung(
        &self,
        trace: &Trace,
        skeleton: &Skeleton,
        tokens: &[Token],
    ) -> Result<Vec<HungSpan>, super::Unencodable> {
        if tokens.len() != trace.spans().len() {
            return Err(super::Unencodable::Tokens);
        }
        survey::hung(trace, skeleton, |at| {
            let pair = pair(&skeleton.places()[at], tokens, at);
            self.habits.get(&pair).copied().unwrap_or_default()
        })
    }

    /// The bins of a span's start in this mode.
    pub(super) fn start(
        &self,
        place: &Place,
        tokens: &[Token],
        at: usize,
        mode: StartMode,
    ) -> &Table {
        self.table(context(place, tokens, at, start_slot(mode)))
    }

    /// The bins of a span's end in this mode.
    pub(super) fn end(&self, place: &Place, tokens: &[Token], at: usize, mode: EndMode) -> &Table {
        self.table(context(place, tokens, at, end_slot(mode)))
    }

    /// Share of training values in each bin of a span's start: where a network that knows nothing
    /// else should begin.
    pub fn start_shares(
        &self,
        skeleton: &Skeleton,
        tokens: &[Token],
        at: usize,
        mode: StartMode,
    ) -> [f32; BINS] {
        self.start(&skeleton.places()[at], tokens, at, mode)
            .shares()
    }

    /// As [`Coder::start_shares`], of a span's end.
    pub fn end_shares(
        &self,
        skeleton: &Skeleton,
        tokens: &[Token],
        at: usize,
        mode: EndMode,
    ) -> [f32; BINS] {
        self.end(&skeleton.places()[at], tokens, at, mode).shares()
    }

    fn table(&self, (token, parent, slot, index): Context) -> &Table {
        let fine = self.tables.get(&(token, parent, slot, index));
        fine.or_else(|| self.tables.get(&(token, ANY, slot, 0)))
            .or_else(|| self.tables.get(&(ANY, ANY, slot, 0)))
            .unwrap_or(&self.unfitted)
    }
}

fn start_slot(mode: StartMode) -> u8 {
    mode as u8
}

fn end_slot(mode: EndMode) -> u8 {
    super::START_MODES as u8 + mode as u8
}

fn parent_token(place: &Place, tokens: &[Token]) -> u32 {
    place
        .parent
        .map_or(ANY - 1, |parent| tokens[parent as usize].0)
}

fn context(place: &Place, tokens: &[Token], at: usize, slot: u8) -> Context {
    (
        tokens[at].0,
        parent_token(place, tokens),
        slot,
        place.index.min(INDICES),
    )
}

fn pair(place: &Place, tokens: &[Token], at: usize) -> Pair {
    (
        tokens[at].0,
        parent_token(place, tokens),
        place.children == 0,
    )
}

/// Chooses what ends hang on: that from which they scatter least. A tie goes to what is nearer.
fn habit(leaf: bool, spans: &[References]) -> Habit {
    let mut habit = Habit::default();
    if !leaf && spans.len() >= HABIT_SPANS {
        habit.last_start = scatter(spans.iter().map(|span| span.end - span.last_start))
            < scatter(spans.iter().map(|span| span.end - span.children));
    }
    let overlapped = |span: &References| span.later.filter(|&(_, next)| span.end > next);
    let open: Vec<(i64, i64, i64)> = spans
        .iter()
        .filter_map(|span| {
            let (later, next) = overlapped(span)?;
            let own = if habit.last_start {
                span.last_start
            } else {
                span.children
            };
            Some((span.end - own, span.end - later, span.end - next))
        })
        .collect();
    if open.len() >= HABIT_SPANS {
        let own = scatter(open.iter().map(|distances| distances.0));
        let later = scatter(open.iter().map(|distances| distances.1));
        let next = scatter(open.iter().map(|distances| distances.2));
        if later < own && later <= next {
            habit.anchor = Anchor::Later;
        } else if next < own {
            habit.anchor = Anchor::Next;
        }
    }
    habit
}

/// The median absolute deviation from the median.
fn scatter(values: impl Iterator<Item = i64>) -> u64 {
    let mut values: Vec<i64> = values.collect();
    let middle = values.len() / 2;
    let median = *values.select_nth_unstable(middle).1;
    let mut deviations: Vec<u64> = values.iter().map(|value| value.abs_diff(median)).collect();
    *deviations.select_nth_unstable(middle).1
}

impl From<Coder> for Saved {
    fn from(coder: Coder) -> Self {
        let mut saved = Self {
            habits: coder.habits.into_iter().collect(),
            tables: coder.tables.into_iter().collect(),
        };
        saved.habits.sort_unstable_by_key(|(pair, _)| *pair);
        saved.tables.sort_unstable_by_key(|(context, _)| *context);
        saved
    }
}

impl TryFrom<Saved> for Coder {
    type Error = &'static str;

    fn try_from(saved: Saved) -> Result<Self, Self::Error> {
        if !saved.tables.iter().all(|(_, table)| table.is_sound()) {
            return Err("a table of time bins is damaged");
        }
        Ok(Self {
            habits: saved.habits.into_iter().collect(),
            tables: saved.tables.into_iter().collect(),
            unfitted: Table::unfitted(),
        })
    }
}
