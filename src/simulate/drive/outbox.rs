//! Which spans are sent when, as the batch processors of a system's SDKs have it: a span is batched
//! by its own process once it has ended, and a batch leaves at intervals or when it is full.
//!
//! Spans of one trace so arrive in several requests, between those of other traces, children before
//! their parents. Synchronous; the clock is handed in.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};

/// How often a process sends what it has, in nanoseconds.
pub(super) const INTERVAL: u64 = 200_000_000;
/// Spans of a batch at most: what SDKs send.
const FULL: usize = 512;

/// Spans that have not been sent yet. Holds no more than the traffic of a trace's length and an
/// interval.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// By the time of their end, and in the order in which they came.
    open: BTreeMap<(u64, u64), (usize, Span)>,
    came: u64,
    processes: Vec<Process>,
    /// By `service.instance.id`.
    known: BTreeMap<String, usize>,
}

/// A process of the simulated system, and its batch.
#[derive(Debug)]
struct Process {
    /// The group with its resource and scope, and no spans.
    empty: ResourceSpans,
    batch: Vec<Span>,
    leaves: u64,
}

impl Outbox {
    /// Takes the spans of a trace.
    pub(super) fn take(&mut self, trace: ExportTraceServiceRequest) {
        for mut group in trace.resource_spans {
            let spans: Vec<Span> = group
                .scope_spans
                .iter_mut()
                .flat_map(|scope| scope.spans.drain(..))
                .collect();
            let process = self.process(group);
            for span in spans {
                let key = (span.end_time_unix_nano, self.came);
                self.came += 1;
                self.open.insert(key, (process, span));
            }
        }
    }

    /// The requests that have left by `now` (nanoseconds since the epoch).
    pub(super) fn due(&mut self, now: u64) -> Vec<ExportTraceServiceRequest> {
        let mut requests = Vec::new();
        while let Some(first) = self.open.first_entry() {
            if first.key().0 > now {
                break;
            }
            let ((ended, _), (at, span)) = first.remove_entry();
            let process = &mut self.processes[at];
            if process.batch.is_empty() {
                process.leaves = next_tick(ended, at);
            }
            process.batch.push(span);
            if process.batch.len() >= FULL {
                requests.push(process.leave());
            }
        }
        for process in &mut self.processes {
            if !process.batch.is_empty() && process.leaves <= now {
                requests.push(process.leave());
            }
        }
        requests
    }

    /// Everything that is left, whether it has ended or not.
    pub(super) fn rest(&mut self) -> Vec<ExportTraceServiceRequest> {
        let mut requests = self.due(u64::MAX);
        let processes = self.processes.iter_mut();
        let left = processes.filter(|process| !process.batch.is_empty());
        requests.extend(left.map(Process::leave));
        requests
    }

    fn process(&mut self, group: ResourceSpans) -> usize {
        let attributes = group.resource.iter().flat_map(|r| &r.attributes);
        let mut named = attributes.filter(|attribute| attribute.key == "service.instance.id");
        let value = named.next().and_then(|a| a.value.as_ref()?.value.as_ref());
        let id = match value {
            Some(Value::StringValue(id)) => id.clone(),
            _ => String::new(),
        };
        *self.known.entry(id).or_insert_with(|| {
            self.processes.push(Process {
                empty: group,
                batch: Vec::new(),
                leaves: 0,
            });
            self.processes.len() - 1
        })
    }
}

impl Process {
    fn leave(&mut self) -> ExportTraceServiceRequest {
        let mut group = self.empty.clone();
        let spans = std::mem::take(&mut self.batch);
        match group.scope_spans.first_mut() {
            Some(scope) => scope.spans = spans,
            None => group.scope_spans.push(ScopeSpans {
                spans,
                ..ScopeSpans::default()
            }),
        }
        ExportTraceServiceRequest {
            resource_spans: vec![group],
        }
    }
}

/// When the batch that a span opened leaves: each process has a beat of its own.
fn next_tick(ended: u64, process: usize) -> u64 {
    let beat = (process as u64).wrapping_mul(37_000_000) % INTERVAL;
    let since = ended.saturating_sub(beat) % INTERVAL;
    ended.saturating_add(INTERVAL - since)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::simulate::{Simulator, System};

    const START: u64 = 1_767_225_600_000_000_000;

    fn spans(request: &ExportTraceServiceRequest) -> impl Iterator<Item = &Span> {
        let scopes = request.resource_spans.iter().flat_map(|r| &r.scope_spans);
        scopes.flat_map(|scope| &scope.spans)
    }

    #[test]
    fn a_span_leaves_once_after_it_ended_with_its_process_and_between_other_traces() {
        let mut simulator = Simulator::new(System::Shop, 1);
        let mut outbox = Outbox::default();
        let (mut sent, mut requests_of) = (BTreeSet::new(), BTreeMap::new());
        let (mut made, mut mixed) = (0, 0);
        let mut check = |requests: Vec<ExportTraceServiceRequest>, now: u64| {
            for (number, request) in requests.iter().enumerate() {
                assert_eq!(request.resource_spans.len(), 1, "one process a request");
                let mut traces = BTreeSet::new();
                for span in spans(request) {
                    assert!(span.end_time_unix_nano <= now, "not before its end");
                    assert!(sent.insert(span.span_id.clone()), "not twice");
                    traces.insert(span.trace_id.clone());
                    let times: &mut BTreeSet<_> =
                        requests_of.entry(span.trace_id.clone()).or_default();
                    times.insert((now, number));
                }
                mixed += usize::from(traces.len() > 1);
            }
        };
        for tick in 0..200 {
            let now = START + tick * 50_000_000;
            for _ in 0..2 {
                let trace = simulator.next_trace(now);
                made += spans(&trace).count();
                outbox.take(trace);
            }
            check(outbox.due(now), now);
        }
        check(outbox.rest(), u64::MAX);
        assert!(outbox.rest().is_empty());
        assert_eq!(sent.len(), made);
        assert!(mixed > 100, "{mixed} requests hold spans of several traces");
        let several = requests_of.values().filter(|times| times.len() > 1);
        assert!(several.count() * 10 > requests_of.len() * 9);
    }

    #[test]
    fn a_batch_that_is_full_does_not_wait_for_its_time() {
        let mut simulator = Simulator::new(System::Shop, 1);
        let mut outbox = Outbox::default();
        for _ in 0..2_000 {
            outbox.take(simulator.next_trace(START));
        }
        let full = outbox.due(START + 100_000_000);
        assert!(full.iter().any(|request| spans(request).count() == FULL));
    }
}
