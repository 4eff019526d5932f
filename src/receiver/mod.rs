//! Receivers: otlp over gRPC and HTTP; and the reader of files of requests.

mod config;
pub(crate) mod json;
pub mod otlp;
pub mod otlpjsonfile;

pub use config::Config;
