//! Traces drawn under conditions: structures are drawn until one meets them, and get times then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rand::RngExt as _;
use rand::seq::SliceRandom as _;

use super::conditions::{Kind, TRIES};
use super::serve::{Asking, Limits, Structure};
use super::{Conditions, Sampler, Shapes, UnknownRoot, Unmet};
use crate::chance::{Rng, stream};
use crate::features::{Sampled, Word};

/// Structures drawn at once, at most.
const TOGETHER: u64 = 256;
/// Spans drawn in vain where every trace has a fixed size: large ones cost more.
const SPANS: u64 = 4_000_000;
/// Structures drawn to see which operations are roots, and names told of.
const ROOTS: usize = 512;
const NEAREST: usize = 3;

/// Conditions, made ready for one model.
#[derive(Debug)]
pub struct Asked {
    conditions: Conditions,
    limits: Limits,
    shapes: Option<Shapes>,
    /// Kinds that this model was asked for in vain: it is not asked again.
    given_up: BTreeSet<Kind>,
    /// Structures drawn, and those that were of use.
    drawn: u64,
    kept: u64,
}

/// What was drawn under conditions.
#[derive(Debug, Clone, Default)]
pub struct Met {
    /// Traces; fewer than were asked for if the model has none of a kind.
    pub traces: Vec<Sampled>,
    /// Structures drawn for them.
    pub structures: u64,
    /// Why there are fewer, the first time that it is found out.
    pub unmet: Option<Unmet>,
}

/// Draws since one was of use.
#[derive(Debug, Default)]
struct Vain {
    drawn: u64,
    with_root: u64,
    with_size: u64,
}

impl Asked {
    /// Looks up root operations, and which shapes are rare. `words` is what the tokens of the
    /// sampler's model stand for.
    ///
    /// Fails at the first root operation that the model does not know.
    pub fn new(
        conditions: &Conditions,
        sampler: &mut Sampler,
        words: &[Word],
    ) -> Result<Self, UnknownRoot> {
        for root in &conditions.roots {
            if !words.iter().any(|word| names(word, root)) {
                return Err(unknown(root, sampler, words));
            }
        }
        Ok(Self::ready(conditions, sampler, words))
    }

    /// As [`Asked::new`] for a model that still learns: root operations that it does not know yet
    /// are left out as long as it knows another.
    pub fn of_known(
        conditions: &Conditions,
        sampler: &mut Sampler,
        words: &[Word],
    ) -> Result<Self, UnknownRoot> {
        let known = |root: &&String| words.iter().any(|word| names(word, root));
        match conditions.roots.first() {
            Some(root) if !conditions.roots.iter().any(|root| known(&root)) => {
                Err(unknown(root, sampler, words))
            }
            _ => Ok(Self::ready(conditions, sampler, words)),
        }
    }

    fn ready(conditions: &Conditions, sampler: &mut Sampler, words: &[Word]) -> Self {
        let asked = |word: &Word| conditions.roots.iter().any(|root| names(word, root));
        let roots: Arc<[bool]> = words.iter().map(asked).collect();
        // Which shapes are rare hangs on the model alone, not on the seed of the draws.
        let mut shapes = || Shapes::of(sampler, &mut stream(0, "shapes"));
        Self {
            limits: Limits {
                size: conditions.spans,
                most: conditions.max_spans,
                roots: (!conditions.roots.is_empty()).then_some(roots),
            },
            shapes: conditions.rare.map(|_| shapes()),
            conditions: conditions.clone(),
            given_up: BTreeSet::new(),
            drawn: 0,
            kept: 0,
        }
    }

    /// Draws so many traces. Where a share is asked for, that share of them is of the kind, to the
    /// nearest whole number up or down; which ones, is chance. Without conditions, draws what
    /// [`Sampler::sample_many`] does.
    pub fn sample_many(&mut self, sampler: &mut Sampler, rng: &mut Rng, count: usize) -> Met {
        if self.conditions.is_free() {
            return Met {
                traces: sampler.sample_many(rng, count, self.conditions.spans),
                structures: count as u64,
                unmet: None,
            };
        }
        let mut open = self.open(rng, count);
        let mut kept: Vec<Option<Sampled>> = (0..count).map(|_| None).collect();
        let mut refused = vec![0; count];
        let mut met = Met::default();
        while !open.is_empty() {
            let found = self.find(sampler, rng, &mut open, &mut met);
            let (places, found): (Vec<(usize, Kind)>, Vec<Structure>) = found.into_iter().unzip();
            let sized = self.conditions.spans.is_some();
            let asking = if sized {
                Asking::Size
            } else {
                Asking::Conditions
            };
            for ((place, kind), drawn) in places.into_iter().zip(sampler.finish(rng, found)) {
                if sampler.keeps(rng, &drawn, refused[place], asking) {
                    kept[place] = Some(drawn);
                } else {
                    refused[place] += 1;
                    open.entry(kind).or_default().push(place);
                }
            }
        }
        met.traces = kept.into_iter().flatten().collect();
        met
    }

    /// Structures for every open place whose kind the model has: the place, its kind, what was found
    /// for it. In the order of the places.
    fn find(
        &mut self,
        sampler: &mut Sampler,
        rng: &mut Rng,
        open: &mut BTreeMap<Kind, Vec<usize>>,
        met: &mut Met,
    ) -> Vec<((usize, Kind), Structure)> {
        let mut found = BTreeMap::new();
        let mut vain = Vain::default();
        while let Some(&kind) = open.keys().next() {
            if vain.drawn >= self.tries() {
                let conditions = self.conditions.clone();
                self.given_up.extend(open.keys());
                open.clear();
                met.unmet = Some(Unmet {
                    conditions,
                    drawn: vain.drawn,
                    with_root: vain.with_root,
                    with_size: vain.with_size,
                    kind,
                });
                break;
            }
            let batch = self.batch(open.values().map(Vec::len).sum());
            for drawn in sampler.structures(rng, batch, &self.limits) {
                met.structures += 1;
                self.drawn += 1;
                let Some(kind) = self.kind(&drawn, &mut vain) else {
                    continue;
                };
                if let Some(place) = take(open, kind) {
                    found.insert((place, kind), drawn);
                    self.kept += 1;
                    vain = Vain::default();
                }
            }
        }
        found.into_iter().collect()
    }

    /// The places of each kind, the first last; kinds that were given up have none.
    fn open(&self, rng: &mut Rng, count: usize) -> BTreeMap<Kind, Vec<usize>> {
        let errors = spread(self.conditions.errors, count, rng);
        let rare = spread(self.conditions.rare, count, rng);
        let mut open: BTreeMap<Kind, Vec<usize>> = BTreeMap::new();
        for (place, (error, rare)) in errors.into_iter().zip(rare).enumerate().rev() {
            open.entry(Kind { error, rare }).or_default().push(place);
        }
        open.retain(|kind, _| !self.given_up.contains(kind));
        open
    }

    /// The kind of a structure, if its root and size are what was asked for.
    fn kind(&self, drawn: &Structure, vain: &mut Vain) -> Option<Kind> {
        let example = drawn.example();
        vain.drawn += 1;
        if !self.limits.begins_with(example) {
            return None;
        }
        vain.with_root += 1;
        if !drawn.is_whole() || !self.conditions.sizes(example.len()) {
            return None;
        }
        vain.with_size += 1;
        let has_error = example.status.contains(&2);
        let shapes = self.shapes.as_ref();
        Some(Kind {
            error: self.conditions.errors.map(|_| has_error),
            rare: shapes.map(|shapes| shapes.is_rare_example(example)),
        })
    }

    /// Draws in vain before a kind is given up.
    fn tries(&self) -> u64 {
        match self.conditions.spans {
            Some(size) => TRIES.min((SPANS / size.max(1) as u64).max(1)),
            None => TRIES,
        }
    }

    /// Structures to draw at once, so that few are drawn for nothing.
    fn batch(&self, open: usize) -> usize {
        let each = (self.drawn + 1) / (self.kept + 1);
        (open as u64 * each.max(1)).min(TOGETHER) as usize
    }
}

/// Takes the first place of a kind.
fn take(open: &mut BTreeMap<Kind, Vec<usize>>, kind: Kind) -> Option<usize> {
    let places = open.get_mut(&kind)?;
    let place = places.pop();
    if places.is_empty() {
        open.remove(&kind);
    }
    place
}

/// Which of so many traces are of a kind: this share of them, at places that are chance.
fn spread(share: Option<f64>, count: usize, rng: &mut Rng) -> Vec<Option<bool>> {
    let Some(share) = share else {
        return vec![None; count];
    };
    // The odd one is of the kind with the chance that makes the mean exact.
    let of_kind = (share * count as f64 + rng.random::<f64>()) as usize;
    let mut spread: Vec<Option<bool>> = (0..count).map(|at| Some(at < of_kind)).collect();
    spread.shuffle(rng);
    spread
}

fn name(word: &Word) -> String {
    format!("{}/{}", word.service, word.operation)
}

/// Whether a word is what `service/operation` names. Either may have slashes of its own.
fn names(word: &Word, root: &str) -> bool {
    let operation = root.strip_prefix(&*word.service);
    let operation = operation.and_then(|rest| rest.strip_prefix('/'));
    operation.is_some_and(|operation| operation == &*word.operation)
}

fn unknown(root: &str, sampler: &mut Sampler, words: &[Word]) -> UnknownRoot {
    let rng = &mut stream(0, "roots");
    let drawn = sampler.aside(|s| s.structures(rng, ROOTS, &Limits::default()));
    let tokens = drawn
        .iter()
        .filter_map(|drawn| drawn.example().tokens.first());
    let known = tokens.filter_map(|&token| Some(name(words.get(token as usize)?)));
    let mut known: Vec<String> = known.collect::<BTreeSet<_>>().into_iter().collect();
    let asked = root.to_lowercase();
    known.sort_by_cached_key(|name| strsim::damerau_levenshtein(&asked, &name.to_lowercase()));
    known.truncate(NEAREST);
    UnknownRoot {
        root: root.to_owned(),
        nearest: known,
    }
}
