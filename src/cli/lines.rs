//! A file of OTLP/JSON lines, compressed as its name says.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::otlp::Payload;

/// Where lines go.
pub(super) struct Lines {
    path: PathBuf,
    form: Form,
}

enum Form {
    Plain(BufWriter<Box<dyn Write>>),
    Gzip(GzEncoder<BufWriter<File>>),
    Zstd(zstd::Encoder<'static, BufWriter<File>>),
}

impl Lines {
    /// Creates the file, or empties it; `-` is standard output.
    pub(super) fn create(path: &Path) -> anyhow::Result<Self> {
        let create = || -> io::Result<Form> {
            if path.as_os_str() == "-" {
                return Ok(Form::Plain(BufWriter::new(Box::new(io::stdout()))));
            }
            let file = File::create(path)?;
            Ok(match path.extension().and_then(|ending| ending.to_str()) {
                Some("gz") => Form::Gzip(GzEncoder::new(BufWriter::new(file), Compression::fast())),
                Some("zst") => Form::Zstd(zstd::Encoder::new(BufWriter::new(file), 3)?),
                _ => Form::Plain(BufWriter::new(Box::new(file))),
            })
        };
        Ok(Self {
            path: path.to_owned(),
            form: create().with_context(|| format!("can't write {}", path.display()))?,
        })
    }

    /// Writes a request as one line.
    pub(super) fn write(&mut self, payload: &Payload) -> anyhow::Result<()> {
        let out: &mut dyn Write = match &mut self.form {
            Form::Plain(out) => out,
            Form::Gzip(out) => out,
            Form::Zstd(out) => out,
        };
        crate::exporter::json::write(payload.bytes(), &mut *out).map_err(anyhow::Error::msg)?;
        out.write_all(b"\n")
            .with_context(|| format!("can't write {}", self.path.display()))
    }

    /// Writes what is still held back.
    pub(super) fn end(self) -> anyhow::Result<()> {
        let ended = match self.form {
            Form::Plain(mut out) => out.flush(),
            Form::Gzip(out) => out.finish().and_then(|mut out| out.flush()),
            Form::Zstd(out) => out.finish().and_then(|mut out| out.flush()),
        };
        ended.with_context(|| format!("can't write {}", self.path.display()))
    }
}
