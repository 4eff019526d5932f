//! Where every span went: what came in is what went out, was refused or was dropped for a reason.

use std::fmt;

use crate::exporter::ExporterCounts;
use crate::pipeline::IntakeCounts;

/// The balance of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Each receiver and transport, as `otlp/grpc`, and what it met.
    pub receivers: Vec<(String, IntakeCounts)>,
    /// Each connector and the synthetic spans that it gave to its exporters.
    pub connectors: Vec<(String, u64)>,
    /// Each exporter and what became of what it took.
    pub exporters: Vec<(String, ExporterCounts)>,
}

impl Ledger {
    /// Spans given up after their sender had been told that they were accepted.
    pub fn dropped(&self) -> u64 {
        self.exporters
            .iter()
            .map(|(_, counts)| counts.dropped)
            .sum()
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
        for (connector, made) in &self.connectors {
            write!(f, "{connector}: {made} made; ")?;
        }
        for (at, (exporter, counts)) in self.exporters.iter().enumerate() {
            if at > 0 {
                f.write_str("; ")?;
            }
            write!(
                f,
                "{exporter}: {} sent, {} rejected, {} refused, {} dropped",
                counts.sent, counts.rejected, counts.refused, counts.dropped
            )?;
        }
        Ok(())
    }
}
