//! The hierarchical graph VAE. Imports nothing of the rest of the program and does no I/O.

pub mod dense;
mod example;
mod forest;
mod grammar;
pub mod vae;

pub use example::{Example, TimeCode};
pub use forest::{Forest, Growth, Rows, Ungrown};
pub use grammar::{Grammar, GrammarSizes, Nats};
pub use vae::{Lesson, StepError, Tensors, Terms, Vae, VaeError, VaeSettings, Weights};
