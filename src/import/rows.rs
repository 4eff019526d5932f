//! Comma-separated files, a span a row: columns by the names in the first row, in any order.

use std::collections::{HashMap, VecDeque};
use std::io::{self, BufRead, Read as _};
use std::sync::Arc;

use csv_core::{ReadRecordResult, Reader};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use super::group::{Observed, service_of};

/// The longest line.
const LONGEST: usize = 1 << 20;
/// Lines that a row with a quoted line break may have.
const LINES: usize = 20;
/// Columns beyond these are not looked at.
const COLUMNS: usize = 256;
/// Processes that are remembered.
const PROCESSES: usize = 10_000;

/// Where each of the wanted columns stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header<const N: usize>([usize; N]);

impl<const N: usize> Header<N> {
    /// Finds the columns in the first row of a file; the names of those that are not there.
    pub(super) fn find(
        first: &[u8],
        wanted: &[&'static str; N],
    ) -> Result<Self, Vec<&'static str>> {
        let names = fields(&mut Reader::new(), first);
        let find = |name: &str| {
            let mut names = names.iter();
            names.position(|field| field.trim().trim_matches('\u{feff}') == name)
        };
        let absent: Vec<_> = wanted
            .iter()
            .copied()
            .filter(|name| find(name).is_none())
            .collect();
        if absent.is_empty() {
            Ok(Self(wanted.map(|name| find(name).unwrap_or_default())))
        } else {
            Err(absent)
        }
    }
}

/// What is wrong with a row: the column, and why.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong(pub(super) &'static str, pub(super) String);

/// The rows of a file behind its first one.
pub(super) struct Rows<R> {
    source: R,
    reader: Reader,
    line: u64,
    /// Lines that were read ahead for a row that did not end.
    ahead: VecDeque<Vec<u8>>,
}

/// A row.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Row {
    /// Its fields, and the line in which it begins.
    Fields(u64, Vec<String>),
    /// It can't be read.
    Fault(u64, String),
}

impl<R: BufRead> Rows<R> {
    pub(super) fn new(source: R) -> Self {
        Self {
            source,
            reader: Reader::new(),
            line: 0,
            ahead: VecDeque::new(),
        }
    }

    /// The first line that is not empty: the names of the columns.
    pub(super) fn first(&mut self) -> io::Result<Vec<u8>> {
        loop {
            match self.line()? {
                Some(line) if line.trim_ascii().is_empty() => {}
                line => return Ok(line.unwrap_or_default()),
            }
        }
    }

    /// The next row that is not empty; none at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Row>> {
        loop {
            let Some(mut row) = self.line()? else {
                return Ok(None);
            };
            let began = self.line;
            if row.len() > LONGEST {
                let fault = format!("longer than {LONGEST} bytes");
                return Ok(Some(Row::Fault(began, fault)));
            }
            if row.trim_ascii().is_empty() {
                continue;
            }
            let mut more: Vec<Vec<u8>> = Vec::new();
            while is_open(&row) {
                let next = match more.len() {
                    LINES.. => None,
                    _ => self.line()?,
                };
                let Some(next) = next else {
                    // It costs itself: what was read ahead is read again as rows.
                    self.line = began;
                    for line in more.into_iter().rev() {
                        self.ahead.push_front(line);
                    }
                    let fault = "a quote is opened and never closed".to_owned();
                    return Ok(Some(Row::Fault(began, fault)));
                };
                row.push(b'\n');
                row.extend_from_slice(&next);
                more.push(next);
            }
            return Ok(Some(Row::Fields(began, fields(&mut self.reader, &row))));
        }
    }

    /// The next line without its end; a longer one than may be is cut just behind that.
    fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        if let Some(line) = self.ahead.pop_front() {
            self.line += 1;
            return Ok(Some(line));
        }
        let mut line = Vec::new();
        let most = LONGEST as u64 + 1;
        let read = self
            .source
            .by_ref()
            .take(most)
            .read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(None);
        }
        self.line += 1;
        if line.last() == Some(&b'\n') {
            line.pop();
            line.pop_if(|byte| *byte == b'\r');
        } else if read as u64 == most {
            skip_line(&mut self.source)?;
        }
        Ok(Some(line))
    }
}

/// Passes over the rest of a line.
fn skip_line(source: &mut impl BufRead) -> io::Result<()> {
    loop {
        let chunk = source.fill_buf()?;
        if chunk.is_empty() {
            return Ok(());
        }
        let newline = memchr::memchr(b'\n', chunk);
        let used = newline.map_or(chunk.len(), |at| at + 1);
        source.consume(used);
        if newline.is_some() {
            return Ok(());
        }
    }
}

/// Whether a quote stands open at the end.
fn is_open(row: &[u8]) -> bool {
    memchr::memchr_iter(b'"', row).count() % 2 == 1
}

/// The fields of a row, without their quotes.
fn fields(reader: &mut Reader, row: &[u8]) -> Vec<String> {
    reader.reset();
    let mut out = vec![0; row.len() + 1];
    let mut ends = [0; COLUMNS];
    let (mut read, mut written, mut ended) = (0, 0, 0);
    loop {
        // An empty input is the end, and ends the last field.
        let (result, nin, nout, nends) =
            reader.read_record(&row[read..], &mut out[written..], &mut ends[ended..]);
        (read, written, ended) = (read + nin, written + nout, ended + nends);
        if result != ReadRecordResult::InputEmpty {
            break;
        }
    }
    let mut from = 0;
    let field = |&end: &usize| {
        let field = &out[std::mem::replace(&mut from, end)..end];
        String::from_utf8_lossy(field).into_owned()
    };
    ends[..ended].iter().map(field).collect()
}

impl<const N: usize> Header<N> {
    /// Whether a row is the first one over again, as in files that were put behind each other.
    pub(super) fn is_again(&self, names: &[&'static str; N], row: &[String]) -> bool {
        self.pick(names, row).is_ok_and(|fields| fields == *names)
    }

    /// The wanted fields of a row.
    pub(super) fn pick<'a>(
        &self,
        names: &[&'static str; N],
        row: &'a [String],
    ) -> Result<[&'a str; N], Wrong> {
        let mut picked = [""; N];
        for (at, (&column, name)) in self.0.iter().zip(names).enumerate() {
            let field = row.get(column);
            let absent = || Wrong(name, format!("missing: the row has {} columns", row.len()));
            picked[at] = field.ok_or_else(absent)?.trim();
        }
        Ok(picked)
    }
}

/// A number of nanoseconds, so many of which are one of the column's unit. Spreadsheets and pandas
/// write whole numbers as `1.66e18` and `12.0` too.
pub(super) fn nanos(column: &'static str, text: &str, unit: u64) -> Result<u64, Wrong> {
    if let Ok(whole) = text.parse::<u64>() {
        let nanos = whole.checked_mul(unit);
        return nanos.ok_or_else(|| Wrong(column, format!("`{}` is too large", shown(text))));
    }
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number >= 0.0 && number * (unit as f64) < 1.8e19 => {
            let whole = number.trunc();
            // Its whole part is kept to the digit.
            Ok((whole as u64).saturating_mul(unit)
                + ((number - whole) * unit as f64).round() as u64)
        }
        Ok(number) if number < 0.0 => Err(Wrong(column, format!("`{}` is below 0", shown(text)))),
        _ => Err(Wrong(column, format!("`{}` is no number", shown(text)))),
    }
}

/// A field in a message: its beginning.
pub(super) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(40).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown.replace(['\n', '\r'], " ")
}

/// Processes by a column that names them, so that each is one allocation.
#[derive(Debug, Default)]
pub(super) struct Processes(HashMap<String, Arc<Resource>>);

impl Processes {
    pub(super) fn of(&mut self, name: &str, make: impl FnOnce() -> Resource) -> Arc<Resource> {
        if let Some(known) = self.0.get(name) {
            return known.clone();
        }
        if self.0.len() >= PROCESSES {
            self.0.clear();
        }
        let made = Arc::new(make());
        self.0.insert(name.to_owned(), made.clone());
        made
    }
}

/// What a statement to a database begins with.
const STATEMENTS: [&str; 4] = ["SELECT ", "INSERT ", "UPDATE ", "DELETE "];

/// Says the kinds, which these files do not have: a span whose parent is of another service, and a
/// root, serve; a span that does not and has such a child, or is a statement to a database as
/// OpenTelemetry's libraries name it (`SELECT shop.orders`, `sql.rows`), calls; all others are
/// internal.
pub(super) fn infer_kinds(trace: &mut [Observed]) {
    let services: HashMap<&[u8], &str> = trace
        .iter()
        .map(|it| (it.span.span_id.as_slice(), service_of(&it.resource)))
        .collect();
    let mut calls: Vec<Vec<u8>> = Vec::new();
    let mut serves = Vec::with_capacity(trace.len());
    for it in trace.iter() {
        let parent = services.get(it.span.parent_span_id.as_slice());
        let other = parent.is_some_and(|parent| *parent != service_of(&it.resource));
        if other {
            calls.push(it.span.parent_span_id.clone());
        }
        serves.push(other || it.span.parent_span_id.is_empty());
    }
    calls.sort_unstable();
    for (it, serves) in trace.iter_mut().zip(serves) {
        let kind = if serves {
            SpanKind::Server
        } else if calls.binary_search(&it.span.span_id).is_ok() || is_statement(&it.span.name) {
            SpanKind::Client
        } else {
            SpanKind::Internal
        };
        it.span.kind = kind.into();
    }
}

fn is_statement(name: &str) -> bool {
    let statement = STATEMENTS.iter().find_map(|verb| name.strip_prefix(verb));
    name.starts_with("sql.") || statement.is_some_and(|of| of.contains('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows as `line:field|field`, faults as `!line`.
    fn check(text: &str, expected: &str) {
        let mut rows = Rows::new(text.as_bytes());
        let mut seen = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            seen.push(match row {
                Row::Fields(line, fields) => format!("{line}:{}", fields.join("|")),
                Row::Fault(line, _) => format!("!{line}"),
            });
        }
        assert_eq!(seen.join(" "), expected);
    }

    #[test]
    fn rows_have_fields_with_and_without_quotes_and_the_line_in_which_they_begin() {
        check("a,b\r\n\n1,2\n", "1:a|b 3:1|2");
        check("a,\"b,\"\"c\"\"\",\nd,e,f", "1:a|b,\"c\"| 2:d|e|f");
        check("\"a\nb\",c\nd,e", "1:a\nb|c 3:d|e");
        check("", "");
        check(",\n", "1:|");
    }

    #[test]
    fn a_quote_that_is_never_closed_costs_its_own_line() {
        check("a,\"b\nc,d\ne,f", "!1 2:c|d 3:e|f");
        let many = format!("a,\"b\n{}e,f", "c,d\n".repeat(30));
        let mut expected = vec!["!1".to_owned()];
        expected.extend((2..32).map(|line| format!("{line}:c|d")));
        expected.push("32:e|f".to_owned());
        check(&many, &expected.join(" "));
    }

    #[test]
    fn a_line_without_end_is_passed_over() {
        let long = format!("a,b\n{}\nc,d", "x".repeat(LONGEST + 50));
        check(&long, "1:a|b !2 3:c|d");
    }

    #[test]
    fn numbers_are_read_to_the_digit_and_what_is_none_is_said() {
        let check = |text: &str, unit: u64, expected: Result<u64, &str>| {
            let seen = nanos("c", text, unit).map_err(|Wrong(_, fault)| fault);
            assert_eq!(seen, expected.map_err(str::to_owned));
        };
        check("1661273974730641486", 1, Ok(1_661_273_974_730_641_486));
        check("12.0", 1_000, Ok(12_000));
        check(
            "1650298673.25",
            1_000_000_000,
            Ok(1_650_298_673_250_000_000),
        );
        check("1.5e3", 1, Ok(1_500));
        check("-5", 1, Err("`-5` is below 0"));
        check("soon", 1, Err("`soon` is no number"));
        check("", 1, Err("`` is no number"));
        check(
            "99999999999999999",
            1_000_000,
            Err("`99999999999999999` is too large"),
        );
        check("inf", 1, Err("`inf` is no number"));
    }

    #[test]
    fn columns_are_found_by_name_in_any_order() {
        let header = Header::find(b"\xef\xbb\xbfb, a ,c", &["a", "b"]).unwrap();
        let row = ["1", "2", "3"].map(str::to_owned);
        assert_eq!(header.pick(&["a", "b"], &row), Ok(["2", "1"]));
        let short = Wrong("a", "missing: the row has 1 columns".to_owned());
        assert_eq!(header.pick(&["a", "b"], &row[..1]), Err(short));
        let first = ["b", "a", "c"].map(str::to_owned);
        assert!(header.is_again(&["a", "b"], &first) && !header.is_again(&["a", "b"], &row));
        assert_eq!(Header::find(b"a,x", &["a", "b", "c"]), Err(vec!["b", "c"]));
    }
}
