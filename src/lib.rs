//! doppelspan: OTLP traces in, a model of them learnt while they flow, synthetic OTLP traces out.
//!
//! `ARCHITECTURE.md` walks through the modules in the order that a span meets them.

pub mod admin;
pub mod assembler;
pub mod chance;
pub mod cli;
pub mod config;
pub mod connector;
pub mod eval;
pub mod exporter;
pub mod features;
pub mod import;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod learner;
pub mod model;
pub mod otlp;
pub mod pipeline;
pub mod receiver;
pub mod service;
pub mod simulate;
pub mod synthesizer;
pub mod telemetry;
pub mod trace;
