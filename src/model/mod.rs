//! The hierarchical graph VAE. Imports nothing of the rest of the program and does no I/O.

mod example;
mod grammar;

pub use example::{Example, TimeCode};
pub use grammar::{Grammar, GrammarSizes, Nats};
