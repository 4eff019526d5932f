//! The `otlp_grpc` exporter: a unary gRPC call whose message is the request's bytes as they came.
//!
//! The call is framed here and not by a gRPC library, because a frame is five bytes in front of
//! the message: nothing is copied, and compression happens where no other connection waits.

mod config;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::{BufMut as _, Bytes, BytesMut};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Request, Uri};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use tonic::{Code, Status};

use super::Compression;
use super::client::{Answer, Client, Connections};
use super::failure::{Accepted, Failure};
use crate::otlp::Payload;

pub use config::{Config, Keepalive};

const METHOD: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const GRPC_STATUS: &str = "grpc-status";
const GRPC_DETAILS: &str = "grpc-status-details-bin";

/// Calls one backend.
#[derive(Debug)]
pub(super) struct Caller {
    client: Client,
    uri: Uri,
    headers: HeaderMap,
    compression: Compression,
}

impl Caller {
    pub(super) fn new(config: &Config) -> Result<Self, String> {
        let uri = address(&config.endpoint, config.tls.insecure)?;
        let keepalive = config.keepalive.as_ref();
        let connections = Connections {
            http2_only: true,
            ping: keepalive.map(|it| it.time.duration()),
            ping_timeout: keepalive.map(|it| it.timeout.duration()),
            ping_idle: keepalive.is_some_and(|it| it.permit_without_stream),
            idle: None,
        };
        let mut headers = config.headers.map();
        let fixed = [
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            (
                "user-agent",
                concat!("doppelspan/", env!("CARGO_PKG_VERSION")),
            ),
        ];
        for (name, value) in fixed {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if let Some(name) = config.compression.name() {
            headers.insert("grpc-encoding", HeaderValue::from_static(name));
        }
        Ok(Self {
            client: Client::new(&config.tls, connections)?,
            uri,
            headers,
            compression: config.compression,
        })
    }

    pub(super) async fn send(&self, payload: &Payload) -> Result<Accepted, Failure> {
        let message = self.compression.pack(payload.bytes());
        let message = message.map_err(|fault| Failure::lasting(fault.to_string()))?;
        let length = u32::try_from(message.len())
            .map_err(|_| Failure::lasting("the message is longer than 4 GiB".to_owned()))?;
        let mut frame = BytesMut::with_capacity(5);
        frame.put_u8(u8::from(self.compression != Compression::None));
        frame.put_u32(length);
        let mut request = Request::post(self.uri.clone())
            .body(())
            .map_err(|fault| Failure::lasting(fault.to_string()))?;
        *request.headers_mut() = self.headers.clone();
        let answer = self.client.send(request, frame.freeze(), message).await?;
        read(&answer)
    }
}

/// What the backend said.
fn read(answer: &Answer) -> Result<Accepted, Failure> {
    // An answer without a message has its status among the headers ("Trailers-Only").
    let place = if answer.headers.contains_key(GRPC_STATUS) {
        &answer.headers
    } else {
        &answer.trailers
    };
    match place.get(GRPC_STATUS).map(HeaderValue::as_bytes) {
        Some(b"0") => Ok(partial_success(&answer.body)),
        Some(_) => Err(Failure::of_grpc(&status(place))),
        None if answer.status.is_success() => Err(Failure::of_grpc(&Status::new(
            Code::Unavailable,
            "the call ended without a status",
        ))),
        None => Err(Failure::of_proxy(answer.status)),
    }
}

/// The status, with details that tonic would not survive if they were no base64.
fn status(headers: &HeaderMap) -> Status {
    let mut headers = headers.clone();
    let details = headers.remove(GRPC_DETAILS).and_then(|value| {
        let text = value.to_str().ok()?.trim_end_matches('=').to_owned();
        STANDARD_NO_PAD.decode(text).ok()
    });
    let bare = Status::from_header_map(&headers).unwrap_or_else(|| Status::unknown(""));
    Status::with_details(
        bare.code(),
        bare.message(),
        Bytes::from(details.unwrap_or_default()),
    )
}

/// A message that can't be read says no more than the status, which was OK.
fn partial_success(body: &[u8]) -> Accepted {
    let message = body.get(5..).unwrap_or_default();
    let response = ExportTraceServiceResponse::decode(message).unwrap_or_default();
    super::accepted(response)
}

/// The address of the method at the endpoint.
pub(super) fn address(endpoint: &str, insecure: bool) -> Result<Uri, String> {
    let example = "write host:port, as localhost:4317";
    let (scheme, rest) = match endpoint.split_once("://") {
        None if insecure => (Scheme::HTTP, endpoint),
        None => (Scheme::HTTPS, endpoint),
        Some(("http", rest)) => (Scheme::HTTP, rest),
        Some(("https", rest)) => (Scheme::HTTPS, rest),
        Some(("dns" | "passthrough", rest)) => {
            let rest = rest.trim_start_matches('/');
            let scheme = if insecure {
                Scheme::HTTP
            } else {
                Scheme::HTTPS
            };
            (scheme, rest)
        }
        Some((other, _)) => return Err(format!("`{other}://` is not spoken; {example}")),
    };
    let rest = rest.trim_end_matches('/');
    if rest.is_empty() {
        return Err(format!("is missing; {example}"));
    }
    let authority: Authority = rest
        .parse()
        .map_err(|_| format!("`{endpoint}` is no address; {example}"))?;
    if authority.port_u16().is_none() {
        return Err(format!("`{endpoint}` has no port; {example}"));
    }
    Uri::builder()
        .scheme(scheme)
        .authority(authority)
        .path_and_query(PathAndQuery::from_static(METHOD))
        .build()
        .map_err(|fault| format!("`{endpoint}` is no address ({fault}); {example}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_read_with_and_without_a_scheme() {
        let check = |endpoint: &str, insecure, expected: &str| {
            let shown = address(endpoint, insecure)
                .map_or_else(|fault| fault, |uri| uri.to_string().replace(METHOD, ""));
            assert_eq!(shown, expected);
        };
        check("localhost:4317", true, "http://localhost:4317");
        check("localhost:4317", false, "https://localhost:4317");
        check("http://localhost:4317", false, "http://localhost:4317");
        check(
            "https://tempo.example:443/",
            true,
            "https://tempo.example:443",
        );
        check("dns:///tempo:4317", true, "http://tempo:4317");
        check("[::1]:4317", true, "http://[::1]:4317");
        check("", true, "is missing; write host:port, as localhost:4317");
        check(
            "localhost",
            true,
            "`localhost` has no port; write host:port, as localhost:4317",
        );
        check(
            "unix:///run/otlp",
            true,
            "`unix://` is not spoken; write host:port, as localhost:4317",
        );
    }

    #[test]
    fn a_status_with_details_that_are_no_base64_is_still_a_status() {
        let mut headers = HeaderMap::new();
        headers.insert(GRPC_STATUS, HeaderValue::from_static("14"));
        headers.insert("grpc-message", HeaderValue::from_static("over%20there"));
        headers.insert(GRPC_DETAILS, HeaderValue::from_static("!!"));
        let failure = Failure::of_grpc(&status(&headers));
        assert_eq!(
            failure,
            Failure::passing("Unavailable: over there".to_owned())
        );
    }
}
