//! What a sender hears: one table for both transports.

use std::time::Duration;

use http::StatusCode;
use tonic::Code;

use crate::pipeline::{Intake, Refusal};

/// How long a sender is asked to wait where nobody knows better.
const SOON: Duration = Duration::from_secs(1);
/// The longest message that a sender is told, so that no header grows out of bounds.
const MESSAGE: usize = 1024;

/// A request that was not accepted, in the terms of both transports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// gRPC status.
    pub(super) code: Code,
    /// HTTP status.
    pub(super) status: StatusCode,
    /// What the sender is told.
    pub(super) message: String,
    /// When it should try again, if it should.
    pub(super) retry_after: Option<Duration>,
}

impl Answer {
    fn new(code: Code, status: StatusCode, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if message.len() > MESSAGE {
            message.truncate(message.floor_char_boundary(MESSAGE));
        }
        Self {
            code,
            status,
            message,
            retry_after: None,
        }
    }

    fn again(self, after: Duration) -> Self {
        Self {
            retry_after: Some(after),
            ..self
        }
    }

    /// Counts the request if it was at fault itself.
    pub(super) fn count(&self, intake: &Intake) {
        if matches!(self.code, Code::InvalidArgument | Code::ResourceExhausted) {
            intake.count_undecodable();
        }
    }

    /// It can't be decoded.
    pub(super) fn malformed(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, StatusCode::BAD_REQUEST, message)
    }

    /// Longer than `limit` bytes, on the wire or inflated.
    pub(super) fn too_large(limit: usize) -> Self {
        let message = format!("the request is longer than {limit} bytes");
        Self::new(
            Code::ResourceExhausted,
            StatusCode::PAYLOAD_TOO_LARGE,
            message,
        )
    }

    /// A content type or encoding that is not spoken here.
    pub(super) fn unsupported(message: impl Into<String>) -> Self {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        Self::new(Code::Unimplemented, status, message)
    }

    /// The body did not come in time.
    pub(super) fn slow(limit: Duration) -> Self {
        let message = format!("the request did not arrive within {limit:?}");
        Self::new(Code::DeadlineExceeded, StatusCode::REQUEST_TIMEOUT, message)
    }

    /// Nothing is served at this path.
    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(Code::Unimplemented, StatusCode::NOT_FOUND, message)
    }

    /// A gRPC message that says it is packed, and not how.
    pub(super) fn packed_somehow() -> Self {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Self::new(
            Code::Internal,
            status,
            "a compressed message without a grpc-encoding",
        )
    }

    /// What a backend said, to a sender that waited for it. What the sender may try again must read
    /// so in both transports: `RESOURCE_EXHAUSTED` only with `RetryInfo`, 429 always.
    fn handed_on(code: Code, retryable: bool, timed: bool, message: String) -> Self {
        let status = match code {
            Code::InvalidArgument => StatusCode::BAD_REQUEST,
            Code::Unauthenticated => StatusCode::UNAUTHORIZED,
            Code::PermissionDenied => StatusCode::FORBIDDEN,
            Code::Unimplemented => StatusCode::NOT_FOUND,
            Code::ResourceExhausted if retryable => StatusCode::TOO_MANY_REQUESTS,
            _ if retryable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let code = match code {
            Code::ResourceExhausted if retryable && !timed => Code::Unavailable,
            code => code,
        };
        Self::new(code, status, message)
    }

    /// Only `POST` is.
    pub(super) fn wrong_method() -> Self {
        let status = StatusCode::METHOD_NOT_ALLOWED;
        Self::new(Code::Unimplemented, status, "only POST is served here")
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        let unavailable =
            |message| Self::new(Code::Unavailable, StatusCode::SERVICE_UNAVAILABLE, message);
        match refusal {
            Refusal::Malformed(_) => Self::malformed(message),
            Refusal::TooLarge(_) => Self::new(
                Code::ResourceExhausted,
                StatusCode::PAYLOAD_TOO_LARGE,
                message,
            ),
            Refusal::Full { retry_after, .. } => unavailable(message).again(retry_after),
            Refusal::Draining => unavailable(message).again(SOON),
            Refusal::Undelivered {
                retryable,
                code,
                retry_after,
                ..
            } => Self {
                retry_after,
                ..Self::handed_on(code, retryable, retry_after.is_some(), message)
            },
        }
    }
}
