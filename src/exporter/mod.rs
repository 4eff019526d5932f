//! Exporters: otlp_grpc, otlp_http, file, debug.

pub mod file;
#[cfg(test)]
mod sample;
