//! What training traces taught about times: habits, shares of modes, bins, and who hears whom.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};

use super::aspect::Aspect;
use super::bins::{self, Bins, Context, Slot, Values};
use super::clock::Clock;
use super::confidant::{self, Classes, Listener, Listeners, Teller, Told};
use super::habit::{self, Anchor, Habit, References};
use super::spot::{self, MODES, ModeShares, Spot, parent_token};
use super::step::{PhaseClass, Quotas, Wait};
use super::survey::{self, HungSpan};
use super::table::Table;
use super::tick;
use super::{EndMode, StartMode};
use crate::features::{Place, Skeleton, Token};
use crate::trace::Trace;

/// Spans that the period of long waits is found from, at most.
const STEPPED: usize = 200_000;

/// In place of a service.
const NOBODY: u16 = u16::MAX;

/// Whose habit: (token, parent token, whether it has no children).
type Pair = (u32, u32, bool);

/// The codes of times: how ends hang, and which distance each bin stands for.
///
/// Fitted to training traces as a whole ([`Coder::fit`]) and never changed after that: what was
/// encoded with one is to be decoded with the same. To follow a system, fit a new one to the
/// traces at hand now and encode them again; levels keep their meaning, so that weights carry
/// over. The same traces in the same order give the same coder. One that has seen nothing has wide
/// bins for everything and holds no span open.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "Saved", into = "Saved")]
pub struct Coder {
    habits: HashMap<Pair, Habit, FixedState>,
    bins: Bins,
    modes: HashMap<Spot, ModeShares, FixedState>,
    listeners: Listeners,
    voices: Vec<[Classes; 2]>,
    /// How long waits end, and the service of each token.
    quotas: Arc<Quotas>,
    services: Vec<u16>,
    /// The ticks of the clock that starts of each token are read from, in nanoseconds; 1 where they are fine.
    ticks: Vec<u64>,
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
        coder.ticks = tick::fit(traces.clone());
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
        tick.filter(|&tick| tick > 1)
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
            let deferred = |at| self.is_deferred(&skeleton, tokens, at);
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

    /// Collects the distances of every context and fits bins to them, and counts the modes of every spot.
    fn survey<'a>(&mut self, traces: impl Iterator<Item = (&'a Trace, &'a [Token])>) {
        let mut modes: BTreeMap<Spot, [u32; MODES]> = BTreeMap::new();
        let mut values = Values::new();
        for (trace, tokens) in traces {
            let skeleton = Skeleton::of_trace(trace);
            let Ok(hung) = self.hung(trace, &skeleton, tokens) else {
                continue;
            };
            for (at, HungSpan { start, end, phase }) in hung.into_iter().enumerate() {
                let place = &skeleton.places()[at];
                let counts = modes.entry(spot::of(place, tokens, at, phase)).or_default();
                for slot in [Slot::start(start.0), Slot::end(end.0)] {
                    counts[slot.number()] += 1;
                }
                let aspects = Aspect::ALL.map(|aspect| aspect.of(&skeleton, tokens, at));
                let starts = (at > 0).then_some((Slot::start(start.0), start.1));
                for (slot, distance) in starts.into_iter().chain([(Slot::end(end.0), end.1)]) {
                    let context = bins::context(place, tokens, at, slot.at(phase));
                    values.entry(context).or_default().push((distance, aspects));
                }
            }
        }
        self.bins = Bins::fit(values);
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
        self.bins.of(skeleton, tokens, spot, Slot::start(mode))
    }

    /// The bins of a span's end in this mode.
    pub(super) fn end(
        &self,
        skeleton: &Skeleton,
        tokens: &[Token],
        spot: (usize, PhaseClass),
        mode: EndMode,
    ) -> &Table {
        self.bins.of(skeleton, tokens, spot, Slot::end(mode))
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
            tables: coder.bins.tables.into_iter().collect(),
            aspects: coder.bins.aspects.into_iter().collect(),
            split: coder.bins.split.into_iter().collect(),
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
            bins: Bins {
                tables: saved.tables.into_iter().collect(),
                aspects: saved.aspects.into_iter().collect(),
                split: saved.split.into_iter().collect(),
                ..Bins::default()
            },
            modes: saved.modes.into_iter().collect(),
            voices: confidant::voices(&listeners),
            listeners,
        })
    }
}
