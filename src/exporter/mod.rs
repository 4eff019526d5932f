//! Exporters: otlp_grpc, otlp_http, file, debug.
