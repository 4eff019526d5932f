//! Keys of `file`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Format, Packing, Rotation, Settings};
use crate::config::{Faults, Period, Present};
use crate::exporter::{RetryOnFailure, SendingQueue};

/// Writes requests to a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The file.
    pub path: PathBuf,
    /// `json`: a line for each request; `proto`: its length as a big-endian `u32` and its bytes.
    pub format: Format,
    /// `none`, or `zstd`: each request is compressed by itself behind its length.
    pub compression: FileCompression,
    /// Whether an existing file is continued instead of emptied.
    pub append: bool,
    /// When the file is set aside; off unless written.
    pub rotation: Present<Rotation>,
    /// Accepted as the Collector accepts it; each request is written at once.
    pub flush_interval: Period,
    /// The queue in front of the file.
    pub sending_queue: SendingQueue,
    /// When what failed (a full disk) is written again.
    pub retry_on_failure: RetryOnFailure,
}

/// How the requests in a file are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileCompression {
    /// Not at all.
    #[default]
    #[serde(alias = "")]
    None,
    /// Each by itself.
    Zstd,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            path: PathBuf::new(),
            format: Format::Json,
            compression: FileCompression::None,
            append: false,
            rotation: Present(None),
            flush_interval: Period::from_secs(1),
            sending_queue: SendingQueue::in_order(),
            retry_on_failure: RetryOnFailure::default(),
        }
    }
}

impl Config {
    /// What serde can't say.
    pub fn check(&self, faults: &mut Faults) {
        if self.path.as_os_str().is_empty() {
            faults.push("path", "is missing; name the file to write");
        }
        if self.append && self.rotation.is_on() {
            faults.push("append", "can't be true where rotation is on");
        }
        if self.append && self.compression == FileCompression::Zstd {
            faults.push("append", "can't be true where compression is on");
        }
        if let Some(rotation) = self.rotation.as_ref() {
            faults.below("rotation", |faults| rotation.check(faults));
        }
        faults.below("sending_queue", |faults| self.sending_queue.check(faults));
        faults.below("retry_on_failure", |faults| {
            self.retry_on_failure.check(faults);
        });
    }

    pub(super) fn settings(&self) -> Settings {
        Settings {
            format: self.format,
            packing: match self.compression {
                FileCompression::None => Packing::None,
                FileCompression::Zstd => Packing::EachZstd,
            },
            append: self.append,
            rotation: self.rotation.as_ref().cloned(),
        }
    }
}
