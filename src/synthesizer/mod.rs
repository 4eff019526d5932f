//! Synthetic traces: drawn, paced, given fresh ids and times, written as OTLP bytes.

mod identity;
mod pace;
mod write;

pub use identity::Identity;
pub use pace::{Mode, Pace};
pub use write::{MARK, Writer};
