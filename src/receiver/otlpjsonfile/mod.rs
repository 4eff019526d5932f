//! Files of OTLP requests: read whole, or followed while they grow.

mod read;
mod record;

pub use read::{LineError, Progress, Requests, read};
pub use record::MAX_RECORD;
