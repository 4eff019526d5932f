//! The HTTP client below `otlp_grpc` and `otlp_http`: connects when there is something to send,
//! keeps its connections, and sends a request's bytes without copying them.

use std::sync::Arc;
use std::time::Duration;

use bytes::buf::Chain;
use bytes::{Buf as _, Bytes};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{DefaultServerNameResolver, FixedServerNameResolver, HttpsConnector};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::ServerName;

use super::failure::{Failure, chain};
use crate::config::ClientTls;

/// Answers are a few bytes; more than this is read from no backend.
const MAX_ANSWER: usize = 4 * 1024 * 1024;

type Body = Full<Chain<Bytes, Bytes>>;

/// A client of one backend.
#[derive(Debug, Clone)]
pub(super) struct Client(hyper_util::client::legacy::Client<HttpsConnector<HttpConnector>, Body>);

/// How a client keeps its connections.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Connections {
    /// HTTP/2 without asking, as gRPC does.
    pub(super) http2_only: bool,
    /// How often an HTTP/2 connection is probed.
    pub(super) ping: Option<Duration>,
    /// How long a probe may take.
    pub(super) ping_timeout: Option<Duration>,
    /// Whether idle connections are probed too.
    pub(super) ping_idle: bool,
    /// How long an idle connection is kept; none for ever.
    pub(super) idle: Option<Duration>,
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) trailers: HeaderMap,
}

impl Client {
    /// Sets up TLS; connects to nothing yet.
    pub(super) fn new(tls: &ClientTls, connections: Connections) -> Result<Self, String> {
        let alpn: &[&[u8]] = if connections.http2_only {
            &[b"h2"]
        } else {
            &[b"h2", b"http/1.1"]
        };
        let show = |fault: crate::config::tls::TlsError| chain(&fault);
        let config = match tls.client_config(alpn).map_err(show)? {
            Some(config) => config,
            // Addresses that begin with https:// are spoken to in TLS whatever else is written.
            None => ClientTls {
                insecure: false,
                ..tls.clone()
            }
            .client_config(alpn)
            .map_err(show)?
            .ok_or("tls: can't be set up")?,
        };
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        let connector = match &tls.server_name_override {
            None => HttpsConnector::new(
                http,
                config,
                false,
                Arc::new(DefaultServerNameResolver::default()),
            ),
            Some(name) => {
                let name = ServerName::try_from(name.clone()).map_err(|_| {
                    format!("tls.server_name_override: `{name}` is no name of a host")
                })?;
                HttpsConnector::new(
                    http,
                    config,
                    false,
                    Arc::new(FixedServerNameResolver::new(name)),
                )
            }
        };
        let mut builder = hyper_util::client::legacy::Client::builder(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(connections.idle)
            .http2_only(connections.http2_only)
            .http2_keep_alive_interval(connections.ping)
            .http2_keep_alive_while_idle(connections.ping_idle);
        if let Some(timeout) = connections.ping_timeout {
            builder.http2_keep_alive_timeout(timeout);
        }
        Ok(Self(builder.build(connector)))
    }

    /// Sends `head` and `message` as one body and hears the whole answer.
    pub(super) async fn send(
        &self,
        request: Request<()>,
        head: Bytes,
        message: Bytes,
    ) -> Result<Answer, Failure> {
        let request = request.map(|()| Full::new(head.chain(message)));
        let answer = self.0.request(request).await;
        let answer: Response<Incoming> = answer.map_err(|fault| Failure::passing(chain(&fault)))?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await;
        let body = body.map_err(|fault| {
            Failure::passing(format!("the answer broke off: {}", chain(fault.as_ref())))
        })?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        Ok(Answer {
            status: parts.status,
            headers: parts.headers,
            body: body.to_bytes(),
            trailers,
        })
    }
}
