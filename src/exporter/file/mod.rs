//! The `file` exporter and the writer that it shares with `doppelspan generate`.

mod config;
mod rotation;
mod writer;

use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use super::failure::{Accepted, Failure, chain};
use crate::otlp::Payload;
use crate::pipeline::off_reactor;

pub use config::{Config, FileCompression};
pub use rotation::Rotation;
pub use writer::{Format, Packing, Settings, WriteError, Writer};

/// One open file; none once it is finished.
#[derive(Debug)]
pub(super) struct Shelf(Mutex<Option<Writer>>);

impl Shelf {
    /// Opens the file.
    pub(super) fn new(config: &Config) -> Result<Self, String> {
        let path = config.path.display();
        let writer = Writer::open(&config.path, config.settings(), wall_clock);
        let writer = writer.map_err(|fault| {
            format!("can't write to {path} ({fault}); name a file in a folder that this process may write to")
        })?;
        Ok(Self(Mutex::new(Some(writer))))
    }

    pub(super) fn send(&self, payload: &Payload) -> Result<Accepted, Failure> {
        off_reactor(|| {
            let mut writer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(writer) = writer.as_mut() else {
                return Err(Failure::lasting("the file is closed".to_owned()));
            };
            match writer.write(payload.bytes()) {
                Ok(()) => Ok(Accepted::default()),
                Err(fault @ WriteError::Malformed(_)) => Err(Failure::lasting(chain(&fault))),
                Err(fault @ WriteError::Io { .. }) => Err(Failure::passing(chain(&fault))),
            }
        })
    }

    /// Makes sure that the disk has everything.
    pub(super) fn finish(&self) -> Result<(), WriteError> {
        let writer = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        off_reactor(|| writer.map_or(Ok(()), Writer::finish))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the time of day names the backups of a rotated file and decides nothing else"
)]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}
