//! Every metric name and its help, in one place.
//!
//! Counters for what passes; the Collector's names where the Collector has one.

/// A metric: its name in Prometheus form without the `_total` of counters, and its help.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Name.
    pub name: &'static str,
    /// Help, one sentence.
    pub help: &'static str,
}
