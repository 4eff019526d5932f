//! Receivers: otlp over gRPC and HTTP, otlpjsonfile.

pub(crate) mod json;
pub mod otlp;
pub mod otlpjsonfile;
