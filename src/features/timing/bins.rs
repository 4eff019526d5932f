//! Quantile bins per context, and which of them a span's times are told in.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};

use super::aspect::{self, ASPECTS, Aspect};
use super::callee;
use super::spot::{self, ANY, Given, INDICES, NONE, child_token, parent_token};
use super::step::TOLD;
use super::table::Table;
use super::{EndMode, START_MODES, StartMode};
use crate::features::{Place, Skeleton, Token};

/// Values that bins of (operation, parent operation, first child's operation, mode, sibling index)
/// need; with fewer, those without the child are used, and with too few of these, those of
/// (operation, mode).
const FINE_VALUES: usize = 150;

/// Values that must have an aspect in common to have bins of their own. Bins of fewer follow the chance of
/// their training traces more closely than they tell apart what differs.
const SPLIT_VALUES: usize = 600;

/// Values that bins of a class of calls need, however wide the context: with fewer, those of all classes are used.
const CALLED_VALUES: usize = 1_000;

/// Values that bins of (operation, mode) need; with fewer, those of the mode are used.
const COARSE_VALUES: usize = 30;

/// Contexts with bins of their own, at most.
const MAX_TABLES: usize = 16_384;

/// Whose bins: (token, parent token, first child's token, mode, sibling index).
pub(super) type Context = (u32, u32, u32, Slot, u32);

/// Distances of each context, with the aspects of their spans.
pub(super) type Values = BTreeMap<Context, Vec<(u64, [u32; ASPECTS])>>;

/// A start mode, or an end mode after the start modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Slot(u16);

/// What is added to the number of a mode in whose bins waits are, where the phase of the service is known, for its
/// long waits have a mode of their own there; and to that of such a mode where another's wait says the phase,
/// for that is known less exactly.
const KNOWN: u16 = 64;

/// What is added for each class of how much longer a call takes to the number of a mode that its callee starts in.
const CALLED: u16 = 128;

impl Slot {
    pub(super) fn start(mode: StartMode) -> Self {
        Self(mode as u16)
    }

    pub(super) fn end(mode: EndMode) -> Self {
        Self(START_MODES as u16 + mode as u16)
    }

    /// Its place among all modes.
    pub(super) fn number(self) -> usize {
        usize::from(self.0)
    }

    /// Whether it is that of a class of calls.
    fn is_called(self) -> bool {
        self.0 >= CALLED
    }

    /// The one whose bins are used where this is given.
    pub(super) fn at(self, given: Given) -> Self {
        const ENDS: u16 = START_MODES as u16;
        const GAP: u16 = StartMode::Gap as u16;
        const LATE: u16 = StartMode::BeforeCallersEnd as u16;
        const GAP_IN_STEP: u16 = StartMode::InStep as u16;
        const LEAF: u16 = ENDS + EndMode::Duration as u16;
        const LEAF_IN_STEP: u16 = ENDS + EndMode::InStep as u16;
        const CHILDREN: u16 = ENDS + EndMode::AfterChildren as u16;
        const CHILDREN_IN_STEP: u16 = ENDS + EndMode::ChildrenInStep as u16;
        if let Some(class) = callee::class(given) {
            let differs = matches!(self.0, GAP | LATE);
            return Self(
                self.0
                    + if differs {
                        CALLED * u16::from(class)
                    } else {
                        0
                    },
            );
        }
        let differs = match self.0 {
            GAP | LEAF | CHILDREN => given > 0,
            GAP_IN_STEP | LEAF_IN_STEP | CHILDREN_IN_STEP => given >= TOLD,
            _ => false,
        };
        Self(self.0 + if differs { KNOWN } else { 0 })
    }
}

/// The bins of all contexts.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bins {
    pub(super) tables: HashMap<Context, Table, FixedState>,
    /// What tells most about the times of a context, and the bins of those that have it in common.
    pub(super) aspects: HashMap<Context, Aspect, FixedState>,
    pub(super) split: HashMap<(Context, u32), Table, FixedState>,
    pub(super) unfitted: Table,
}

impl Default for Bins {
    /// Wide bins for everything.
    fn default() -> Self {
        Self {
            tables: HashMap::default(),
            aspects: HashMap::default(),
            split: HashMap::default(),
            unfitted: Table::unfitted(),
        }
    }
}

impl Bins {
    /// Those of the contexts that have enough distances.
    pub(super) fn fit(mut values: Values) -> Self {
        let mut bins = Self::default();
        let mut coarse: BTreeMap<Context, Vec<u64>> = BTreeMap::new();
        let mut finer: BTreeMap<Context, Vec<u64>> = BTreeMap::new();
        for (&context, values) in &values {
            let [_, middle, wide, widest] = wider(context);
            for context in [wide, widest, middle] {
                let to = if context == middle {
                    &mut finer
                } else {
                    &mut coarse
                };
                let distances = values.iter().map(|(distance, _)| *distance);
                to.entry(context).or_default().extend(distances);
            }
        }
        let least = |context: &Context, least| match context.3 {
            slot if slot.is_called() => CALLED_VALUES,
            _ => least,
        };
        values.retain(|context, distances| distances.len() >= least(context, FINE_VALUES));
        let mut split: BTreeMap<(Context, u32), Vec<u64>> = BTreeMap::new();
        for (&context, values) in &values {
            let Some(aspect) = aspect::most_telling(values, SPLIT_VALUES) else {
                continue;
            };
            bins.aspects.insert(context, aspect);
            for (distance, aspects) in values {
                let value = aspects[aspect as usize];
                split.entry((context, value)).or_default().push(*distance);
            }
        }
        split.retain(|_, distances| distances.len() >= SPLIT_VALUES);
        values.retain(|context, _| context.2 != NONE);
        finer.retain(|context, distances| distances.len() >= least(context, FINE_VALUES));
        // The widest stand in for all: none is asked for where something is given.
        coarse.retain(|context, distances| match context.0 {
            ANY => context.3.0 < KNOWN,
            _ => distances.len() >= least(context, COARSE_VALUES),
        });
        // Coarse ones first: they stand in for whatever finds no room.
        let values = values.into_iter().map(|(context, values)| {
            let distances = values.into_iter().map(|(distance, _)| distance);
            (context, distances.collect())
        });
        let fitted = coarse.into_iter().chain(finer).chain(values);
        let fitted = fitted.take(MAX_TABLES);
        bins.tables = fitted
            .map(|(context, mut distances)| (context, Table::fit(&mut distances)))
            .collect();
        let split = split.into_iter().take(MAX_TABLES - bins.tables.len());
        bins.split = split
            .map(|(part, mut distances)| (part, Table::fit(&mut distances)))
            .collect();
        bins
    }

    /// The bins of a span in this mode. Where too few values are of what is given those of others stand in, where
    /// too few have failed those of spans that have not, and in the end those of the mode.
    pub(super) fn of(
        &self,
        skeleton: &Skeleton,
        tokens: &[Token],
        (at, given): (usize, Given),
        slot: Slot,
    ) -> &Table {
        let own = context(&skeleton.places()[at], tokens, at, slot);
        let known = slot.at(given);
        let slots = [(known != slot).then_some(known), Some(slot)];
        let failed = spot::not_failed(own.0);
        for token in [Some(own.0), failed].into_iter().flatten() {
            for slot in slots.into_iter().flatten() {
                let context = (token, own.1, own.2, slot, own.4);
                if let Some(table) = self.narrow(context, |aspect| aspect.of(skeleton, tokens, at))
                {
                    return table;
                }
            }
        }
        let [.., widest] = wider(own);
        self.tables.get(&widest).unwrap_or(&self.unfitted)
    }

    /// The narrowest bins of a token that hold a context.
    fn narrow(&self, context: Context, value: impl Fn(Aspect) -> u32) -> Option<&Table> {
        let aspect = self.aspects.get(&context);
        let split = aspect.and_then(|&aspect| self.split.get(&(context, value(aspect))));
        let [finest, finer, coarse, _] = wider(context);
        let finest = (context.2 != NONE).then_some(finest);
        let found = || {
            let mut wider = finest.into_iter().chain([finer, coarse]);
            wider.find_map(|context| self.tables.get(&context))
        };
        split.or_else(found)
    }
}

/// A context and the wider ones that stand in for it, the narrowest first.
fn wider((token, parent, child, slot, index): Context) -> [Context; 4] {
    [
        (token, parent, child, slot, index),
        (token, parent, ANY, slot, index),
        (token, ANY, ANY, slot, 0),
        (ANY, ANY, ANY, slot, 0),
    ]
}

/// That of a span in a slot.
pub(super) fn context(place: &Place, tokens: &[Token], at: usize, slot: Slot) -> Context {
    (
        spot::own_token(place, tokens, at),
        parent_token(place, tokens),
        child_token(place, tokens, at),
        slot,
        place.index.min(INDICES),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::timing::callee::Longer;

    /// A callee's distances behind its call's start, so many of each of two classes.
    fn fitted(count: u64) -> (Bins, [Slot; 2]) {
        let calls = (0..1_000).map(|at| (Token(1), at));
        let longer = Longer::fit(calls);
        let gap = Slot::start(StartMode::Gap);
        let slots = [10, 990].map(|by| gap.at(longer.given(Token(1), by).unwrap()));
        let mut values = Values::new();
        for (slot, from) in slots.into_iter().chain([gap]).zip([1_000, 900_000, 1_000]) {
            let distances = (0..count).map(|at| (from + at, [0; ASPECTS]));
            values.insert((1, 0, NONE, slot, 0), distances.collect());
        }
        (Bins::fit(values), slots)
    }

    #[test]
    fn calls_of_a_class_have_bins_of_their_own_where_there_are_enough() {
        for (count, own) in [(1_000, true), (999, false)] {
            let (bins, slots) = fitted(count);
            for (slot, from) in slots.into_iter().zip([1_000, 900_000]) {
                let table = bins.narrow((1, 0, NONE, slot, 0), |_| 0);
                assert_eq!(table.is_some(), own, "{count}");
                let middle = table.map(|table| table.middle(BINS_MIDDLE));
                assert!(middle.is_none_or(|at| (from..from + count).contains(&at)));
            }
        }
    }

    #[test]
    fn only_starts_beside_a_call_are_told_apart_by_how_much_longer_it_takes() {
        let given = callee::CALLED + 3;
        for mode in [StartMode::Gap, StartMode::BeforeCallersEnd] {
            assert!(Slot::start(mode).at(given).is_called());
        }
        for slot in [Slot::start(StartMode::Before), Slot::end(EndMode::Duration)] {
            assert_eq!(slot.at(given), slot);
        }
    }

    const BINS_MIDDLE: usize = super::super::BINS / 2;
}
