//! What symbols stand for: a bounded table that many threads share.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;

/// Tables, each with its own lock, that symbols are spread over.
const SHARDS: usize = 16;
/// Symbols that each thread remembers to have seen, so that a known one takes no lock.
const KNOWN: usize = 2048;
/// Ages that pass while a table's worth of new entries comes in.
const AGES: usize = 8;

#[derive(Debug)]
struct Entry<V: ?Sized> {
    value: Arc<V>,
    seen: u32,
    pinned: bool,
}

/// The entries of one part of the hashes.
#[derive(Debug)]
struct Shard<V: ?Sized> {
    entries: HashMap<u64, Entry<V>, foldhash::fast::FixedState>,
    /// Age at which it was last searched for old entries: once per age is enough.
    swept: Option<u32>,
}

impl<V: ?Sized> Default for Shard<V> {
    fn default() -> Self {
        Self {
            entries: HashMap::default(),
            swept: None,
        }
    }
}

/// Values by their hashes. Those that nobody pinned and that were not seen for a while make room
/// for new ones.
#[derive(Debug)]
pub(super) struct Table<V: ?Sized> {
    capacity: usize,
    shards: [Mutex<Shard<V>>; SHARDS],
    /// Tells the tables of a process apart in the caches of its threads.
    serial: u64,
    added: AtomicU64,
    age: AtomicU32,
    held: AtomicU64,
    forgotten: AtomicU64,
    full: AtomicU64,
}

thread_local! {
    static SEEN: [Cell<u64>; KNOWN] = const { [const { Cell::new(0) }; KNOWN] };
}

impl<V: ?Sized> Table<V> {
    /// An empty table for so many values.
    pub(super) fn new(capacity: usize) -> Self {
        static SERIAL: AtomicU64 = AtomicU64::new(1);
        Self {
            capacity,
            shards: Default::default(),
            serial: SERIAL.fetch_add(1, Ordering::Relaxed),
            added: AtomicU64::new(0),
            age: AtomicU32::new(0),
            held: AtomicU64::new(0),
            forgotten: AtomicU64::new(0),
            full: AtomicU64::new(0),
        }
    }

    /// Whether the value of a hash is remembered from now on. It is made only if it is new, and not
    /// remembered where there is none.
    ///
    /// Takes no lock for a value that this thread has seen since the table last aged.
    #[inline]
    pub(super) fn see(&self, hash: u64, make: impl FnOnce() -> Option<Arc<V>>) -> bool {
        let age = self.age.load(Ordering::Acquire);
        // Age and table are part of the tag, so that whatever this thread has seen of another
        // table, or before a value may have been forgotten, does not count as seen.
        let tag = hash ^ (self.serial << 32 | u64::from(age)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let slot = hash as usize % KNOWN;
        if SEEN.with(|seen| seen[slot].get()) == tag {
            return true;
        }
        if !self.remember(hash, make, age) {
            return false;
        }
        SEEN.with(|seen| seen[slot].set(tag));
        true
    }

    /// A number that no other table of the process has.
    #[inline]
    pub(super) fn serial(&self) -> u64 {
        self.serial
    }

    /// The value of a hash, if it is still remembered.
    pub(super) fn value(&self, hash: u64) -> Option<Arc<V>> {
        let shard = self.shard(hash);
        shard.entries.get(&hash).map(|entry| entry.value.clone())
    }

    /// The value of a hash, which is never forgotten from now on.
    pub(super) fn pin(&self, hash: u64) -> Option<Arc<V>> {
        let mut shard = self.shard(hash);
        let entry = shard.entries.get_mut(&hash)?;
        entry.pinned = true;
        Some(entry.value.clone())
    }

    /// Values held, values forgotten, and times that one was refused for want of room.
    pub(super) fn counts(&self) -> [u64; 3] {
        [&self.held, &self.forgotten, &self.full].map(|count| count.load(Ordering::Relaxed))
    }

    fn remember(&self, hash: u64, make: impl FnOnce() -> Option<Arc<V>>, age: u32) -> bool {
        let room = (self.capacity / SHARDS).max(1);
        let mut shard = self.shard(hash);
        if let Some(entry) = shard.entries.get_mut(&hash) {
            entry.seen = age;
            return true;
        }
        if shard.entries.len() >= room && shard.swept != Some(age) {
            shard.swept = Some(age);
            let before = shard.entries.len();
            shard
                .entries
                .retain(|_, entry| entry.pinned || age.wrapping_sub(entry.seen) < 2);
            let gone = (before - shard.entries.len()) as u64;
            self.forgotten.fetch_add(gone, Ordering::Relaxed);
            self.held.fetch_sub(gone, Ordering::Relaxed);
        }
        // Counted even when refused: a flood then ages what came before it and makes its own room.
        let added = self.added.fetch_add(1, Ordering::Relaxed) + 1;
        if added.is_multiple_of((room * SHARDS / AGES).max(1) as u64) {
            self.age.fetch_add(1, Ordering::AcqRel);
        }
        if shard.entries.len() >= room {
            self.full.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        let Some(value) = make() else {
            return false;
        };
        let entry = Entry {
            value,
            seen: age,
            pinned: false,
        };
        shard.entries.insert(hash, entry);
        self.held.fetch_add(1, Ordering::Relaxed);
        true
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard<V>> {
        // The low bits choose the slot of a thread's cache, the high ones the table.
        self.shards[(hash >> 60) as usize % SHARDS]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
