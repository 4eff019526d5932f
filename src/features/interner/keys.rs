//! Which attributes profiles hold: an allow-list of keys, less those that have too many values.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use foldhash::quality::FixedState;
use hashbrown::HashTable;

use crate::features::Profile;

/// The keys of the semantic conventions, new and old, whose values name kinds of things: protocols,
/// methods, routes, statuses, tables, queues. Not among them: addresses, URLs, ids, statements,
/// messages and sizes.
pub const ATTRIBUTES: [&str; 61] = [
    "cloud.platform",
    "db.collection.name",
    "db.mongodb.collection",
    "db.name",
    "db.namespace",
    "db.operation",
    "db.operation.name",
    "db.redis.database_index",
    "db.response.status_code",
    "db.sql.table",
    "db.stored_procedure.name",
    "db.system",
    "db.system.name",
    "error",
    "error.type",
    "exception.escaped",
    "exception.type",
    "faas.trigger",
    "feature_flag.key",
    "feature_flag.provider.name",
    "feature_flag.provider_name",
    "feature_flag.result.variant",
    "feature_flag.variant",
    "graphql.operation.type",
    "http.flavor",
    "http.method",
    "http.request.method",
    "http.request.resend_count",
    "http.response.status_code",
    "http.route",
    "http.scheme",
    "http.status_code",
    "messaging.consumer.group.name",
    "messaging.destination",
    "messaging.destination.kind",
    "messaging.destination.name",
    "messaging.destination.template",
    "messaging.destination_kind",
    "messaging.kafka.consumer.group",
    "messaging.operation",
    "messaging.operation.name",
    "messaging.operation.type",
    "messaging.rabbitmq.destination.routing_key",
    "messaging.system",
    "net.transport",
    "network.protocol.name",
    "network.protocol.version",
    "network.transport",
    "network.type",
    "peer.service",
    "rpc.connect_rpc.error_code",
    "rpc.grpc.status_code",
    "rpc.jsonrpc.error_code",
    "rpc.jsonrpc.version",
    "rpc.message.type",
    "rpc.method",
    "rpc.response.status_code",
    "rpc.service",
    "rpc.system",
    "rpc.system.name",
    "url.scheme",
];

/// What one key may still have.
#[derive(Debug)]
struct Key {
    /// None stands for the names of events.
    text: Option<Box<str>>,
    hash: u64,
    given_up: AtomicBool,
    /// Hashes of the values it had.
    values: Mutex<HashSet<u64, FixedState>>,
}

#[derive(Debug)]
pub(super) struct Keys {
    /// A bit for each [`mark`] that some key has: most others are known by it to be none.
    marks: [u64; MARKS / 64],
    hash: FixedState,
    keys: HashTable<Key>,
    events: Key,
    /// Values of a key at most.
    values: usize,
    given_up: AtomicU64,
}

/// Marks that keys are told apart by at a glance.
const MARKS: usize = 1024;

/// A number below [`MARKS`] from a key's length and three of its bytes.
#[inline]
fn mark(key: &[u8]) -> usize {
    let byte = |at: usize| key.get(at).copied().map_or(0, usize::from);
    let length = key.len();
    let first = length * 31 + byte(0) * 7;
    (first + byte(length / 2) * 113 + byte(length.wrapping_sub(1)) * 397) % MARKS
}

impl Key {
    fn new(text: Option<Box<str>>, hash: u64) -> Self {
        Self {
            text,
            hash,
            given_up: AtomicBool::new(false),
            values: Mutex::default(),
        }
    }

    #[inline]
    fn number(&self) -> Option<u64> {
        (!self.given_up.load(Ordering::Relaxed)).then_some(self.hash)
    }
}

impl Keys {
    pub(super) fn new(keys: Vec<String>, values: usize, hash: FixedState) -> Self {
        let hash_of = |key: &[u8]| {
            let mut hasher = hash.build_hasher();
            hasher.write(key);
            hasher.finish()
        };
        let mut table = HashTable::with_capacity(keys.len());
        let mut marks = [0; MARKS / 64];
        for key in keys {
            let mark = mark(key.as_bytes());
            marks[mark / 64] |= 1 << (mark % 64);
            let number = hash_of(key.as_bytes());
            let same = |known: &Key| known.text.as_deref() == Some(&*key);
            if table.find(number, same).is_none() {
                let key = Key::new(Some(key.into()), number);
                table.insert_unique(number, key, |key| key.hash);
            }
        }
        Self {
            marks,
            events: Key::new(None, hash_of(b"names of events")),
            keys: table,
            values: values.max(1),
            given_up: AtomicU64::new(0),
            hash,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether a key may be one of these: if not, it is none.
    #[inline]
    pub(super) fn may_hold(&self, key: &[u8]) -> bool {
        let mark = mark(key);
        self.marks[mark / 64] >> (mark % 64) & 1 == 1
    }

    #[inline]
    pub(super) fn find(&self, key: &[u8]) -> Option<u64> {
        self.entry(key)?.number()
    }

    #[inline]
    pub(super) fn events(&self) -> Option<u64> {
        self.events.number()
    }

    /// Counts the values of a profile that is new; whether every key has room for its own.
    pub(super) fn count(&self, profile: &Profile) -> bool {
        let mut room = true;
        for (key, value) in profile.attributes() {
            room &= self.count_value(self.entry(key.as_bytes()), self.hash.hash_one(value));
        }
        for event in profile.events() {
            room &= self.count_value(Some(&self.events), self.hash.hash_one(&event.name));
            for (key, value) in &event.attributes {
                room &= self.count_value(self.entry(key.as_bytes()), self.hash.hash_one(value));
            }
        }
        room
    }

    pub(super) fn given_up(&self) -> u64 {
        self.given_up.load(Ordering::Relaxed)
    }

    fn count_value(&self, key: Option<&Key>, value: u64) -> bool {
        let Some(key) = key else {
            return false;
        };
        let mut values = key.values.lock().unwrap_or_else(PoisonError::into_inner);
        if values.contains(&value) {
            return true;
        }
        if values.len() < self.values {
            values.insert(value);
            return true;
        }
        if !key.given_up.swap(true, Ordering::Relaxed) {
            self.given_up.fetch_add(1, Ordering::Relaxed);
        }
        false
    }

    #[inline]
    fn entry(&self, key: &[u8]) -> Option<&Key> {
        let mut hasher = self.hash.build_hasher();
        hasher.write(key);
        let is_it = |known: &Key| {
            let text = known.text.as_deref();
            text.is_some_and(|text| text.as_bytes() == key)
        };
        self.keys.find(hasher.finish(), is_it)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glance_passes_every_key_and_few_others() {
        let keys = Keys::new(
            ATTRIBUTES.map(str::to_owned).to_vec(),
            9,
            FixedState::default(),
        );
        assert!(ATTRIBUTES.iter().all(|key| keys.may_hold(key.as_bytes())));
        let others = (0..1_000).map(|number| format!("app.thing_{number}.name"));
        let passed = others.filter(|key| keys.may_hold(key.as_bytes())).count();
        assert!(passed < 150, "{passed}");
        assert!(!Keys::new(Vec::new(), 9, FixedState::default()).may_hold(b""));
    }

    #[test]
    fn the_allow_list_is_in_order_and_holds_no_free_text() {
        assert!(ATTRIBUTES.is_sorted());
        let text = [
            "message",
            "stacktrace",
            "statement",
            "query",
            "url.full",
            "address",
            "id",
        ];
        for part in text {
            let found = ATTRIBUTES
                .iter()
                .find(|key| key.split('.').any(|of| of == part));
            assert!(
                found.is_none_or(|key| *key == "rpc.message.type"),
                "{found:?}"
            );
        }
    }
}
