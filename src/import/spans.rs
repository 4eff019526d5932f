//! The spans of a file, in the formats that are read span by span and not request by request.

use std::io;
use std::path::Path;

use super::elements::{Elements, Next};
use super::group::Observed;
use super::rows::{self, Header, Processes, Row, Rows, Wrong};
use super::{Format, ImportError, Source, documents, eadro, jaeger, nezha, zipkin};
use crate::receiver::otlpjsonfile::MAX_RECORD;

/// Where the spans of a record go, each with its line, or what is wrong with it.
type Take<'a> = &'a mut dyn FnMut(u64, Result<Observed, String>);

/// Reads a file span by span.
pub(super) struct Spans {
    records: Records,
    format: Format,
    processes: Processes,
    line: u64,
}

/// What the file is cut into.
enum Records {
    Elements(Elements<Source>, Vec<u8>),
    Rows(Box<Rows<Source>>, Header<8>),
}

impl Spans {
    /// Of a source that nothing was read of.
    ///
    /// # Errors
    ///
    /// It can't be read, or its first row lacks columns of the format.
    pub(super) fn of(path: &Path, source: Source, format: Format) -> Result<Self, ImportError> {
        let records = match columns(format) {
            None => Records::Elements(Elements::new(source, MAX_RECORD), Vec::new()),
            Some(columns) => {
                let mut rows = Rows::new(source);
                let first = rows.first().map_err(|source| ImportError::Open {
                    path: path.to_owned(),
                    source,
                })?;
                let header = Header::find(&first, columns);
                let header = header.map_err(|absent| ImportError::Columns {
                    path: path.to_owned(),
                    format,
                    absent,
                    first: rows::shown(String::from_utf8_lossy(&first).trim()),
                })?;
                Records::Rows(Box::new(rows), header)
            }
        };
        Ok(Self {
            records,
            format,
            processes: Processes::default(),
            line: 1,
        })
    }

    /// The line of the last record.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// Hands on the spans of the next record, and what is wrong with it; whether there was one.
    pub(super) fn next(&mut self, take: Take<'_>) -> io::Result<bool> {
        let (format, processes) = (self.format, &mut self.processes);
        match &mut self.records {
            Records::Elements(elements, element) => {
                self.line = match elements.next(element)? {
                    Next::End => return Ok(false),
                    Next::Fault(line, column, fault) => {
                        take(line, Err(format!("column {column}: {fault}")));
                        line
                    }
                    Next::Element(line) => {
                        of_element((format, element), processes, line, take);
                        line
                    }
                };
            }
            Records::Rows(rows, header) => {
                self.line = match rows.next()? {
                    None => return Ok(false),
                    Some(Row::Fault(line, fault)) => {
                        take(line, Err(fault));
                        line
                    }
                    Some(Row::Fields(line, row)) => {
                        let columns = columns(format).unwrap_or(&nezha::COLUMNS);
                        if header.is_again(columns, &row) {
                            self.line = line;
                            return Ok(true);
                        }
                        let span = match format {
                            Format::Eadro(unit) => eadro::span(header, unit, processes, &row),
                            _ => nezha::span(header, processes, &row),
                        };
                        let wrong = |Wrong(column, fault)| format!("column {column}: {fault}");
                        take(line, span.map_err(wrong));
                        line
                    }
                };
            }
        }
        Ok(true)
    }
}

/// The columns of a format that is a table.
fn columns(format: Format) -> Option<&'static [&'static str; 8]> {
    match format {
        Format::Nezha => Some(&nezha::COLUMNS),
        Format::Eadro(_) => Some(&eadro::COLUMNS),
        Format::Otlp | Format::Documents | Format::Jaeger | Format::Zipkin => None,
    }
}

/// Hands on the spans of an element that begins in this line.
fn of_element(
    (format, element): (Format, &[u8]),
    processes: &mut Processes,
    line: u64,
    take: Take<'_>,
) {
    let mut each = |span| take(line, span);
    let read = match format {
        Format::Zipkin => {
            each(zipkin::span(element, processes));
            Ok(())
        }
        Format::Jaeger => jaeger::spans(element, &mut each),
        _ => documents::spans(element, &mut each),
    };
    if let Err(fault) = read {
        // Lines within an element count from its own first one.
        let line = line + (fault.line() as u64).saturating_sub(1);
        let told = fault.to_string();
        let told = told.split(" at line ").next().unwrap_or_default();
        take(line, Err(format!("column {}: {told}", fault.column())));
    }
}
