//! Times: start and end of each span, once the whole structure is known.

use super::choice::{Choose, Event};
use super::network::{Abreast, Network};
use crate::features::context::{Memory, Walk};
use crate::features::timing::{
    BINS, Coder, DRAWN, END_MODES, EndMode, Hearing, START_MODES, StartMode,
};
use crate::features::{Skeleton, Token};
use crate::model::dense::exponents;
use crate::model::{Example, TimeCode, VaeError, Weights};

/// The timing networks, compiled.
#[derive(Debug)]
pub(super) struct Timing {
    /// One at least.
    networks: Vec<Network>,
}

/// A trace whose structure is known.
#[derive(Debug, Default)]
pub(super) struct Timed {
    /// Which generator its choices are drawn with.
    pub(super) number: usize,
    pub(super) code: usize,
    pub(super) skeleton: Skeleton,
    pub(super) tokens: Vec<Token>,
    /// Start and end of each span, once they were drawn.
    pub(super) times: Vec<(i64, i64)>,
}

impl Timed {
    pub(super) fn new(number: usize, code: usize, example: &Example) -> Self {
        let skeleton = Skeleton::of_example(example);
        Self {
            number,
            code,
            skeleton,
            tokens: example.tokens.iter().copied().map(Token).collect(),
            ..Self::default()
        }
    }
}

impl Timing {
    pub(super) fn new(weights: &Weights) -> Result<Self, VaeError> {
        let networks = weights.timing_networks();
        let networks: Result<_, _> = networks.map(|weights| Network::new(&weights)).collect();
        Ok(Self {
            networks: networks?,
        })
    }

    /// Draws the times of traces, all abreast. The longest trace comes first; there are as many
    /// memories as traces, or more.
    pub(super) fn draw(
        &self,
        coder: &Coder,
        services: &[u32],
        (timed, memories): (&mut [Timed], &mut [Memory]),
        choose: &mut impl Choose,
    ) {
        let networks = self.networks.iter();
        let mut abreast: Vec<Abreast> = networks.map(|network| network.begin(timed)).collect();
        let mut active = timed.len();
        let mut walks: Vec<Drawing<'_>> = timed
            .iter_mut()
            .zip(memories)
            .map(|(timed, memory)| {
                let Timed {
                    number,
                    skeleton,
                    tokens,
                    times,
                    ..
                } = timed;
                let mut walk = Walk::new(coder, services, skeleton, tokens, memory);
                Drawing {
                    number: *number,
                    labels: Default::default(),
                    hearing: walk.hearing(),
                    walk,
                    skeleton,
                    tokens,
                    times,
                    end: TimeCode::default(),
                }
            })
            .collect();
        let (mut told, mut starts) = (Vec::new(), Vec::new());
        let mut at = 0;
        loop {
            while active > 0 && walks[active - 1].skeleton.len() <= at {
                active -= 1;
            }
            if active == 0 {
                break;
            }
            let buffers = (&mut told, &mut starts);
            self.step(&mut walks[..active], at, &mut abreast, buffers, choose);
            at += 1;
        }
        for drawing in walks {
            let (starts, ends) = drawing.walk.finish();
            let times = starts.iter().copied().zip(ends.iter().copied());
            drawing.times.extend(times);
        }
    }

    fn step(
        &self,
        drawings: &mut [Drawing<'_>],
        at: usize,
        abreast: &mut [Abreast],
        (told, starts): (&mut Vec<f32>, &mut Vec<TimeCode>),
        choose: &mut impl Choose,
    ) {
        told.clear();
        for drawing in drawings.iter_mut() {
            told.extend(drawing.walk.step(&drawing.hearing));
            drawing.labels = labels(drawing.skeleton, drawing.tokens, at);
        }
        for (network, abreast) in self.networks.iter().zip(&mut *abreast) {
            network.advance(drawings, at, told, abreast);
        }

        self.say(Event::StartMode, abreast);
        starts.clear();
        for (trace, drawing) in drawings.iter().enumerate() {
            let fits = drawing.hearing.start_fits();
            let mode = match at {
                0 => 0,
                _ => mode(
                    logits(abreast, trace, drawings.len(), START_MODES),
                    &drawing.hearing.start_modes(),
                    fits,
                    |weights, allowed| {
                        choose.choose(drawing.number, at, Event::StartMode, weights, allowed)
                    },
                ),
            };
            starts.push(TimeCode {
                mode: mode as u8,
                ..TimeCode::default()
            });
            self.chosen(Event::StartMode, trace, mode, abreast);
        }
        self.say(Event::StartBin, abreast);
        let traces = drawings.len();
        for (trace, drawing) in drawings.iter_mut().enumerate() {
            if at > 0 {
                let logits = logits(abreast, trace, traces, BINS);
                let mode = StartMode::from_number(starts[trace].mode);
                let shares = drawing.hearing.start_bins(mode);
                let bin = bin(logits, &shares, |weights, allowed| {
                    choose.choose(drawing.number, at, Event::StartBin, weights, allowed)
                });
                (starts[trace].bin, starts[trace].within) = (bin, choose.number(drawing.number));
                starts[trace] = drawing.hearing.ticked(starts[trace]);
            }
            drawing.hearing.started(starts[trace]);
            self.chosen(Event::StartBin, trace, starts[trace].bin.into(), abreast);
        }

        self.say(Event::EndMode, abreast);
        for (trace, drawing) in drawings.iter_mut().enumerate() {
            let fits = drawing.hearing.end_fits();
            let mode = mode(
                logits(abreast, trace, traces, END_MODES),
                &drawing.hearing.end_modes(),
                fits,
                |weights, allowed| {
                    choose.choose(drawing.number, at, Event::EndMode, weights, allowed)
                },
            );
            drawing.end = TimeCode {
                mode: mode as u8,
                ..TimeCode::default()
            };
            self.chosen(Event::EndMode, trace, mode, abreast);
        }
        self.say(Event::EndBin, abreast);
        for (trace, drawing) in drawings.iter_mut().enumerate() {
            let logits = logits(abreast, trace, traces, BINS);
            let mode = EndMode::from_number(drawing.end.mode);
            let shares = drawing.hearing.end_bins(mode);
            let bin = bin(logits, &shares, |weights, allowed| {
                choose.choose(drawing.number, at, Event::EndBin, weights, allowed)
            });
            (drawing.end.bin, drawing.end.within) = (bin, choose.number(drawing.number));
            drawing.walk.push(starts[trace], drawing.end);
            if drawing.walk.at() < drawing.skeleton.len() {
                drawing.hearing = drawing.walk.hearing();
            }
        }
    }

    /// Has the first network say the means of what all say.
    fn say(&self, choice: Event, abreast: &mut [Abreast]) {
        for (network, abreast) in self.networks.iter().zip(&mut *abreast) {
            network.say(choice, abreast);
        }
        let Some((first, others)) = abreast.split_first_mut() else {
            return;
        };
        if others.is_empty() {
            return;
        }
        let part = 1.0 / self.networks.len() as f32;
        for (at, logit) in first.logits.iter_mut().enumerate() {
            let sum: f32 = others.iter().map(|other| other.logits[at]).sum();
            *logit = (*logit + sum) * part;
        }
    }

    /// Tells every network what was chosen for a trace.
    fn chosen(&self, choice: Event, trace: usize, outcome: usize, abreast: &mut [Abreast]) {
        for (network, abreast) in self.networks.iter().zip(abreast) {
            network.chosen(choice, trace, outcome, abreast);
        }
    }
}

/// What was said of a trace's next choice. Shape: -> [outcomes].
fn logits(abreast: &mut [Abreast], trace: usize, traces: usize, outcomes: usize) -> &mut [f32] {
    let logits = &mut abreast[0].logits;
    let cols = logits.len() / traces;
    &mut logits[trace * cols..][..outcomes]
}

/// A trace whose times are being drawn.
pub(super) struct Drawing<'a> {
    number: usize,
    pub(super) walk: Walk<'a>,
    /// What is counted and heard before its next span.
    hearing: Hearing<'a>,
    /// Of its next span.
    pub(super) labels: [u32; 6],
    skeleton: &'a Skeleton,
    pub(super) tokens: &'a [Token],
    times: &'a mut Vec<(i64, i64)>,
    end: TimeCode,
}

type Allowed<'a> = &'a dyn Fn(usize) -> bool;

/// Chooses among the modes that say something: what the network adds to the shares of the training
/// spans.
fn mode(
    logits: &mut [f32],
    shares: &[f32],
    fits: u16,
    choose: impl FnOnce(&[f32], Allowed<'_>) -> usize,
) -> usize {
    let fit = |mode: usize| fits >> mode & 1 == 1;
    for (mode, logit) in logits.iter_mut().enumerate() {
        if !fit(mode) {
            *logit = f32::NEG_INFINITY;
        }
    }
    exponents(logits);
    for (weight, share) in logits.iter_mut().zip(shares) {
        *weight *= share;
    }
    choose(logits, &fit)
}

/// Chooses a bin: what the network adds to the shares of the training values.
fn bin(
    logits: &mut [f32],
    shares: &[f32; BINS],
    choose: impl FnOnce(&[f32], Allowed<'_>) -> usize,
) -> u8 {
    exponents(logits);
    for (weight, share) in logits.iter_mut().zip(shares) {
        *weight *= share;
    }
    choose(logits, &|bin| DRAWN.contains(&bin)) as u8
}

/// Tokens of the span, its parent, its previous and its next sibling, its grandparent and its
/// first child, each plus one; 0 for none.
fn labels(skeleton: &Skeleton, tokens: &[Token], at: usize) -> [u32; 6] {
    let place = &skeleton.places()[at];
    let token = |at: Option<u32>| at.map_or(0, |at| tokens[at as usize].0 + 1);
    let above = place
        .parent
        .and_then(|at| skeleton.places()[at as usize].parent);
    let child = tokens.get(at + 1).filter(|_| place.children > 0);
    [
        tokens[at].0 + 1,
        token(place.parent),
        token(place.previous),
        token(place.next),
        token(above),
        child.map_or(0, |token| token.0 + 1),
    ]
}
