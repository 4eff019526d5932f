//! A backend that answers as it is told, over gRPC and HTTP on one port, and notes what came when.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// What the backend says instead of taking a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Say {
    /// A gRPC status, with `RetryInfo` if it tells when to come again.
    Grpc(Code, Option<Duration>),
    /// An HTTP status, with `Retry-After` in seconds.
    Http(u16, Option<u64>),
    /// Nothing, ever.
    Nothing,
}

/// The backend; it takes requests unless the script says otherwise.
#[derive(Debug)]
pub struct Scripted {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<State>,
    server: tokio::task::JoinHandle<()>,
}

#[derive(Debug, Default)]
struct State {
    script: Mutex<VecDeque<Say>>,
    always: Mutex<Option<Say>>,
    came: Mutex<Vec<(Instant, Bytes)>>,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Scripted {
    /// Listens on a free port of the loopback address.
    pub async fn start() -> anyhow::Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State::default());
        let kept = state.clone();
        let answer = move |request: Request<Body>| answer(kept.clone(), request);
        let server = axum::Router::new().fallback(answer);
        let server = tokio::spawn(async move {
            if let Err(fault) = axum::serve(listener, server).await {
                eprintln!("the scripted backend ended: {fault}");
            }
        });
        Ok(Self {
            address,
            state,
            server,
        })
    }

    /// Says this to the next request, after what it was told before.
    pub fn once(&self, say: Say) {
        self.state.script.lock().unwrap().push_back(say);
    }

    /// Says this to every request from now on, or takes them again.
    pub fn always(&self, say: Option<Say>) {
        *self.state.always.lock().unwrap() = say;
    }

    /// Waits up to half a minute until a request came whose bytes hold this text.
    pub async fn wait_for(&self, text: &str) -> anyhow::Result<()> {
        for _ in 0..6000 {
            if !self.came(text).is_empty() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        anyhow::bail!("no request with `{text}` came")
    }

    /// When requests came whose bytes hold this text.
    pub fn came(&self, text: &str) -> Vec<Instant> {
        let came = self.state.came.lock().unwrap();
        let holds = |body: &Bytes| body.windows(text.len()).any(|part| part == text.as_bytes());
        let found = came.iter().filter(|(_, body)| holds(body));
        found.map(|(at, _)| *at).collect()
    }
}

async fn answer(state: Arc<State>, request: Request<Body>) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    state.came.lock().unwrap().push((Instant::now(), body));
    let next = state.script.lock().unwrap().pop_front();
    let next = next.or(*state.always.lock().unwrap());
    let grpc = |value: &HeaderValue| value.as_bytes().starts_with(b"application/grpc");
    match next {
        Some(Say::Nothing) => std::future::pending().await,
        Some(Say::Grpc(code, after)) => {
            let details = match after {
                Some(after) => ErrorDetails::with_retry_info(Some(after)),
                None => ErrorDetails::default(),
            };
            let status = match after {
                Some(_) => Status::with_error_details(code, "told to say so", details),
                None => Status::new(code, "told to say so"),
            };
            status.into_http()
        }
        Some(Say::Http(status, after)) => {
            let mut response = Response::new(Body::from("told to say so"));
            *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
            if let Some(after) = after {
                let headers = response.headers_mut();
                headers.insert(header::RETRY_AFTER, HeaderValue::from(after));
            }
            response
        }
        None if head.headers.get(header::CONTENT_TYPE).is_some_and(grpc) => {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            let body = Full::new(Bytes::from_static(&[0; 5]));
            let body = body.with_trailers(std::future::ready(Some(Ok(trailers))));
            let mut response = Response::new(Body::new(body));
            let content_type = HeaderValue::from_static("application/grpc");
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, content_type);
            response
        }
        None => {
            let mut response = Response::new(Body::empty());
            let content_type = HeaderValue::from_static("application/x-protobuf");
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, content_type);
            response
        }
    }
}
