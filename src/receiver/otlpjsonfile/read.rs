//! A file read whole, from its first record to its last: what `train`, `generate` and
//! `evaluate` read, and what the receiver does with compressed files.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::record::{self, Framing, MAX_RECORD, Record};
use crate::receiver::json;

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// A record that could not be used; the records after it are read all the same.
#[derive(Debug, thiserror::Error)]
#[error("{}:{number}: {fault}", .path.display())]
pub struct LineError {
    /// The file.
    pub path: PathBuf,
    /// The line, or the message in a file of lengths and messages, counted from 1.
    pub number: u64,
    /// What is wrong with it.
    pub fault: String,
}

/// How far a file has been read, for a progress bar; cheap to clone and to ask.
#[derive(Debug, Clone)]
pub struct Progress {
    read: Arc<AtomicU64>,
    total: u64,
}

impl Progress {
    /// Bytes of the file (compressed, if it is) read so far.
    pub fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Bytes of the file when it was opened.
    pub fn total(&self) -> u64 {
        self.total
    }
}

/// The requests of a file, each as the protobuf bytes of an `ExportTraceServiceRequest`
/// that nobody has walked yet. Records of other signals are passed over.
pub struct Requests {
    path: PathBuf,
    source: Box<dyn BufRead + Send>,
    framing: Option<Framing>,
    number: u64,
    record: Vec<u8>,
    cap: usize,
    progress: Progress,
    over: bool,
}

/// Opens a file of OTLP requests: JSON lines or length-prefixed messages, plain, gzip or zstd,
/// told apart by their first bytes.
///
/// Fails where the file can't be opened; what is wrong inside comes as an item of the iterator.
pub fn read(path: &Path) -> io::Result<Requests> {
    let (source, progress) = open(path)?;
    Ok(Requests::of(path, source, progress))
}

/// Opens a file whatever is in it, and reads it behind its compression: plain, gzip or zstd.
///
/// Fails where it can't be opened, or its compression is broken from the beginning.
pub fn open(path: &Path) -> io::Result<(Box<dyn BufRead + Send>, Progress)> {
    let file = File::open(path)?;
    let progress = Progress {
        read: Arc::default(),
        total: file.metadata()?.len(),
    };
    let counted = BufReader::with_capacity(
        256 << 10,
        Counted {
            inner: file,
            read: progress.read.clone(),
        },
    );
    Ok((inflated(counted)?, progress))
}

impl Requests {
    /// The requests of an open file, none of which was read yet.
    pub fn of(path: &Path, source: Box<dyn BufRead + Send>, progress: Progress) -> Self {
        Self {
            path: path.to_owned(),
            source,
            framing: None,
            number: 0,
            record: Vec::new(),
            cap: MAX_RECORD,
            progress,
            over: false,
        }
    }

    /// How far the file has been read.
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    fn next_record(&mut self) -> io::Result<Record> {
        let framing = match self.framing {
            Some(framing) => framing,
            None => match self.source.fill_buf()?.first() {
                Some(&first) => *self.framing.insert(Framing::of(first)),
                None => return Ok(Record::End),
            },
        };
        record::next(&mut self.source, framing, self.cap, &mut self.record)
    }

    fn fault(&self, fault: impl Into<String>) -> LineError {
        LineError {
            path: self.path.clone(),
            number: self.number,
            fault: fault.into(),
        }
    }
}

impl Iterator for Requests {
    type Item = Result<Bytes, LineError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.over {
            self.number += 1;
            match self.next_record() {
                Ok(Record::Whole) => {}
                // The last line of a file that is read whole needs no newline.
                Ok(Record::Unfinished) if self.framing == Some(Framing::Lines) => self.over = true,
                Ok(Record::Unfinished) => {
                    self.over = true;
                    return Some(Err(self.fault("the file ends inside this message")));
                }
                Ok(Record::TooLong(length)) => {
                    let fault = format!("{length} bytes long, at most {} will do", self.cap);
                    return Some(Err(self.fault(fault)));
                }
                Ok(Record::End) => self.over = true,
                Err(cause) => {
                    self.over = true;
                    return Some(Err(self.fault(format!("can't read on: {cause}"))));
                }
            }
            match request(&self.record, self.cap) {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => return Some(Ok(bytes)),
                Err(fault) => return Some(Err(self.fault(fault))),
            }
        }
        None
    }
}

/// The request in one record: JSON, protobuf, or either of them in zstd of its own (as the
/// Collector's file exporter writes with `compression: zstd`). Empty if it holds no spans.
pub(super) fn request(record: &[u8], cap: usize) -> Result<Bytes, String> {
    if record.starts_with(ZSTD) {
        let mut inflated = Vec::new();
        zstd::stream::read::Decoder::with_buffer(record)
            .and_then(|source| source.take(cap as u64 + 1).read_to_end(&mut inflated))
            .map_err(|cause| format!("no good zstd: {cause}"))?;
        if inflated.len() > cap {
            return Err(format!("inflates to more than {cap} bytes"));
        }
        return if inflated.starts_with(ZSTD) {
            Err("zstd within zstd".to_owned())
        } else {
            request(&inflated, cap)
        };
    }
    // The tag of `resource_spans`, the only field of a request; a line never opens with it.
    if record.first() == Some(&0x0a) {
        return Ok(Bytes::copy_from_slice(record));
    }
    let record = record.strip_prefix(b"\xef\xbb\xbf").unwrap_or(record);
    match record.trim_ascii_start() {
        [] => Ok(Bytes::new()),
        record => json::to_protobuf(record).map_err(|fault| fault.to_string()),
    }
}

/// Whether these first bytes of a file say that it is compressed.
pub(super) fn is_compressed(head: &[u8]) -> bool {
    head.starts_with(GZIP) || head.starts_with(ZSTD)
}

struct Counted<R> {
    inner: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buf)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// The source behind its compression, if its first bytes name one.
fn inflated(mut source: impl BufRead + Send + 'static) -> io::Result<Box<dyn BufRead + Send>> {
    let first = source.fill_buf()?;
    Ok(if first.starts_with(GZIP) {
        let inflated = flate2::bufread::MultiGzDecoder::new(source);
        Box::new(BufReader::with_capacity(256 << 10, inflated))
    } else if first.starts_with(ZSTD) {
        let inflated = zstd::stream::read::Decoder::with_buffer(source)?;
        Box::new(BufReader::with_capacity(256 << 10, inflated))
    } else {
        Box::new(source)
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
    use prost::Message;

    use super::*;

    const SPAN: &str = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"0102030405060708","name":"N"}]}]}]}"#;

    fn line(name: &str) -> Vec<u8> {
        SPAN.replace('N', name).into_bytes()
    }

    fn message(name: &str) -> Vec<u8> {
        let span = Span {
            name: name.to_owned(),
            ..Span::default()
        };
        let request = ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                scope_spans: vec![ScopeSpans {
                    spans: vec![span],
                    ..ScopeSpans::default()
                }],
                ..ResourceSpans::default()
            }],
        };
        request.encode_to_vec()
    }

    fn prefixed(message: &[u8]) -> Vec<u8> {
        let length = u32::try_from(message.len()).unwrap();
        [length.to_be_bytes().as_slice(), message].concat()
    }

    /// The names of the spans in a file of `bytes`, with `!number` where a record is at fault.
    fn check(bytes: &[u8], expected: &str) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        let mut requests = read(file.path()).unwrap();
        requests.cap = 1024;
        let progress = requests.progress();
        let seen: Vec<String> = requests
            .map(|request| match request {
                Ok(bytes) => {
                    let request = ExportTraceServiceRequest::decode(bytes).unwrap();
                    let scopes = &request.resource_spans[0].scope_spans;
                    scopes[0].spans[0].name.clone()
                }
                Err(error) => format!("!{}", error.number),
            })
            .collect();
        assert_eq!(seen.join(" "), expected);
        assert_eq!(progress.read(), progress.total());
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::stream::encode_all(bytes, 1).unwrap()
    }

    #[test]
    fn lines_are_read_plain_gzipped_and_in_zstd_members_and_all() {
        let lines = [line("a"), b"\r\n\n".to_vec(), line("b")].concat();
        check(&lines, "a b");
        check(&gzip(&lines), "a b");
        check(&zstd(&lines), "a b");
        let again = [b"\n".to_vec(), lines.clone()].concat();
        check(&[gzip(&lines), gzip(&again)].concat(), "a b a b");
        check(&[zstd(&lines), zstd(&again)].concat(), "a b a b");
    }

    #[test]
    fn a_bad_line_costs_itself_only_and_says_which_it_is() {
        let lines = [
            line("a"),
            b"{not json".to_vec(),
            vec![b' '; 2000],
            line("d"),
        ];
        check(&lines.join(&b'\n'), "a !2 !3 d");
    }

    #[test]
    fn lines_of_other_signals_are_passed_over() {
        let lines = [b"{\"resourceLogs\":[]}".to_vec(), line("b")];
        check(&lines.join(&b'\n'), "b");
    }

    #[test]
    fn messages_behind_their_length_are_read_in_whatever_form_they_are() {
        let file = [
            prefixed(&message("a")),
            prefixed(&line("b")),
            prefixed(&zstd(&line("c"))),
            prefixed(&zstd(&message("d"))),
            prefixed(&zstd(&[b' '; 5000])),
            prefixed(&zstd(&zstd(&line("e")))),
        ];
        check(&file.concat(), "a b c d !5 !6");
        check(&file.concat()[..40], "a !2");
    }

    #[test]
    fn a_file_that_is_cut_off_within_its_compression_gives_what_came_before() {
        let lines = [line("a"), line("b"), vec![b'x'; 900]].join(&b'\n');
        let cut = zstd(&lines);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&cut[..cut.len() - 4]).unwrap();
        let faults: Vec<_> = read(file.path()).unwrap().filter_map(Result::err).collect();
        assert_eq!(faults.len(), 1);
        assert!(faults[0].fault.starts_with("can't read on"));
    }
}
