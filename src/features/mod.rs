//! Traces to what the model sees and back: interner, vocabulary, skeletons, times.
//!
//! The way of an observed trace: [`Vocabulary::observe`] counts its labels, [`Vocabulary::tokens`]
//! names them, [`encode`] turns names and times into a [`crate::model::Example`]. The way back:
//! [`decode`] turns an example into a [`Sampled`], which the synthesizer writes.

mod codec;
pub mod context;
mod discriminator;
mod interner;
mod lesson;
mod profile;
mod sampled;
mod skeleton;
pub mod timing;
mod vocabulary;

pub use codec::{decode, encode};
pub use discriminator::{Discriminator, Look, Stratum};
pub use interner::{ATTRIBUTES, Interner, InternerCounts, InternerSettings};
pub use lesson::{end_fits, lesson, start_fits};
pub use profile::{Event, LONGEST_VALUE, MOST_EVENTS, Moment, Profile, Value};
pub use sampled::{Sampled, SampledSpan, Token};
pub use skeleton::{Place, Skeleton};
pub use vocabulary::{BelowFloor, Vocabulary, Word, Words};
