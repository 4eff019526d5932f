//! An OTLP backend on port 0, over gRPC and HTTP, that answers as it is told and keeps what it takes.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response as Answer};
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tonic::{Code, Request, Response, Status};

use crate::traffic;

/// How it answers.
#[derive(Debug, Clone, Copy)]
pub enum Mood {
    /// It takes everything.
    Takes,
    /// It sends so many requests away for a moment before it takes any.
    Busy(usize),
    /// It rejects so many spans of each request (`partial_success`).
    Rejects(i64),
    /// It will never take anything.
    Refuses,
}

/// What came in and was taken.
#[derive(Debug, Clone)]
pub struct Taken {
    /// The request.
    pub request: ExportTraceServiceRequest,
    /// `name: value` of its headers.
    pub headers: Vec<(String, String)>,
    /// The path, over HTTP.
    pub path: String,
}

#[derive(Debug)]
struct Inner {
    mood: Mood,
    asked: AtomicUsize,
    taken: Mutex<Vec<Taken>>,
}

/// The backend; it ends with the test's runtime.
#[derive(Debug, Clone)]
pub struct Moody {
    /// `host:port` for gRPC.
    pub grpc: SocketAddr,
    /// `host:port` for HTTP.
    pub http: SocketAddr,
    inner: Arc<Inner>,
}

enum Verdict {
    Taken(ExportTraceServiceResponse),
    Later,
    Never,
}

impl Inner {
    fn judge(
        &self,
        request: ExportTraceServiceRequest,
        headers: Vec<(String, String)>,
        path: &str,
    ) -> Verdict {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        let mut answer = ExportTraceServiceResponse::default();
        match self.mood {
            Mood::Takes => {}
            Mood::Busy(times) if asked < times => return Verdict::Later,
            Mood::Busy(_) => {}
            Mood::Refuses => return Verdict::Never,
            Mood::Rejects(rejected_spans) => {
                answer.partial_success = Some(ExportTracePartialSuccess {
                    rejected_spans,
                    error_message: "too old".to_owned(),
                });
            }
        }
        self.taken.lock().unwrap().push(Taken {
            request,
            headers,
            path: path.to_owned(),
        });
        Verdict::Taken(answer)
    }
}

struct Grpc(Arc<Inner>);

#[tonic::async_trait]
impl TraceService for Grpc {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let headers = listed(&request.metadata().clone().into_headers());
        match self.0.judge(request.into_inner(), headers, "") {
            Verdict::Taken(answer) => Ok(Response::new(answer)),
            Verdict::Later => Err(Status::new(Code::Unavailable, "come back")),
            Verdict::Never => Err(Status::new(Code::InvalidArgument, "not with me")),
        }
    }
}

async fn post(
    State(inner): State<Arc<Inner>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let Ok(request) = ExportTraceServiceRequest::decode(body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    match inner.judge(request, listed(&headers), uri.path()) {
        Verdict::Taken(answer) => answer.encode_to_vec().into_response(),
        Verdict::Later => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Verdict::Never => StatusCode::BAD_REQUEST.into_response(),
    }
}

fn listed(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &axum::http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
    headers
        .iter()
        .map(|(name, value)| (name.to_string(), text(value)))
        .collect()
}

impl Moody {
    /// Starts it.
    pub async fn start(mood: Mood) -> anyhow::Result<Self> {
        let inner = Arc::new(Inner {
            mood,
            asked: AtomicUsize::new(0),
            taken: Mutex::default(),
        });
        let bind = || tokio::net::TcpListener::bind("127.0.0.1:0");
        let (for_grpc, for_http) = (bind().await?, bind().await?);
        let (grpc, http) = (for_grpc.local_addr()?, for_http.local_addr()?);
        let service =
            TraceServiceServer::new(Grpc(inner.clone())).max_decoding_message_size(256 << 20);
        let incoming = tonic::transport::server::TcpIncoming::from(for_grpc);
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(incoming));
        let router = axum::Router::new().fallback(post).with_state(inner.clone());
        tokio::spawn(async move { axum::serve(for_http, router).await });
        Ok(Self { grpc, http, inner })
    }

    /// Requests that came in, taken or not.
    pub fn asked(&self) -> usize {
        self.inner.asked.load(Ordering::Relaxed)
    }

    /// What was taken so far.
    pub fn taken(&self) -> Vec<Taken> {
        self.inner.taken.lock().unwrap().clone()
    }

    /// The spans that were taken so far, in the order in which they came.
    pub fn spans(&self) -> Vec<Span> {
        let taken = self.taken();
        let spans = taken
            .iter()
            .flat_map(|taken| traffic::spans(&taken.request));
        spans.cloned().collect()
    }

    /// Waits until something was asked or taken as often as `enough` wants it.
    pub async fn wait(&self, enough: impl Fn(&Self) -> bool) -> anyhow::Result<()> {
        for _ in 0..2_000 {
            if enough(self) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        anyhow::bail!(
            "after 20 s: asked {} times, {} spans taken",
            self.asked(),
            self.spans().len()
        )
    }
}
