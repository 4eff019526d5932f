//! Texts of the observed system, known by their symbols.
//!
//! A symbol is a keyed hash, so that the same text has the same symbol on every thread without
//! asking anybody; the table only remembers which text a symbol stands for. It is bounded: names
//! that nobody pinned and that were not seen for a while make room for new ones. Attribute profiles
//! have a table of their own, so that a flood of values never pushes names out.

mod keys;
mod table;

use std::cell::Cell;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Profile;
use crate::trace::Symbol;
use keys::Keys;
use table::Table;

pub use keys::ATTRIBUTES;

/// Attributes that each thread remembers, so that a known one is looked at once.
const PAIRS: usize = 1024;

thread_local! {
    /// A tag and what the attribute adds to a profile's hash.
    static SEEN: [Cell<(u64, u64)>; PAIRS] = const { [const { Cell::new((0, 0)) }; PAIRS] };
}

/// How an [`Interner`] is bounded and keyed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InternerSettings {
    /// Key of the hash. The same key gives the same symbols, so that runs can be repeated; a key
    /// of one's own keeps a sender from making texts that share a symbol.
    pub key: u64,
    /// Texts remembered at most.
    pub capacity: usize,
    /// Bytes of a text at most; a longer one reads as [`Interner::OTHER`].
    pub longest: usize,
    /// Keys of the attributes that profiles hold.
    pub attributes: Vec<String>,
    /// Profiles remembered at most.
    pub profiles: usize,
    /// Distinct values that a key may have; with more it is no longer looked at, for its values
    /// name single things and not kinds of things.
    pub values: usize,
}

impl Default for InternerSettings {
    fn default() -> Self {
        Self {
            key: 0x646f_7070_656c_7370,
            capacity: 65_536,
            longest: 256,
            attributes: ATTRIBUTES.map(str::to_owned).to_vec(),
            profiles: 16_384,
            values: 1_024,
        }
    }
}

/// What an [`Interner`] remembered and turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InternerCounts {
    /// Texts remembered now.
    pub texts: u64,
    /// Texts forgotten because they were old when room was needed.
    pub forgotten: u64,
    /// Times a text was refused because it is too long.
    pub too_long: u64,
    /// Times a text was refused because the table was full of pinned or young texts.
    pub full: u64,
    /// Profiles remembered now.
    pub profiles: u64,
    /// Spans that read as bare because the table of profiles was full.
    pub profiles_full: u64,
    /// Keys that are no longer looked at because they had too many values.
    pub keys_given_up: u64,
}

/// A bounded table of observed texts. Shared by the taps (which add) and the learner (which reads).
#[derive(Debug)]
pub struct Interner {
    longest: usize,
    hash: foldhash::quality::FixedState,
    texts: Table<str>,
    profiles: Table<Profile>,
    keys: Keys,
    too_long: AtomicU64,
}

impl Default for Interner {
    fn default() -> Self {
        Self::new(InternerSettings::default())
    }
}

impl Interner {
    /// Stands for every text that is too long or came when the table was full; as a profile, for
    /// a span that carries nothing a profile holds.
    pub const OTHER: Symbol = Symbol(0);

    /// An empty table.
    pub fn new(settings: InternerSettings) -> Self {
        let hash = foldhash::quality::FixedState::with_seed(settings.key);
        Self {
            keys: Keys::new(settings.attributes, settings.values, hash.clone()),
            hash,
            longest: settings.longest,
            texts: Table::new(settings.capacity),
            profiles: Table::new(settings.profiles),
            too_long: AtomicU64::new(0),
        }
    }

    /// The symbol of a text, which is remembered.
    ///
    /// Takes no lock for a text that this thread has seen since the table last aged.
    pub fn symbol(&self, text: &str) -> Symbol {
        if text.len() > self.longest {
            self.too_long.fetch_add(1, Ordering::Relaxed);
            return Self::OTHER;
        }
        let hash = self.hash_of(text);
        match self.texts.see(hash, || Some(text.into())) {
            true => Symbol(hash),
            false => Self::OTHER,
        }
    }

    /// The text of a symbol, if it is still remembered.
    pub fn text(&self, symbol: Symbol) -> Option<Arc<str>> {
        if symbol == Self::OTHER {
            return Some("other".into());
        }
        self.texts.value(symbol.0)
    }

    /// The text of a symbol, which is never forgotten from now on: for what enters a vocabulary.
    pub fn pin(&self, symbol: Symbol) -> Option<Arc<str>> {
        self.texts.pin(symbol.0)
    }

    /// Whether profiles hold anything at all.
    pub fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Whether profiles may hold the values of a key: told at a glance, and wrong about few others.
    #[inline]
    pub fn may_hold(&self, key: &[u8]) -> bool {
        self.keys.may_hold(key)
    }

    /// Looks a key of an attribute up: a number that stands for it among others, if profiles hold
    /// its values. Allocates nothing and takes no lock.
    #[inline]
    pub fn key(&self, key: &[u8]) -> Option<u64> {
        self.keys.find(key)
    }

    /// The same for names of events, which all count as values of one key.
    #[inline]
    pub fn event_key(&self) -> Option<u64> {
        self.keys.events()
    }

    /// What an attribute, here the bytes of its message, adds to a profile's hash; `look` tells of
    /// one that this thread has not met lately, 0 for what profiles don't hold.
    #[inline]
    pub fn pair(&self, message: &[u8], look: impl FnOnce() -> u64) -> u64 {
        // A key that was given up in between is looked up again, and so are those of others.
        let tag = self.mix(self.profiles.serial() << 32 ^ self.keys.given_up(), message);
        SEEN.with(|seen| {
            let slot = &seen[tag as usize % PAIRS];
            let (known, adds) = slot.get();
            if known == tag {
                return adds;
            }
            let adds = look();
            // What profiles don't hold has many values, which would push the others out.
            if adds != 0 {
                slot.set((tag, adds));
            }
            adds
        })
    }

    /// One number for some bytes and a number.
    #[inline]
    pub fn mix(&self, number: u64, bytes: &[u8]) -> u64 {
        let mut hasher = self.hash.build_hasher();
        hasher.write_u64(number);
        hasher.write(bytes);
        hasher.finish()
    }

    /// The symbol of a profile, which is remembered. `hash` stands for all that it holds; it is
    /// made only if it is new.
    ///
    /// A profile with a value that its key has no room for is not remembered: the key is given up.
    pub fn profile(&self, hash: u64, make: impl FnOnce() -> Profile) -> Symbol {
        if hash == 0 {
            return Self::OTHER;
        }
        let make = || {
            let profile = make();
            self.keys.count(&profile).then(|| Arc::new(profile))
        };
        match self.profiles.see(hash, make) {
            true => Symbol(hash),
            false => Self::OTHER,
        }
    }

    /// What a profile's symbol stands for, if it is still remembered; none for a bare span.
    pub fn profile_of(&self, symbol: Symbol) -> Option<Arc<Profile>> {
        self.profiles.value(symbol.0)
    }

    /// What was remembered and turned away so far.
    pub fn counts(&self) -> InternerCounts {
        let [texts, forgotten, full] = self.texts.counts();
        let [profiles, _, profiles_full] = self.profiles.counts();
        InternerCounts {
            texts,
            forgotten,
            too_long: self.too_long.load(Ordering::Relaxed),
            full,
            profiles,
            profiles_full,
            keys_given_up: self.keys.given_up(),
        }
    }

    fn hash_of(&self, text: &str) -> u64 {
        let mut hasher = self.hash.build_hasher();
        hasher.write(text.as_bytes());
        hasher.finish().max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Interner {
        Interner::new(InternerSettings {
            capacity: 1024,
            longest: 16,
            ..InternerSettings::default()
        })
    }

    #[test]
    fn the_same_text_and_key_give_the_same_symbol() {
        let (one, two) = (small(), small());
        assert_eq!(one.symbol("GET /cart"), two.symbol("GET /cart"));
        assert_ne!(one.symbol("GET /cart"), one.symbol("GET /card"));
        assert_eq!(&*two.text(one.symbol("GET /cart")).unwrap(), "GET /cart");
        let keyed = Interner::new(InternerSettings {
            key: 1,
            ..InternerSettings::default()
        });
        assert_ne!(keyed.symbol("GET /cart"), one.symbol("GET /cart"));
    }

    #[test]
    fn another_interner_of_the_same_thread_learns_a_text_too() {
        let (one, two) = (small(), small());
        let symbol = one.symbol("a");
        assert_eq!(two.text(symbol), None);
        two.symbol("a");
        assert_eq!(two.text(symbol).as_deref(), Some("a"));
    }

    #[test]
    fn a_text_that_is_too_long_reads_as_other_and_is_counted() {
        let interner = small();
        assert_eq!(interner.symbol("seventeen letters"), Interner::OTHER);
        assert_eq!(interner.counts().too_long, 1);
        assert_eq!(interner.counts().texts, 0);
    }

    #[test]
    fn a_flood_of_names_neither_grows_the_table_nor_keeps_known_and_new_names_out() {
        let interner = small();
        let pinned = interner.symbol("pinned");
        interner.pin(pinned);
        let used = interner.symbol("used");
        for flood in 0..20_000 {
            interner.symbol(&format!("flood {flood}"));
            interner.symbol("used");
        }
        let counts = interner.counts();
        assert!(counts.texts <= 1024, "{counts:?}");
        assert!(counts.forgotten > 15_000, "{counts:?}");
        assert_eq!(interner.text(pinned).as_deref(), Some("pinned"));
        assert_eq!(interner.text(used).as_deref(), Some("used"));
        let new = interner.symbol("new");
        assert_eq!(interner.text(new).as_deref(), Some("new"));
    }

    #[test]
    fn a_table_full_of_pinned_names_refuses_and_counts() {
        let interner = small();
        for name in 0..4_000 {
            let symbol = interner.symbol(&format!("{name}"));
            interner.pin(symbol);
        }
        let counts = interner.counts();
        assert_eq!(counts.texts, 1024);
        assert_eq!(counts.full, 4_000 - 1024);
    }
}
