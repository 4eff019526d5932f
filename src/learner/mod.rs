//! Learning: replay, step, schedule, held-out scoring, publishing.

mod status;

pub use status::{Loss, Serving, Status};
