//! Traces to what the model sees and back: interner, vocabulary, skeletons, times.

mod interner;
mod sampled;

pub use interner::Interner;
pub use sampled::{Sampled, SampledSpan, Token};
