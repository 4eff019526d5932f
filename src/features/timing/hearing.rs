//! What is known of a span's times before the network adds to it: counted shares, bent by what
//! an earlier time tells (see [`super::confidant`]).

use super::confidant::{Confidant, Ratios, class};
use super::table::{Table, score};
use super::{BINS, Coder, END_MODES, EndMode, START_MODES, StartMode};
use crate::features::{Skeleton, Token, end_fits, start_fits};
use crate::model::TimeCode;

/// Scores of start and end of the last span of each voice, so far in a trace.
#[derive(Debug, Clone, Default)]
pub(in crate::features) struct Voices(Vec<Option<[f32; 2]>>);

impl Voices {
    /// Forgets the trace.
    pub(in crate::features) fn clear(&mut self, coder: &Coder) {
        self.0.clear();
        self.0.resize(coder.voices(), None);
    }

    /// Adds the span at `at`.
    pub(in crate::features) fn push(
        &mut self,
        coder: &Coder,
        (skeleton, tokens, at): (&Skeleton, &[Token], usize),
        scores: [f32; 2],
    ) {
        let listener = coder.listener(&skeleton.places()[at], tokens, at);
        if let Some(voice) = listener.and_then(|listener| listener.voice) {
            self.0[usize::from(voice)] = Some(scores);
        }
    }

    fn heard(&self, confidant: &Confidant) -> Option<f32> {
        let voice = usize::from(confidant.voice?);
        let scores = self.0.get(voice).copied().flatten();
        scores.map(|scores| scores[usize::from(confidant.side)])
    }
}

/// Before a span's times: what is counted, and what is heard.
#[derive(Debug, Clone, Copy)]
pub struct Hearing<'a> {
    coder: &'a Coder,
    skeleton: &'a Skeleton,
    tokens: &'a [Token],
    at: usize,
    /// Counted shares of the modes of start and end.
    modes: ([f32; START_MODES], [f32; END_MODES]),
    /// What start and end hear: an end that hears its own start does so once that is there.
    ratios: [Option<&'a Ratios>; 2],
    scores: [f32; 2],
    /// Whom the end hears, if that is the span's own start.
    own: Option<&'a Confidant>,
}

impl<'a> Hearing<'a> {
    pub(in crate::features) fn new(
        coder: &'a Coder,
        (skeleton, tokens, at): (&'a Skeleton, &'a [Token], usize),
        voices: &Voices,
    ) -> Self {
        let listener = coder.listener(&skeleton.places()[at], tokens, at);
        let mut scores = [0.0; 2];
        let mut ratios = [None; 2];
        let mut own = None;
        for (side, confidant) in listener.iter().flat_map(|it| &it.confidants).enumerate() {
            let Some(confidant) = confidant else {
                continue;
            };
            if confidant.voice.is_none() {
                own = Some(confidant);
            }
            if let Some(score) = voices.heard(confidant) {
                scores[side] = score;
                ratios[side] = Some(confidant.says(score));
            }
        }
        Self {
            coder,
            skeleton,
            tokens,
            at,
            modes: coder.mode_shares(skeleton, tokens, at),
            ratios,
            scores,
            own,
        }
    }

    /// Lets the end hear the start, once it is there.
    pub fn started(&mut self, start: TimeCode) {
        let Some(own) = self.own else {
            return;
        };
        let mode = StartMode::from_number(start.mode);
        let level = self.start(mode).level(start.bin, start.within);
        let score = score(mode.level(&self.modes.0, level));
        self.ratios[1] = Some(own.says(score));
    }

    /// The scores that start and end hear; 0 where they hear none.
    pub fn scores(&self) -> [f32; 2] {
        self.scores
    }

    /// Weights of the start modes: their shares, as far as what is heard bends them.
    pub fn start_modes(&self) -> [f32; START_MODES] {
        let mut weights = self.modes.0;
        let Some(ratios) = self.ratios[0] else {
            return weights;
        };
        let fits = start_fits(self.skeleton.places()[self.at].index);
        for mode in StartMode::ALL {
            if fits >> mode as u8 & 1 == 1 {
                let level = |level| mode.level(&self.modes.0, level);
                weights[mode as usize] *= bent(self.start(mode), ratios, level).iter().sum::<f32>();
            }
        }
        weights
    }

    /// Weights of the end modes.
    pub fn end_modes(&self) -> [f32; END_MODES] {
        let mut weights = self.modes.1;
        let Some(ratios) = self.ratios[1] else {
            return weights;
        };
        let fits = end_fits(&self.skeleton.places()[self.at]);
        for mode in EndMode::ALL {
            if fits >> mode as u8 & 1 == 1 {
                let level = |level| mode.level(&self.modes.1, level);
                weights[mode as usize] *= bent(self.end(mode), ratios, level).iter().sum::<f32>();
            }
        }
        weights
    }

    /// Weights of the bins of the start in a mode: the shares of the training values, as far as
    /// what is heard bends them.
    pub fn start_bins(&self, mode: StartMode) -> [f32; BINS] {
        let table = self.start(mode);
        match self.ratios[0] {
            None => table.shares(),
            Some(ratios) => bent(table, ratios, |level| mode.level(&self.modes.0, level)),
        }
    }

    /// Weights of the bins of the end in a mode.
    pub fn end_bins(&self, mode: EndMode) -> [f32; BINS] {
        let table = self.end(mode);
        match self.ratios[1] {
            None => table.shares(),
            Some(ratios) => bent(table, ratios, |level| mode.level(&self.modes.1, level)),
        }
    }

    fn start(&self, mode: StartMode) -> &'a Table {
        let place = &self.skeleton.places()[self.at];
        self.coder.start(place, self.tokens, self.at, mode)
    }

    fn end(&self, mode: EndMode) -> &'a Table {
        let place = &self.skeleton.places()[self.at];
        self.coder.end(place, self.tokens, self.at, mode)
    }
}

/// Shares of bins times the ratios of the classes that they lie in.
fn bent(table: &Table, ratios: &Ratios, level: impl Fn(f32) -> f32) -> [f32; BINS] {
    let mut shares = table.shares();
    for (bin, share) in shares.iter_mut().enumerate() {
        *share *= ratios[class(level(table.level(bin as u8, 0.5)))];
    }
    shares
}
