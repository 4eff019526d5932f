//! U4: what an operator asks of a recording, asked of the synthetic traces instead.

use std::collections::{BTreeMap, BTreeSet};

use super::figures::Figures;
use super::shape::{Label, label};
use crate::trace::{StatusCode, Symbol, Trace};

/// Parts of the recording's time. Recordings of minutes have no hours.
const BUCKETS: usize = 12;
/// One trace in so many that head sampling keeps.
const HEAD: usize = 10;
/// Spans with an error below which their number says nothing.
const FEW: usize = 20;

/// The answers for one sample.
#[derive(Debug, Default)]
struct Answers {
    /// Traces that were asked.
    traces: usize,
    /// Spans with an error, by bucket and service.
    errors: BTreeMap<(usize, Symbol), f64>,
    /// Which operation calls which, in which bucket.
    triggers: BTreeSet<(usize, Label, Label)>,
    /// Spans and the sum of their durations, by service and bucket.
    durations: BTreeMap<Symbol, [(f64, f64); BUCKETS]>,
}

impl Answers {
    fn of<'a>(traces: impl Iterator<Item = (&'a Trace, usize)>) -> Self {
        let mut answers = Self::default();
        for (trace, bucket) in traces {
            answers.traces += 1;
            for span in trace.spans() {
                if span.status == StatusCode::Error {
                    *answers.errors.entry((bucket, span.service)).or_default() += 1.0;
                }
                if let Some(parent) = span.parent {
                    let parent = label(&trace.spans()[parent as usize]);
                    answers.triggers.insert((bucket, parent, label(span)));
                }
                let sums = answers.durations.entry(span.service).or_default();
                sums[bucket].0 += 1.0;
                sums[bucket].1 += span.duration as f64;
            }
        }
        answers
    }

    /// How much of the mean duration of a service falls into each bucket; all of it is 1.
    fn relative(&self, service: Symbol) -> Option<[f64; BUCKETS]> {
        let sums = self.durations.get(&service)?;
        let means = sums.map(|(count, sum)| if count > 0.0 { sum / count } else { 0.0 });
        let whole: f64 = means.iter().sum();
        (whole > 0.0).then(|| means.map(|mean| mean / whole))
    }
}

/// The held-out traces with their places in time, and what they answer.
#[derive(Debug)]
pub struct Queries<'a> {
    held_out: &'a [Trace],
    starts: &'a [u64],
    span: [u64; 2],
    answers: Answers,
}

impl<'a> Queries<'a> {
    /// Of held-out traces and when each began, in ns since the epoch. None if all began at once.
    pub fn of(held_out: &'a [Trace], starts: &'a [u64]) -> Option<Self> {
        let span = [*starts.iter().min()?, *starts.iter().max()?];
        if span[0] == span[1] || held_out.len() != starts.len() {
            return None;
        }
        let placed = starts.iter().map(|start| bucket(*start, span));
        let answers = Answers::of(held_out.iter().zip(placed));
        Some(Self {
            held_out,
            starts,
            span,
            answers,
        })
    }

    /// The figures of another sample. Where nothing says when its traces began, they are placed at
    /// a constant rate in their order, for a model knows no time of day.
    pub fn ask(&self, traces: &[Trace], starts: Option<&[u64]>) -> Figures {
        let place = |at: usize| match starts.and_then(|starts| starts.get(at)) {
            Some(start) => bucket(*start, self.span),
            None => at * BUCKETS / traces.len(),
        };
        let placed = traces
            .iter()
            .enumerate()
            .map(|(at, trace)| (trace, place(at)));
        let [errors, triggers, durations] = self.compare(&Answers::of(placed));
        let named = [
            ("query_errors", errors),
            ("query_triggers", triggers),
            ("query_durations", durations),
        ];
        let named = named
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)));
        named.collect()
    }

    /// The figures of one held-out trace in ten, in the order in which they began: what an operator
    /// has who samples when a trace begins.
    pub fn head_sampled(&self) -> Figures {
        let mut order: Vec<usize> = (0..self.held_out.len()).collect();
        order.sort_by_key(|&at| self.starts[at]);
        let kept = order.into_iter().step_by(HEAD);
        let placed = kept.map(|at| (&self.held_out[at], bucket(self.starts[at], self.span)));
        let [errors, triggers, durations] = self.compare(&Answers::of(placed));
        let named = [
            ("head_errors", errors),
            ("head_triggers", triggers),
            ("head_durations", durations),
        ];
        let named = named
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)));
        named.collect()
    }

    /// F1 of errors, F1 of triggers, and how far durations would have to be moved in time.
    fn compare(&self, other: &Answers) -> [Option<f64>; 3] {
        let mine = &self.answers;
        // Counts are brought to as many traces as were held out.
        let scale = mine.traces as f64 / other.traces.max(1) as f64;
        let both = mine.errors.iter().map(|(key, count)| {
            let drawn = other.errors.get(key).copied().unwrap_or_default();
            count.min(scale * drawn)
        });
        let both: f64 = both.sum();
        let [seen, drawn] = [mine, other].map(|answers| answers.errors.values().sum::<f64>());
        let errors = (seen >= FEW as f64).then(|| 2.0 * both / (seen + scale * drawn));
        let shared = mine.triggers.intersection(&other.triggers).count();
        let all = mine.triggers.len() + other.triggers.len();
        let triggers = (!mine.triggers.is_empty()).then(|| 2.0 * shared as f64 / all as f64);
        let (mut moved, mut spans) = (0.0, 0.0);
        for (service, sums) in &mine.durations {
            let Some(seen) = mine.relative(*service) else {
                continue;
            };
            let weight: f64 = sums.iter().map(|(count, _)| count).sum();
            let drawn = other.relative(*service);
            moved += weight * drawn.map_or(1.0, |drawn| earth_moved(&seen, &drawn));
            spans += weight;
        }
        [errors, triggers, (spans > 0.0).then(|| moved / spans)]
    }
}

/// The bucket of a time; what lies outside the recording falls into the first or last.
fn bucket(start: u64, [first, last]: [u64; 2]) -> usize {
    let after = start.clamp(first, last) - first;
    let share = after as f64 / (last - first).max(1) as f64;
    ((share * BUCKETS as f64) as usize).min(BUCKETS - 1)
}

/// The earth mover's distance of two series that each sum to 1, as a share of the whole time.
fn earth_moved(a: &[f64; BUCKETS], b: &[f64; BUCKETS]) -> f64 {
    let (mut carried, mut moved) = (0.0_f64, 0.0);
    for (a, b) in a.iter().zip(b) {
        carried += a - b;
        moved += carried.abs();
    }
    moved / BUCKETS as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::testing::tree;

    /// Ten traces in each bucket; those of the last half fail.
    fn recording() -> (Vec<Trace>, Vec<u64>) {
        let one = |at: u64| {
            let mut spans = tree(if at.is_multiple_of(2) { "a(b)" } else { "a(c)" })
                .spans()
                .to_vec();
            if at >= 60 {
                spans[1].status = StatusCode::Error;
            }
            Trace::new(spans, Vec::new()).unwrap()
        };
        ((0..120).map(one).collect(), (0..120).collect())
    }

    fn asked(figures: &Figures, keys: [&'static str; 3]) -> [f64; 3] {
        keys.map(|key| (figures[key] * 1e6).round() / 1e6)
    }

    const ASKED: [&str; 3] = ["query_errors", "query_triggers", "query_durations"];

    #[test]
    fn the_same_traces_at_the_same_times_answer_the_same() {
        let (traces, starts) = recording();
        let queries = Queries::of(&traces, &starts).unwrap();
        let told = asked(&queries.ask(&traces, Some(&starts)), ASKED);
        assert_eq!(told, [1.0, 1.0, 0.0]);
        // At a constant rate they stand where they stood.
        assert_eq!(asked(&queries.ask(&traces, None), ASKED), [1.0, 1.0, 0.0]);
    }

    #[test]
    fn errors_at_another_time_and_calls_that_are_missing_are_found() {
        let (traces, starts) = recording();
        let queries = Queries::of(&traces, &starts).unwrap();
        let turned: Vec<Trace> = traces.iter().rev().cloned().collect();
        let [errors, triggers, _] = asked(&queries.ask(&turned, None), ASKED);
        assert_eq!((errors, triggers), (0.0, 1.0));
        let half: Vec<Trace> = traces.iter().step_by(2).cloned().collect();
        let [errors, triggers, _] = asked(&queries.ask(&half, None), ASKED);
        // Of two calls in each bucket one is missing; counts are brought to as many traces.
        assert_eq!((errors, triggers), (1.0, 0.666_667));
    }

    #[test]
    fn head_sampling_keeps_one_trace_in_ten_with_its_time() {
        let (traces, starts) = recording();
        let told = Queries::of(&traces, &starts).unwrap().head_sampled();
        let told = asked(&told, ["head_errors", "head_triggers", "head_durations"]);
        assert_eq!(told, [1.0, 0.666_667, 0.0]);
    }

    #[test]
    fn durations_are_moved_as_far_as_they_lie_apart_in_time() {
        let at = |bucket: usize| {
            let mut series = [0.0; BUCKETS];
            series[bucket] = 1.0;
            series
        };
        assert_eq!(earth_moved(&at(0), &at(0)), 0.0);
        assert_eq!(earth_moved(&at(0), &at(6)), 0.5);
        assert_eq!(bucket(5, [10, 20]), 0);
        assert_eq!(bucket(25, [10, 20]), BUCKETS - 1);
    }

    #[test]
    fn traces_that_began_at_once_answer_nothing() {
        let (traces, _) = recording();
        assert!(Queries::of(&traces, &vec![7; traces.len()]).is_none());
        assert!(Queries::of(&[], &[]).is_none());
    }
}
