//! Synthetic traces: drawn, paced, given fresh ids and times, written as OTLP bytes.

mod asked;
#[cfg(test)]
mod asked_tests;
mod conditions;
mod even;
mod identity;
mod pace;
mod sampler;
mod serve;
mod shapes;
mod write;

pub use asked::{Asked, Met};
pub use conditions::{Conditions, UnknownRoot, Unmet};
pub use identity::Identity;
pub use pace::{Mode, Pace};
use serve::Limits;
pub use serve::{Sampler, tell_apart, try_out};
pub use shapes::Shapes;
pub use write::{MARK, Writer};
