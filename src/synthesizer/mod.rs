//! Synthetic traces: drawn, paced, given fresh ids and times, written as OTLP bytes.

mod identity;
mod pace;
mod sampler;
mod serve;
mod write;

pub use identity::Identity;
pub use pace::{Mode, Pace};
pub use serve::Sampler;
pub use write::{MARK, Writer};
