//! What training traces taught about times: habits and quantile bins per context.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};

use super::aspect::{self, ASPECTS, Aspect};
use super::clock::Clock;
use super::confidant::{self, Classes, Listener, Listeners, Teller, Told};
use super::habit::{self, Anchor, Habit, References};
use super::spot::{self, ANY, INDICES, MODES, ModeShares, NONE, Spot, child_token, parent_token};
use super::step::{PhaseClass, Quotas, TOLD, Wait};
use super::survey::{self, HungSpan};
use super::table::{Table, gcd};
use super::{EndMode, StartMode};
use crate::features::{Place, Skeleton, Token};
use crate::trace::Trace;

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

/// Spans that the period of long waits is found from, at most.
const STEPPED: usize = 200_000;

/// In place of a service.
const NOBODY: u16 = u16::MAX;

/// Ticks of a clock that are coarse enough to matter, in nanoseconds, and spans that it takes to be sure of them.
const COARSE: u64 = 1_000;
const TICKED: u32 = 100;

/// What is added to the number of a mode in whose bins waits are, where the phase of the service is known, for its
/// long waits have a mode of their own there; and to that of such a mode where another's wait says the phase,
/// for that is known less exactly.
const KNOWN: u8 = 64;

/// Whose bins: (token, parent token, first child's token, start mode or end mode after the start
/// modes, sibling index).
type Context = (u32, u32, u32, u8, u32);

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
    /// What tells most about the times of a context, and the bins of those that have it in common.
    aspects: HashMap<Context, Aspect, FixedState>,
    split: HashMap<(Context, u32), Table, FixedState>,
    modes: HashMap<Spot, ModeShares, FixedState>,
    listeners: Listeners,
    voices: Vec<[Classes; 2]>,
    /// How long waits end, and the service of each token.
    quotas: Arc<Quotas>,
    services: Vec<u16>,
    /// The ticks of the clock that starts of each token are read from, in nanoseconds; 1 where they are fine.
    ticks: Vec<u64>,
    unfitted: Table,
}

/// A coder as a checkpoint holds it: in order.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    habits: Vec<(Pair, Habit)>,
    tables: Vec<(Context, Table)>,
    aspects: Vec<(Context, Aspect)>,
    split: Vec<((Context, u32), Table)>,
    modes: Vec<(Spot, ModeShares)>,
    listeners: Vec<(Teller, Listener)>,
    quotas: Quotas,
    services: Vec<u16>,
    ticks: Vec<u64>,
}

impl Default for Coder {
    /// A coder that has seen nothing: wide bins for everything, no span held open.
    fn default() -> Self {
        Self {
            habits: HashMap::default(),
            tables: HashMap::default(),
            aspects: HashMap::default(),
            split: HashMap::default(),
            modes: HashMap::default(),
            listeners: Listeners::default(),
            voices: Vec::new(),
            quotas: Arc::default(),
            services: Vec::new(),
            ticks: Vec::new(),
            unfitted: Table::unfitted(),
        }
    }
}

impl Coder {
    /// Fits habits and bins. Traces that have no codes (see [`super::Unencodable`]) are left out.
    pub fn fit<'a>(traces: impl Iterator<Item = (&'a Trace, &'a [Token])> + Clone) -> Self {
        let mut coder = Self::default();
        // First whose ends hang on their parents': the other references depend on it.
        for (pair, spans) in coder.references(traces.clone()) {
            if pair.2 && habit::is_deferred(&spans) {
                let anchor = Anchor::Parent;
                let last_start = false;
                coder.habits.insert(pair, Habit { anchor, last_start });
            }
        }
        let spans = coder.references(traces.clone()).into_iter();
        let chosen = spans.map(|(pair, spans)| match coder.habits.get(&pair) {
            Some(&deferred) => (pair, deferred),
            None => (pair, Habit::of(&spans)),
        });
        coder.habits = chosen
            .filter(|(_, habit)| *habit != Habit::default())
            .collect();
        coder.services = services(traces.clone());
        coder.ticks = ticks(traces.clone());
        coder.quotas = Arc::new(Quotas::fit(&coder.waits(traces.clone())));
        coder.survey(traces.clone());
        let told: Vec<Told> = traces
            .filter_map(|(trace, tokens)| coder.told(trace, tokens))
            .collect();
        coder.listeners = confidant::fit(&told);
        coder.voices = confidant::voices(&coder.listeners);
        coder
    }

    /// How long waits end, and the number of services.
    pub(super) fn quotas(&self) -> (&Arc<Quotas>, usize) {
        let most = self
            .services
            .iter()
            .copied()
            .filter(|&it| it < NOBODY)
            .max();
        (&self.quotas, most.map_or(0, |most| usize::from(most) + 1))
    }

    /// Whether long waits end in step.
    pub(super) fn is_in_step(&self) -> bool {
        !self.quotas.is_none()
    }

    /// The service of a token.
    pub(in crate::features) fn service(&self, token: Token) -> Option<u16> {
        let service = self.services.get(token.0 as usize).copied();
        service.filter(|&service| service != NOBODY)
    }

    /// The ticks, in nanoseconds after the root's start, at which spans with a token start, if they are coarse.
    pub(super) fn tick(&self, token: Token) -> Option<u64> {
        let tick = self.ticks.get(token.0 as usize).copied();
        tick.filter(|&tick| tick >= COARSE)
    }

    /// Whether a span is a call whose only child is timed by a clock with coarse ticks, and itself is not. Where
    /// the child seems to begin is then chance, and so is how long after its end the call's comes: both by as
    /// much. What the call takes beyond the child is not.
    pub(super) fn calls(&self, skeleton: &Skeleton, tokens: &[Token], at: usize) -> bool {
        let alone = skeleton.places()[at].children == 1;
        let callee = tokens.get(at + 1).filter(|_| alone);
        callee.is_some_and(|&callee| self.tick(callee).is_some())
            && self.tick(tokens[at]).is_none()
            && !self.is_deferred(skeleton, tokens, at + 1)
    }

    /// Whether the end of a span hangs on its parent's.
    fn is_deferred(&self, skeleton: &Skeleton, tokens: &[Token], at: usize) -> bool {
        let habit = self.habits.get(&pair(&skeleton.places()[at], tokens, at));
        habit.is_some_and(|habit| habit.anchor == Anchor::Parent)
    }

    /// The waits of all traces, of so many spans at most.
    fn waits<'a>(&self, traces: impl Iterator<Item = (&'a Trace, &'a [Token])>) -> Vec<Vec<Wait>> {
        let (mut waits, mut left) = (Vec::new(), STEPPED);
        for (trace, tokens) in traces {
            if left < trace.spans().len() {
                break;
            }
            left -= trace.spans().len();
            let mut clock = Clock::hearing();
            clock.begin(self);
            let skeleton = Skeleton::of_trace(trace);
            if self.hung_by(trace, &skeleton, tokens, &mut clock).is_ok() {
                waits.push(clock.heard());
            }
        }
        waits
    }

    /// What the ends of each pair's spans can be measured from.
    fn references<'a>(
        &self,
        traces: impl Iterator<Item = (&'a Trace, &'a [Token])>,
    ) -> BTreeMap<Pair, Vec<References>> {
        let mut spans: BTreeMap<Pair, Vec<References>> = BTreeMap::new();
        for (trace, tokens) in traces {
            let skeleton = Skeleton::of_trace(trace);
            if tokens.len() != trace.spans().len() {
                continue;
            }
            let pair = |at: usize| pair(&skeleton.places()[at], tokens, at);
            let deferred = |at| {
                let habit = self.habits.get(&pair(at));
                habit.is_some_and(|habit| habit.anchor == Anchor::Parent)
            };
            let Ok(references) = survey::references(trace, &skeleton, deferred) else {
                continue;
            };
            for (at, references) in references.into_iter().enumerate() {
                spans.entry(pair(at)).or_default().push(references);
            }
        }
        spans
    }

    /// Who tells what in a trace, if it has codes.
    fn told(&self, trace: &Trace, tokens: &[Token]) -> Option<Told> {
        let skeleton = Skeleton::of_trace(trace);
        let hung = self.hung(trace, &skeleton, tokens).ok()?;
        let told = hung.into_iter().enumerate().map(|(at, span)| {
            let teller = teller(&skeleton.places()[at], tokens, at);
            let (start, end) = (span.start, span.end);
            (teller, [start.0.key(start.1), end.0.key(end.1)])
        });
        Some(told.collect())
    }

    /// Whom the span's times hear, and who hears them.
    pub(super) fn listener(&self, place: &Place, tokens: &[Token], at: usize) -> Option<&Listener> {
        self.listeners.get(&teller(place, tokens, at))
    }

    /// The classes of start and end of each voice that is heard.
    pub(super) fn voices(&self) -> &[[Classes; 2]] {
        &self.voices
    }

    /// Collects the distances of every context and fits the bins of those that have enough, and
    /// counts the modes of every spot.
    fn survey<'a>(&mut self, traces: impl Iterator<Item = (&'a Trace, &'a [Token])>) {
        let mut modes: BTreeMap<Spot, [u32; MODES]> = BTreeMap::new();
        let mut values: BTreeMap<Context, Vec<(u64, [u32; ASPECTS])>> = BTreeMap::new();
        for (trace, tokens) in traces {
            let skeleton = Skeleton::of_trace(trace);
            let Ok(hung) = self.hung(trace, &skeleton, tokens) else {
                continue;
            };
            for (at, HungSpan { start, end, phase }) in hung.into_iter().enumerate() {
                let place = &skeleton.places()[at];
                let aspects = Aspect::ALL.map(|aspect| aspect.of(&skeleton, tokens, at));
                let mut keep = |slot, distance| {
                    let context = context(place, tokens, at, known(slot, phase));
                    values.entry(context).or_default().push((distance, aspects));
                };
                let counts = modes.entry(spot::of(place, tokens, at, phase)).or_default();
                for slot in [start_slot(start.0), end_slot(end.0)] {
                    counts[usize::from(slot)] += 1;
                }
                if at > 0 {
                    keep(start_slot(start.0), start.1);
                }
                keep(end_slot(end.0), end.1);
            }
        }
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
            self.aspects.insert(context, aspect);
            for (distance, aspects) in values {
                let value = aspects[aspect as usize];
                split.entry((context, value)).or_default().push(*distance);
            }
        }
        split.retain(|_, distances| distances.len() >= SPLIT_VALUES);
        values.retain(|context, _| context.2 != NONE);
        finer.retain(|_, distances| distances.len() >= FINE_VALUES);
        coarse.retain(|context, distances| context.0 == ANY || distances.len() >= COARSE_VALUES);
        // Coarse ones first: they stand in for whatever finds no room.
        let values = values.into_iter().map(|(context, values)| {
            let distances = values.into_iter().map(|(distance, _)| distance);
            (context, distances.collect())
        });
        let fitted = coarse.into_iter().chain(finer).chain(values);
        let fitted = fitted.take(MAX_TABLES);
        self.tables = fitted
            .map(|(context, mut distances)| (context, Table::fit(&mut distances)))
            .collect();
        let split = split.into_iter().take(MAX_TABLES - self.tables.len());
        self.split = split
            .map(|(part, mut distances)| (part, Table::fit(&mut distances)))
            .collect();
        self.modes = spot::shares(&modes);
    }

    /// How start and end of every span hang.
    pub(super) fn hung(
        &self,
        trace: &Trace,
        skeleton: &Skeleton,
        tokens: &[Token],
    ) -> Result<Vec<HungSpan>, super::Unencodable> {
        let mut clock = Clock::default();
        clock.begin(self);
        self.hung_by(trace, skeleton, tokens, &mut clock)
    }

    fn hung_by(
        &self,
        trace: &Trace,
        skeleton: &Skeleton,
        tokens: &[Token],
        clock: &mut Clock,
    ) -> Result<Vec<HungSpan>, super::Unencodable> {
        if tokens.len() != trace.spans().len() {
            return Err(super::Unencodable::Tokens);
        }
        let habit = |at: usize| {
            let pair = pair(&skeleton.places()[at], tokens, at);
            self.habits.get(&pair).copied().unwrap_or_default()
        };
        let service = |at: usize| self.service(tokens[at]);
        let calls = |at: usize| self.calls(skeleton, tokens, at);
        let tick = |at: usize| self.tick(tokens[at]);
        survey::hung(trace, skeleton, habit, (service, tick, calls), clock)
    }

    /// The bins of a span's start in this mode.
    pub(super) fn start(
        &self,
        skeleton: &Skeleton,
        tokens: &[Token],
        spot: (usize, PhaseClass),
        mode: StartMode,
    ) -> &Table {
        self.table(skeleton, tokens, spot, start_slot(mode))
    }

    /// The bins of a span's end in this mode.
    pub(super) fn end(
        &self,
        skeleton: &Skeleton,
        tokens: &[Token],
        spot: (usize, PhaseClass),
        mode: EndMode,
    ) -> &Table {
        self.table(skeleton, tokens, spot, end_slot(mode))
    }

    /// Shares of training spans per start mode and per end mode where this span stands; also of
    /// modes that say nothing there. None of them is zero.
    pub(super) fn mode_shares(
        &self,
        skeleton: &Skeleton,
        tokens: &[Token],
        (at, phase): (usize, PhaseClass),
    ) -> ([f32; super::START_MODES], [f32; super::END_MODES]) {
        let spot = spot::of(&skeleton.places()[at], tokens, at, phase);
        let shares = spot::known(&self.modes, spot);
        let (mut starts, mut ends) = ([0.0; super::START_MODES], [0.0; super::END_MODES]);
        let (start, end) = shares.split_at(super::START_MODES);
        starts.copy_from_slice(start);
        ends.copy_from_slice(end);
        (starts, ends)
    }

    fn table(
        &self,
        skeleton: &Skeleton,
        tokens: &[Token],
        (at, phase): (usize, PhaseClass),
        slot: u8,
    ) -> &Table {
        let find = |context: Context, most_wide| {
            if let Some(aspect) = self.aspects.get(&context) {
                let part = (context, aspect.of(skeleton, tokens, at));
                if let Some(table) = self.split.get(&part) {
                    return Some(table);
                }
            }
            let has_child = context.2 != NONE;
            let contexts = wider(context).into_iter().enumerate();
            let mut contexts =
                contexts.filter(|&(wide, _)| wide <= most_wide && (wide > 0 || has_child));
            contexts.find_map(|(_, context)| self.tables.get(&context))
        };
        let own = context(&skeleton.places()[at], tokens, at, slot);
        let waited = known(slot, phase);
        // With too few values of failed spans, those of others stand in, and so with known phases.
        let failed = spot::not_failed(own.0).map(|token| (token, own.1, own.2, own.3, own.4));
        for of in [Some(own), failed].into_iter().flatten() {
            let with = (waited != slot).then_some((of.0, of.1, of.2, waited, of.4));
            let most_wide = if failed.is_some_and(|failed| failed != of) {
                2
            } else {
                3
            };
            let found = with.and_then(|with| find(with, 2));
            if let Some(table) = found.or_else(|| find(of, most_wide)) {
                return table;
            }
        }
        &self.unfitted
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

/// The slot whose bins are used at this phase.
fn known(slot: u8, phase: PhaseClass) -> u8 {
    const ENDS: u8 = super::START_MODES as u8;
    const GAP: u8 = StartMode::Gap as u8;
    const GAP_IN_STEP: u8 = StartMode::InStep as u8;
    const LEAF: u8 = ENDS + EndMode::Duration as u8;
    const LEAF_IN_STEP: u8 = ENDS + EndMode::InStep as u8;
    const CHILDREN: u8 = ENDS + EndMode::AfterChildren as u8;
    const CHILDREN_IN_STEP: u8 = ENDS + EndMode::ChildrenInStep as u8;
    let differs = match slot {
        GAP | LEAF | CHILDREN => phase > 0,
        GAP_IN_STEP | LEAF_IN_STEP | CHILDREN_IN_STEP => phase >= TOLD,
        _ => false,
    };
    slot + if differs { KNOWN } else { 0 }
}

fn start_slot(mode: StartMode) -> u8 {
    mode as u8
}

fn end_slot(mode: EndMode) -> u8 {
    super::START_MODES as u8 + mode as u8
}

fn context(place: &Place, tokens: &[Token], at: usize, slot: u8) -> Context {
    (
        spot::own_token(place, tokens, at),
        parent_token(place, tokens),
        child_token(place, tokens, at),
        slot,
        place.index.min(INDICES),
    )
}

/// The service of each token, in the order in which services come; one that no span has is nobody's.
fn services<'a>(traces: impl Iterator<Item = (&'a Trace, &'a [Token])>) -> Vec<u16> {
    let mut numbers = HashMap::new();
    let mut services = Vec::new();
    for (trace, tokens) in traces {
        for (span, token) in trace.spans().iter().zip(tokens) {
            let at = token.0 as usize;
            if services.len() <= at {
                services.resize(at + 1, NOBODY);
            }
            if services[at] == NOBODY {
                let next = u16::try_from(numbers.len()).unwrap_or(NOBODY);
                services[at] = *numbers.entry(span.service).or_insert(next);
            }
        }
    }
    services
}

/// The greatest common divisor of the starts with each token, after their roots'; 1 where that is finer than
/// is worth knowing, or known of too few spans. Clocks that are read in whole milliseconds, as those of servers
/// of some instrumentations are, show nothing in between.
fn ticks<'a>(traces: impl Iterator<Item = (&'a Trace, &'a [Token])>) -> Vec<u64> {
    let mut starts: Vec<(u64, u32)> = Vec::new();
    for (trace, tokens) in traces {
        for (span, token) in trace.spans().iter().zip(tokens).skip(1) {
            let at = token.0 as usize;
            if starts.len() <= at {
                starts.resize(at + 1, (0, 0));
            }
            let (tick, spans) = &mut starts[at];
            (*tick, *spans) = (gcd(*tick, span.start.unsigned_abs()), *spans + 1);
        }
    }
    let coarse = |&(tick, spans): &(u64, u32)| tick >= COARSE && spans >= TICKED;
    let tick = |it: (u64, u32)| if coarse(&it) { it.0 } else { 1 };
    starts.into_iter().map(tick).collect()
}

fn teller(place: &Place, tokens: &[Token], at: usize) -> Teller {
    let first = !tokens[..at].contains(&tokens[at]);
    (tokens[at].0, parent_token(place, tokens), first)
}

fn pair(place: &Place, tokens: &[Token], at: usize) -> Pair {
    (
        tokens[at].0,
        parent_token(place, tokens),
        place.children == 0,
    )
}

impl From<Coder> for Saved {
    fn from(coder: Coder) -> Self {
        let mut saved = Self {
            habits: coder.habits.into_iter().collect(),
            tables: coder.tables.into_iter().collect(),
            aspects: coder.aspects.into_iter().collect(),
            split: coder.split.into_iter().collect(),
            modes: coder.modes.into_iter().collect(),
            listeners: coder.listeners.into_iter().collect(),
            quotas: Arc::unwrap_or_clone(coder.quotas),
            services: coder.services,
            ticks: coder.ticks,
        };
        saved.habits.sort_unstable_by_key(|(pair, _)| *pair);
        saved.tables.sort_unstable_by_key(|(context, _)| *context);
        saved.aspects.sort_unstable_by_key(|(context, _)| *context);
        saved.split.sort_unstable_by_key(|(part, _)| *part);
        saved.modes.sort_unstable_by_key(|(spot, _)| *spot);
        saved.listeners.sort_unstable_by_key(|(teller, _)| *teller);
        saved
    }
}

impl TryFrom<Saved> for Coder {
    type Error = &'static str;

    fn try_from(saved: Saved) -> Result<Self, Self::Error> {
        let tables = saved.tables.iter().map(|(_, table)| table);
        let mut tables = tables.chain(saved.split.iter().map(|(_, table)| table));
        if !tables.all(Table::is_sound) {
            return Err("a table of time bins is damaged");
        }
        let sound = |share: &f32| *share > 0.0 && *share <= 1.0;
        if !saved
            .modes
            .iter()
            .all(|(_, shares)| shares.iter().all(sound))
        {
            return Err("the shares of time modes are damaged");
        }
        let listeners: Listeners = saved.listeners.into_iter().collect();
        if !confidant::are_sound(&listeners) {
            return Err("what times tell of later ones is damaged");
        }
        if !saved.quotas.is_sound() {
            return Err("the period of long waits is damaged");
        }
        Ok(Self {
            quotas: Arc::new(saved.quotas),
            services: saved.services,
            ticks: saved.ticks,
            habits: saved.habits.into_iter().collect(),
            tables: saved.tables.into_iter().collect(),
            aspects: saved.aspects.into_iter().collect(),
            split: saved.split.into_iter().collect(),
            modes: saved.modes.into_iter().collect(),
            voices: confidant::voices(&listeners),
            listeners,
            unfitted: Table::unfitted(),
        })
    }
}
