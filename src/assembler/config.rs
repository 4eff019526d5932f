//! Bounds of the assembler.

use std::time::Duration;

/// How an [`super::Assembler`] is bounded. One of several shards takes its share of the totals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssemblerSettings {
    /// A trace is closed this long after its first span at the latest.
    pub max_wait: Duration,
    /// A trace is quiet for this long at least before it is done.
    pub min_quiet: Duration,
    /// How long a trace is quiet before it is done, until enough was seen to learn it.
    pub initial_quiet: Duration,
    /// Open traces at most.
    pub max_open_traces: usize,
    /// Bytes of open traces at most.
    pub max_bytes: usize,
    /// Spans of one trace at most; a larger one is counted and not learnt.
    pub max_spans_per_trace: usize,
    /// Key of the hash of trace ids, so that a sender can't make them collide.
    pub key: u64,
}

impl Default for AssemblerSettings {
    fn default() -> Self {
        Self {
            max_wait: Duration::from_secs(30),
            min_quiet: Duration::from_millis(500),
            initial_quiet: Duration::from_secs(5),
            max_open_traces: 200_000,
            max_bytes: 256 << 20,
            max_spans_per_trace: 20_000,
            key: 0,
        }
    }
}

impl AssemblerSettings {
    /// What one of `shards` shards may take.
    pub fn share(&self, shards: usize) -> Self {
        let shards = shards.max(1);
        Self {
            max_open_traces: (self.max_open_traces / shards).max(1),
            max_bytes: self.max_bytes / shards,
            ..self.clone()
        }
    }
}
