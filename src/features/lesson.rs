//! An example with what the timing network is told before each span.

use super::context::{self, Walk};
use super::timing::{Coder, EndMode, StartMode};
use super::{Place, Skeleton, Token};
use crate::model::{Example, Lesson};

/// What the model learns from a trace. `services` is [`super::Vocabulary::services`]; the example
/// was encoded with this coder.
pub fn lesson(
    example: Example,
    coder: &Coder,
    services: &[u32],
    memory: &mut context::Memory,
) -> Lesson {
    let skeleton = Skeleton::of_example(&example);
    let tokens: Vec<Token> = example.tokens.iter().copied().map(Token).collect();
    let mut lesson = Lesson::default();
    let mut walk = Walk::new(coder, services, &skeleton, &tokens, memory);
    for (&start, &end) in example.start.iter().zip(&example.end) {
        let mut hearing = walk.hearing();
        lesson.told.extend(walk.step(&hearing));
        lesson.start_fits.push(hearing.start_fits());
        lesson.end_fits.push(hearing.end_fits());
        hearing.started(start);
        let ln = f32::ln;
        lesson
            .start_mode_shares
            .extend(hearing.start_modes().map(ln));
        lesson.end_mode_shares.extend(hearing.end_modes().map(ln));
        let bins = hearing.start_bins(StartMode::from_number(start.mode));
        lesson.start_shares.extend(bins.map(ln));
        let bins = hearing.end_bins(EndMode::from_number(end.mode));
        lesson.end_shares.extend(bins.map(ln));
        walk.push(start, end);
        lesson
            .scores
            .extend(walk.scores().last().into_iter().flatten());
    }
    lesson.example = example;
    lesson
}

/// Bits of the start modes that say something with so many siblings before, and a long wait or none to be in
/// step with.
pub fn start_fits(index: u32, in_step: bool, called: bool) -> u16 {
    let bit = |mode: StartMode| u16::from(mode.fits(index, in_step, called)) << mode as u8;
    StartMode::ALL.into_iter().map(bit).sum()
}

/// Bits of the end modes that say something at a place, where long waits end in step or not.
pub fn end_fits(place: &Place, in_step: bool, calls: bool) -> u16 {
    let (leaf, next, parent) = (place.children == 0, place.next, place.parent);
    let about = (leaf, next.is_some(), parent.is_some());
    let fits = |mode: EndMode| mode.fits(about, in_step, calls);
    let bit = |mode: EndMode| u16::from(fits(mode)) << mode as u8;
    EndMode::ALL.into_iter().map(bit).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::context::FEATURES;
    use crate::features::timing::{BINS, END_MODES, START_MODES};
    use crate::model::{TimeCode, VaeSettings};

    #[test]
    fn a_lesson_has_the_sizes_that_the_model_expects_by_default() {
        let expected = VaeSettings::default();
        let sizes = (FEATURES, START_MODES, END_MODES, BINS);
        let VaeSettings {
            features,
            start_modes,
            end_modes,
            bins,
            ..
        } = expected;
        assert_eq!((features, start_modes, end_modes, bins), sizes);
        let end = TimeCode {
            mode: 1,
            bin: 9,
            within: 0.5,
        };
        let example = Example {
            tokens: vec![0, 1],
            arity: vec![1, 0],
            status: vec![0; 2],
            profile: vec![0; 2],
            start: vec![TimeCode::default(); 2],
            end: vec![end, TimeCode { mode: 0, ..end }],
            links: Vec::new(),
        };
        let memory = &mut context::Memory::default();
        let lesson = lesson(example, &Coder::default(), &[0, 0], memory);
        assert_eq!(lesson.told.len(), 2 * FEATURES);
        assert_eq!(
            [lesson.start_shares.len(), lesson.end_shares.len()],
            [2 * BINS; 2]
        );
        // A root with a child and no sibling; then a first child that is a leaf.
        assert_eq!(lesson.start_fits, [0b101, 0b101]);
        assert_eq!(lesson.end_fits, [0b1_1111, 0b110_0000_0001]);
    }
}
