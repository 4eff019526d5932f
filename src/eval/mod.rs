//! Fidelity, utility, privacy: the measures of how good synthetic traces are.
//!
//! A figure alone says nothing: [`controlled`] gives each beside what other observed traces, a
//! copier and independent chance get.

mod control;
mod distance;
mod fidelity;
mod shape;
#[cfg(test)]
mod tests;

pub use control::{Controlled, controlled, random};
pub use fidelity::{Durations, Report, RootLatency, Semantics, Structure, fidelity, validity};
