//! Times as levels: how a span's start and end hang on what is already known, and how far.
//!
//! A distance is a whole number of nanoseconds from a reference that the mode names; a bin is a
//! quantile bin of the distances that training traces had in the same context.

mod mode;

pub use mode::{END_MODES, EndMode, START_MODES, StartMode};

/// Bins of a distance. The first and the last are escapes, for distances that the training values
/// of the context do not cover (far below, far above): codes may use them, samplers never draw
/// them. In between lie quantile bins, finer at both tails.
pub const BINS: usize = 42;
