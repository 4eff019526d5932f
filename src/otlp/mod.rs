//! OTLP bytes: walked in place, cut, transcoded from and to JSON, written from templates.

mod payload;
pub mod view;

pub use payload::Payload;
