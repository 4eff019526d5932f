//! Receivers: otlp over gRPC and HTTP, otlpjsonfile.

pub mod otlpjsonfile;
