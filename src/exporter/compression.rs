//! `compression` of requests.

use std::io::{self, Write};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::pipeline::off_reactor;

/// How requests are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    #[serde(alias = "")]
    None,
    /// gzip, which every OTLP server takes.
    #[default]
    Gzip,
    /// zstd: smaller and faster, where the server takes it.
    Zstd,
}

impl Compression {
    /// The name in `grpc-encoding` and `content-encoding`; none where nothing is compressed.
    pub(super) fn name(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Gzip => Some("gzip"),
            Self::Zstd => Some("zstd"),
        }
    }

    /// The compressed message, made where no other connection waits for it.
    pub(super) fn pack(self, message: &Bytes) -> io::Result<Bytes> {
        match self {
            Self::None => Ok(message.clone()),
            Self::Gzip => off_reactor(|| {
                let room = Vec::with_capacity(message.len() / 4);
                let mut encoder =
                    flate2::write::GzEncoder::new(room, flate2::Compression::default());
                encoder.write_all(message)?;
                encoder.finish()
            })
            .map(Bytes::from),
            Self::Zstd => {
                let level = zstd::DEFAULT_COMPRESSION_LEVEL;
                off_reactor(|| zstd::bulk::compress(message, level)).map(Bytes::from)
            }
        }
    }
}
