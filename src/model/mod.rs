//! The hierarchical graph VAE. Imports nothing of the rest of the program and does no I/O.

mod example;
mod grammar;
mod vae;

pub use example::{Example, TimeCode};
pub use grammar::{Grammar, GrammarSizes, Nats};
pub use vae::{Lesson, ModelError, StepError, Tensors, Terms, Vae, VaeSettings, Weights};
