//! The hierarchical graph VAE. Imports nothing of the rest of the program and does no I/O.

mod example;

pub use example::{Example, TimeCode};
