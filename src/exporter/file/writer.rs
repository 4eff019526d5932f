//! Requests into a file: JSON lines or length-prefixed messages, as the Collector writes them.
//!
//! Each request is handed to the operating system before `write` returns, and a write that fails
//! half-way is undone, so that the file never holds a torn request followed by a good one.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};

use super::rotation::{self, Rotation};

/// How one request looks in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One line of OTLP/JSON.
    #[default]
    Json,
    /// The length as a big-endian `u32`, then the protobuf message.
    Proto,
}

/// What is compressed, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Packing {
    /// Nothing.
    #[default]
    None,
    /// Each request by itself as a zstd frame behind its length (the Collector's `compression: zstd`).
    EachZstd,
    /// The whole file as one gzip stream (`.gz`).
    Gzip,
    /// The whole file as one zstd stream (`.zst`).
    Zstd,
}

/// What a [`Writer`] writes and when it begins a new file.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// How one request looks.
    pub format: Format,
    /// What is compressed.
    pub packing: Packing,
    /// Whether an existing file is continued instead of emptied.
    pub append: bool,
    /// When the file is set aside and a new one begun; whole-file packings are never rotated.
    pub rotation: Option<Rotation>,
}

impl Settings {
    /// JSON lines, the whole file compressed as its name says: `.gz`, `.zst`, else not at all.
    pub fn for_path(path: &Path) -> Self {
        let packing = match path.extension().and_then(|extension| extension.to_str()) {
            Some("gz") => Packing::Gzip,
            Some("zst") => Packing::Zstd,
            _ => Packing::None,
        };
        Self {
            packing,
            ..Self::default()
        }
    }
}

/// Why a request is not in the file.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The request is no protobuf message; writing it again won't help.
    #[error("the request can't be turned into JSON: {0}")]
    Malformed(String),
    /// The file system refused; the file is as it was before.
    #[error("can't write to {}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

#[derive(Debug)]
enum Sink {
    Plain(File),
    Gzip(GzEncoder<BufWriter<File>>),
    Zstd(ZstdStream),
}

struct ZstdStream(zstd::stream::Encoder<'static, BufWriter<File>>);

impl std::fmt::Debug for ZstdStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ZstdStream")
    }
}

/// Writes requests into one file, and into its successors where it rotates.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    settings: Settings,
    clock: fn() -> SystemTime,
    sink: Sink,
    /// Bytes in a plain file, all of them whole requests.
    length: u64,
    scratch: Vec<u8>,
}

impl Writer {
    /// Creates (or continues) the file.
    ///
    /// `clock` names the backups of a rotated file; it is not read otherwise.
    pub fn open(path: &Path, settings: Settings, clock: fn() -> SystemTime) -> io::Result<Self> {
        let (sink, length) = open_sink(path, &settings, settings.append)?;
        Ok(Self {
            path: path.to_owned(),
            settings,
            clock,
            sink,
            length,
            scratch: Vec::new(),
        })
    }

    /// The file being written.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the protobuf bytes of one `ExportTraceServiceRequest`.
    pub fn write(&mut self, request: &[u8]) -> Result<(), WriteError> {
        let mut record = std::mem::take(&mut self.scratch);
        record.clear();
        let written = render(request, &self.settings, &mut record)
            .and_then(|()| self.append(&record).map_err(|source| self.failed(source)));
        self.scratch = record;
        written
    }

    /// Ends compressed streams and makes sure that the disk has everything.
    pub fn finish(self) -> Result<(), WriteError> {
        let failed = |source| WriteError::Io {
            path: self.path.clone(),
            source,
        };
        let file = match self.sink {
            Sink::Plain(file) => file,
            Sink::Gzip(stream) => into_file(stream.finish().map_err(failed)?).map_err(failed)?,
            Sink::Zstd(stream) => into_file(stream.0.finish().map_err(failed)?).map_err(failed)?,
        };
        // Pipes and devices such as /dev/stdout can't be synced, and need not be.
        match file.sync_data() {
            Err(fault) if fault.kind() != io::ErrorKind::InvalidInput => Err(failed(fault)),
            _ => Ok(()),
        }
    }

    fn failed(&self, source: io::Error) -> WriteError {
        WriteError::Io {
            path: self.path.clone(),
            source,
        }
    }

    fn append(&mut self, record: &[u8]) -> io::Result<()> {
        self.rotate_before(record.len())?;
        match &mut self.sink {
            Sink::Plain(file) => {
                if let Err(fault) = file.write_all(record) {
                    // Best effort: what can't be truncated (a pipe) can't be torn either.
                    if file.set_len(self.length).is_ok() {
                        file.seek(SeekFrom::Start(self.length))?;
                    }
                    return Err(fault);
                }
                self.length += record.len() as u64;
                Ok(())
            }
            Sink::Gzip(stream) => stream.write_all(record),
            Sink::Zstd(stream) => stream.0.write_all(record),
        }
    }

    fn rotate_before(&mut self, more: usize) -> io::Result<()> {
        let (Some(rotation), Sink::Plain(_)) = (&self.settings.rotation, &self.sink) else {
            return Ok(());
        };
        if self.length == 0 || self.length + more as u64 <= rotation.limit() {
            return Ok(());
        }
        let now = (self.clock)();
        rotation::set_aside(&self.path, now)?;
        (self.sink, self.length) = open_sink(&self.path, &self.settings, false)?;
        rotation::prune(&self.path, rotation, now)
    }
}

fn open_sink(path: &Path, settings: &Settings, append: bool) -> io::Result<(Sink, u64)> {
    let mut options = OpenOptions::new();
    options.create(true).write(true).truncate(!append);
    let mut file = options.open(path)?;
    let length = if append {
        file.seek(SeekFrom::End(0))?
    } else {
        0
    };
    let sink = match settings.packing {
        Packing::None | Packing::EachZstd => Sink::Plain(file),
        Packing::Gzip => Sink::Gzip(GzEncoder::new(
            BufWriter::new(file),
            flate2::Compression::default(),
        )),
        Packing::Zstd => Sink::Zstd(ZstdStream(zstd::stream::Encoder::new(
            BufWriter::new(file),
            zstd::DEFAULT_COMPRESSION_LEVEL,
        )?)),
    };
    Ok((sink, length))
}

fn into_file(buffered: BufWriter<File>) -> io::Result<File> {
    buffered
        .into_inner()
        .map_err(io::IntoInnerError::into_error)
}

/// One request as it stands in the file.
fn render(request: &[u8], settings: &Settings, out: &mut Vec<u8>) -> Result<(), WriteError> {
    let mut json = Vec::new();
    let message = match settings.format {
        Format::Json => {
            crate::exporter::json::write(request, &mut json).map_err(WriteError::Malformed)?;
            json.as_slice()
        }
        Format::Proto => request,
    };
    let packed;
    let (message, prefixed) = match settings.packing {
        Packing::EachZstd => {
            packed = zstd::bulk::compress(message, zstd::DEFAULT_COMPRESSION_LEVEL)
                .map_err(|fault| WriteError::Malformed(fault.to_string()))?;
            (packed.as_slice(), true)
        }
        _ => (message, settings.format == Format::Proto),
    };
    if prefixed {
        let length = u32::try_from(message.len())
            .map_err(|_| WriteError::Malformed("the message is longer than 4 GiB".to_owned()))?;
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(message);
    } else {
        out.extend_from_slice(message);
        out.push(b'\n');
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::{Duration, UNIX_EPOCH};

    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;

    use super::*;
    use crate::exporter::sample;

    fn clock() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    /// Writes two requests and gives the file's bytes.
    fn written(settings: Settings) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("traces");
        let mut writer = Writer::open(&path, settings, clock).unwrap();
        writer.write(&sample::request(1, 2)).unwrap();
        writer.write(&sample::request(2, 1)).unwrap();
        writer.finish().unwrap();
        std::fs::read(path).unwrap()
    }

    fn packed(packing: Packing) -> Vec<u8> {
        written(Settings {
            packing,
            ..Settings::default()
        })
    }

    /// The spans of each JSON line.
    fn check_lines(bytes: &[u8], expected: &[usize]) {
        let text = std::str::from_utf8(bytes).unwrap();
        let spans: Vec<_> = text
            .lines()
            .map(|line| {
                let request: ExportTraceServiceRequest = serde_json::from_str(line).unwrap();
                sample::count(&request)
            })
            .collect();
        assert_eq!(spans, expected);
    }

    fn messages(bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut rest = bytes;
        let mut found = Vec::new();
        while let Some((length, tail)) = rest.split_first_chunk::<4>() {
            let (message, tail) = tail.split_at(u32::from_be_bytes(*length) as usize);
            found.push(message.to_owned());
            rest = tail;
        }
        found
    }

    #[test]
    fn json_is_one_line_a_request() {
        check_lines(&packed(Packing::None), &[2, 1]);
    }

    #[test]
    fn a_whole_file_is_one_gzip_or_zstd_stream() {
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(packed(Packing::Gzip).as_slice())
            .read_to_end(&mut text)
            .unwrap();
        check_lines(&text, &[2, 1]);
        text.clear();
        zstd::stream::Decoder::new(packed(Packing::Zstd).as_slice())
            .unwrap()
            .read_to_end(&mut text)
            .unwrap();
        check_lines(&text, &[2, 1]);
    }

    #[test]
    fn protobuf_is_a_length_and_the_very_bytes() {
        let bytes = written(Settings {
            format: Format::Proto,
            ..Settings::default()
        });
        assert_eq!(
            messages(&bytes),
            [sample::request(1, 2), sample::request(2, 1)]
        );
    }

    #[test]
    fn a_request_compressed_by_itself_stands_behind_its_length() {
        let lines: Vec<_> = messages(&packed(Packing::EachZstd))
            .iter()
            .map(|frame| zstd::bulk::decompress(frame, 100_000).unwrap())
            .collect();
        check_lines(&lines[0], &[2]);
        check_lines(&lines[1], &[1]);
    }

    #[test]
    fn appending_keeps_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("traces.json");
        for append in [false, true] {
            let settings = Settings {
                append,
                ..Settings::default()
            };
            let mut writer = Writer::open(&path, settings, clock).unwrap();
            writer.write(&sample::request(1, 3)).unwrap();
            writer.finish().unwrap();
        }
        check_lines(&std::fs::read(path).unwrap(), &[3, 3]);
    }

    #[test]
    fn a_full_disk_is_an_error_that_may_pass() {
        let mut writer = Writer::open(Path::new("/dev/full"), Settings::default(), clock).unwrap();
        let fault = writer.write(&sample::request(1, 1)).unwrap_err();
        assert!(matches!(fault, WriteError::Io { .. }), "{fault}");
        let fault = writer.write(b"\xff").unwrap_err();
        assert!(matches!(fault, WriteError::Malformed(_)), "{fault}");
    }

    #[test]
    fn a_file_name_says_how_it_is_compressed() {
        let check = |name: &str, expected| {
            assert_eq!(Settings::for_path(Path::new(name)).packing, expected);
        };
        check("t.json", Packing::None);
        check("t.json.gz", Packing::Gzip);
        check("t.json.zst", Packing::Zstd);
    }

    #[test]
    fn a_rotated_file_keeps_every_request_and_no_more_backups_than_asked() {
        let check = |max_backups, expected: &[usize]| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("traces.json");
            let rotation = Rotation {
                max_megabytes: 1,
                max_backups,
                ..Rotation::default()
            };
            let settings = Settings {
                rotation: Some(rotation),
                ..Settings::default()
            };
            let mut writer = Writer::open(&path, settings, clock).unwrap();
            let request = sample::request(1, 1_000);
            for _ in 0..8 {
                writer.write(&request).unwrap();
            }
            writer.finish().unwrap();
            let mut files: Vec<_> = std::fs::read_dir(folder.path())
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .collect();
            files.sort();
            let lines: Vec<_> = files
                .iter()
                .map(|file| std::fs::read_to_string(file).unwrap().lines().count())
                .collect();
            assert_eq!(lines, expected, "{files:?}");
        };
        check(100, &[2, 2, 2, 2]);
        check(1, &[2, 2]);
    }
}
