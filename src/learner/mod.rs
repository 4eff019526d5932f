//! Learning: replay, step, schedule, held-out scoring, publishing.

mod canary;
mod checkpoint;
mod core;
mod drift;
mod foreign;
mod held_out;
mod published;
mod replay;
mod settings;
mod status;
#[cfg(test)]
mod tests;
mod told_apart;

pub use checkpoint::{Checkpoint, CheckpointError, Unreadable};
pub use core::{Broken, Learner};
pub use drift::Drift;
pub use foreign::{Judgement, Standing};
pub use published::{Generator, Published};
pub use settings::LearnerSettings;
pub use status::{Loss, Serving, Status};
pub use told_apart::{Telling, Trial};
