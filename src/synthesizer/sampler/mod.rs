//! The VAE's decoder, compiled to plain buffers: draws traces from the prior, many abreast.
//!
//! z_G is drawn from the prior of the codes, z_v is the noise that each choice is drawn with. No
//! tensor library takes part, and nothing is allocated per span once buffers have grown.

mod choice;
mod latents;
mod layer;
mod network;
mod structure;
#[cfg(test)]
mod tests;
mod timing;

use std::sync::Arc;

use rand::RngExt as _;

use super::even::{Place, Sequence};
use super::serve::Limits;
use crate::chance::Rng;
use crate::features::context::Memory;
use crate::features::timing::Coder;
use crate::features::{Sampled, SampledSpan, Token};
use crate::model::{Example, VaeError, Weights};
use crate::trace::{Link, StatusCode};
use choice::{Choose, Decode, Draw, Median, cell};
use latents::{Replay, Told};
pub(super) use structure::Growing;
use structure::Structure;
use timing::{Timed, Timing};

/// Traces drawn abreast.
const ABREAST: usize = 32;
/// Traces drawn together: those of like sizes are then drawn abreast.
const TOGETHER: usize = 8 * ABREAST;
/// Spans drawn in search of each trace of an exact size, at least and as a multiple of the size,
/// before numbers of children are bent to reach it. A bent trace is told from others; of 48 spans
/// this finds what one in 340 structures has.
const SEARCH: (usize, usize) = (16_384, 2);

/// Draws traces from a VAE's weights. The same weights and chance draw the same.
#[derive(Debug)]
pub(super) struct VaeSampler {
    structure: Structure,
    timing: Timing,
    coder: Arc<Coder>,
    services: Arc<[u32]>,
    /// The prior of z_G: shares.
    prior: Vec<f32>,
    /// Levels that structures are decoded from; none where they are independent.
    levels: Option<Sequence>,
    max_spans: usize,
    /// One for each trace abreast.
    memories: Vec<Memory>,
}

impl VaeSampler {
    /// Compiles weights. `services` is [`crate::features::Vocabulary::services`].
    pub(super) fn new(
        weights: &Weights,
        coder: Arc<Coder>,
        services: Arc<[u32]>,
    ) -> Result<Self, VaeError> {
        Ok(Self {
            structure: Structure::new(weights)?,
            timing: Timing::new(weights)?,
            prior: weights.shares().to_vec(),
            levels: Some(Sequence::default()),
            max_spans: weights.settings().max_spans,
            memories: vec![Memory::default(); ABREAST],
            coder,
            services,
        })
    }

    /// Draws structures independently from now on.
    pub(super) fn draw_independently(&mut self) {
        self.levels = None;
    }

    /// Has draws that are no part of the others leave the sequence of levels as it is: the levels
    /// to give back with [`VaeSampler::put_back`].
    pub(super) fn set_aside(&mut self) -> Option<Sequence> {
        self.levels.replace(Sequence::default())
    }

    /// See [`VaeSampler::set_aside`].
    pub(super) fn put_back(&mut self, levels: Option<Sequence>) {
        self.levels = levels;
    }

    /// Draws so many traces, each of exactly `size` spans if one is given (at least 1, at most
    /// `max_spans`).
    pub(super) fn sample_many(
        &mut self,
        rng: &mut Rng,
        count: usize,
        size: Option<usize>,
    ) -> Vec<Sampled> {
        let mut drawn = Vec::with_capacity(count);
        while drawn.len() < count {
            let some = TOGETHER.min(count - drawn.len());
            let most = self.max_spans;
            let growing = match size {
                None => self.grown(rng, some, |code| Growing::new(code, 1, most)),
                Some(size) => self.of_size(rng, some, size.clamp(1, most)),
            };
            let mut choose = Draw::new(growing.len(), rng);
            drawn.extend(self.times(&growing, &mut choose));
        }
        drawn
    }

    /// Each example through its latents and back: z_v drawn from its posterior given the example
    /// and its code, then decoded without the example. One code per example.
    pub(super) fn reconstruct(
        &mut self,
        rng: &mut Rng,
        examples: &[Example],
        codes: &[u32],
    ) -> Vec<Sampled> {
        let mut rebuilt = Vec::with_capacity(examples.len());
        for (examples, codes) in examples.chunks(TOGETHER).zip(codes.chunks(TOGETHER)) {
            let most = self.max_spans;
            let begin = |&code: &u32| Growing::new(code as usize, 1, most);
            let mut told = Told::new(examples, self.structure.arities(), rng);
            let mut growing: Vec<Growing> = codes.iter().map(begin).collect();
            self.structure.grow(&mut growing, &mut told);
            self.times(&growing, &mut told);
            let mut replay = Replay::new(told.levels, rng);
            let mut growing: Vec<Growing> = codes.iter().map(begin).collect();
            self.structure.grow(&mut growing, &mut replay);
            rebuilt.extend(self.times(&growing, &mut replay));
        }
        rebuilt
    }

    /// A trace of each of these codes, z_v drawn from its prior: what z_G alone says.
    pub(super) fn of_codes(&mut self, rng: &mut Rng, codes: &[u32]) -> Vec<Sampled> {
        let mut drawn = Vec::with_capacity(codes.len());
        for codes in codes.chunks(TOGETHER) {
            let most = self.max_spans;
            let begin = |&code: &u32| Growing::new(code as usize, 1, most);
            let mut growing: Vec<Growing> = codes.iter().map(begin).collect();
            self.structure
                .grow(&mut growing, &mut Draw::new(codes.len(), rng));
            drawn.extend(self.times(&growing, &mut Draw::new(codes.len(), rng)));
        }
        drawn
    }

    /// Draws so many structures; those that can't meet the limits are given up, not whole.
    pub(super) fn structures(
        &mut self,
        rng: &mut Rng,
        count: usize,
        limits: &Limits,
    ) -> Vec<Growing> {
        let max_spans = self.max_spans;
        if let Some(size) = limits.size {
            return self.of_size(rng, count, size.clamp(1, max_spans));
        }
        let most = limits.most.unwrap_or(usize::MAX);
        self.grown(rng, count, |code| {
            let growing = Growing::up_to(code, max_spans, most);
            growing.beginning_with(limits.roots.clone())
        })
    }

    /// Draws the times of structures.
    pub(super) fn finish(&mut self, rng: &mut Rng, growing: &[Growing]) -> Vec<Sampled> {
        let mut choose = Draw::new(growing.len(), rng);
        self.times(growing, &mut choose)
    }

    /// Traces of codes drawn from the prior, every coordinate of z_v at its median: equal codes give
    /// equal traces. What z_G alone decides, for ablations.
    pub(super) fn sample_medians(&mut self, rng: &mut Rng, count: usize) -> Vec<Sampled> {
        let mut drawn = Vec::with_capacity(count);
        while drawn.len() < count {
            let some = TOGETHER.min(count - drawn.len());
            let begin = |_| Growing::new(self.code(rng.random()).0, 1, self.max_spans);
            let mut growing: Vec<Growing> = (0..some).map(begin).collect();
            self.structure.grow(&mut growing, &mut Median);
            drawn.extend(self.times(&growing, &mut Median));
        }
        drawn
    }

    /// Structures of codes drawn from the prior.
    fn grown(
        &mut self,
        rng: &mut Rng,
        count: usize,
        begin: impl Fn(usize) -> Growing,
    ) -> Vec<Growing> {
        let mut places = Vec::with_capacity(count);
        let mut growing = Vec::with_capacity(count);
        for _ in 0..count {
            let level = match &mut self.levels {
                Some(levels) => levels.next(rng),
                None => rng.random(),
            };
            let (code, place) = self.code(level);
            growing.push(begin(code));
            places.push(place);
        }
        let mut choose = Decode::new(places, rng);
        self.structure.grow(&mut growing, &mut choose);
        growing
    }

    /// Structures of exactly so many spans: those that come out so by themselves, as long as the
    /// search for the next is not in vain, then some that are bent.
    fn of_size(&mut self, rng: &mut Rng, count: usize, size: usize) -> Vec<Growing> {
        let mut found = Vec::with_capacity(count);
        let (least, times) = SEARCH;
        let each = least.max(times * size);
        let max_spans = self.max_spans;
        let mut drawn_spans = 0;
        while found.len() < count && drawn_spans < each * (found.len() + 1) {
            let begin = |code| Growing::up_to(code, max_spans, size);
            let drawn = self.grown(rng, 2 * ABREAST, begin);
            let spans: usize = drawn.iter().map(|drawn| drawn.example.len()).sum();
            drawn_spans += spans;
            let fit = |drawn: &Growing| drawn.is_whole() && drawn.example.len() == size;
            let room = count - found.len();
            found.extend(drawn.into_iter().filter(fit).take(room));
        }
        let bent = count - found.len();
        found.extend(self.grown(rng, bent, |code| Growing::new(code, size, size)));
        found
    }

    /// z_G by inverse CDF of its prior, and where that leaves the level.
    fn code(&self, level: f64) -> (usize, Place) {
        let cell = cell(level, &self.prior, &|_| true);
        let mut place = Place::new(level);
        place.enter(cell.within, cell.share);
        (cell.outcome, place)
    }

    /// Draws the times of structures; traces in the order of the structures.
    fn times(&mut self, growing: &[Growing], choose: &mut impl Choose) -> Vec<Sampled> {
        let mut order: Vec<usize> = (0..growing.len()).collect();
        order.sort_by_key(|&at| std::cmp::Reverse(growing[at].example.len()));
        let timed = |&at: &usize| {
            let Growing { code, example, .. } = &growing[at];
            Timed::new(at, *code, example)
        };
        let mut timed: Vec<Timed> = order.iter().map(timed).collect();
        for some in timed.chunks_mut(ABREAST) {
            let memories = &mut self.memories;
            self.timing
                .draw(&self.coder, &self.services, (some, memories), choose);
        }
        let mut sampled: Vec<Sampled> = growing.iter().map(|_| Sampled::default()).collect();
        for (at, timed) in order.into_iter().zip(timed) {
            sampled[at] = finished(&growing[at], &timed);
        }
        sampled
    }
}

fn finished(growing: &Growing, timed: &Timed) -> Sampled {
    let example = &growing.example;
    let places = timed.skeleton.places();
    let spans = timed.times.iter().enumerate().map(|(at, &(start, end))| {
        let status = example.status[at].into();
        SampledSpan {
            parent: places[at].parent,
            token: Token(example.tokens[at]),
            status: StatusCode::from_number(status),
            profile: example.profile[at],
            start,
            duration: end.abs_diff(start),
        }
    });
    let links = example.links.iter();
    Sampled {
        spans: spans.collect(),
        links: links.map(|&(from, to)| Link { from, to }).collect(),
    }
}
