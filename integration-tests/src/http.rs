//! Single HTTP requests, told to the byte, over HTTP/1.1 and, for gRPC, over HTTP/2.

use std::time::Duration;

use anyhow::Context as _;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

/// What is sent.
#[derive(Debug, Clone)]
pub struct Call {
    /// `POST`, as a rule.
    pub method: Method,
    /// The path and what follows it.
    pub path: String,
    /// Name and value of each header but the host's.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Bytes,
}

impl Call {
    /// A `GET` of this path.
    pub fn get(path: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            path: path.into(),
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    /// A `POST` of this path.
    pub fn post(path: &str, headers: &[(&'static str, &str)], body: impl Into<Bytes>) -> Self {
        let owned = |(name, value): &(&'static str, &str)| (*name, (*value).to_owned());
        Self {
            method: Method::POST,
            path: path.to_owned(),
            headers: headers.iter().map(owned).collect(),
            body: body.into(),
        }
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status line.
    pub status: StatusCode,
    /// Headers, and trailers after them.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// A header or trailer as text; empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default()
    }
}

/// Which of the two protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.1.
    One,
    /// HTTP/2 without TLS, as gRPC speaks it.
    Two,
}

/// Sends a call to `host:port` over a connection of its own and waits up to a minute for its answer.
pub async fn send(address: &str, version: Version, call: &Call) -> anyhow::Result<Answer> {
    let answer = tokio::time::timeout(Duration::from_secs(60), exchange(address, version, call));
    answer.await.context("no answer in a minute")?
}

async fn exchange(address: &str, version: Version, call: &Call) -> anyhow::Result<Answer> {
    let socket = TokioIo::new(TcpStream::connect(address).await?);
    let mut request = Request::builder().method(call.method.clone());
    request = match version {
        Version::One => request.uri(&call.path).header("host", address),
        Version::Two => request.uri(format!("http://{address}{}", call.path)),
    };
    for (name, value) in &call.headers {
        request = request.header(*name, value);
    }
    let request = request.body(Full::new(call.body.clone()))?;
    let response = match version {
        Version::One => {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(socket).await?;
            tokio::spawn(connection);
            sender.send_request(request).await?
        }
        Version::Two => {
            let executor = TokioExecutor::new();
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(executor, socket).await?;
            tokio::spawn(connection);
            sender.send_request(request).await?
        }
    };
    let status = response.status();
    let mut headers = response.headers().clone();
    let mut incoming = response.into_body();
    let mut body = BytesMut::new();
    while let Some(frame) = incoming.frame().await {
        match frame?.into_data() {
            Ok(data) => body.extend_from_slice(&data),
            Err(frame) => headers.extend(frame.into_trailers().unwrap_or_default()),
        }
    }
    Ok(Answer {
        status,
        headers,
        body: body.freeze(),
    })
}
