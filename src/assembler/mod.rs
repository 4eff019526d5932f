//! Spans to traces. Synchronous; the clock is passed in.

mod build;
mod config;
mod filter;
mod lists;
mod profile;
mod quiet;
mod table;
mod tap;
#[cfg(test)]
mod tests;
mod tombs;

pub use build::Partial;
pub use config::AssemblerSettings;
pub use table::{Assembler, AssemblerCounts, Done};
pub use tap::{Closed, Feed, Tap, TapBatch, TapCounts, TapSettings};
