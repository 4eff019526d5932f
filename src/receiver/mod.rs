//! Receivers: otlp over gRPC and HTTP, otlpjsonfile.
