//! OTLP over gRPC: the one unary method, answered on raw bytes.
//!
//! tonic would inflate on the reactor and answer what is too large with a code that clients retry
//! for ever; a unary call is little enough to read by hand. Its statuses are tonic's.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Version, header};
use http_body::Body;

use super::answer::Answer;
use super::body::{Held, Reading};
use super::inflate::{Encoding, inflate};
use super::reply::{self, Reply};
use crate::pipeline::{Accepted, Intake, Refusal};

/// The method that takes traces.
pub(super) const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// What answers at a gRPC port.
#[derive(Debug)]
pub(super) struct Grpc {
    pub(super) intake: Intake,
    pub(super) reading: Reading,
}

/// Whether a request is gRPC, going by its content type.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(content_type) = headers.get(header::CONTENT_TYPE) else {
        return false;
    };
    let content_type = content_type.as_bytes();
    let rest = content_type.strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest, [] | [b';' | b'+' | b' ', ..]))
}

impl Grpc {
    /// Answers one request.
    pub(super) async fn answer<B>(&self, request: Request<B>, draining: bool) -> Response<Reply>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        if request.version() != Version::HTTP_2 || !is_grpc(request.headers()) {
            let message = "this port speaks OTLP over gRPC; \
                           OTLP over HTTP has a port of its own, as a rule 4318";
            return reply::http_failure(&Answer::unsupported(message), None);
        }
        if request.method() != Method::POST {
            return reply::http_failure(&Answer::wrong_method(), None);
        }
        match self.accept(request, draining).await {
            Ok(accepted) => reply::grpc_success(&accepted),
            Err(answer) => reply::grpc_failure(&answer),
        }
    }

    async fn accept<B>(&self, request: Request<B>, draining: bool) -> Result<Accepted, Answer>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        if request.uri().path() != EXPORT {
            return Err(Answer::not_found("only traces are taken here"));
        }
        if draining {
            return Err(Refusal::Draining.into());
        }
        let encoding = Encoding::named(request.headers().get("grpc-encoding"))?;
        // Given back when the request is answered.
        let mut held = Held::default();
        let bytes = self.message(request.into_body(), encoding, &mut held).await;
        let bytes = bytes.inspect_err(|answer| answer.count(&self.intake))?;
        Ok(self.intake.accept(bytes).await?)
    }

    /// The protobuf bytes of a request.
    async fn message<B>(
        &self,
        body: B,
        encoding: Encoding,
        held: &mut Held,
    ) -> Result<Bytes, Answer>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let message = self.reading.message(body, held).await?;
        if !message.compressed {
            return Ok(message.bytes);
        }
        if encoding == Encoding::Identity {
            return Err(Answer::packed_somehow());
        }
        let bytes = inflate(message.bytes, encoding, self.reading.cap)?;
        self.reading.hold(held, bytes.len())?;
        Ok(bytes)
    }
}
