//! Which format a file is in, told by its beginning.

use super::rows::{Header, shown};
use super::{Format, Unit, eadro, nezha};

/// Bytes of a file that are looked at.
pub(super) const HEAD: usize = 64 << 10;

/// The format, or what was seen instead of one.
pub(super) fn format(head: &[u8]) -> Result<Format, String> {
    // A length of the messages that the Collector's file exporter writes.
    if head.first().is_some_and(|&byte| byte <= 4) {
        return Ok(Format::Otlp);
    }
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let text = text.trim_ascii_start();
    match text.first() {
        None => Ok(Format::Otlp),
        Some(b'{' | b'[') => of_json(text).ok_or_else(|| seen(text)),
        Some(_) => {
            let first = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
            if Header::find(first, &nezha::COLUMNS).is_ok() {
                Ok(Format::Nezha)
            } else if Header::find(first, &eadro::COLUMNS).is_ok() {
                Ok(Format::Eadro(Unit::default()))
            } else {
                Err(seen(first))
            }
        }
    }
}

/// The beginning of a file, for a message.
fn seen(text: &[u8]) -> String {
    let line = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let line = &line[..line.len().min(400)];
    format!(
        "it begins with `{}`",
        shown(String::from_utf8_lossy(line).trim())
    )
}

/// The first key that tells.
fn of_json(text: &[u8]) -> Option<Format> {
    let mut outline = Outline::new(text);
    let (mut data, mut any) = (false, false);
    while let Some((depth, key)) = outline.next_key() {
        any = true;
        match key {
            b"resourceSpans" | b"resourceLogs" | b"resourceMetrics"
                if depth == 1 && text[0] == b'{' && !outline.breaks_early() =>
            {
                return Some(Format::Otlp);
            }
            b"resourceSpans"
            | b"resource_spans"
            | b"batches"
            | b"scopeSpans"
            | b"instrumentationLibrarySpans" => return Some(Format::Documents),
            b"traceID" | b"spanID" | b"processes" => return Some(Format::Jaeger),
            b"traceId" => return Some(Format::Zipkin),
            b"data" if depth == 1 => data = true,
            _ => {}
        }
    }
    match text {
        _ if data => Some(Format::Jaeger),
        // An empty list is what Zipkin answers where it has nothing.
        [b'[', ..] if !any && outline.ended_well() => Some(Format::Zipkin),
        // A line of another signal, or a heartbeat.
        [b'{', rest @ ..] if rest.trim_ascii_start().first() == Some(&b'}') => Some(Format::Otlp),
        _ => None,
    }
}

/// Keys of a JSON document, as far as its beginning goes.
struct Outline<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
}

impl<'a> Outline<'a> {
    fn new(text: &'a [u8]) -> Self {
        Self {
            text,
            at: 0,
            depth: 0,
        }
    }

    /// The next key and how many brackets are open around it.
    fn next_key(&mut self) -> Option<(usize, &'a [u8])> {
        loop {
            let byte = *self.text.get(self.at)?;
            self.at += 1;
            match byte {
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                b'"' => {
                    let from = self.at;
                    loop {
                        match self.text.get(self.at)? {
                            b'"' => break,
                            b'\\' => self.at += 2,
                            _ => self.at += 1,
                        }
                    }
                    let key = &self.text[from..self.at];
                    self.at += 1;
                    let behind = self.text[self.at.min(self.text.len())..].trim_ascii_start();
                    if behind.first() == Some(&b':') {
                        return Some((self.depth, key));
                    }
                }
                _ => {}
            }
        }
    }

    /// Whether the first line ends within the document: it is written over several.
    fn breaks_early(&self) -> bool {
        let Some(end) = memchr::memchr(b'\n', self.text) else {
            return false;
        };
        let mut line = Outline::new(&self.text[..end]);
        while line.next_key().is_some() {}
        if line.depth == 0 {
            return false;
        }
        // A line that is cut off, with whole ones behind it, is no document of several lines.
        let next = self.text[end..].trim_ascii_start();
        let next = next.strip_prefix(b"{").unwrap_or_default();
        !next.trim_ascii_start().starts_with(b"\"resource")
            || next.trim_ascii_start().starts_with(b"\"resource\"")
    }

    /// Whether all brackets that were opened are closed.
    fn ended_well(&self) -> bool {
        self.depth == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(head: &str, expected: Option<Format>) {
        assert_eq!(format(head.as_bytes()).ok(), expected, "{head}");
    }

    #[test]
    fn requests_a_line_and_documents_of_otlp_are_told_apart() {
        let line = r#"{"resourceSpans":[{"scopeSpans":[]}]}"#;
        check(line, Some(Format::Otlp));
        check(&format!("\n\u{20}{line}\n{line}"), Some(Format::Otlp));
        check(&format!("\u{feff}{line}"), Some(Format::Otlp));
        check(r#"{"resourceLogs":[]}"#, Some(Format::Otlp));
        check("", Some(Format::Otlp));
        check("\0\0\0\u{1}x", Some(Format::Otlp));
        check("{\n  \"resourceSpans\": [\n {", Some(Format::Documents));
        check("{\"resourceSpans\": [\n  {\n", Some(Format::Documents));
        // A corrupt line, and good ones behind it.
        check(
            &format!("{{\"resourceSpans\": [\n{line}"),
            Some(Format::Otlp),
        );
        check(r#"{"batches":[{"resource":{}}]}"#, Some(Format::Documents));
        check(r#"{"trace":{"resourceSpans":[]}}"#, Some(Format::Documents));
        check(&format!("[{line}]"), Some(Format::Documents));
        check(
            r#"{"resource":{},"scopeSpans":[]}"#,
            Some(Format::Documents),
        );
    }

    #[test]
    fn jaeger_and_zipkin_are_told_by_how_they_spell_an_id() {
        check(
            r#"{"data":[{"traceID":"1","spans":[]}],"total":0}"#,
            Some(Format::Jaeger),
        );
        check(r#"{"errors":null,"data":[]}"#, Some(Format::Jaeger));
        check(r#"[{"processes":{},"spans":[]}]"#, Some(Format::Jaeger));
        check(r#"[{"traceId":"1","id":"2"}]"#, Some(Format::Zipkin));
        check(r#"[[{"id":"2","traceId":"1"}]]"#, Some(Format::Zipkin));
        check(r#"{"traceId":"1","id":"2"}"#, Some(Format::Zipkin));
        check("[]", Some(Format::Zipkin));
    }

    #[test]
    fn tables_are_told_by_their_columns_in_any_order() {
        check(
            "TraceID,SpanID,ParentID,PodName,OperationName,StartTimeUnixNano,EndTimeUnixNano,Duration\n1",
            Some(Format::Nezha),
        );
        check(
            ",operation_name,timestamp,service_name,span_id,parent_id,trace_id,duration,status_code\r\n1",
            Some(Format::Eadro(Unit::Micros)),
        );
        check("a,b,c\n1,2,3", None);
    }

    #[test]
    fn what_is_no_format_is_shown() {
        let check = |head: &str, expected: &str| {
            assert_eq!(format(head.as_bytes()).unwrap_err(), expected);
        };
        check("hello\nworld", "it begins with `hello`");
        check("{\"a\": 1}", "it begins with `{\"a\": 1}`");
        check("[1, 2", "it begins with `[1, 2`");
    }
}
