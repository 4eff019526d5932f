//! Reconstruction: held-out traces through the posterior and back, beside what they were.

use serde::Serialize;

use super::figures::Figures;
use crate::trace::Trace;

/// How well traces were rebuilt. Spans compare by their position in pre-order; a position that
/// only one of the two traces has counts against it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Reconstruction {
    /// Traces looked at.
    pub traces: usize,
    /// Share of spans whose service is right.
    pub services: f64,
    /// Share of spans whose service and operation are right.
    pub operations: f64,
    /// Mean error of durations, in milliseconds.
    pub duration_error: f64,
    /// Mean error of log10 of durations in nanoseconds.
    pub log_duration_error: f64,
    /// Share of rebuilt edges (parent and child position) that are right.
    pub edges_precision: f64,
    /// Share of edges that were rebuilt.
    pub edges_recall: f64,
    /// Harmonic mean of the two.
    pub edges_f1: f64,
}

impl Reconstruction {
    /// Of pairs of an observed trace and what was rebuilt of it. None without pairs.
    pub fn of<'a>(pairs: impl IntoIterator<Item = (&'a Trace, &'a Trace)>) -> Option<Self> {
        let (mut traces, mut all, mut both) = (0, 0_usize, 0_usize);
        let (mut services, mut operations) = (0_usize, 0_usize);
        let (mut errors, mut log_errors) = (0.0, 0.0);
        let (mut edges, mut rebuilt_edges, mut right_edges) = (0_usize, 0_usize, 0_usize);
        for (observed, rebuilt) in pairs {
            let (a, b) = (observed.spans(), rebuilt.spans());
            traces += 1;
            all += a.len().max(b.len());
            both += a.len().min(b.len());
            edges += a.len() - 1;
            rebuilt_edges += b.len() - 1;
            for (a, b) in a.iter().zip(b) {
                let service = a.service == b.service;
                services += usize::from(service);
                operations += usize::from(service && a.operation == b.operation);
                errors += a.duration.abs_diff(b.duration) as f64 / 1e6;
                let [log_a, log_b] = [a, b].map(|span| (span.duration.max(1) as f64).log10());
                log_errors += (log_a - log_b).abs();
                right_edges += usize::from(a.parent.is_some() && a.parent == b.parent);
            }
        }
        if traces == 0 {
            return None;
        }
        let share = |part: usize, of: usize| match of {
            0 => 1.0,
            of => part as f64 / of as f64,
        };
        let [precision, recall] = [rebuilt_edges, edges].map(|of| share(right_edges, of));
        Some(Self {
            traces,
            services: share(services, all),
            operations: share(operations, all),
            duration_error: errors / both.max(1) as f64,
            log_duration_error: log_errors / both.max(1) as f64,
            edges_precision: precision,
            edges_recall: recall,
            edges_f1: 2.0 * precision * recall / (precision + recall).max(1e-12),
        })
    }

    /// Its rows in the report, where the traces were drawn from z_G alone.
    pub fn figures_of_code(&self) -> Figures {
        Figures::from([
            ("code_services", self.services),
            ("code_operations", self.operations),
            ("code_edges_precision", self.edges_precision),
            ("code_edges_recall", self.edges_recall),
            ("code_edges_f1", self.edges_f1),
            ("code_duration_error", self.duration_error),
            ("code_log_duration_error", self.log_duration_error),
        ])
    }

    /// Its rows in the report.
    pub(super) fn figures(&self) -> Figures {
        Figures::from([
            ("rebuilt_services", self.services),
            ("rebuilt_operations", self.operations),
            ("rebuilt_edges_precision", self.edges_precision),
            ("rebuilt_edges_recall", self.edges_recall),
            ("rebuilt_edges_f1", self.edges_f1),
            ("rebuilt_duration_error", self.duration_error),
            ("rebuilt_log_duration_error", self.log_duration_error),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::testing::timed;

    #[test]
    fn a_rebuilt_trace_compares_span_by_span() {
        let observed = timed("a(b c)", &[(0, 10_000_000), (1, 1_000), (2, 1_000)]);
        let same = Reconstruction::of([(&observed, &observed)]).unwrap();
        assert_eq!(
            (same.operations, same.edges_f1, same.duration_error),
            (1.0, 1.0, 0.0)
        );
        // Another label, a child one level down, one span more, a tenth of a duration.
        let rebuilt = timed(
            "a(b(d) e)",
            &[(0, 1_000_000), (1, 1_000), (2, 1_000), (3, 1)],
        );
        let told = Reconstruction::of([(&observed, &rebuilt)]).unwrap();
        assert_eq!((told.services, told.operations), (0.75, 0.5));
        assert_eq!((told.edges_precision, told.edges_recall), (1.0 / 3.0, 0.5));
        assert!((told.edges_f1 - 0.4).abs() < 1e-12, "{told:?}");
        assert!((told.duration_error - 3.0).abs() < 1e-12, "{told:?}");
        assert!(
            (told.log_duration_error - 1.0 / 3.0).abs() < 1e-12,
            "{told:?}"
        );
        assert_eq!(Reconstruction::of([]), None);
    }
}
