//! Files of observed traces in the formats that people have, each read as OTLP requests.
//!
//! Whatever comes in, what goes out are the protobuf bytes of `ExportTraceServiceRequest`s, so that
//! nothing behind this module knows of formats. What can't be used is an item of its own, named by
//! its line; what stands around it is read.

mod detect;
mod documents;
mod eadro;
mod elements;
mod group;
mod ids;
mod jaeger;
mod nezha;
mod rows;
mod spans;
#[cfg(test)]
mod tests;
mod zipkin;

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, BufRead, Cursor, Read as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use bytes::Bytes;
use prost::Message as _;

pub use eadro::Unit;
pub use group::{Group, Observed, request};

use crate::receiver::otlpjsonfile::{self, LineError, Progress, Requests};
use spans::Spans;

/// What a file is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// OTLP as the Collector's `file` exporter writes it: a JSON request a line, or protobuf
    /// messages behind their lengths.
    Otlp,
    /// OTLP/JSON documents, over many lines or in the envelopes of Tempo's API.
    Documents,
    /// Jaeger's query API and the download of its page.
    Jaeger,
    /// Zipkin's API, v2.
    Zipkin,
    /// The Nezha data set's comma-separated rows.
    Nezha,
    /// Rows in the columns of Eadro's data sets, with what durations are counted in.
    Eadro(Unit),
}

impl Format {
    /// What is understood, in words.
    pub const UNDERSTOOD: &str = "otlp (JSON lines or length-prefixed protobuf of the Collector's \
        file exporter), otlp-json (OTLP/JSON documents, Tempo's API), jaeger (JSON of the query API \
        or the page's download), zipkin (JSON of the API, v2), nezha and eadro (CSV with the data \
        set's columns)";
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Otlp => "otlp",
            Self::Documents => "otlp-json",
            Self::Jaeger => "jaeger",
            Self::Zipkin => "zipkin",
            Self::Nezha => "nezha",
            Self::Eadro(Unit::Micros) => "eadro",
            Self::Eadro(unit) => return write!(f, "eadro:{unit}"),
        })
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "otlp" => Self::Otlp,
            "otlp-json" | "tempo" => Self::Documents,
            "jaeger" => Self::Jaeger,
            "zipkin" => Self::Zipkin,
            "nezha" => Self::Nezha,
            "eadro" => Self::Eadro(Unit::default()),
            _ => match text.strip_prefix("eadro:") {
                Some(unit) => Self::Eadro(unit.parse()?),
                None => {
                    return Err(
                        "write otlp, otlp-json (or tempo), jaeger, zipkin, nezha, eadro, or eadro:UNIT \
                         with the unit of durations (s, ms, us, ns)"
                            .to_owned(),
                    );
                }
            },
        })
    }
}

/// Why a file can't be read at all.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It can't be opened, or its compression is broken.
    #[error("can't read {}", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its beginning is that of no format.
    #[error("{}: {seen}, which is in no format that is understood; understood are {}", .path.display(), Format::UNDERSTOOD)]
    Unknown {
        /// The file.
        path: PathBuf,
        /// What was seen.
        seen: String,
    },
    /// The first row lacks columns of the format that was asked for.
    #[error("{}: has no {}, which {format} has; its first row is `{first}`", .path.display(), .absent.join(", "))]
    Columns {
        /// The file.
        path: PathBuf,
        /// The format.
        format: Format,
        /// The names of the columns.
        absent: Vec<&'static str>,
        /// The first row.
        first: String,
    },
}

/// The requests of a file, each as protobuf bytes; records that can't be used as errors.
pub struct Import {
    path: PathBuf,
    format: Format,
    progress: Progress,
    records: u64,
    reader: Reader,
}

type Source = Box<dyn BufRead + Send>;

enum Reader {
    Requests(Requests),
    Spans {
        spans: Spans,
        group: Group,
        faults: VecDeque<LineError>,
        over: bool,
    },
}

/// Opens a file of observed traces, plain, gzip or zstd. The format is told by its content unless
/// it is given.
///
/// # Errors
///
/// It can't be read, or its beginning is not that of the format. What is wrong further inside comes
/// as an item of the iterator.
pub fn open(path: &Path, format: Option<Format>) -> Result<Import, ImportError> {
    let broken = |source| ImportError::Open {
        path: path.to_owned(),
        source,
    };
    let (mut source, progress) = otlpjsonfile::open(path).map_err(broken)?;
    let mut head = Vec::new();
    let most = detect::HEAD as u64;
    source
        .by_ref()
        .take(most)
        .read_to_end(&mut head)
        .map_err(broken)?;
    let format = match format {
        Some(format) => format,
        None => detect::format(&head).map_err(|seen| ImportError::Unknown {
            path: path.to_owned(),
            seen,
        })?,
    };
    let source: Source = Box::new(Cursor::new(head).chain(source));
    let reader = match format {
        Format::Otlp => Reader::Requests(Requests::of(path, source, progress.clone())),
        _ => Reader::Spans {
            spans: Spans::of(path, source, format)?,
            group: Group::default(),
            faults: VecDeque::new(),
            over: false,
        },
    };
    Ok(Import {
        path: path.to_owned(),
        format,
        progress,
        records: 0,
        reader,
    })
}

impl Import {
    /// How far the file has been read.
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// The format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Records read so far: lines, messages, rows, or elements of a JSON document.
    pub fn records(&self) -> u64 {
        self.records
    }
}

impl Iterator for Import {
    type Item = Result<Bytes, LineError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (spans, group, faults, over) = match &mut self.reader {
            Reader::Requests(requests) => {
                let next = requests.next();
                self.records += u64::from(next.is_some());
                return next;
            }
            Reader::Spans {
                spans,
                group,
                faults,
                over,
            } => (spans, group, faults, over),
        };
        loop {
            if let Some(fault) = faults.pop_front() {
                return Some(Err(fault));
            }
            let trace = if *over {
                group.oldest()
            } else {
                group.overflow()
            };
            if let Some(mut trace) = trace {
                group::without_copies(&mut trace);
                match self.format {
                    Format::Zipkin => zipkin::take_apart(&mut trace),
                    Format::Nezha | Format::Eadro(_) => rows::infer_kinds(&mut trace),
                    Format::Otlp | Format::Documents | Format::Jaeger => {}
                }
                return Some(Ok(request(trace).encode_to_vec().into()));
            }
            if *over {
                return None;
            }
            let mut take = |line, span: Result<Observed, String>| match span {
                Ok(span) => group.add(span),
                Err(fault) => faults.push_back(LineError {
                    path: self.path.clone(),
                    number: line,
                    fault,
                }),
            };
            match spans.next(&mut take) {
                Ok(more) => {
                    *over = !more;
                    self.records += u64::from(more);
                }
                Err(cause) => {
                    *over = true;
                    let line = spans.line();
                    take(line, Err(format!("can't read on: {cause}")));
                }
            }
        }
    }
}
