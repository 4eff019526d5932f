//! Harness: the program as a process, backends and clients on free ports of this machine.

#![allow(
    clippy::disallowed_methods,
    reason = "a harness reads clocks and the environment as a user's shell does"
)]

pub mod broker;
pub mod document;
pub mod foreign;
pub mod http;
pub mod jaeger;
pub mod moody;
pub mod observed;
pub mod peers;
pub mod process;
pub mod raw;
pub mod rust_sdk;
pub mod scrape;
pub mod scripted;
pub mod sdk;
pub mod sink;
mod skipped;
pub mod told;
pub mod traces;
pub mod traffic;
pub mod usage;
pub mod validity;

pub use broker::Broker;
pub use document::{Document, Shape};
pub use jaeger::Jaeger;
pub use process::{Running, free_port};
pub use scrape::Reading;
pub use sdk::Sdk;
pub use sink::Sink;
pub use skipped::or_skipped;
pub use traces::Traces;
