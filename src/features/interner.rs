//! Texts of the observed system, known by their symbols.
//!
//! A symbol is a keyed hash, so that the same text has the same symbol on every thread without
//! asking anybody; the table only remembers which text a symbol stands for. It is bounded: names
//! that nobody pinned and that were not seen for a while make room for new ones.

use std::cell::Cell;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;

use crate::trace::Symbol;

/// Tables, each with its own lock, that symbols are spread over.
const SHARDS: usize = 16;
/// Symbols that each thread remembers to have seen, so that a known text takes no lock.
const KNOWN: usize = 2048;
/// Ages that pass while a table's worth of new texts comes in.
const AGES: usize = 8;

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
}

impl Default for InternerSettings {
    fn default() -> Self {
        Self {
            key: 0x646f_7070_656c_7370,
            capacity: 65_536,
            longest: 256,
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
}

#[derive(Debug)]
struct Entry {
    text: Arc<str>,
    seen: u32,
    pinned: bool,
}

/// The texts of one part of the hashes.
#[derive(Debug, Default)]
struct Shard {
    texts: HashMap<u64, Entry, foldhash::fast::FixedState>,
    /// Age at which it was last searched for old texts: once per age is enough.
    swept: Option<u32>,
}

/// A bounded table of observed texts. Shared by the taps (which add) and the learner (which reads).
#[derive(Debug)]
pub struct Interner {
    settings: InternerSettings,
    hash: foldhash::quality::FixedState,
    shards: [Mutex<Shard>; SHARDS],
    /// Tells the interners of a process apart in the caches of its threads.
    serial: u64,
    added: AtomicU64,
    age: AtomicU32,
    texts: AtomicU64,
    forgotten: AtomicU64,
    too_long: AtomicU64,
    full: AtomicU64,
}

thread_local! {
    static SEEN: [Cell<u64>; KNOWN] = const { [const { Cell::new(0) }; KNOWN] };
}

impl Default for Interner {
    fn default() -> Self {
        Self::new(InternerSettings::default())
    }
}

impl Interner {
    /// Stands for every text that is too long or came when the table was full.
    pub const OTHER: Symbol = Symbol(0);

    /// An empty table.
    pub fn new(settings: InternerSettings) -> Self {
        static SERIAL: AtomicU64 = AtomicU64::new(1);
        Self {
            hash: foldhash::quality::FixedState::with_seed(settings.key),
            settings,
            shards: Default::default(),
            serial: SERIAL.fetch_add(1, Ordering::Relaxed),
            added: AtomicU64::new(0),
            age: AtomicU32::new(0),
            texts: AtomicU64::new(0),
            forgotten: AtomicU64::new(0),
            too_long: AtomicU64::new(0),
            full: AtomicU64::new(0),
        }
    }

    /// The symbol of a text, which is remembered.
    ///
    /// Takes no lock for a text that this thread has seen since the table last aged.
    pub fn symbol(&self, text: &str) -> Symbol {
        if text.len() > self.settings.longest {
            self.too_long.fetch_add(1, Ordering::Relaxed);
            return Self::OTHER;
        }
        let hash = self.hash_of(text);
        let age = self.age.load(Ordering::Acquire);
        // Age and interner are part of the tag, so that whatever this thread has seen of another
        // table, or before a text may have been forgotten, does not count as seen.
        let tag = hash ^ (self.serial << 32 | u64::from(age)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let slot = hash as usize % KNOWN;
        if SEEN.with(|seen| seen[slot].get()) == tag {
            return Symbol(hash);
        }
        if !self.remember(hash, text, age) {
            self.full.fetch_add(1, Ordering::Relaxed);
            return Self::OTHER;
        }
        SEEN.with(|seen| seen[slot].set(tag));
        Symbol(hash)
    }

    /// The text of a symbol, if it is still remembered.
    pub fn text(&self, symbol: Symbol) -> Option<Arc<str>> {
        if symbol == Self::OTHER {
            return Some("other".into());
        }
        let shard = self.shard(symbol.0);
        shard.texts.get(&symbol.0).map(|entry| entry.text.clone())
    }

    /// The text of a symbol, which is never forgotten from now on: for what enters a vocabulary.
    pub fn pin(&self, symbol: Symbol) -> Option<Arc<str>> {
        let mut shard = self.shard(symbol.0);
        let entry = shard.texts.get_mut(&symbol.0)?;
        entry.pinned = true;
        Some(entry.text.clone())
    }

    /// What was remembered and turned away so far.
    pub fn counts(&self) -> InternerCounts {
        InternerCounts {
            texts: self.texts.load(Ordering::Relaxed),
            forgotten: self.forgotten.load(Ordering::Relaxed),
            too_long: self.too_long.load(Ordering::Relaxed),
            full: self.full.load(Ordering::Relaxed),
        }
    }

    fn hash_of(&self, text: &str) -> u64 {
        let mut hasher = self.hash.build_hasher();
        hasher.write(text.as_bytes());
        hasher.finish().max(1)
    }

    fn remember(&self, hash: u64, text: &str, age: u32) -> bool {
        let room = (self.settings.capacity / SHARDS).max(1);
        let mut shard = self.shard(hash);
        if let Some(entry) = shard.texts.get_mut(&hash) {
            entry.seen = age;
            return true;
        }
        if shard.texts.len() >= room && shard.swept != Some(age) {
            shard.swept = Some(age);
            let before = shard.texts.len();
            shard
                .texts
                .retain(|_, entry| entry.pinned || age.wrapping_sub(entry.seen) < 2);
            let gone = (before - shard.texts.len()) as u64;
            self.forgotten.fetch_add(gone, Ordering::Relaxed);
            self.texts.fetch_sub(gone, Ordering::Relaxed);
        }
        // Counted even when refused: a flood then ages what came before it and makes its own room.
        let added = self.added.fetch_add(1, Ordering::Relaxed) + 1;
        if added.is_multiple_of((room * SHARDS / AGES).max(1) as u64) {
            self.age.fetch_add(1, Ordering::AcqRel);
        }
        if shard.texts.len() >= room {
            return false;
        }
        let entry = Entry {
            text: text.into(),
            seen: age,
            pinned: false,
        };
        shard.texts.insert(hash, entry);
        self.texts.fetch_add(1, Ordering::Relaxed);
        true
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        // The low bits choose the slot of a thread's cache, the high ones the table.
        self.shards[(hash >> 60) as usize % SHARDS]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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
