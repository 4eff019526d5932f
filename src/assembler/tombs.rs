//! A bounded memory of traces that are over, so that a late span opens none of them again.

use std::time::Duration;

use hashbrown::HashMap;

use crate::trace::TraceId;

/// What is remembered of a trace that is over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tomb {
    /// Root operation to be taught by late spans; none once taught, or if it was not whole.
    pub(super) root: Option<u64>,
    /// When its last span came, in milliseconds.
    pub(super) last_seen_ms: u64,
}

/// Two generations: the older is forgotten when the newer is full, or old enough.
#[derive(Debug)]
pub(super) struct Tombs {
    newer: HashMap<TraceId, Tomb, foldhash::fast::FixedState>,
    older: HashMap<TraceId, Tomb, foldhash::fast::FixedState>,
    capacity: usize,
    kept: Duration,
    turned: Duration,
}

impl Tombs {
    /// Remembers `capacity` traces, and all of them for `kept` where they are no more than that.
    pub(super) fn new(capacity: usize, kept: Duration, key: u64) -> Self {
        let hash = foldhash::fast::FixedState::with_seed(key);
        Self {
            newer: HashMap::with_hasher(hash.clone()),
            older: HashMap::with_hasher(hash),
            capacity: capacity.max(2),
            kept,
            turned: Duration::ZERO,
        }
    }

    /// A trace is over.
    pub(super) fn bury(&mut self, id: TraceId, tomb: Tomb, now: Duration) {
        if self.newer.len() >= self.capacity / 2 || now.saturating_sub(self.turned) > self.kept {
            std::mem::swap(&mut self.newer, &mut self.older);
            self.newer.clear();
            self.turned = now;
        }
        self.newer.insert(id, tomb);
    }

    /// What is remembered of a trace.
    pub(super) fn find(&mut self, id: TraceId) -> Option<&mut Tomb> {
        match self.newer.get_mut(&id) {
            Some(tomb) => Some(tomb),
            None => self.older.get_mut(&id),
        }
    }
}
