//! OTLP bytes: walked in place, cut, transcoded from and to JSON, written from templates.

mod payload;
pub mod template;
#[cfg(test)]
pub(crate) mod testing;
pub mod view;
mod wire;

pub use payload::Payload;
