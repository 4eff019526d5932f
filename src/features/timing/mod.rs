//! Times as levels: how a span's start and end hang on what is already known, and how far.
//!
//! A distance is a whole number of nanoseconds from a reference that the mode names; a bin is a
//! quantile bin of the distances that training traces had in the same context. Encoding then
//! decoding gives back every time whose distance is below 2^45 ns (nine hours) exactly, and
//! longer ones to one part in ten billion.

mod aspect;
mod bins;
mod clock;
mod coder;
mod confidant;
mod habit;
mod hearing;
mod mode;
mod spot;
mod step;
mod survey;
mod table;
mod tick;

pub use clock::Clock;
pub use coder::Coder;
pub use hearing::Hearing;
pub(super) use hearing::Voices;
pub use mode::{END_MODES, EndMode, START_MODES, StartMode};
pub use step::Phase;
pub use survey::Unencodable;
pub use table::FARTHEST;

use super::{Skeleton, Token};
use crate::model::TimeCode;
use crate::trace::Trace;
use step::PhaseClass;
use table::score;

/// Bins of a distance. The first and the last are escapes, for distances that the training values
/// of the context do not cover (far below, far above): codes may use them, samplers never draw
/// them. In between lie quantile bins, finer at both tails.
pub const BINS: usize = 42;

/// The bins that samplers draw from.
pub const DRAWN: std::ops::Range<usize> = 1..BINS - 1;

/// Codes of the start and the end of every span.
pub(super) fn codes(
    coder: &Coder,
    trace: &Trace,
    skeleton: &Skeleton,
    tokens: &[Token],
) -> Result<(Vec<TimeCode>, Vec<TimeCode>), Unencodable> {
    let hung = coder.hung(trace, skeleton, tokens)?;
    let mut starts = Vec::with_capacity(hung.len());
    let mut ends = Vec::with_capacity(hung.len());
    for (at, survey::HungSpan { start, end, phase }) in hung.into_iter().enumerate() {
        let spot = (at, phase);
        let (bin, within) = coder.start(skeleton, tokens, spot, start.0).code(start.1);
        let mode = start.0 as u8;
        starts.push(TimeCode { mode, bin, within });
        let (bin, within) = coder.end(skeleton, tokens, spot, end.0).code(end.1);
        let mode = end.0 as u8;
        ends.push(TimeCode { mode, bin, within });
    }
    if let Some(root) = starts.first_mut() {
        *root = TimeCode::default();
    }
    Ok((starts, ends))
}

/// The scores of a span's start and end: how high they are among the training values of their
/// contexts, whatever their modes (0 is the middle, the root's start is 0): an end before the
/// children's is lower than any behind it.
fn scores(
    coder: &Coder,
    skeleton: &Skeleton,
    tokens: &[Token],
    (at, phase): (usize, PhaseClass),
    (start, end): (TimeCode, TimeCode),
) -> [f32; 2] {
    let place = &skeleton.places()[at];
    let (start_shares, end_shares) = coder.mode_shares(skeleton, tokens, (at, phase));
    let start_score = match place.parent {
        Some(_) => {
            let mode = StartMode::from_number(start.mode);
            let table = coder.start(skeleton, tokens, (at, phase), mode);
            let level = table.level(start.bin, start.within);
            score(mode.level(&start_shares, level))
        }
        None => 0.0,
    };
    let mode = EndMode::from_number(end.mode);
    let table = coder.end(skeleton, tokens, (at, phase), mode);
    let level = table.level(end.bin, end.within);
    [start_score, score(mode.level(&end_shares, level))]
}

impl Clock {
    /// Adds the span at `at`, which was entered, by its codes. Returns the scores of its start and
    /// its end, and their keys.
    pub(super) fn push_codes(
        &mut self,
        coder: &Coder,
        skeleton: &Skeleton,
        tokens: &[Token],
        at: usize,
        codes: (TimeCode, TimeCode),
    ) -> ([f32; 2], [i64; 2]) {
        let place = &skeleton.places()[at];
        let (start, end) = codes;
        let service = coder.service(tokens[at]);
        let spot = (at, Phase::class(self.phase(service, place.parent)));
        let from = StartMode::from_number(start.mode);
        let table = coder.start(skeleton, tokens, spot, from);
        let start = (from, table.distance(start.bin, start.within));
        let to = EndMode::from_number(end.mode);
        let table = coder.end(skeleton, tokens, spot, to);
        let end = (to, table.distance(end.bin, end.within));
        let about = (service, coder.tick(tokens[at]).unwrap_or(1));
        let begin = self.start(place, about, start);
        self.push(skeleton, (at, service), begin, end);
        let root = place.parent.is_none();
        let start = if root { 0 } else { from.key(start.1) };
        let scores = scores(coder, skeleton, tokens, spot, codes);
        (scores, [start, to.key(end.1)])
    }
}
