//! Quantile bins per context, and which of them a span's times are told in.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};

use super::aspect::{self, ASPECTS, Aspect};
use super::spot::{self, ANY, INDICES, NONE, child_token, parent_token};
use super::step::{PhaseClass, TOLD};
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
pub(super) struct Slot(u8);

/// What is added to the number of a mode in whose bins waits are, where the phase of the service is known, for its
/// long waits have a mode of their own there; and to that of such a mode where another's wait says the phase,
/// for that is known less exactly.
const KNOWN: u8 = 64;

impl Slot {
    pub(super) fn start(mode: StartMode) -> Self {
        Self(mode as u8)
    }

    pub(super) fn end(mode: EndMode) -> Self {
        Self(START_MODES as u8 + mode as u8)
    }

    /// Its place among all modes.
    pub(super) fn number(self) -> usize {
        usize::from(self.0)
    }

    /// The one whose bins are used at this phase.
    pub(super) fn at(self, phase: PhaseClass) -> Self {
        const ENDS: u8 = START_MODES as u8;
        const GAP: u8 = StartMode::Gap as u8;
        const GAP_IN_STEP: u8 = StartMode::InStep as u8;
        const LEAF: u8 = ENDS + EndMode::Duration as u8;
        const LEAF_IN_STEP: u8 = ENDS + EndMode::InStep as u8;
        const CHILDREN: u8 = ENDS + EndMode::AfterChildren as u8;
        const CHILDREN_IN_STEP: u8 = ENDS + EndMode::ChildrenInStep as u8;
        let differs = match self.0 {
            GAP | LEAF | CHILDREN => phase > 0,
            GAP_IN_STEP | LEAF_IN_STEP | CHILDREN_IN_STEP => phase >= TOLD,
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
        values.retain(|_, distances| distances.len() >= FINE_VALUES);
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
        finer.retain(|_, distances| distances.len() >= FINE_VALUES);
        // The widest stand in for all: none is asked for at a phase.
        coarse.retain(|context, distances| match context.0 {
            ANY => context.3.0 < KNOWN,
            _ => distances.len() >= COARSE_VALUES,
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

    /// The bins of a span in this mode. Where too few values are of known phases those of others stand in, where
    /// too few have failed those of spans that have not, and in the end those of the mode.
    pub(super) fn of(
        &self,
        skeleton: &Skeleton,
        tokens: &[Token],
        (at, phase): (usize, PhaseClass),
        slot: Slot,
    ) -> &Table {
        let own = context(&skeleton.places()[at], tokens, at, slot);
        let known = slot.at(phase);
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
