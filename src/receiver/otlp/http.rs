//! OTLP over HTTP: `POST` of protobuf or JSON.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, Version, header};
use http_body::Body;

use super::answer::Answer;
use super::body::{Held, Reading, read_past};
use super::grpc::is_grpc;
use super::inflate::{Encoding, inflate};
use super::reply::{self, Form, Reply};
use crate::pipeline::{Accepted, Intake, Refusal, off_reactor};
use crate::receiver::json;

/// JSON longer than this is read off the reactor.
const LONG: usize = 128 << 10;

/// What answers at an HTTP port.
#[derive(Debug)]
pub(super) struct Http {
    pub(super) intake: Intake,
    pub(super) reading: Reading,
    pub(super) traces_url_path: String,
}

impl Http {
    /// Answers one request.
    pub(super) async fn answer<B>(&self, request: Request<B>, draining: bool) -> Response<Reply>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
    {
        if request.version() == Version::HTTP_2 && is_grpc(request.headers()) {
            let message = "this port speaks OTLP over HTTP; \
                           OTLP over gRPC has a port of its own, as a rule 4317";
            return reply::grpc_failure(&Answer::unsupported(message));
        }
        let (head, mut body) = request.into_parts();
        let form = form(&head.headers);
        match self.accept(&head, &mut body, form, draining).await {
            Ok((accepted, form)) => reply::http_success(&accepted, form),
            Err(answer) => {
                // HTTP/2 ends the one stream; a peer that asks before it sends has not sent.
                let asks = head.headers.contains_key(header::EXPECT);
                if head.version != Version::HTTP_2 && !asks {
                    read_past(body);
                }
                reply::http_failure(&answer, form)
            }
        }
    }

    async fn accept<B>(
        &self,
        head: &Parts,
        body: &mut B,
        form: Option<Form>,
        draining: bool,
    ) -> Result<(Accepted, Form), Answer>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        if head.uri.path() != self.traces_url_path {
            let message = format!("only traces are taken here, at {}", self.traces_url_path);
            return Err(Answer::not_found(message));
        }
        if head.method != Method::POST {
            return Err(Answer::wrong_method());
        }
        let form = form.ok_or_else(|| {
            Answer::unsupported("Content-Type must be application/x-protobuf or application/json")
        })?;
        if draining {
            return Err(Refusal::Draining.into());
        }
        let encoding = Encoding::named(head.headers.get(header::CONTENT_ENCODING))?;
        // Given back when the request is answered.
        let mut held = Held::default();
        let packed = self.reading.whole(body, &mut held).await;
        let bytes = packed
            .and_then(|packed| self.unpacked(packed, encoding, form, &mut held))
            .inspect_err(|answer| answer.count(&self.intake))?;
        Ok((self.intake.accept(bytes).await?, form))
    }

    /// The protobuf bytes of a request.
    fn unpacked(
        &self,
        packed: Bytes,
        encoding: Encoding,
        form: Form,
        held: &mut Held,
    ) -> Result<Bytes, Answer> {
        let bytes = inflate(packed, encoding, self.reading.cap)?;
        if encoding != Encoding::Identity {
            self.reading.hold(held, bytes.len())?;
        }
        if form == Form::Protobuf {
            return Ok(bytes);
        }
        let protobuf = if bytes.len() > LONG {
            off_reactor(|| json::to_protobuf(&bytes))
        } else {
            json::to_protobuf(&bytes)
        };
        protobuf.map_err(|fault| Answer::malformed(fault.to_string()))
    }
}

/// The form that a content type names, whatever its parameters.
fn form(headers: &HeaderMap) -> Option<Form> {
    let content_type = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let essence = content_type.split(';').next()?.trim();
    if essence.eq_ignore_ascii_case("application/x-protobuf") {
        Some(Form::Protobuf)
    } else if essence.eq_ignore_ascii_case("application/json") {
        Some(Form::Json)
    } else {
        None
    }
}
