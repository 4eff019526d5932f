//! Observed trace to example, example to synthetic trace.

use super::timing::{self, Clock, Coder, Unencodable};
use super::{Sampled, SampledSpan, Skeleton, Token};
use crate::model::Example;
use crate::trace::{Link, StatusCode, Trace};

/// What the model sees of a trace. `tokens` and `profiles` are [`super::Vocabulary::tokens`] and
/// [`super::Vocabulary::profiles`] of the same trace.
pub fn encode(
    trace: &Trace,
    tokens: &[Token],
    profiles: Vec<u32>,
    coder: &Coder,
) -> Result<Example, Unencodable> {
    if profiles.len() != tokens.len() {
        return Err(Unencodable::Tokens);
    }
    let skeleton = Skeleton::of_trace(trace);
    let (start, end) = timing::codes(coder, trace, &skeleton, tokens)?;
    Ok(Example {
        tokens: tokens.iter().map(|token| token.0).collect(),
        arity: skeleton.arity(),
        status: trace.spans().iter().map(|span| span.status as u8).collect(),
        profile: profiles,
        start,
        end,
        links: trace
            .links()
            .iter()
            .map(|link| (link.from, link.to))
            .collect(),
    })
}

/// The trace that an example stands for. Every example, whatever a sampler drew, gives a trace:
/// one tree, the root at 0, siblings in the order of their starts, no end before its start.
pub fn decode(example: &Example, coder: &Coder) -> Sampled {
    let skeleton = Skeleton::of_example(example);
    let tokens: Vec<Token> = example.tokens.iter().copied().map(Token).collect();
    let spans = tokens.len().min(skeleton.len());
    let mut clock = Clock::default();
    clock.begin(coder);
    for at in 0..spans {
        clock.enter(&skeleton, at);
        let code = |codes: &[_]| codes.get(at).copied().unwrap_or_default();
        let codes = (code(&example.start), code(&example.end));
        clock.push_codes(coder, &skeleton, &tokens, at, codes);
    }
    clock.finish(&skeleton);
    let span = |at: usize| {
        let (start, end) = (clock.starts()[at], clock.ends()[at]);
        let status = example.status.get(at).copied().unwrap_or_default();
        SampledSpan {
            parent: skeleton.places()[at].parent,
            token: tokens[at],
            status: StatusCode::from_number(status.into()),
            profile: example.profile.get(at).copied().unwrap_or_default(),
            start,
            duration: end.abs_diff(start),
        }
    };
    let there = |&(from, to): &(u32, u32)| from != to && from.max(to) < spans as u32;
    let links = example.links.iter().filter(|link| there(link));
    Sampled {
        spans: (0..spans).map(span).collect(),
        links: links.map(|&(from, to)| Link { from, to }).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TimeCode;
    use crate::trace::{Span, SpanKind, Symbol};
    use proptest::prelude::*;

    /// A span of an arbitrary trace: (how far up its parent is, start, duration, token).
    type Draft = (usize, i64, u64, u32);

    /// Distances of every size: zero, alike, small, hours; in whole microseconds or not.
    fn distance() -> impl Strategy<Value = u64> {
        prop_oneof![
            3 => Just(0_u64),
            3 => 0_u64..20,
            3 => (0_u64..2_000).prop_map(|micros| micros * 1_000),
            2 => (22_u32..62, any::<u64>()).prop_map(|(shift, value)| value >> shift),
        ]
    }

    fn draft() -> impl Strategy<Value = Draft> {
        let start = (any::<bool>(), distance());
        let start = start.prop_map(|(back, far)| if back { -(far as i64) } else { far as i64 });
        (0_usize..4, start, distance(), 0_u32..3)
    }

    fn traces() -> impl Strategy<Value = Vec<(Trace, Vec<Token>)>> {
        let trace = prop::collection::vec(draft(), 1..14).prop_map(|drafts| build(&drafts));
        prop::collection::vec(trace, 1..24)
    }

    /// A trace of any tree; children start where they like, also before their parents.
    fn build(drafts: &[Draft]) -> (Trace, Vec<Token>) {
        let mut children: Vec<Vec<usize>> = vec![Vec::new(); drafts.len()];
        let mut starts = vec![0_i64; drafts.len()];
        for at in 1..drafts.len() {
            let parent = (at - 1).saturating_sub(drafts[at].0);
            starts[at] = starts[parent] + drafts[at].1;
            children[parent].push(at);
        }
        let mut spans: Vec<Span> = Vec::new();
        let mut tokens = Vec::new();
        let mut open = vec![(0_usize, None)];
        while let Some((at, parent)) = open.pop() {
            children[at].sort_by_key(|&child| std::cmp::Reverse(starts[child]));
            let position = spans.len() as u32;
            open.extend(children[at].iter().map(|&child| (child, Some(position))));
            tokens.push(Token(drafts[at].3));
            spans.push(Span {
                parent,
                service: Symbol(0),
                operation: Symbol(drafts[at].3.into()),
                profile: Symbol(0),
                kind: SpanKind::Internal,
                status: StatusCode::ALL[at % 3],
                start: starts[at],
                duration: drafts[at].2,
            });
        }
        (Trace::new(spans, Vec::new()).unwrap(), tokens)
    }

    fn fit(traces: &[(Trace, Vec<Token>)]) -> Coder {
        Coder::fit(
            traces
                .iter()
                .map(|(trace, tokens)| (trace, tokens.as_slice())),
        )
    }

    /// Encoding and decoding gives the trace back: tree, status, every start and duration.
    fn check((trace, tokens): &(Trace, Vec<Token>), coder: &Coder) {
        let profiles: Vec<u32> = (0..tokens.len() as u32).map(|at| at % 3).collect();
        let example = encode(trace, tokens, profiles.clone(), coder).unwrap();
        let sampled = decode(&example, coder);
        assert_eq!(sampled.spans.len(), trace.spans().len());
        for (at, (observed, back)) in trace.spans().iter().zip(&sampled.spans).enumerate() {
            let told = (
                back.parent,
                back.token,
                back.profile,
                back.status,
                back.start,
                back.duration,
            );
            let expected = (
                observed.parent,
                tokens[at],
                profiles[at],
                observed.status,
                observed.start,
                observed.duration,
            );
            assert_eq!(told, expected, "span {at} of {trace:?} as {example:?}");
        }
    }

    proptest! {
        #[test]
        fn decoding_an_encoded_trace_gives_back_every_start_and_duration(traces in traces()) {
            let coder = fit(&traces);
            for trace in &traces {
                check(trace, &coder);
            }
        }

        #[test]
        fn a_coder_that_never_saw_such_traces_loses_nothing_either(traces in traces(), others in traces()) {
            for coder in [Coder::default(), fit(&others)] {
                for trace in &traces {
                    check(trace, &coder);
                }
            }
        }

        #[test]
        fn a_coder_comes_back_from_json_the_same(traces in traces()) {
            let coder = fit(&traces);
            let json = serde_json::to_string(&coder).unwrap();
            let back: Coder = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(serde_json::to_string(&back).unwrap(), json);
            prop_assert_eq!(back, coder);
        }

        #[test]
        fn every_example_decodes_to_a_trace(
            rows in prop::collection::vec((0_u32..4, 0_u32..4, any::<u8>(), any::<[(u8, u8, f64); 2]>()), 1..40),
            known in traces(),
        ) {
            let code = |&(mode, bin, within): &(u8, u8, f64)| TimeCode { mode: mode % 15, bin, within };
            let example = Example {
                tokens: rows.iter().map(|row| row.0).collect(),
                arity: rows.iter().map(|row| row.1).collect(),
                status: rows.iter().map(|row| row.2).collect(),
                profile: rows.iter().map(|row| row.1).collect(),
                start: rows.iter().map(|row| code(&row.3[0])).collect(),
                end: rows.iter().map(|row| code(&row.3[1])).collect(),
                links: vec![(0, 1), (7, 7), (3, 90)],
            };
            let sampled = decode(&example, &fit(&known));
            prop_assert_eq!(sampled.spans.len(), rows.len());
            prop_assert_eq!(sampled.spans[0].start, 0);
            let mut latest = vec![i64::MIN; rows.len()];
            let mut spans = Vec::new();
            for span in &sampled.spans {
                if let Some(parent) = span.parent {
                    prop_assert!(span.start >= latest[parent as usize]);
                    latest[parent as usize] = span.start;
                }
                spans.push(Span {
                    parent: span.parent,
                    service: Symbol(0),
                    operation: Symbol(0),
                    profile: Symbol(0),
                    kind: SpanKind::Internal,
                    status: span.status,
                    start: span.start,
                    duration: span.duration,
                });
            }
            prop_assert!(Trace::new(spans, sampled.links).is_ok());
        }
    }

    #[test]
    fn a_span_that_ends_with_its_next_sibling_is_held_open() {
        // The first child, a leaf, ends 7 ns after the second, whose duration varies.
        let traces: Vec<_> = (0..40_u64)
            .map(|at| {
                let long = 1_000 + at * at * 13;
                build(&[
                    (0, 0, long + 100, 0),
                    (0, 10, long + 57, 1),
                    (1, 60, long, 2),
                ])
            })
            .collect();
        let coder = fit(&traces);
        for trace in &traces {
            check(trace, &coder);
            let example = encode(&trace.0, &trace.1, vec![0; 3], &coder).unwrap();
            assert_eq!(example.end[1].mode, timing::EndMode::AfterLater as u8);
        }
    }

    #[test]
    fn what_a_request_leaves_behind_hangs_on_its_end() {
        // The first child outlives its parent, which ends a little after the second.
        let trace = |at: u64, left: u64| {
            let end = 200 + at * at * 7;
            build(&[
                (0, 0, 9_000_000, 0),
                (0, 5, end, 1),
                (0, 10, end + left - 20, 2),
                (1, 60, end - 70 - at, 3),
            ])
        };
        let traces: Vec<_> = (0..60).map(|at| trace(at, 30 + at * 31)).collect();
        let coder = fit(&traces);
        // Also where it ends before its parent for once.
        let early = trace(9, 0);
        for (traces, mode) in [
            (&traces[..], timing::EndMode::AfterParent),
            (&[early], timing::EndMode::BeforeParent),
        ] {
            for trace in traces {
                check(trace, &coder);
                let example = encode(&trace.0, &trace.1, vec![0; 4], &coder).unwrap();
                assert_eq!(example.end[2].mode, mode as u8);
            }
        }
    }

    #[test]
    fn what_sends_is_over_before_what_receives_begins() {
        // A message is received twice at once, long after it was sent; one receiver works on it.
        let trace = |at: u64| {
            let (sent, work) = (100 + at * 3, 9_000 + at * at * 7);
            let late = 3_000_000 + (at * 7_919 % 500_000) as i64;
            build(&[
                (0, 0, 1_000_000, 0),
                (0, 5, sent, 1),
                (0, late, 70 + at % 9, 2),
                (1, late + 1, work + 50, 2),
                (0, 20, work, 3),
            ])
        };
        let traces: Vec<_> = (0..60).map(trace).collect();
        let coder = fit(&traces);
        for trace in &traces {
            check(trace, &coder);
            let example = encode(&trace.0, &trace.1, vec![0; 5], &coder).unwrap();
            for sent_or_idle in [1, 2] {
                let mode = example.end[sent_or_idle].mode;
                assert_eq!(mode, timing::EndMode::Duration as u8);
            }
            assert_eq!(example.start[2].mode, timing::StartMode::Gap as u8);
            assert_eq!(example.end[3].mode, timing::EndMode::AfterChildren as u8);
        }
        // Whatever the gap is drawn as, the order of the two stays.
        let mut example = encode(&traces[0].0, &traces[0].1, vec![0; 5], &coder).unwrap();
        (example.start[2].bin, example.start[2].within) = (0, 0.0);
        let spans = decode(&example, &coder).spans;
        assert!(spans[2].start >= spans[1].start + spans[1].duration as i64);
    }

    #[test]
    fn what_a_coarse_clock_times_is_told_beside_its_caller() {
        // A call to a server whose clock shows whole milliseconds: where it seems to begin is the last one
        // before it does. On its way there or back the call waits, on one of them for long.
        const TICK: i64 = 1_000_000;
        let trace = |at: i64| {
            let call = 400_000 + at * 7_919 % TICK;
            let wait = if at % 5 == 0 { 90 } else { 1 } * 211_003;
            let (way, back) = if at % 2 == 0 {
                (wait, 170_001)
            } else {
                (170_001, wait)
            };
            let begin = (call + way) / TICK * TICK;
            let work = 2_300_017 + at * 313;
            let end = work + way + back;
            let root = call + end + 90_007;
            build(&[
                (0, 0, root as u64, 0),
                (0, call, end as u64, 1),
                (0, begin - call, work as u64, 2),
                (0, 300_011, 1_000_003, 3),
            ])
        };
        let traces: Vec<_> = (0..200).map(trace).collect();
        let coder = fit(&traces);
        let mut modes = [0; timing::START_MODES];
        for trace in &traces {
            check(trace, &coder);
            let example = encode(&trace.0, &trace.1, vec![0; 4], &coder).unwrap();
            let [root, call, server, _] = example.end[..] else {
                panic!("four spans");
            };
            assert_eq!(root.mode, timing::EndMode::AfterChildren as u8);
            assert_eq!(call.mode, timing::EndMode::AfterCallee as u8);
            assert_eq!(server.mode, timing::EndMode::AfterChildren as u8);
            modes[usize::from(example.start[2].mode)] += 1;
        }
        // What lies before the server is told where that is less than what lies behind it, and before its
        // caller it can seem to begin as well.
        use timing::StartMode::{Before, BeforeCallersEnd, Gap};
        let some = [Gap, Before, BeforeCallersEnd].map(|mode| modes[mode as usize]);
        assert!(some.iter().all(|&count| count > 0), "{modes:?}");
        assert_eq!(some.iter().sum::<i32>(), 200, "{modes:?}");
        // Whatever the server's start is drawn as, the call is as much longer as it was.
        let mut example = encode(&traces[3].0, &traces[3].1, vec![0; 4], &coder).unwrap();
        let longer = |example: &Example| {
            let spans = decode(example, &coder).spans;
            spans[1].duration - spans[2].duration
        };
        let before = longer(&example);
        (example.start[2].bin, example.start[2].within) = (20, 0.5);
        assert_eq!(longer(&example), before);
    }

    #[test]
    fn what_has_failed_has_bins_of_its_own_where_enough_have() {
        // Of the calls from the third on one fails, in a tenth of the time; `build` has every third span fail.
        let trace = |at: u64| {
            let (long, short) = (1_000_000 + at * 997, 100_000 + at * 89);
            let call = |index: usize| {
                let duration = if index == 4 { short } else { long };
                (index, 10 + index as i64 * 2_000_000, duration, 1)
            };
            let calls = (0..5).map(call);
            build(
                &[(0, 0, 20_000_000, 0)]
                    .into_iter()
                    .chain(calls)
                    .collect::<Vec<_>>(),
            )
        };
        let traces: Vec<_> = (0..300).map(trace).collect();
        for (at, fails) in [(3, false), (4, false), (5, true)] {
            let status = traces[0].0.spans()[at].status;
            assert_eq!(status == StatusCode::Error, fails);
        }
        let coder = fit(&traces);
        for at in 3..6 {
            let bin = |(trace, tokens): &(Trace, Vec<Token>)| {
                let example = encode(trace, tokens, vec![0; 6], &coder).unwrap();
                example.end[at].bin
            };
            let bins: std::collections::BTreeSet<u8> = traces.iter().map(bin).collect();
            assert!(bins.len() > 30, "span {at}: {bins:?}");
        }
        traces.iter().for_each(|trace| check(trace, &coder));
    }

    #[test]
    fn long_waits_that_end_in_step_are_told_from_the_one_before() {
        // Each call takes what is left of a period of 100 ms; the root ends in step as well.
        let trace = |at: i64| {
            let phase = (at * 7_919_333) % 100_000_000;
            let left = |from: i64| (phase - from).rem_euclid(100_000_000) as u64;
            let (first, pause) = (1_000 + at, 3_000_000 + at * 10_001);
            let one = left(first) + 200_000;
            let second = first + one as i64 + pause;
            let two = left(second) + 200_000;
            let end = second + two as i64;
            let root = end as u64 + left(end) + 200_000;
            build(&[(0, 0, root, 0), (0, first, one, 1), (1, second, two, 1)])
        };
        let traces: Vec<_> = (0..400).map(trace).collect();
        let coder = fit(&traces);
        let mut in_step = [0; 3];
        for trace in &traces {
            check(trace, &coder);
            let example = encode(&trace.0, &trace.1, vec![0; 3], &coder).unwrap();
            for (count, (end, mode)) in in_step.iter_mut().zip(example.end.iter().zip([
                timing::EndMode::ChildrenInStep,
                timing::EndMode::InStep,
                timing::EndMode::InStep,
            ])) {
                *count += u32::from(end.mode == mode as u8);
            }
        }
        // The first wait has none to be in step with; the others are, but for those that are too short.
        assert_eq!(in_step[1], 0);
        assert!(in_step[2] > 200 && in_step[0] > 200, "{in_step:?}");
    }

    #[test]
    fn siblings_out_of_order_and_times_out_of_range_have_no_codes() {
        let (trace, tokens) = build(&[(0, 0, 9, 0), (0, 5, 1, 0), (1, 7, 1, 0)]);
        let coder = Coder::default();
        let mut spans = trace.spans().to_vec();
        spans[1].start = 8;
        let shuffled = Trace::new(spans.clone(), Vec::new()).unwrap();
        assert_eq!(
            encode(&shuffled, &tokens, vec![0; 3], &coder),
            Err(Unencodable::Order)
        );
        spans[1].start = i64::MIN;
        let far = Trace::new(spans.clone(), Vec::new()).unwrap();
        assert_eq!(
            encode(&far, &tokens, vec![0; 3], &coder),
            Err(Unencodable::TooFar)
        );
        spans[0].duration = u64::MAX;
        let long = Trace::new(spans, Vec::new()).unwrap();
        assert_eq!(
            encode(&long, &tokens, vec![0; 3], &coder),
            Err(Unencodable::TooFar)
        );
        assert_eq!(
            encode(&trace, &tokens[1..], vec![0; 2], &coder),
            Err(Unencodable::Tokens)
        );
    }
}
