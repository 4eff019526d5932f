//! An example with what the timing network is told before each span.

use super::context::{self, Walk};
use super::timing::{Coder, EndMode, StartMode};
use super::{Skeleton, Token};
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
    for (at, (&start, &end)) in example.start.iter().zip(&example.end).enumerate() {
        lesson.told.extend(walk.step());
        let place = &skeleton.places()[at];
        lesson.start_fits.push(start_fits(place.index));
        lesson
            .end_fits
            .push(end_fits(place.children == 0, place.next.is_some()));
        let (starts, ends) = coder.mode_shares(&skeleton, &tokens, at);
        lesson.start_mode_shares.extend(starts.map(f32::ln));
        lesson.end_mode_shares.extend(ends.map(f32::ln));
        let mode = StartMode::from_number(start.mode);
        let shares = coder.start_shares(&skeleton, &tokens, at, mode);
        lesson.start_shares.extend(shares.map(f32::ln));
        let mode = EndMode::from_number(end.mode);
        let shares = coder.end_shares(&skeleton, &tokens, at, mode);
        lesson.end_shares.extend(shares.map(f32::ln));
        walk.push(start, end);
        lesson
            .scores
            .extend(walk.scores().last().into_iter().flatten());
    }
    lesson.example = example;
    lesson
}

/// Bits of the start modes that say something with so many siblings before.
pub fn start_fits(index: u32) -> u16 {
    let bit = |mode: StartMode| u16::from(mode.fits(index)) << mode as u8;
    StartMode::ALL.into_iter().map(bit).sum()
}

/// Bits of the end modes that say something with or without children and later siblings.
pub fn end_fits(leaf: bool, has_next: bool) -> u16 {
    let bit = |mode: EndMode| u16::from(mode.fits(leaf, has_next)) << mode as u8;
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
        assert_eq!(lesson.end_fits, [0b1_1110, 0b1]);
    }
}
