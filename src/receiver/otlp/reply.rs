//! Responses and their bodies: a few bytes and, over gRPC, trailers.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use prost::Message;

use super::answer::Answer;
use crate::pipeline::Accepted;

/// The body of a response.
#[derive(Debug, Default)]
pub(super) struct Reply {
    body: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = match self.body.take() {
            Some(body) => Some(Frame::data(body)),
            None => self.trailers.take().map(Frame::trailers),
        };
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_none() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        // No content-length before trailers: the length is not where a gRPC response ends.
        if self.trailers.is_some() {
            return SizeHint::default();
        }
        SizeHint::with_exact(self.body.as_ref().map_or(0, |body| body.len() as u64))
    }
}

/// The forms of OTLP over HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `application/x-protobuf`.
    Protobuf,
    /// `application/json`.
    Json,
}

impl Form {
    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        })
    }
}

/// The answer to an accepted request over gRPC.
pub(super) fn grpc_success(accepted: &Accepted) -> Response<Reply> {
    let message = partial_success(accepted);
    let mut framed = Vec::with_capacity(5 + message.len());
    framed.push(0);
    framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
    framed.extend_from_slice(&message);
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(tonic::Status::GRPC_STATUS, HeaderValue::from_static("0"));
    let mut response = Response::new(Reply {
        body: Some(framed.into()),
        trailers: Some(trailers),
    });
    let content_type = HeaderValue::from_static("application/grpc");
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    response
}

/// Any other answer over gRPC, with a `RetryInfo` where the sender should try again.
pub(super) fn grpc_failure(answer: &Answer) -> Response<Reply> {
    let details = match answer.retry_after {
        Some(_) => status_message(answer).encode_to_vec().into(),
        None => Bytes::new(),
    };
    let status = tonic::Status::with_details(answer.code, answer.message.as_str(), details);
    let mut response = status.into_http::<Reply>();
    if answer.code == tonic::Code::Unimplemented {
        let spoken = HeaderValue::from_static("identity,gzip,zstd");
        response
            .headers_mut()
            .insert("grpc-accept-encoding", spoken);
    }
    response
}

/// The answer to an accepted request over HTTP.
pub(super) fn http_success(accepted: &Accepted, form: Form) -> Response<Reply> {
    let body = match form {
        Form::Protobuf => partial_success(accepted),
        Form::Json if accepted.rejected == 0 => b"{}".to_vec(),
        Form::Json => serde_json::json!({
            "partialSuccess": {
                "rejectedSpans": accepted.rejected.to_string(),
                "errorMessage": accepted.reason.as_deref().unwrap_or_default(),
            }
        })
        .to_string()
        .into_bytes(),
    };
    http(StatusCode::OK, form.content_type(), body)
}

/// Any other answer over HTTP: a `Status` in the form of the request, or a plain sentence where
/// the request had no form.
pub(super) fn http_failure(answer: &Answer, form: Option<Form>) -> Response<Reply> {
    let (content_type, body) = match form {
        Some(Form::Protobuf) => (
            Form::Protobuf.content_type(),
            status_message(answer).encode_to_vec(),
        ),
        Some(Form::Json) => (
            Form::Json.content_type(),
            serde_json::json!({ "code": answer.code as i32, "message": answer.message })
                .to_string()
                .into_bytes(),
        ),
        None => (
            HeaderValue::from_static("text/plain; charset=utf-8"),
            format!("{}\n", answer.message).into_bytes(),
        ),
    };
    let mut response = http(answer.status, content_type, body);
    let headers = response.headers_mut();
    if let Some(after) = answer.retry_after {
        // Whole seconds, rounded up: sooner than asked for would be refused again.
        let seconds = after.as_millis().div_ceil(1000).max(1);
        if let Ok(value) = HeaderValue::from_str(&seconds.to_string()) {
            headers.insert(header::RETRY_AFTER, value);
        }
    }
    if answer.status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
    }
    response
}

fn http(status: StatusCode, content_type: HeaderValue, body: Vec<u8>) -> Response<Reply> {
    let mut response = Response::new(Reply {
        body: Some(body.into()),
        trailers: None,
    });
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    response
}

/// `ExportTraceServiceResponse`; empty when every span was taken.
fn partial_success(accepted: &Accepted) -> Vec<u8> {
    if accepted.rejected == 0 {
        return Vec::new();
    }
    ExportTraceServiceResponse {
        partial_success: Some(PartialSuccess {
            rejected_spans: i64::try_from(accepted.rejected).unwrap_or(i64::MAX),
            error_message: accepted.reason.clone().unwrap_or_default(),
        }),
    }
    .encode_to_vec()
}

fn status_message(answer: &Answer) -> StatusMessage {
    let details = answer.retry_after.map(|after| Any {
        type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(),
        value: RetryInfo {
            retry_delay: Some(Period {
                seconds: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
                nanos: after.subsec_nanos() as i32,
            }),
        }
        .encode_to_vec(),
    });
    StatusMessage {
        code: answer.code as i32,
        message: answer.message.clone(),
        details: details.into_iter().collect(),
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct ExportTraceServiceResponse {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected_spans: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, prost::Message)]
struct StatusMessage {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Period>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, prost::Message)]
struct Period {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}
