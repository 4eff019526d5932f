//! The table grammar: counts of what follows what. The baseline that the VAE has to beat, and the
//! sampler that serves until it does.
//!
//! It tells a trace by the same events as the VAE (per span token, status, profile, arity, link, then the
//! modes and bins of its start and end; positions inside bins are uniform in both), so that nats
//! per held-out trace compare.

mod chains;
mod counts;
mod tree;

use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::{Example, TimeCode};
use chains::{Around, Timer};
use counts::{Base, Counts};
use tree::Tree;

/// Structures drawn in search of an exact size before arities are bent to reach it.
const TRIES: usize = 64;

/// Numbers of outcomes and bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrammarSizes {
    /// Start modes.
    pub start_modes: u32,
    /// End modes.
    pub end_modes: u32,
    /// Bins of a time; the first and the last are never drawn.
    pub bins: u32,
    /// Contexts held, at most; new ones are left out after that.
    pub max_contexts: usize,
    /// Spans of a drawn trace, at most.
    pub max_spans: usize,
}

/// Negative log-likelihood of one trace.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Nats {
    /// Of tokens, statuses, profiles, arities and links.
    pub structure: f64,
    /// Of modes and bins of starts and ends.
    pub timing: f64,
}

impl Nats {
    /// Of everything.
    pub fn total(self) -> f64 {
        self.structure + self.timing
    }
}

/// A grammar that learns by counting, one trace at a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "Saved", into = "Saved")]
pub struct Grammar {
    sizes: GrammarSizes,
    counts: Counts,
    tokens: u32,
    /// Attribute profiles that each token was seen with.
    slots: Vec<u32>,
    traces: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    sizes: GrammarSizes,
    tokens: u32,
    slots: Vec<u32>,
    traces: u64,
    counts: Vec<(u64, Vec<(u32, f32)>)>,
}

/// One choice in telling a trace, with the contexts that it leans on.
enum Event<'a> {
    Token(&'a [u64]),
    Status(&'a [u64]),
    /// Among so many profiles.
    Profile(&'a [u64], u32),
    Arity(&'a [u64]),
    Link(&'a [u64]),
    StartMode(&'a [u64]),
    StartBin(&'a [u64]),
    EndMode(&'a [u64]),
    EndBin(&'a [u64]),
}

impl Grammar {
    /// A grammar that knows nothing.
    pub fn new(sizes: GrammarSizes) -> Self {
        Self {
            sizes,
            counts: Counts::new(sizes.max_contexts),
            tokens: 0,
            slots: Vec::new(),
            traces: 0,
        }
    }

    /// Traces learnt.
    pub fn traces(&self) -> u64 {
        self.traces
    }

    /// Contexts held.
    pub fn contexts(&self) -> usize {
        self.counts.len()
    }

    /// Counts a trace that stands for so many (1 for a trace that was just observed).
    pub fn learn(&mut self, example: &Example, times: f32) {
        let highest = example.tokens.iter().max().map_or(0, |token| token + 1);
        self.tokens = self.tokens.max(highest);
        self.slots.resize(self.tokens as usize, 1);
        for (&token, &slot) in example.tokens.iter().zip(&example.profile) {
            let slots = &mut self.slots[token as usize];
            *slots = (*slots).max(slot + 1);
        }
        self.traces += 1;
        let mut counts = std::mem::replace(&mut self.counts, Counts::new(0));
        walk(example, &[], |event, outcome| {
            counts.add(event.chain(), outcome, times)
        });
        self.counts = counts;
    }

    /// Multiplies every count, so that what comes weighs more than what was.
    pub fn fade(&mut self, keep: f32) {
        self.counts.fade(keep.clamp(0.0, 1.0));
    }

    /// -log p(example), in nats.
    pub fn nats(&self, example: &Example) -> Nats {
        let mut nats = Nats::default();
        walk(example, &self.slots, |event, outcome| {
            let base = self.base(&event, outcome);
            let cost = -self.counts.probability(event.chain(), base, outcome).ln();
            match event {
                Event::Token(_)
                | Event::Status(_)
                | Event::Profile(..)
                | Event::Arity(_)
                | Event::Link(_) => nats.structure += cost,
                _ => nats.timing += cost,
            }
        });
        // Where a link goes, if neither to the parent nor to the previous sibling.
        let mut tree = Tree::default();
        for at in 0..example.len() as u32 {
            let (parent, previous, _) = tree.next();
            if link_class(example, at, parent, previous) == OTHER {
                nats.structure += f64::from(at).ln();
            }
            tree.add(example.arity[at as usize]);
        }
        nats
    }

    /// Draws a trace of exactly `size` spans (at least 1), or of any size. Always a whole tree of
    /// at most `max_spans` spans; empty only if nothing was learnt.
    pub fn sample(&self, rng: &mut impl rand::Rng, size: Option<usize>) -> Example {
        if self.traces == 0 {
            return Example::default();
        }
        let most = self.sizes.max_spans.max(1);
        let mut example = match size {
            None => self.structure(rng, 1, most),
            Some(size) => {
                let size = size.clamp(1, most);
                let found = (0..TRIES).find_map(|_| {
                    // One more than wanted may be promised, so that the end is not bent to fit.
                    let drawn = self.structure(rng, 1, (size + 1).min(most));
                    (drawn.len() == size).then_some(drawn)
                });
                found.unwrap_or_else(|| self.structure(rng, size, size))
            }
        };
        self.times(rng, &mut example);
        example
    }

    /// Draws tokens, statuses, profiles, arities and links of a tree with so many spans.
    fn structure(&self, rng: &mut impl rand::Rng, least: usize, most: usize) -> Example {
        let mut example = Example::default();
        let mut tree = Tree::default();
        while tree.len() == 0 || tree.promised() > 0 {
            let around = Around::next(&mut tree, &example);
            let (parent, previous, _) = tree.next();
            let at = tree.len() as u32;
            let any = |_| true;
            let mut draw = |event: Event<'_>, allowed: &dyn Fn(u32) -> bool| {
                self.counts
                    .draw(rng, event.chain(), self.base(&event, 0), allowed)
            };
            let token = draw(Event::Token(&around.token()), &any);
            let status = draw(Event::Status(&around.status(token)), &any) as u8;
            let slots = slots(&self.slots, token);
            let profile = draw(Event::Profile(&around.profile(token, status), slots), &any);
            // Spans there will be at least, with this one and without its children.
            let certain = tree.len() as u64 + tree.promised().max(1);
            let last = tree.promised() <= 1;
            let fits = |children: u32| {
                let whole = certain + u64::from(children);
                whole <= most as u64 && (children > 0 || !last || whole >= least as u64)
            };
            let arity = draw(Event::Arity(&around.arity(token, status)), &fits);
            let possible = |class: u32| match class {
                PARENT => parent.is_some(),
                PREVIOUS => previous.is_some(),
                OTHER => at > 0,
                _ => true,
            };
            let link = draw(Event::Link(&around.link(token)), &possible);
            let target = match link {
                PARENT => parent,
                PREVIOUS => previous,
                OTHER => Some(rng.random_range(0..at)),
                _ => None,
            };
            example.links.extend(target.map(|target| (at, target)));
            example.tokens.push(token);
            example.status.push(status);
            example.profile.push(profile);
            example.arity.push(arity);
            tree.add(arity);
        }
        example
    }

    /// Draws the times of a structure.
    fn times(&self, rng: &mut impl rand::Rng, example: &mut Example) {
        let bins = self.sizes.bins;
        let drawn = |bin: u32| bin > 0 && bin + 1 < bins;
        let any = |_| true;
        let mut draw = |event: Event<'_>, allowed: &dyn Fn(u32) -> bool| {
            let base = self.base(&event, 0);
            let outcome = self.counts.draw(rng, event.chain(), base, allowed) as u8;
            (outcome, rng.random::<f64>())
        };
        let mut timer = Timer::new(example);
        for at in 0..example.len() {
            let times = timer.next(example, at);
            let mut start = TimeCode::default();
            if at > 0 {
                (start.mode, _) = draw(Event::StartMode(&times.start_mode()), &any);
                let chain = times.start_bin(start.mode);
                (start.bin, start.within) = draw(Event::StartBin(&chain), &drawn);
            }
            let (mode, _) = draw(Event::EndMode(&times.end_mode(start)), &any);
            let (bin, within) = draw(Event::EndBin(&times.end_bin(mode, start)), &drawn);
            example.start.push(start);
            example.end.push(TimeCode { mode, bin, within });
        }
    }

    fn base(&self, event: &Event<'_>, outcome: u32) -> Base {
        let sizes = &self.sizes;
        match event {
            Event::Token(_) => Base::Even(self.tokens.max(outcome + 1)),
            Event::Status(_) => Base::Even(3),
            Event::Profile(_, slots) => Base::Even((*slots).max(outcome + 1)),
            Event::Arity(_) => Base::Falling,
            Event::Link(_) => Base::Even(4),
            Event::StartMode(_) => Base::Even(sizes.start_modes),
            Event::EndMode(_) => Base::Even(sizes.end_modes),
            Event::StartBin(_) | Event::EndBin(_) => Base::Levels(sizes.bins),
        }
    }
}

impl Event<'_> {
    fn chain(&self) -> &[u64] {
        match self {
            Self::Token(chain) | Self::Status(chain) | Self::Profile(chain, _) => chain,
            Self::Arity(chain) | Self::Link(chain) => chain,
            Self::StartMode(chain) | Self::StartBin(chain) => chain,
            Self::EndMode(chain) | Self::EndBin(chain) => chain,
        }
    }
}

/// Link classes: none, to the parent, to the previous sibling, to another earlier span.
const NO_LINK: u32 = 0;
const PARENT: u32 = 1;
const PREVIOUS: u32 = 2;
const OTHER: u32 = 3;

/// The class of a span's first link to an earlier span; further links are not told.
fn link_class(example: &Example, at: u32, parent: Option<u32>, previous: Option<u32>) -> u32 {
    let mut links = example.links.iter();
    match links.find(|&&(from, to)| from == at && to < at) {
        None => NO_LINK,
        Some((_, to)) if Some(*to) == parent => PARENT,
        Some((_, to)) if Some(*to) == previous => PREVIOUS,
        Some(_) => OTHER,
    }
}

/// Attribute profiles that a token was seen with: one if it was never seen.
fn slots(slots: &[u32], token: u32) -> u32 {
    slots.get(token as usize).copied().unwrap_or(1)
}

/// Visits every event of an example with its outcome.
fn walk(example: &Example, known: &[u32], mut visit: impl FnMut(Event<'_>, u32)) {
    let mut tree = Tree::default();
    for at in 0..example.len() {
        let around = Around::next(&mut tree, example);
        let (parent, previous, _) = tree.next();
        let (token, status) = (example.tokens[at], example.status[at]);
        visit(Event::Token(&around.token()), token);
        visit(Event::Status(&around.status(token)), status.into());
        let chain = around.profile(token, status);
        let profile = Event::Profile(&chain, slots(known, token));
        visit(profile, example.profile[at]);
        visit(
            Event::Arity(&around.arity(token, status)),
            example.arity[at],
        );
        let link = link_class(example, at as u32, parent, previous);
        visit(Event::Link(&around.link(token)), link);
        tree.add(example.arity[at]);
    }
    let mut timer = Timer::new(example);
    for (at, (start, end)) in example.start.iter().zip(&example.end).enumerate() {
        let times = timer.next(example, at);
        if at > 0 {
            visit(Event::StartMode(&times.start_mode()), start.mode.into());
            visit(
                Event::StartBin(&times.start_bin(start.mode)),
                start.bin.into(),
            );
        }
        visit(Event::EndMode(&times.end_mode(*start)), end.mode.into());
        visit(
            Event::EndBin(&times.end_bin(end.mode, *start)),
            end.bin.into(),
        );
    }
}

impl From<Grammar> for Saved {
    fn from(grammar: Grammar) -> Self {
        Self {
            sizes: grammar.sizes,
            tokens: grammar.tokens,
            slots: grammar.slots,
            traces: grammar.traces,
            counts: grammar.counts.dump(),
        }
    }
}

impl From<Saved> for Grammar {
    fn from(saved: Saved) -> Self {
        let mut grammar = Self::new(saved.sizes);
        grammar.tokens = saved.tokens;
        grammar.slots = saved.slots;
        grammar.traces = saved.traces;
        grammar.counts.load(saved.counts);
        grammar
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    const SIZES: GrammarSizes = GrammarSizes {
        start_modes: 3,
        end_modes: 9,
        bins: 42,
        max_contexts: 100_000,
        max_spans: 300,
    };

    fn code(mode: u8, bin: u8) -> TimeCode {
        TimeCode {
            mode,
            bin,
            within: 0.5,
        }
    }

    /// A trace of one of two request types: a root with so many calls, all alike but for bins.
    fn request(kind: u32, calls: u32, bin: u8) -> Example {
        let spans = calls as usize + 1;
        let mut example = Example {
            tokens: vec![kind + 2; spans],
            arity: vec![0; spans],
            status: vec![u8::from(kind == 1) * 2; spans],
            profile: vec![0; spans],
            start: vec![code(0, bin); spans],
            end: vec![code(0, bin); spans],
            links: Vec::new(),
        };
        (example.tokens[0], example.arity[0]) = (kind, calls);
        example.start[0] = TimeCode::default();
        example
    }

    fn grammar() -> Grammar {
        let mut grammar = Grammar::new(SIZES);
        for round in 0..60_u8 {
            let kind = u32::from(round % 3 == 0);
            grammar.learn(&request(kind, 2 + 3 * kind, 1 + round % 40), 1.0);
        }
        grammar
    }

    fn whole(example: &Example) -> bool {
        let children: u64 = example.arity.iter().map(|&arity| u64::from(arity)).sum();
        let parents = example.parents();
        children + 1 == example.len() as u64
            && parents[0].is_none()
            && parents[1..].iter().all(Option::is_some)
            && [example.status.len(), example.profile.len()] == [example.len(); 2]
            && [example.start.len(), example.end.len()] == [example.len(); 2]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn every_sample_is_a_whole_tree_of_the_size_asked_for(
            seed in any::<u64>(),
            size in prop::option::of(1_usize..300),
            kinds in prop::collection::vec((0_u32..2, 0_u32..400), 1..8),
        ) {
            let mut grammar = Grammar::new(SIZES);
            for (kind, calls) in kinds {
                grammar.learn(&request(kind, calls, 7), 1.0);
            }
            let drawn = grammar.sample(&mut ChaCha8Rng::seed_from_u64(seed), size);
            prop_assert!(whole(&drawn));
            prop_assert!(drawn.len() <= SIZES.max_spans);
            prop_assert_eq!(drawn.len(), size.unwrap_or(drawn.len()));
            prop_assert!(drawn.end.iter().all(|code| (1..41).contains(&code.bin)));
        }
    }

    #[test]
    fn samples_have_the_shares_and_shapes_of_what_was_learnt() {
        let grammar = grammar();
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let drawn: Vec<Example> = (0..600).map(|_| grammar.sample(&mut rng, None)).collect();
        let like = |kind: u32| {
            let shape = request(kind, 2 + 3 * kind, 1);
            let same = |drawn: &&Example| {
                (&drawn.tokens, &drawn.arity, &drawn.status)
                    == (&shape.tokens, &shape.arity, &shape.status)
            };
            drawn.iter().filter(same).count()
        };
        assert!((300..=430).contains(&like(0)), "{}", like(0));
        assert!((120..=230).contains(&like(1)), "{}", like(1));
    }

    #[test]
    fn what_was_learnt_costs_fewer_nats_and_nothing_is_impossible() {
        let grammar = grammar();
        let known = grammar.nats(&request(0, 2, 9));
        let strange = grammar.nats(&request(7, 90, 9));
        assert!(known.structure < 2.0, "{known:?}");
        assert!(
            strange.structure > 10.0 && strange.total().is_finite(),
            "{strange:?}"
        );
        let ignorant = Grammar::new(SIZES).nats(&request(0, 2, 9));
        assert!(ignorant.timing.is_finite() && ignorant.timing > known.timing);
    }

    #[test]
    fn a_link_to_the_sibling_before_is_drawn_again() {
        let mut grammar = Grammar::new(SIZES);
        let mut linked = request(0, 2, 9);
        linked.links = vec![(2, 1)];
        let before = grammar.nats(&linked);
        for _ in 0..50 {
            grammar.learn(&linked, 1.0);
        }
        assert!(grammar.nats(&linked).structure < before.structure);
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let linked = (0..50).filter(|_| grammar.sample(&mut rng, None).links == [(2, 1)]);
        assert!(linked.count() > 40);
    }

    #[test]
    fn a_call_has_the_profile_that_goes_with_its_parent_s() {
        let mut grammar = Grammar::new(SIZES);
        let answered = |root: u32, calls: u32| Example {
            profile: vec![root, calls, calls],
            ..request(0, 2, 9)
        };
        let (fine, broken) = (answered(0, 1), answered(2, 0));
        for _ in 0..50 {
            grammar.learn(&fine, 1.0);
            grammar.learn(&broken, 1.0);
        }
        let odd = grammar.nats(&answered(0, 0)).structure;
        assert!(odd > grammar.nats(&fine).structure + 3.0, "{odd}");
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let drawn = (0..200).map(|_| grammar.sample(&mut rng, None).profile);
        let drawn: Vec<Vec<u32>> = drawn.collect();
        for alike in [&fine, &broken] {
            let count = drawn
                .iter()
                .filter(|drawn| **drawn == alike.profile)
                .count();
            assert!((70..125).contains(&count), "{count}");
        }
    }

    #[test]
    fn the_same_seed_draws_the_same_also_from_a_saved_grammar() {
        let grammar = grammar();
        let json = serde_json::to_string(&grammar).unwrap();
        let loaded: Grammar = serde_json::from_str(&json).unwrap();
        assert_eq!(serde_json::to_string(&loaded).unwrap(), json);
        let draw = |grammar: &Grammar| {
            let mut rng = ChaCha8Rng::seed_from_u64(5);
            (0..20)
                .map(|_| grammar.sample(&mut rng, None))
                .collect::<Vec<_>>()
        };
        assert_eq!(draw(&grammar), draw(&loaded));
    }

    #[test]
    fn after_a_fade_what_comes_weighs_more() {
        let mut grammar = grammar();
        grammar.fade(0.1);
        for _ in 0..20 {
            grammar.learn(&request(1, 5, 9), 1.0);
        }
        let [old, new] = [request(0, 2, 9), request(1, 5, 9)].map(|example| grammar.nats(&example));
        assert!(new.structure < old.structure);
    }
}
