//! Files of OTLP requests: read whole, or followed while they grow.

mod config;
mod read;
mod receiver;
mod record;
mod tail;

pub use config::{FileConfig, StartAt};
pub use read::{LineError, Progress, Requests, open, read};
pub use receiver::FileReceiver;
pub use record::MAX_RECORD;
