//! Spans to traces. Synchronous; the clock is passed in.

mod filter;
mod tap;

pub use tap::{Closed, Feed, Tap, TapBatch, TapCounts, TapSettings};
