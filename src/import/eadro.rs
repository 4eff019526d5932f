//! Traces in the columns of Eadro's data sets (ICSE 2023): SocialNetwork and TrainTicket.
//!
//! A row has when a span began, in seconds, milli-, micro- or nanoseconds since the epoch (told by
//! the number's size), how long it took (in microseconds, as Jaeger has it, unless told otherwise),
//! and a status that may be OpenTelemetry's, gRPC's or HTTP's. It has no kind.

use std::fmt;
use std::str::FromStr;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::{Span, Status, status::StatusCode};

use super::group::{Observed, attribute, service};
use super::ids;
use super::rows::{Header, Processes, Wrong, nanos, shown};

/// The columns that are read.
pub(super) const COLUMNS: [&str; 8] = [
    "timestamp",
    "service_name",
    "span_id",
    "parent_id",
    "trace_id",
    "duration",
    "status_code",
    "operation_name",
];

/// What durations are counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Millis,
    /// Microseconds.
    #[default]
    Micros,
    /// Nanoseconds.
    Nanos,
}

impl Unit {
    fn nanos(self) -> u64 {
        match self {
            Self::Seconds => 1_000_000_000,
            Self::Millis => 1_000_000,
            Self::Micros => 1_000,
            Self::Nanos => 1,
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Seconds => "s",
            Self::Millis => "ms",
            Self::Micros => "us",
            Self::Nanos => "ns",
        })
    }
}

impl FromStr for Unit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "s" => Self::Seconds,
            "ms" => Self::Millis,
            "us" => Self::Micros,
            "ns" => Self::Nanos,
            _ => return Err(format!("`{text}` is no unit; s, ms, us and ns are")),
        })
    }
}

/// The span of a row.
pub(super) fn span(
    header: &Header<8>,
    unit: Unit,
    processes: &mut Processes,
    row: &[String],
) -> Result<Observed, Wrong> {
    let [time, name, span, parent, trace, duration, status, operation] =
        header.pick(&COLUMNS, row)?;
    let absent = |column| Wrong(column, "is empty".to_owned());
    let trace_id = ids::trace_id(trace).ok_or_else(|| absent("trace_id"))?;
    let span_id = ids::span_id(span).ok_or_else(|| absent("span_id"))?;
    if name.is_empty() {
        return Err(absent("service_name"));
    }
    let start = since_epoch(time)?;
    let took = nanos("duration", duration, unit.nanos())?;
    let (status, http) = status_of(status)?;
    let code = |number| attribute("http.response.status_code", Value::IntValue(number));
    Ok(Observed {
        resource: processes.of(name, || service(name)),
        scope: None,
        span: Span {
            trace_id: trace_id.to_vec(),
            span_id: span_id.to_vec(),
            parent_span_id: ids::parent_id(parent, span_id).map_or(Vec::new(), Vec::from),
            name: operation.to_owned(),
            start_time_unix_nano: start,
            end_time_unix_nano: start.saturating_add(took),
            attributes: http.map(code).into_iter().collect(),
            status: (status != StatusCode::Unset).then(|| Status {
                code: status.into(),
                ..Status::default()
            }),
            ..Span::default()
        },
    })
}

/// A time whose size says what it is counted in.
fn since_epoch(text: &str) -> Result<u64, Wrong> {
    let size = text.parse::<f64>();
    let size = size.map_err(|_| Wrong("timestamp", format!("`{}` is no number", shown(text))))?;
    // From 2001 to 2286 the four do not meet.
    let unit = match size {
        1e18.. => Unit::Nanos,
        1e15.. => Unit::Micros,
        1e12.. => Unit::Millis,
        _ => Unit::Seconds,
    };
    nanos("timestamp", text, unit.nanos())
}

/// The status, and a status of HTTP if it is one. 0 and what says nothing is unset, 1 and 2 are
/// OpenTelemetry's OK and ERROR, 3 to 16 gRPC's, which all are errors, 100 to 599 HTTP's.
fn status_of(text: &str) -> Result<(StatusCode, Option<i64>), Wrong> {
    let named = |names: &[&str]| names.iter().any(|name| text.eq_ignore_ascii_case(name));
    if named(&["", "unset", "none", "null", "nan", "STATUS_CODE_UNSET"]) {
        return Ok((StatusCode::Unset, None));
    }
    if named(&["ok", "true", "STATUS_CODE_OK"]) {
        return Ok((StatusCode::Ok, None));
    }
    if named(&["error", "false", "STATUS_CODE_ERROR"]) {
        return Ok((StatusCode::Error, None));
    }
    let number = text.strip_suffix(".0").unwrap_or(text).parse::<i64>();
    Ok(match number {
        Ok(0) => (StatusCode::Unset, None),
        Ok(1) => (StatusCode::Ok, None),
        Ok(2..=16) => (StatusCode::Error, None),
        Ok(code @ 100..=399) => (StatusCode::Unset, Some(code)),
        Ok(code @ 400..=599) => (StatusCode::Error, Some(code)),
        _ => {
            let fault = format!("`{}` is no status", shown(text));
            return Err(Wrong("status_code", fault));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_a_time_says_its_unit() {
        let check = |text, expected: u64| assert_eq!(since_epoch(text).ok(), Some(expected));
        check("1650298673", 1_650_298_673_000_000_000);
        check("1650298673.5", 1_650_298_673_500_000_000);
        check("1650298673123", 1_650_298_673_123_000_000);
        check("1650298673123456", 1_650_298_673_123_456_000);
        check("1650298673123456789", 1_650_298_673_123_456_789);
        let fault = Wrong("timestamp", "`x` is no number".to_owned());
        assert_eq!(since_epoch("x"), Err(fault));
    }

    #[test]
    fn a_status_is_read_in_whichever_words_it_has() {
        let check = |text, expected: StatusCode, http: Option<i64>| {
            assert_eq!(status_of(text).ok(), Some((expected, http)), "{text}");
        };
        check("", StatusCode::Unset, None);
        check("0", StatusCode::Unset, None);
        check("1", StatusCode::Ok, None);
        check("Ok", StatusCode::Ok, None);
        check("2", StatusCode::Error, None);
        check("ERROR", StatusCode::Error, None);
        check("14", StatusCode::Error, None);
        check("200", StatusCode::Unset, Some(200));
        check("503.0", StatusCode::Error, Some(503));
        assert!(status_of("77").is_err() && status_of("fine").is_err());
    }
}
