//! What the timing network is told before each span: the same code in training and in sampling.
//!
//! All earlier times enter as scores (how high among the training values of their context), so
//! that a slow database shows as high scores of its service whatever its operations are.

use super::timing::{Clock, Coder, Hearing, Voices};
use super::{Place, Skeleton, Token};
use crate::model::TimeCode;

/// Numbers per step, in the order of [`NAMES`].
pub const FEATURES: usize = NAMES.len();

/// What each number is. Scores come as (start, end).
pub const NAMES: [&str; 36] = [
    "score of the previous sibling's start",
    "score of the previous sibling's end",
    "score of the parent's start",
    "score of the parent's end",
    "score of the previous step's start",
    "score of the previous step's end",
    "score of the start of the last span with the same token",
    "score of the end of the last span with the same token",
    "mean score of starts of spans with the same token",
    "mean score of ends of spans with the same token",
    "log of one plus the number of spans with the same token",
    "mean score of starts in the same service",
    "mean score of ends in the same service",
    "mean score of starts so far",
    "mean score of ends so far",
    "highest score of a start so far",
    "highest score of an end so far",
    "log of nanoseconds since the parent's start at its frontier, over 20",
    "log of nanoseconds since the root's start at the parent's frontier, over 20",
    "log of one plus the sibling index",
    "log of one plus the depth",
    "log of one plus the number of children",
    "log of the subtree's size",
    "whether a sibling follows",
    "whether it has no children",
    "whether it is a first child",
    "whether the previous sibling is still open",
    "share of the spans behind",
    "score of the time that tells most about the start",
    "score of the time that tells most about the end",
    "whether it has failed",
    "whether its parent has failed",
    "whether its first child has failed",
    "whether any span has failed",
    "whether its service has waited for long; a half where another's wait says when it wakes",
    "how far its service is into the period of its long waits",
];

/// Starts and ends: how many, their sums and last values.
#[derive(Debug, Clone, Copy, Default)]
struct Scores {
    seen: f32,
    sums: [f32; 2],
    last: [f32; 2],
}

impl Scores {
    fn add(&mut self, scores: [f32; 2]) {
        self.seen += 1.0;
        self.sums[0] += scores[0];
        self.sums[1] += scores[1];
        self.last = scores;
    }

    fn means(&self) -> [f32; 2] {
        self.sums.map(|sum| sum / self.seen.max(1.0))
    }
}

/// Buffers of a [`Walk`], to be used for one trace after another.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    clock: Clock,
    /// Scores of each span so far.
    spans: Vec<[f32; 2]>,
    tokens: Vec<Scores>,
    services: Vec<Scores>,
    trace: Scores,
    highest: [f32; 2],
    voices: Voices,
}

/// A walk over the spans of one trace in pre-order: features before each span, codes after.
///
/// Skeleton, with what has failed, and tokens of the whole trace are known from the start; times are not.
/// Nothing is allocated per step, nor per trace once the memory has grown to its size.
#[derive(Debug)]
pub struct Walk<'a> {
    coder: &'a Coder,
    services: &'a [u32],
    skeleton: &'a Skeleton,
    tokens: &'a [Token],
    /// Whether any span has failed.
    failed: bool,
    memory: &'a mut Memory,
}

impl<'a> Walk<'a> {
    /// A walk from the root. `services` is [`super::Vocabulary::services`]; one token
    /// per span.
    pub fn new(
        coder: &'a Coder,
        services: &'a [u32],
        skeleton: &'a Skeleton,
        tokens: &'a [Token],
        memory: &'a mut Memory,
    ) -> Self {
        memory.clock.begin(coder);
        memory.spans.clear();
        let known = services.len();
        for scores in [&mut memory.tokens, &mut memory.services] {
            scores.clear();
            scores.resize(known + 1, Scores::default());
        }
        memory.trace = Scores::default();
        memory.highest = [0.0; 2];
        memory.voices.clear(coder);
        Self {
            coder,
            services,
            skeleton,
            tokens,
            failed: skeleton.places().iter().any(|place| place.failed),
            memory,
        }
    }

    /// Position of the next span; the number of spans when all are done.
    pub fn at(&self) -> usize {
        self.memory.spans.len()
    }

    /// What is counted and heard before the next span, which must be there.
    pub fn hearing(&mut self) -> Hearing<'a> {
        let at = self.at();
        self.memory.clock.enter(self.skeleton, at);
        let span = (self.skeleton, self.tokens, at);
        Hearing::new(self.coder, span, &self.memory.voices, &self.memory.clock)
    }

    /// What is known before the next span, which must be there, beside its [`Walk::hearing`].
    pub fn step(&mut self, hearing: &Hearing<'_>) -> [f32; FEATURES] {
        let at = self.at();
        let place = &self.skeleton.places()[at];
        let memory = &*self.memory;
        let score = |of: Option<u32>| of.map_or([0.0; 2], |of| memory.spans[of as usize]);
        let same = &memory.tokens[self.token(at)];
        let previous = score(place.previous);
        let parent = score(place.parent);
        let step = memory.spans.last().copied().unwrap_or_default();
        let same_mean = same.means();
        let service = memory.services[self.service(at)].means();
        let trace = memory.trace.means();
        let [in_parent, in_trace] = elapsed(&memory.clock, place);
        let log = |count: u32| (count as f32).ln_1p();
        let phase = hearing.phase();
        [
            previous[0],
            previous[1],
            parent[0],
            parent[1],
            step[0],
            step[1],
            same.last[0],
            same.last[1],
            same_mean[0],
            same_mean[1],
            same.seen.ln_1p(),
            service[0],
            service[1],
            trace[0],
            trace[1],
            memory.highest[0],
            memory.highest[1],
            in_parent,
            in_trace,
            log(place.index),
            log(place.depth),
            log(place.children),
            log(place.size - 1),
            yes(place.next.is_some()),
            yes(place.children == 0),
            yes(place.index == 0),
            yes(place.previous.is_some_and(|at| memory.clock.is_open(at))),
            at as f32 / self.skeleton.len() as f32,
            hearing.scores()[0],
            hearing.scores()[1],
            self.failed(Some(at)),
            self.failed(place.parent.map(|parent| parent as usize)),
            // In pre-order the first child is next.
            self.failed((place.children > 0).then_some(at + 1)),
            yes(self.failed),
            phase.map_or(0.0, |phase| if phase.itself { 1.0 } else { 0.5 }),
            phase.map_or(0.0, |phase| phase.into),
        ]
    }

    /// Whether there is such a span, and it has failed.
    fn failed(&self, at: Option<usize>) -> f32 {
        let place = at.and_then(|at| self.skeleton.places().get(at));
        yes(place.is_some_and(|place| place.failed))
    }

    /// Gives the next span, whose features were asked for, its start and its end.
    pub fn push(&mut self, start: TimeCode, end: TimeCode) {
        let at = self.at();
        let (token, service) = (self.token(at), self.service(at));
        let memory = &mut *self.memory;
        let codes = (start, end);
        let (scores, keys) =
            memory
                .clock
                .push_codes(self.coder, self.skeleton, self.tokens, at, codes);
        memory.spans.push(scores);
        let span = (self.skeleton, self.tokens, at);
        memory.voices.push(self.coder, span, keys);
        memory.tokens[token].add(scores);
        memory.services[service].add(scores);
        memory.trace.add(scores);
        for (highest, score) in memory.highest.iter_mut().zip(scores) {
            *highest = highest.max(score);
        }
    }

    /// Scores of start and end of every span pushed so far.
    pub fn scores(&self) -> &[[f32; 2]] {
        &self.memory.spans
    }

    /// Times of all spans, once all were pushed: their starts and their ends.
    pub fn finish(self) -> (&'a [i64], &'a [i64]) {
        self.memory.clock.finish(self.skeleton);
        (self.memory.clock.starts(), self.memory.clock.ends())
    }

    /// Tokens that the vocabulary doesn't have share the last place.
    fn token(&self, at: usize) -> usize {
        (self.tokens[at].0 as usize).min(self.services.len())
    }

    fn service(&self, at: usize) -> usize {
        let service = self.services.get(self.tokens[at].0 as usize);
        service.map_or(self.services.len(), |&number| number as usize)
    }
}

fn elapsed(clock: &Clock, place: &Place) -> [f32; 2] {
    let Some(parent) = place.parent else {
        return [0.0; 2];
    };
    let frontier = clock.frontier(parent);
    [clock.starts()[parent as usize], 0].map(|since| {
        let nanoseconds = frontier.saturating_sub(since).max(0);
        (nanoseconds as f32).ln_1p() / 20.0
    })
}

fn yes(said: bool) -> f32 {
    f32::from(u8::from(said))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::{decode, timing::BINS};
    use crate::model::Example;

    fn example() -> Example {
        let code = |mode, bin| TimeCode {
            mode,
            bin,
            within: 0.5,
        };
        Example {
            tokens: vec![0, 1, 1, 2],
            arity: vec![2, 0, 1, 0],
            status: vec![0, 0, 2, 1],
            profile: Vec::new(),
            start: vec![code(0, 0), code(0, 9), code(1, 30), code(0, 20)],
            end: vec![code(1, 20), code(5, 12), code(1, 40), code(0, 7)],
            links: Vec::new(),
        }
    }

    /// Walks over the example and returns the named number of each step.
    fn check(name: &str, expected: &[f32]) {
        let example = example();
        let skeleton = Skeleton::of_example(&example);
        let tokens: Vec<Token> = example.tokens.iter().copied().map(Token).collect();
        let (coder, mut memory) = (Coder::default(), Memory::default());
        let services = [0, 1, 1];
        // Twice with one memory: nothing of the first walk may be left.
        for _ in 0..2 {
            let mut walk = Walk::new(&coder, &services, &skeleton, &tokens, &mut memory);
            let mut told = Vec::new();
            for at in 0..4 {
                let hearing = walk.hearing();
                let features = walk.step(&hearing);
                assert!(features.iter().all(|value| value.is_finite()));
                let index = NAMES.iter().position(|&known| known == name).unwrap();
                told.push(features[index]);
                walk.push(example.start[at], example.end[at]);
            }
            for (told, expected) in told.iter().zip(expected) {
                assert!(
                    (told - expected).abs() < 0.01,
                    "{name}: {told} for {expected}"
                );
            }
        }
    }

    /// The score of a bin in a mode that takes this part of its context, above so much of it: an
    /// unfitted coder's modes have even shares.
    fn score(bin: u8, above: f32, part: f32) -> f32 {
        let level = above + part * (f32::from(bin) - 0.5) / (BINS - 2) as f32;
        (level / (1.0 - level)).ln() / 1.702
    }

    fn gap(bin: u8) -> f32 {
        score(bin, 0.4, 0.2)
    }

    fn overlap(bin: u8) -> f32 {
        score(bin, 0.2, 0.2)
    }

    /// Behind children: before them is a mode too, and in step.
    fn after(bin: u8) -> f32 {
        score(bin, 1.0 / 3.0, 1.0 / 3.0)
    }

    /// Behind later siblings.
    fn later(bin: u8) -> f32 {
        score(bin, 0.5, 0.5)
    }

    #[test]
    fn a_step_knows_the_steps_before_it_and_nothing_of_itself() {
        check(
            "score of the parent's end",
            &[0.0, after(20), after(20), after(40)],
        );
        check(
            "score of the previous sibling's start",
            &[0.0, 0.0, gap(9), 0.0],
        );
        check(
            "score of the end of the last span with the same token",
            &[0.0, 0.0, later(12), 0.0],
        );
        check("whether it has failed", &[0.0, 0.0, 1.0, 0.0]);
        check("whether its parent has failed", &[0.0, 0.0, 0.0, 1.0]);
        check("whether its first child has failed", &[0.0; 4]);
        check("whether any span has failed", &[1.0; 4]);
        let mean = (later(12) + after(40)) / 2.0;
        check(
            "mean score of ends in the same service",
            &[0.0, 0.0, later(12), mean],
        );
        check(
            "highest score of a start so far",
            &[0.0, 0.0, gap(9).max(0.0), gap(9).max(overlap(30)).max(0.0)],
        );
    }

    #[test]
    fn the_tree_and_open_siblings_are_told() {
        check(
            "log of the subtree's size",
            &[4_f32.ln(), 0.0, 2_f32.ln(), 0.0],
        );
        check("whether a sibling follows", &[0.0, 1.0, 0.0, 0.0]);
        check(
            "whether the previous sibling is still open",
            &[0.0, 0.0, 1.0, 0.0],
        );
    }

    #[test]
    fn a_walk_ends_with_the_times_that_decoding_gives() {
        let example = example();
        let skeleton = Skeleton::of_example(&example);
        let tokens: Vec<Token> = example.tokens.iter().copied().map(Token).collect();
        let (coder, mut memory) = (Coder::default(), Memory::default());
        let mut walk = Walk::new(&coder, &[], &skeleton, &tokens, &mut memory);
        while walk.at() < skeleton.len() {
            let hearing = walk.hearing();
            walk.step(&hearing);
            walk.push(example.start[walk.at()], example.end[walk.at()]);
        }
        let (starts, ends) = walk.finish();
        for (at, span) in decode(&example, &coder).spans.iter().enumerate() {
            assert_eq!(
                (span.start, span.duration),
                (starts[at], ends[at].abs_diff(starts[at]))
            );
        }
    }
}
