//! STUB
use super::context::Memory;
use super::timing::Coder;
use crate::model::{Example, Lesson};
pub fn lesson(example: Example, _: &Coder, _: &[u32], _: &mut Memory) -> Lesson {
    Lesson {
        example,
        ..Lesson::default()
    }
}
