//! Harness: the program as a process, backends and clients on free ports of this machine.

#![allow(
    clippy::disallowed_methods,
    reason = "a harness reads clocks and the environment as a user's shell does"
)]

pub mod document;
pub mod foreign;
pub mod moody;
pub mod observed;
pub mod process;
pub mod raw;
pub mod scrape;
pub mod sdk;
pub mod sink;
pub mod traces;
pub mod traffic;
pub mod usage;
pub mod validity;

pub use document::{Document, Shape};
pub use process::{Running, free_port};
pub use scrape::Reading;
pub use sdk::Sdk;
pub use sink::Sink;
pub use traces::Traces;
