//! A JSON document of any length, cut into the elements that matter while it is read.
//!
//! A document is values one after the other. Envelopes (`{"data": […]}`, `{"batches": […]}`, lists,
//! lists of lists) are walked into, what stands beside them is passed over, and each object that is
//! no envelope is an element: its bytes are copied, and nothing else is held. Whether an element is
//! good JSON is left to whoever parses it.

use std::io::{self, BufRead};

/// Keys whose value is walked into.
const INTO: [&str; 6] = [
    "data",
    "batches",
    "resourceSpans",
    "resource_spans",
    "trace",
    "traces",
];
/// Keys that stand beside them.
const BESIDE: [&str; 12] = [
    "total",
    "limit",
    "offset",
    "errors",
    "metrics",
    "status",
    "message",
    "partial",
    "resourceLogs",
    "resourceMetrics",
    "resourceProfiles",
    "structuredErrors",
];
/// Envelopes within envelopes, at most.
const DEEPEST: usize = 8;
/// A key of an envelope, at most.
const LONGEST_KEY: usize = 256;

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// An element begins in this line; its bytes are in the buffer.
    Element(u64),
    /// Something in this line, at this column, is not as JSON has it; reading goes on behind it.
    Fault(u64, u64, String),
    /// The document is over.
    End,
}

/// The elements of a document.
pub(super) struct Elements<R> {
    source: R,
    line: u64,
    column: u64,
    /// The envelopes around, each by its closing bracket.
    around: Vec<u8>,
    cap: usize,
}

impl<R: BufRead> Elements<R> {
    /// Of a source; an element is at most `cap` bytes long.
    pub(super) fn new(source: R, cap: usize) -> Self {
        Self {
            source,
            line: 1,
            column: 1,
            around: Vec::new(),
            cap,
        }
    }

    /// Goes on to the next element.
    pub(super) fn next(&mut self, element: &mut Vec<u8>) -> io::Result<Next> {
        loop {
            element.clear();
            let Some(byte) = self.skip_space()? else {
                if self.around.is_empty() {
                    return Ok(Next::End);
                }
                self.around.clear();
                return Ok(self.fault("the document ends before it is closed"));
            };
            match (byte, self.around.last()) {
                (b']' | b'}', Some(&close)) if byte == close => {
                    self.bump()?;
                    self.around.pop();
                }
                (b']' | b'}', _) => {
                    let fault = self.fault(format!("`{}` closes nothing", byte as char));
                    self.bump()?;
                    return Ok(fault);
                }
                (b'"', Some(b'}')) => match self.member()? {
                    Some(fault) => return Ok(fault),
                    None => continue,
                },
                (b'[', _) if self.around.len() < DEEPEST => {
                    self.bump()?;
                    self.around.push(b']');
                }
                (_, Some(b'}')) => {
                    let fault = self.fault("a key is missing");
                    self.bump()?;
                    return Ok(fault);
                }
                _ => {
                    if let Some(next) = self.value(element)? {
                        return Ok(next);
                    }
                }
            }
        }
    }

    /// A key of an envelope and its value: walked into, or passed over.
    fn member(&mut self) -> io::Result<Option<Next>> {
        let mut key = Vec::new();
        let cap = std::mem::replace(&mut self.cap, LONGEST_KEY);
        let whole = self.copy(&mut key);
        self.cap = cap;
        if let Some(fault) = whole? {
            return Ok(Some(self.fault(fault)));
        }
        if self.skip_space()? != Some(b':') {
            return Ok(Some(self.fault("a `:` is missing behind a key")));
        }
        self.bump()?;
        let Some(byte) = self.skip_space()? else {
            return Ok(None);
        };
        let into = INTO.iter().any(|name| key_is(&key, name));
        if into && byte == b'[' && self.around.len() < DEEPEST {
            self.bump()?;
            self.around.push(b']');
        } else if into && byte == b'{' && self.around.len() < DEEPEST {
            self.bump()?;
            self.around.push(b'}');
        } else if !matches!(byte, b',' | b'}' | b']') {
            let cap = std::mem::replace(&mut self.cap, 0);
            let passed = self.copy(&mut key);
            self.cap = cap;
            // What is passed over may be as long as it likes.
            if passed?.is_some_and(|fault| fault.starts_with("the document")) {
                return Ok(Some(self.fault("the document ends before it is closed")));
            }
        }
        Ok(None)
    }

    /// A value of a list or of the document itself: an envelope, which is opened, or an element.
    fn value(&mut self, element: &mut Vec<u8>) -> io::Result<Option<Next>> {
        let (line, column) = (self.line, self.column);
        let fault = if self.peek()? == Some(b'{') {
            self.bump()?;
            element.push(b'{');
            let first = self.skip_space()?;
            if first == Some(b'"') {
                // The first key says whether this is an envelope.
                let cap = std::mem::replace(&mut self.cap, LONGEST_KEY);
                let mut key = Vec::new();
                let copied = self.copy(&mut key);
                self.cap = cap;
                let envelope = INTO.iter().chain(&BESIDE).any(|name| key_is(&key, name));
                if copied?.is_none() && envelope && self.around.len() < DEEPEST {
                    self.around.push(b'}');
                    return self.behind(&key);
                }
                element.extend_from_slice(&key);
            }
            self.rest(element, 1)?
        } else {
            self.copy(element)?
        };
        Ok(Some(match fault {
            Some(fault) => Next::Fault(line, column, fault),
            None => Next::Element(line),
        }))
    }

    /// What follows the first key of an envelope.
    fn behind(&mut self, key: &[u8]) -> io::Result<Option<Next>> {
        if self.skip_space()? != Some(b':') {
            return Ok(Some(self.fault("a `:` is missing behind a key")));
        }
        self.bump()?;
        let into = INTO.iter().any(|name| key_is(key, name));
        match self.skip_space()? {
            Some(open @ (b'[' | b'{')) if into && self.around.len() < DEEPEST => {
                self.bump()?;
                self.around.push(open + 2);
                Ok(None)
            }
            None | Some(b',' | b'}' | b']') => Ok(None),
            Some(_) => {
                let cap = std::mem::replace(&mut self.cap, 0);
                let passed = self.copy(&mut Vec::new());
                self.cap = cap;
                passed?;
                Ok(None)
            }
        }
    }

    /// Copies a value that begins here. What is wrong with it, if something is.
    fn copy(&mut self, out: &mut Vec<u8>) -> io::Result<Option<String>> {
        self.rest(out, 0)
    }

    /// Copies a value to its end, so many of its brackets being open.
    fn rest(&mut self, out: &mut Vec<u8>, mut depth: usize) -> io::Result<Option<String>> {
        let (mut text, mut escaped, mut length) = (false, false, out.len());
        loop {
            let chunk = self.source.fill_buf()?;
            if chunk.is_empty() {
                return Ok(match length {
                    _ if depth == 0 && !text && length > 0 => None,
                    _ => Some("the document ends inside a value".to_owned()),
                });
            }
            let mut used = chunk.len();
            let mut ended = false;
            for (at, &byte) in chunk.iter().enumerate() {
                if text {
                    match byte {
                        _ if escaped => escaped = false,
                        b'\\' => escaped = true,
                        b'"' => text = false,
                        _ => continue,
                    }
                    ended = !text && depth == 0;
                } else {
                    match byte {
                        b'"' => text = true,
                        b'{' | b'[' => depth += 1,
                        // The bracket of what is around a bare word.
                        b'}' | b']' if depth == 0 => {
                            (used, ended) = (at, true);
                            break;
                        }
                        b'}' | b']' => {
                            depth -= 1;
                            ended = depth == 0;
                        }
                        b',' | b' ' | b'\t' | b'\r' | b'\n' if depth == 0 => {
                            (used, ended) = (at, true);
                            break;
                        }
                        _ => continue,
                    }
                }
                if ended {
                    used = at + 1;
                    break;
                }
            }
            length += used;
            if length <= self.cap {
                out.extend_from_slice(&chunk[..used]);
            }
            let chunk = &chunk[..used];
            match memchr::memrchr(b'\n', chunk) {
                Some(last) => {
                    self.line += memchr::memchr_iter(b'\n', chunk).count() as u64;
                    self.column = (used - last) as u64;
                }
                None => self.column += used as u64,
            }
            self.source.consume(used);
            if ended {
                return Ok((length > self.cap)
                    .then(|| format!("{length} bytes long, at most {} will do", self.cap)));
            }
        }
    }

    fn peek(&mut self) -> io::Result<Option<u8>> {
        Ok(self.source.fill_buf()?.first().copied())
    }

    fn bump(&mut self) -> io::Result<()> {
        if self.peek()? == Some(b'\n') {
            self.line += 1;
            self.column = 1;
        } else {
            self.column += 1;
        }
        self.source.consume(1);
        Ok(())
    }

    /// The next byte that is neither space nor a comma.
    fn skip_space(&mut self) -> io::Result<Option<u8>> {
        loop {
            match self.peek()? {
                // A record separator (RFC 7464), and the byte order mark.
                Some(b' ' | b'\t' | b'\r' | b'\n' | b',' | 0x1e | 0xef | 0xbb | 0xbf) => {
                    self.bump()?;
                }
                other => return Ok(other),
            }
        }
    }

    fn fault(&self, fault: impl Into<String>) -> Next {
        Next::Fault(self.line, self.column, fault.into())
    }
}

/// Whether a key with its quotes is this name.
fn key_is(key: &[u8], name: &str) -> bool {
    key.len() == name.len() + 2 && &key[1..=name.len()] == name.as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The elements of a document as `line:bytes`, faults as `!line:column`.
    fn check(document: &str, expected: &str) {
        // One byte at a time, so that every boundary of a buffer is met.
        for capacity in [1, 1 << 16] {
            let source = io::BufReader::with_capacity(capacity, document.as_bytes());
            let mut elements = Elements::new(source, 64);
            let (mut element, mut seen) = (Vec::new(), Vec::new());
            loop {
                seen.push(match elements.next(&mut element).unwrap() {
                    Next::Element(line) => {
                        format!("{line}:{}", String::from_utf8_lossy(&element))
                    }
                    Next::Fault(line, column, _) => format!("!{line}:{column}"),
                    Next::End => break,
                });
            }
            assert_eq!(seen.join(" "), expected, "{document} by {capacity}");
        }
    }

    #[test]
    fn envelopes_are_walked_into_and_what_stands_beside_is_passed_over() {
        check(
            r#"{"data":[{"a":1},{"b":[2]}],"total":0,"errors":null}"#,
            r#"1:{"a":1} 1:{"b":[2]}"#,
        );
        check(r#"{"errors":null,"data":[{"a":1}]}"#, r#"1:{"a":1}"#);
        check(
            r#"{"trace":{"resourceSpans":[{"a":1}]},"status":"x"}"#,
            r#"1:{"a":1}"#,
        );
        check(
            r#"{"metrics":{"data":[1]},"trace":{"batches":[{"a":1}]}}"#,
            r#"1:{"a":1}"#,
        );
        check(
            "[[{\"a\":1},{\"b\":2}],\n[{\"c\":3}]]",
            r#"1:{"a":1} 1:{"b":2} 2:{"c":3}"#,
        );
        check(
            "{\"a\":1}\n{\"data\": [ {\"b\":2} ]}\n\n{\"c\":3}",
            r#"1:{"a":1} 2:{"b":2} 4:{"c":3}"#,
        );
        check("[]", "");
        check("", "");
        check(r#"{"data":null}"#, "");
    }

    #[test]
    fn brackets_and_quotes_within_text_are_text() {
        check(
            r#"[{"a":"]}\"{["},{"b\\":1}]"#,
            r#"1:{"a":"]}\"{["} 1:{"b\\":1}"#,
        );
    }

    #[test]
    fn what_is_broken_is_told_with_its_place_and_the_rest_is_read() {
        check(
            r#"[{"a":1},nonsense,{"b":2}]"#,
            r#"1:{"a":1} 1:nonsense 1:{"b":2}"#,
        );
        check("[{\"a\":1}}, {\"b\":2}]", r#"1:{"a":1} !1:9 1:{"b":2}"#);
        check("[{\"a\":1},\n{\"b\":", "1:{\"a\":1} !2:1 !2:6");
        check("{\"data\" [{\"a\":1}]}", "!1:9 1:{\"a\":1}");
        let long = format!("[{{\"a\":\"{}\"}},{{\"b\":2}}]", "x".repeat(100));
        check(&long, r#"!1:2 1:{"b":2}"#);
    }
}
