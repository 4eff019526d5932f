//! Where every span went: what came in is what went out, was refused or was dropped for a reason.

use std::fmt;

use crate::pipeline::IntakeCounts;

/// The balance of a service that has stopped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Each receiver and transport, as `otlp/grpc`, and what it met.
    pub receivers: Vec<(String, IntakeCounts)>,
    /// Each exporter and what became of what it took.
    pub exporters: Vec<(String, Outcome)>,
}

/// What became of the spans that an exporter took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Spans put into its queue.
    pub taken: u64,
    /// Spans that the backend took.
    pub sent: u64,
    /// Spans that the backend refused for good, or in part.
    pub rejected: u64,
    /// Spans given up after `max_elapsed_time`.
    pub retries_exhausted: u64,
    /// Spans that were left when the time to drain was over.
    pub shutdown: u64,
}

impl Outcome {
    /// Spans given up after they were taken.
    pub fn dropped(&self) -> u64 {
        self.rejected + self.retries_exhausted + self.shutdown
    }

    /// Whether every span that was taken was sent or dropped for a reason.
    pub fn balances(&self) -> bool {
        self.taken == self.sent + self.dropped()
    }
}

impl Ledger {
    /// Spans that shutting down lost.
    pub fn lost(&self) -> u64 {
        self.exporters.iter().map(|(_, outcome)| outcome.shutdown).sum()
    }

    /// Whether every exporter's outcome balances.
    pub fn balances(&self) -> bool {
        self.exporters.iter().all(|(_, outcome)| outcome.balances())
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (receiver, counts) in &self.receivers {
            write!(
                f,
                "{receiver}: {} accepted, {} refused, {} rejected, {} failed; ",
                counts.accepted, counts.refused, counts.rejected, counts.failed
            )?;
        }
        for (at, (exporter, outcome)) in self.exporters.iter().enumerate() {
            if at > 0 {
                f.write_str("; ")?;
            }
            write!(
                f,
                "{exporter}: {} taken, {} sent, {} dropped",
                outcome.taken,
                outcome.sent,
                outcome.dropped()
            )?;
        }
        Ok(())
    }
}
