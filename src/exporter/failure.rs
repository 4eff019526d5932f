//! Which answers of a backend are worth another attempt (OTLP specification, "Failures").

use std::error::Error;
use std::fmt::Write as _;
use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use tonic::Code;
use tonic_types::StatusExt as _;

/// A backend took a request, perhaps without some of its spans.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Accepted {
    /// `partial_success.rejected_spans`; they are not sent again.
    pub(super) rejected: u64,
    /// `partial_success.error_message`.
    pub(super) message: String,
}

/// A backend did not take a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// What happened.
    pub(super) message: String,
    /// Whether the same request may succeed later.
    pub(super) retryable: bool,
    /// How long the backend asked to be left alone.
    pub(super) after: Option<Duration>,
    /// The gRPC status, or the one that an HTTP status stands for.
    pub(super) code: Code,
}

impl Failure {
    /// May pass.
    pub(super) fn passing(message: String) -> Self {
        Self {
            message,
            retryable: true,
            after: None,
            code: Code::Unavailable,
        }
    }

    /// Will not pass.
    pub(super) fn lasting(message: String) -> Self {
        Self {
            message,
            retryable: false,
            after: None,
            code: Code::Internal,
        }
    }

    /// What a gRPC status other than OK means.
    pub(super) fn of_grpc(status: &tonic::Status) -> Self {
        let after = status
            .get_details_retry_info()
            .and_then(|info| info.retry_delay);
        let retryable = match status.code() {
            Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss => true,
            // Only a backend that says when it recovers expects to recover.
            Code::ResourceExhausted => after.is_some(),
            _ => false,
        };
        Self {
            message: format!("{:?}: {}", status.code(), status.message()),
            retryable,
            after: after.filter(|_| retryable),
            code: status.code(),
        }
    }

    /// What an HTTP status outside 200 to 299 means; `told` is the message of its body.
    pub(super) fn of_http(status: StatusCode, headers: &HeaderMap, told: &str) -> Self {
        let retryable = matches!(status.as_u16(), 429 | 502 | 503 | 504);
        let mut message = status.to_string();
        if !told.is_empty() {
            message = format!("{message}: {told}");
        }
        Self {
            message,
            retryable,
            after: retry_after(headers).filter(|_| retryable),
            code: code_of_http(status),
        }
    }

    /// What an HTTP answer to a gRPC request means (the gRPC HTTP status mapping): a proxy spoke.
    pub(super) fn of_proxy(status: StatusCode) -> Self {
        Self {
            message: format!("the answer is no gRPC: {status}"),
            retryable: matches!(status.as_u16(), 429 | 502 | 503 | 504),
            after: None,
            code: code_of_http(status),
        }
    }
}

/// The gRPC status that an HTTP status stands for, as the Collector has it.
fn code_of_http(status: StatusCode) -> Code {
    match status.as_u16() {
        400 => Code::InvalidArgument,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 => Code::ResourceExhausted,
        502..=504 => Code::Unavailable,
        _ => Code::Unknown,
    }
}

/// `Retry-After` in seconds or as a date, which is read against the answer's own `Date`.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let after = text(header::RETRY_AFTER)?.trim();
    if let Ok(seconds) = after.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(after).ok()?;
    let now = httpdate::parse_http_date(text(header::DATE)?).ok()?;
    until.duration_since(now).ok()
}

/// An error and its causes, from the outside in.
pub(super) fn chain(fault: &(dyn Error + 'static)) -> String {
    let mut text = fault.to_string();
    let mut cause = fault.source();
    while let Some(fault) = cause {
        // Writing to a string can't fail.
        if write!(text, ": {fault}").is_err() {
            break;
        }
        cause = fault.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::*;

    fn shown(failure: &Failure) -> String {
        match (failure.retryable, failure.after) {
            (true, Some(after)) => format!("retry after {after:?}"),
            (true, None) => "retry".to_owned(),
            (false, _) => "no".to_owned(),
        }
    }

    #[test]
    fn grpc_codes_are_retried_as_the_table_says() {
        let check = |code: Code, plain: &str, with_retry_info: &str| {
            let status = tonic::Status::new(code, "x");
            assert_eq!(shown(&Failure::of_grpc(&status)), plain, "{code:?}");
            let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(7)));
            let status = tonic::Status::with_error_details(code, "x", details);
            assert_eq!(
                shown(&Failure::of_grpc(&status)),
                with_retry_info,
                "{code:?}"
            );
        };
        let later = "retry after 7s";
        check(Code::Cancelled, "retry", later);
        check(Code::Unknown, "no", "no");
        check(Code::InvalidArgument, "no", "no");
        check(Code::DeadlineExceeded, "retry", later);
        check(Code::NotFound, "no", "no");
        check(Code::AlreadyExists, "no", "no");
        check(Code::PermissionDenied, "no", "no");
        check(Code::ResourceExhausted, "no", later);
        check(Code::FailedPrecondition, "no", "no");
        check(Code::Aborted, "retry", later);
        check(Code::OutOfRange, "retry", later);
        check(Code::Unimplemented, "no", "no");
        check(Code::Internal, "no", "no");
        check(Code::Unavailable, "retry", later);
        check(Code::DataLoss, "retry", later);
        check(Code::Unauthenticated, "no", "no");
    }

    #[test]
    fn http_codes_are_retried_as_the_table_says() {
        for code in 300..600 {
            let status = StatusCode::from_u16(code).unwrap();
            let expected = [429, 502, 503, 504].contains(&code);
            let failure = Failure::of_http(status, &HeaderMap::new(), "");
            assert_eq!(failure.retryable, expected, "{status}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let check = |after: &str, code: u16, expected: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, after.parse().unwrap());
            let date = "Tue, 24 Nov 2026 10:00:00 GMT";
            headers.insert(header::DATE, date.parse().unwrap());
            let status = StatusCode::from_u16(code).unwrap();
            assert_eq!(shown(&Failure::of_http(status, &headers, "")), expected);
        };
        check("12", 503, "retry after 12s");
        check("Tue, 24 Nov 2026 10:00:30 GMT", 429, "retry after 30s");
        check("soon", 503, "retry");
        check("12", 500, "no");
    }
}
