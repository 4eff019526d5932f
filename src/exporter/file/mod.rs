//! The `file` exporter and the writer that it shares with `doppelspan generate`.

mod rotation;
mod writer;

pub use rotation::Rotation;
pub use writer::{Format, Packing, Settings, WriteError, Writer};
