//! Receivers: otlp over gRPC and HTTP; the reader of files of requests; the reader of Kafka.

mod config;
pub(crate) mod json;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod otlp;
pub mod otlpjsonfile;

pub use config::Config;
