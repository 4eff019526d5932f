//! What is known of a span's times before the network adds to it: counted shares, bent by what
//! an earlier time tells (see [`super::confidant`]).

use super::confidant::{Classes, Confidant, Listener, Ratios, score_of_class};
use super::step::{Phase, PhaseClass};
use super::table::Table;
use super::tick::Grid;
use super::{BINS, Clock, Coder, END_MODES, EndMode, START_MODES, StartMode};
use crate::features::{Skeleton, Token, end_fits, start_fits};
use crate::model::TimeCode;

/// Classes of start and end of the last span of each voice, so far in a trace.
#[derive(Debug, Clone, Default)]
pub(in crate::features) struct Voices(Vec<Option<[usize; 2]>>);

impl Voices {
    /// Forgets the trace.
    pub(in crate::features) fn clear(&mut self, coder: &Coder) {
        self.0.clear();
        self.0.resize(coder.voices().len(), None);
    }

    /// Adds the span at `at`.
    pub(in crate::features) fn push(
        &mut self,
        coder: &Coder,
        (skeleton, tokens, at): (&Skeleton, &[Token], usize),
        keys: [i64; 2],
    ) {
        let listener = coder.listener(&skeleton.places()[at], tokens, at);
        for voice in listener.into_iter().flat_map(Listener::voices) {
            let voice = usize::from(voice);
            let [start, end] = &coder.voices()[voice];
            self.0[voice] = Some([start.of(keys[0]), end.of(keys[1])]);
        }
    }

    fn heard(&self, confidant: &Confidant) -> Option<usize> {
        let voice = usize::from(confidant.voice?);
        let classes = self.0.get(voice).copied().flatten();
        classes.map(|classes| classes[usize::from(confidant.side)])
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
    /// How far its service is into the period of its waits, if that is known.
    phase: Option<Phase>,
    /// Where its start can lie in each mode but the one in step, if its clock has coarse ticks.
    grids: Option<[Option<Grid>; START_MODES]>,
    /// Whether its caller's end hangs on how long it takes.
    called: bool,
    /// The classes of its own start and end.
    classes: Option<&'a [Classes; 2]>,
    scores: [f32; 2],
    /// Whom the end hears, if that is the span's own start.
    own: Option<&'a Confidant>,
}

impl<'a> Hearing<'a> {
    pub(in crate::features) fn new(
        coder: &'a Coder,
        (skeleton, tokens, at): (&'a Skeleton, &'a [Token], usize),
        voices: &Voices,
        clock: &Clock,
    ) -> Self {
        let place = &skeleton.places()[at];
        let phase = clock.phase(coder.service(tokens[at]), place.parent);
        let tick = coder.tick(tokens[at]);
        let listener = coder.listener(place, tokens, at);
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
            if let Some(class) = voices.heard(confidant) {
                scores[side] = score_of_class(class);
                ratios[side] = Some(confidant.says(class));
            }
        }
        Self {
            coder,
            skeleton,
            tokens,
            at,
            modes: coder.mode_shares(skeleton, tokens, (at, Phase::class(phase))),
            phase,
            called: tick.is_some() && clock.latest(place).is_some(),
            grids: tick.and_then(|tick| clock.grids(place, tick)),
            ratios,
            classes: listener.map(|listener| &listener.classes),
            scores,
            own,
        }
    }

    /// Lets the end hear the start, once it is there.
    pub fn started(&mut self, start: TimeCode) {
        let (Some(own), Some([classes, _])) = (self.own, self.classes) else {
            return;
        };
        let mode = StartMode::from_number(start.mode);
        let distance = self.start(mode).distance(start.bin, start.within);
        self.ratios[1] = Some(own.says(classes.of(mode.key(distance))));
    }

    /// The scores that start and end hear; 0 where they hear none.
    pub fn scores(&self) -> [f32; 2] {
        self.scores
    }

    /// How far its service is into the period of its long waits, if that is known.
    pub fn phase(&self) -> Option<Phase> {
        self.phase
    }

    /// Bits of the start modes that say something.
    pub fn start_fits(&self) -> u16 {
        let place = &self.skeleton.places()[self.at];
        start_fits(place.index, self.phase.is_some(), self.called)
    }

    /// Bits of the end modes that say something.
    pub fn end_fits(&self) -> u16 {
        let place = &self.skeleton.places()[self.at];
        let calls = self.coder.calls(self.skeleton, self.tokens, self.at);
        end_fits(place, self.coder.is_in_step(), calls)
    }

    /// Weights of the start modes: their shares, as far as what is heard bends them.
    pub fn start_modes(&self) -> [f32; START_MODES] {
        let mut weights = self.modes.0;
        if self.ratios[0].is_some() || self.grids.is_some() {
            let fits = self.start_fits();
            for mode in StartMode::ALL {
                if fits >> mode as u8 & 1 == 1 {
                    weights[mode as usize] *= self.start_bins(mode).iter().sum::<f32>();
                }
            }
        }
        weights
    }

    /// Weights of the end modes.
    pub fn end_modes(&self) -> [f32; END_MODES] {
        let mut weights = self.modes.1;
        if self.ratios[1].is_some() {
            let fits = self.end_fits();
            for mode in EndMode::ALL {
                if fits >> mode as u8 & 1 == 1 {
                    weights[mode as usize] *= self.end_bins(mode).iter().sum::<f32>();
                }
            }
        }
        weights
    }

    /// Weights of the bins of the start in a mode: the shares of the training values, as far as
    /// what is heard bends them, and as far as the span's clock can show them.
    pub fn start_bins(&self, mode: StartMode) -> [f32; BINS] {
        let table = self.start(mode);
        let mut weights = self.bent(0, table, |distance| mode.key(distance));
        if let Some(grid) = self.grid(mode) {
            table.leave(grid, &mut weights);
        }
        weights
    }

    /// A start that was drawn, at the nearest time that the span's clock can show.
    pub fn ticked(&self, start: TimeCode) -> TimeCode {
        let mode = StartMode::from_number(start.mode);
        let Some(grid) = self.grid(mode) else {
            return start;
        };
        let (bin, within) = self.start(mode).on_grid(grid, start.bin, start.within);
        TimeCode {
            bin,
            within,
            ..start
        }
    }

    fn grid(&self, mode: StartMode) -> Option<Grid> {
        self.grids?[mode as usize]
    }

    /// Weights of the bins of the end in a mode.
    pub fn end_bins(&self, mode: EndMode) -> [f32; BINS] {
        self.bent(1, self.end(mode), |distance| mode.key(distance))
    }

    /// Shares of bins times the ratios of the classes that they lie in.
    fn bent(&self, side: usize, table: &Table, key: impl Fn(u64) -> i64) -> [f32; BINS] {
        let mut shares = table.shares();
        if let (Some(ratios), Some(classes)) = (self.ratios[side], self.classes) {
            let keys = (0..BINS).map(|bin| key(table.middle(bin)));
            let mut shares = shares.iter_mut();
            classes[side].of_each(keys, |class| {
                if let Some(share) = shares.next() {
                    *share *= ratios[class];
                }
            });
        }
        shares
    }

    fn start(&self, mode: StartMode) -> &'a Table {
        self.coder
            .start(self.skeleton, self.tokens, self.spot(), mode)
    }

    fn end(&self, mode: EndMode) -> &'a Table {
        self.coder
            .end(self.skeleton, self.tokens, self.spot(), mode)
    }

    fn spot(&self) -> (usize, PhaseClass) {
        (self.at, Phase::class(self.phase))
    }
}
