//! The attribute profiles that enough distinct traces share, for each label.
//!
//! A profile has two halves: what was asked, which needs the floor on its own label, and how it ended,
//! which needs it on all labels together, for a timeout is a timeout whoever met it, and errors are
//! rare. A half that too few traces have reads as the largest known part of it. Parts are found by
//! dropping what is rarest: each thing that a half holds is counted, and so are the parts that are
//! left when the rarest goes, then the next. Every count is of distinct traces.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::{Label, Word};
use crate::features::profile::Item;
use crate::features::{Interner, Profile, Token};
use crate::trace::{Symbol, Trace};

/// Profiles of a label, and halves, at most; the bare profile may come on top.
const MOST: usize = 31;

/// Endings that are known at most, of all labels.
const ENDINGS: usize = 1_024;

/// Things, and parts, that wait for the floor, per label that can be known at most.
const ITEMS_PER_LABEL: usize = 16;
const PARTS_PER_LABEL: usize = 4;

/// Whose half it is: what was asked belongs to a label, an ending to all.
type Owner = Option<Label>;

/// Counts on the way to the floor, and what passed it. The profiles that spans may have stand in
/// the words: a known half with a known ending, once a trace that is learnt has both.
#[derive(Debug, Clone, Default)]
pub(super) struct Profiles {
    /// Halves that passed the floor.
    halves: HashMap<Owner, BTreeSet<Arc<Profile>>>,
    /// Halves that passed the floor, and profiles that stand in the words.
    known: usize,
    /// Labels and symbols whose halves are both known.
    whole: HashSet<(Label, Symbol)>,
    /// Slots of symbols; forgotten when another half becomes known.
    slots: HashMap<(Token, Symbol), u32>,
    items: HashMap<(Owner, Item), u32>,
    parts: HashMap<(Owner, Profile), u32>,
}

/// What bounds profiles.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) min_traces: u32,
    pub(super) max_labels: usize,
}

impl Profiles {
    /// A number that grows with all that is known.
    pub(super) fn len(&self) -> usize {
        self.known
    }

    /// Counts what the spans of a trace carry; how many halves became known by it.
    pub(super) fn observe(&mut self, trace: &Trace, texts: &Interner, bounds: Bounds) -> usize {
        let before = self.known;
        let unknown = self.unknown(trace, texts);
        if unknown.is_empty() {
            return 0;
        }
        let items: BTreeSet<(Owner, Item)> = unknown
            .iter()
            .flat_map(|(owner, half)| half.items().into_iter().map(|item| (*owner, item)))
            .collect();
        for item in items {
            *self.items.entry(item).or_default() += 1;
        }
        let chains: Vec<(Owner, Vec<Profile>)> = unknown
            .into_iter()
            .map(|(owner, half)| (owner, self.chain(owner, half)))
            .collect();
        let parts: BTreeSet<(Owner, Profile)> = chains
            .iter()
            .flat_map(|(owner, chain)| chain.iter().map(|part| (*owner, part.clone())))
            .collect();
        for part in parts {
            *self.parts.entry(part).or_default() += 1;
        }
        for (owner, chain) in chains {
            let passed = chain.into_iter().find(|part| {
                let count = self.parts.get(&(owner, part.clone()));
                count.is_some_and(|&count| count >= bounds.min_traces)
            });
            if let Some(part) = passed {
                self.promote(owner, part);
            }
        }
        halve(&mut self.items, bounds.max_labels * ITEMS_PER_LABEL);
        halve(&mut self.parts, bounds.max_labels * PARTS_PER_LABEL);
        if self.whole.len() > bounds.max_labels * ITEMS_PER_LABEL {
            self.whole.clear();
        }
        self.known - before
    }

    /// The slot of a symbol among the profiles of its token: of the largest that is part of what
    /// it stands for. None where there is no such, not even a bare one.
    pub(super) fn slot(
        &self,
        (label, token): (Label, Token),
        symbol: Symbol,
        texts: &Interner,
        word: &Word,
    ) -> Option<u32> {
        let found = self.slots.get(&(token, symbol)).copied();
        found.or_else(|| largest(&self.known_of(label, symbol, texts), word))
    }

    /// As [`Self::slot`], where a profile that is not among those of its token yet becomes one if
    /// there is room. So does the bare one, which says nothing of anybody, in any case.
    pub(super) fn adopt(
        &mut self,
        (label, token): (Label, Token),
        symbol: Symbol,
        texts: &Interner,
        word: &mut Word,
        bounds: Bounds,
    ) -> u32 {
        if let Some(slot) = self.slots.get(&(token, symbol)) {
            return *slot;
        }
        let profile = self.known_of(label, symbol, texts);
        let there = word.profiles.iter().any(|known| **known == profile);
        if !there && word.profiles.len() < MOST {
            self.add(word, profile.clone());
        }
        let slot = largest(&profile, word).unwrap_or_else(|| {
            self.add(word, Profile::default());
            word.slots() - 1
        });
        if self.slots.len() >= bounds.max_labels * ITEMS_PER_LABEL {
            self.slots.clear();
        }
        self.slots.insert((token, symbol), slot);
        slot
    }

    /// Takes profiles up that a checkpoint holds: they and their halves passed the floor.
    pub(super) fn load(&mut self, label: Label, word: &mut Word, profiles: &[Profile]) {
        for profile in profiles.iter().take(MOST + 1) {
            let (asked, ended) = profile.halves();
            self.promote(Some(label), asked);
            self.promote(None, ended);
            self.add(word, profile.clone());
        }
    }

    fn add(&mut self, word: &mut Word, profile: Profile) {
        word.profiles.push(Arc::new(profile));
        self.known += 1;
    }

    /// What is known of what a symbol stands for.
    fn known_of(&self, label: Label, symbol: Symbol, texts: &Interner) -> Profile {
        let Some(profile) = texts.profile_of(symbol) else {
            return Profile::default();
        };
        let (asked, ended) = profile.halves();
        Profile::join(
            &self.largest_half(Some(label), &asked),
            &self.largest_half(None, &ended),
        )
    }

    /// The largest known part of a half; a bare one if there is none.
    fn largest_half(&self, owner: Owner, half: &Profile) -> Arc<Profile> {
        let Some(known) = self.halves.get(&owner) else {
            return Arc::default();
        };
        if let Some(whole) = known.get(half) {
            return whole.clone();
        }
        let parts = known.iter().filter(|known| known.is_part_of(half));
        let largest = parts.max_by_key(|part| part.size());
        largest.cloned().unwrap_or_default()
    }

    /// The halves that the spans of a trace have and that are not known, each once.
    fn unknown(&mut self, trace: &Trace, texts: &Interner) -> BTreeSet<(Owner, Profile)> {
        let mut unknown = BTreeSet::new();
        for span in trace.spans() {
            let label = Label::of(span);
            if span.profile == Interner::OTHER || self.whole.contains(&(label, span.profile)) {
                continue;
            }
            let Some(profile) = texts.profile_of(span.profile) else {
                continue;
            };
            let (asked, ended) = profile.halves();
            let mut whole = true;
            for (owner, half) in [(Some(label), asked), (None, ended)] {
                let known = self.halves.get(&owner);
                if !half.is_bare() && !known.is_some_and(|known| known.contains(&half)) {
                    whole = false;
                    unknown.insert((owner, half));
                }
            }
            if whole {
                self.whole.insert((label, span.profile));
            }
        }
        unknown
    }

    /// A half and its parts, the largest first: without what is rarest, one thing after the other,
    /// down to a part that is known.
    fn chain(&self, owner: Owner, half: Profile) -> Vec<Profile> {
        let known = self.halves.get(&owner);
        let is_known = |part: &Profile| known.is_some_and(|known| known.contains(part));
        let count = |item: &Item| {
            let count = self.items.get(&(owner, item.clone()));
            count.copied().unwrap_or_default()
        };
        let mut part = half;
        let mut chain = Vec::new();
        while !part.is_bare() && !is_known(&part) {
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

    fn promote(&mut self, owner: Owner, part: Profile) {
        let room = if owner.is_some() { MOST } else { ENDINGS };
        let known = self.halves.entry(owner).or_default();
        if part.is_bare() || known.len() >= room || known.contains(&part) {
            return;
        }
        self.parts.remove(&(owner, part.clone()));
        known.insert(Arc::new(part));
        self.known += 1;
        self.slots.clear();
    }
}

/// The largest profile of a word that is part of another.
fn largest(profile: &Profile, word: &Word) -> Option<u32> {
    let parts = (0..).zip(&word.profiles);
    let parts = parts.filter(|(_, known)| known.is_part_of(profile));
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
