//! A file that is compressed as its name says.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

/// How hard to compress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effort {
    /// Much is written, and soon.
    Fast,
    /// Little is written, and kept.
    Small,
}

/// Where bytes go.
pub(super) enum Packed {
    Plain(BufWriter<Box<dyn Write>>),
    Gzip(GzEncoder<BufWriter<File>>),
    Zstd(zstd::Encoder<'static, BufWriter<File>>),
}

impl Packed {
    /// Creates the file, or empties it: `.gz` and `.zst` are compressed; `-` is standard output.
    pub(super) fn create(path: &Path, effort: Effort) -> io::Result<Self> {
        if path.as_os_str() == "-" {
            return Ok(Self::Plain(BufWriter::new(Box::new(io::stdout()))));
        }
        let (gzip, zstd) = match effort {
            Effort::Fast => (Compression::fast(), 3),
            Effort::Small => (Compression::best(), 12),
        };
        let file = File::create(path)?;
        Ok(match path.extension().and_then(|ending| ending.to_str()) {
            Some("gz") => Self::Gzip(GzEncoder::new(BufWriter::new(file), gzip)),
            Some("zst") => Self::Zstd(zstd::Encoder::new(BufWriter::new(file), zstd)?),
            _ => Self::Plain(BufWriter::new(Box::new(file))),
        })
    }

    /// Writes what is still held back.
    pub(super) fn end(self) -> io::Result<()> {
        match self {
            Self::Plain(mut out) => out.flush(),
            Self::Gzip(out) => out.finish()?.flush(),
            Self::Zstd(out) => out.finish()?.flush(),
        }
    }
}

impl Write for Packed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(out) => out.write(bytes),
            Self::Gzip(out) => out.write(bytes),
            Self::Zstd(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.flush(),
            Self::Gzip(out) => out.flush(),
            Self::Zstd(out) => out.flush(),
        }
    }
}
