//! Records of a file: JSON lines, or messages behind a big-endian length.
//!
//! Both forms are told apart by their first byte: JSON opens with a brace or white space, a
//! length below [`MAX_RECORD`] opens with a byte of at most 4.

use std::io::{self, BufRead, Read};

/// The longest record that is held in memory, inflated or not: OTLP's recommended request bound.
pub const MAX_RECORD: usize = 64 << 20;

/// What the next record turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// Its bytes are in the buffer.
    Whole,
    /// A last line that no newline ends; a writer may still be at it.
    Unfinished,
    /// Over the cap: it was passed over, and holds this many bytes as far as it was read.
    TooLong(usize),
    /// No more.
    End,
}

/// How records are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// A newline ends each.
    Lines,
    /// A `u32`, big-endian, says how long each is.
    Lengths,
}

impl Framing {
    /// What the first byte of a stream says.
    pub(super) fn of(first: u8) -> Self {
        if first <= (MAX_RECORD >> 24) as u8 {
            Self::Lengths
        } else {
            Self::Lines
        }
    }
}

/// Reads the next record into `record`, whose old bytes are given up.
pub(super) fn next(
    source: &mut impl BufRead,
    framing: Framing,
    cap: usize,
    record: &mut Vec<u8>,
) -> io::Result<Record> {
    record.clear();
    match framing {
        Framing::Lines => next_line(source, cap, record),
        Framing::Lengths => next_message(source, cap, record),
    }
}

fn next_line(source: &mut impl BufRead, cap: usize, record: &mut Vec<u8>) -> io::Result<Record> {
    let mut length = 0;
    loop {
        let chunk = source.fill_buf()?;
        if chunk.is_empty() {
            return Ok(match length {
                0 => Record::End,
                _ if length > cap => Record::TooLong(length),
                _ => Record::Unfinished,
            });
        }
        let newline = memchr::memchr(b'\n', chunk);
        let part = &chunk[..newline.unwrap_or(chunk.len())];
        length += part.len();
        if length <= cap {
            record.extend_from_slice(part);
        } else {
            record.clear();
        }
        let used = part.len() + usize::from(newline.is_some());
        source.consume(used);
        if newline.is_some() {
            return Ok(if length > cap {
                Record::TooLong(length)
            } else {
                Record::Whole
            });
        }
    }
}

fn next_message(source: &mut impl BufRead, cap: usize, record: &mut Vec<u8>) -> io::Result<Record> {
    let mut length = [0; 4];
    let mut read = 0;
    while read < length.len() {
        match source.read(&mut length[read..])? {
            0 if read == 0 => return Ok(Record::End),
            0 => return Ok(Record::Unfinished),
            n => read += n,
        }
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > cap {
        let passed = io::copy(&mut source.by_ref().take(length as u64), &mut io::sink())?;
        return Ok(Record::TooLong(usize::try_from(passed).unwrap_or(length)));
    }
    // The buffer grows with what is there, not with what a lying length announces.
    source
        .by_ref()
        .take(length as u64)
        .read_to_end(record)
        .map(|read| {
            if read < length {
                Record::Unfinished
            } else {
                Record::Whole
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expected: &str) {
        let mut source = io::BufReader::with_capacity(3, bytes);
        let framing = Framing::of(bytes[0]);
        let mut record = Vec::new();
        let mut seen = Vec::new();
        loop {
            match next(&mut source, framing, 8, &mut record).unwrap() {
                Record::Whole => seen.push(String::from_utf8_lossy(&record).into_owned()),
                Record::Unfinished => {
                    seen.push(format!("{}…", String::from_utf8_lossy(&record)));
                    break;
                }
                Record::TooLong(length) => seen.push(format!("({length} bytes)")),
                Record::End => break,
            }
        }
        assert_eq!(seen.join(" | "), expected);
    }

    #[test]
    fn lines_end_at_newlines_and_an_overlong_one_is_passed_over() {
        check(b"{a}\n\n{b}\n", "{a} |  | {b}");
        check(b"{123456789}\n{b}", "(11 bytes) | {b}…");
        check(b"{12345678901", "(12 bytes)");
    }

    #[test]
    fn messages_end_where_their_length_says_and_a_lying_length_ends_the_file() {
        check(b"\0\0\0\x02ab\0\0\0\0\0\0\0\x01c", "ab |  | c");
        check(b"\0\0\0\x09123456789\0\0\0\x01c", "(9 bytes) | c");
        check(b"\0\0\0\x04ab", "ab…");
        check(b"\0\0", "…");
    }
}
