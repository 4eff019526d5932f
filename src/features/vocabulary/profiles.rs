//! The attribute profiles that enough distinct traces share, for each label.
//!
//! A profile that too few traces have reads as the largest known part of it. Parts are found by
//! dropping what is rarest: each thing that a profile holds is counted, and so are the parts that
//! are left when the rarest goes, then the next. Every count is of distinct traces.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::{Label, Word};
use crate::features::profile::Item;
use crate::features::{Interner, Profile, Token};
use crate::trace::{Symbol, Trace};

/// Profiles of a label at most; the bare one may come on top.
const MOST: usize = 31;

/// Things, and parts, that wait for the floor, per label that can be known at most.
const ITEMS_PER_LABEL: usize = 16;
const PARTS_PER_LABEL: usize = 4;

/// Counts on the way to the floor, and which symbols are known. The known profiles themselves
/// stand in the words.
#[derive(Debug, Clone, Default)]
pub(super) struct Profiles {
    /// Profiles known in all.
    known: usize,
    /// Slots of symbols whose whole profile is known.
    whole: HashMap<(Token, Symbol), u32>,
    /// Slots of other symbols; forgotten when another profile becomes known.
    part: HashMap<(Token, Symbol), u32>,
    items: HashMap<(Label, Item), u32>,
    parts: HashMap<(Label, Profile), u32>,
}

/// What bounds profiles.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) min_traces: u32,
    pub(super) max_labels: usize,
}

impl Profiles {
    /// Profiles known of all labels.
    pub(super) fn len(&self) -> usize {
        self.known
    }

    /// Counts what the spans of a trace carry; how many profiles became known by it.
    pub(super) fn observe(
        &mut self,
        trace: &Trace,
        texts: &Interner,
        tokens: &HashMap<Label, Token>,
        words: &mut [Word],
        bounds: Bounds,
    ) -> usize {
        let before = self.known;
        let unknown = self.unknown(trace, texts, tokens, words);
        if unknown.is_empty() {
            return 0;
        }
        let items: BTreeSet<(Label, Item)> = unknown
            .iter()
            .flat_map(|(label, profile)| profile.items().into_iter().map(|item| (*label, item)))
            .collect();
        for item in items {
            *self.items.entry(item).or_default() += 1;
        }
        let chains: Vec<(Label, Vec<Profile>)> = unknown
            .iter()
            .map(|(label, profile)| {
                let known = tokens
                    .get(label)
                    .map(|&token| &*words[token.0 as usize].profiles);
                (
                    *label,
                    self.chain(*label, profile, known.unwrap_or_default()),
                )
            })
            .collect();
        let parts: BTreeSet<(Label, Profile)> = chains
            .iter()
            .flat_map(|(label, chain)| chain.iter().map(|part| (*label, part.clone())))
            .collect();
        for part in parts {
            *self.parts.entry(part).or_default() += 1;
        }
        for (label, chain) in chains {
            let Some(&token) = tokens.get(&label) else {
                continue;
            };
            let passed = chain.into_iter().find(|part| {
                let count = self.parts.get(&(label, part.clone()));
                count.is_some_and(|&count| count >= bounds.min_traces)
            });
            if let Some(part) = passed {
                self.promote(label, part, &mut words[token.0 as usize], bounds);
            }
        }
        halve(&mut self.items, bounds.max_labels * ITEMS_PER_LABEL);
        halve(&mut self.parts, bounds.max_labels * PARTS_PER_LABEL);
        self.known - before
    }

    /// The slot of a symbol among the profiles of its token: of the largest that is part of what
    /// it stands for. None where there is no such, not even a bare one.
    pub(super) fn slot(
        &self,
        token: Token,
        symbol: Symbol,
        texts: &Interner,
        word: &Word,
    ) -> Option<u32> {
        let key = (token, symbol);
        let found = self.whole.get(&key).or_else(|| self.part.get(&key));
        found.copied().or_else(|| largest(symbol, texts, word))
    }

    /// As [`Self::slot`], where a bare profile becomes known if it is needed: it says nothing of
    /// anybody.
    pub(super) fn adopt(
        &mut self,
        token: Token,
        symbol: Symbol,
        texts: &Interner,
        word: &mut Word,
        bounds: Bounds,
    ) -> u32 {
        if let Some(slot) = self.whole.get(&(token, symbol)) {
            return *slot;
        }
        if let Some(slot) = self.part.get(&(token, symbol)) {
            return *slot;
        }
        let slot = largest(symbol, texts, word).unwrap_or_else(|| {
            word.profiles.push(Arc::default());
            self.known += 1;
            word.profiles.len() as u32 - 1
        });
        if self.part.len() >= bounds.max_labels * ITEMS_PER_LABEL {
            self.part.clear();
        }
        self.part.insert((token, symbol), slot);
        slot
    }

    /// Takes profiles up that a checkpoint holds.
    pub(super) fn load(&mut self, word: &mut Word, profiles: &[Profile]) {
        let room = profiles.iter().take(MOST + 1);
        word.profiles = room.cloned().map(Arc::new).collect();
        self.known += word.profiles.len();
    }

    /// What the labels of a trace carry and is not known whole, each once.
    fn unknown(
        &mut self,
        trace: &Trace,
        texts: &Interner,
        tokens: &HashMap<Label, Token>,
        words: &[Word],
    ) -> Vec<(Label, Arc<Profile>)> {
        let spans = trace.spans().iter();
        let mut met: Vec<(Label, Symbol)> = spans
            .filter(|span| span.profile != Interner::OTHER)
            .map(|span| (Label::of(span), span.profile))
            .collect();
        met.sort_unstable();
        met.dedup();
        let mut unknown = Vec::new();
        for (label, symbol) in met {
            let token = tokens.get(&label).copied();
            if token.is_some_and(|token| self.whole.contains_key(&(token, symbol))) {
                continue;
            }
            let Some(profile) = texts.profile_of(symbol) else {
                continue;
            };
            let same = token.and_then(|token| {
                let profiles = &words[token.0 as usize].profiles;
                let slot = profiles.iter().position(|known| *known == profile)?;
                Some((token, slot as u32))
            });
            match same {
                Some((token, slot)) => {
                    self.whole.insert((token, symbol), slot);
                }
                None => unknown.push((label, profile)),
            }
        }
        unknown
    }

    /// A profile and its parts, the largest first: without what is rarest, one thing after the
    /// other, down to a part that is known.
    fn chain(&self, label: Label, profile: &Profile, known: &[Arc<Profile>]) -> Vec<Profile> {
        let count = |item: &Item| {
            let count = self.items.get(&(label, item.clone()));
            count.copied().unwrap_or_default()
        };
        let mut part = profile.clone();
        let mut chain = Vec::new();
        while !part.is_bare() && !known.iter().any(|known| **known == part) {
            let items = part.items().into_iter().map(|item| (count(&item), item));
            let rarest = items.min_by(|(a, one), (b, other)| a.cmp(b).then(other.cmp(one)));
            let Some((_, rarest)) = rarest else {
                break;
            };
            let less = part.only(|item| *item != rarest);
            chain.push(std::mem::replace(&mut part, less));
        }
        chain
    }

    fn promote(&mut self, label: Label, part: Profile, word: &mut Word, bounds: Bounds) {
        let room = word.profiles.len() < MOST && self.known < bounds.max_labels;
        if !room || word.profiles.iter().any(|known| **known == part) {
            return;
        }
        self.parts.remove(&(label, part.clone()));
        word.profiles.push(Arc::new(part));
        self.known += 1;
        self.part.clear();
    }
}

/// The largest profile of a word that is part of what a symbol stands for.
fn largest(symbol: Symbol, texts: &Interner, word: &Word) -> Option<u32> {
    let profile = texts.profile_of(symbol).unwrap_or_default();
    let parts = (0..).zip(&word.profiles);
    let parts = parts.filter(|(_, known)| known.is_part_of(&profile));
    let best = parts.max_by_key(|(slot, known)| (known.size(), std::cmp::Reverse(*slot)));
    best.map(|(slot, _)| slot)
}

/// Halves all counts where there are too many, and forgets those at zero: a count is never too
/// high.
fn halve<K: Eq + std::hash::Hash>(counts: &mut HashMap<K, u32>, room: usize) {
    if counts.len() > room {
        counts.retain(|_, count| {
            *count /= 2;
            *count > 0
        });
    }
}

#[cfg(test)]
mod tests;
