//! `otlp_grpc` and `otlp_http` against real servers on free ports.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::*;
use crate::chance::stream;
use crate::config::Faults;

/// What the server answers next: the status, and whether it asks to be left alone for a moment.
#[derive(Debug, Clone, Copy)]
enum Say {
    Reject(i64),
    Grpc(Code, bool),
    Http(u16, bool),
}

/// A backend that answers from a script, then OK, and keeps what it took.
#[derive(Debug, Clone, Default)]
struct Backend {
    answers: Arc<Mutex<VecDeque<Say>>>,
    spans: Arc<Mutex<usize>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Backend {
    fn say(&self) -> Option<Say> {
        self.answers.lock().unwrap().pop_front()
    }

    fn take(&self, request: &ExportTraceServiceRequest) {
        *self.spans.lock().unwrap() += sample::count(request);
    }

    fn note(&self, headers: &HeaderMap, names: &[&str]) {
        let text = |name: &&str| {
            headers
                .get(*name)
                .map_or("-", |value| value.to_str().unwrap())
        };
        let shown: Vec<_> = names.iter().map(text).collect();
        self.requests.lock().unwrap().push(shown.join(" "));
    }
}

fn response(rejected: i64) -> ExportTraceServiceResponse {
    ExportTraceServiceResponse {
        partial_success: (rejected > 0).then(|| ExportTracePartialSuccess {
            rejected_spans: rejected,
            error_message: "too old".to_owned(),
        }),
    }
}

#[tonic::async_trait]
impl TraceService for Backend {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, Status> {
        let headers = request.metadata().clone().into_headers();
        self.note(&headers, &["grpc-encoding", "x-tenant"]);
        let rejected = match self.say() {
            Some(Say::Grpc(code, throttle)) => {
                let moment = throttle.then_some(Duration::from_millis(1));
                let details = ErrorDetails::with_retry_info(moment);
                return Err(if throttle {
                    Status::with_error_details(code, "busy", details)
                } else {
                    Status::new(code, "busy")
                });
            }
            Some(Say::Reject(spans)) => spans,
            _ => 0,
        };
        self.take(request.get_ref());
        Ok(tonic::Response::new(response(rejected)))
    }
}

async fn post(State(backend): State<Backend>, headers: HeaderMap, body: Bytes) -> Response {
    backend.note(&headers, &["content-type", "content-encoding", "x-tenant"]);
    let rejected = match backend.say() {
        Some(Say::Http(code, throttle)) => {
            let status = tonic_types::pb::Status {
                message: "busy".to_owned(),
                ..Default::default()
            };
            let mut answer = Response::new(Body::from(status.encode_to_vec()));
            *answer.status_mut() = StatusCode::from_u16(code).unwrap();
            if throttle {
                answer
                    .headers_mut()
                    .insert("retry-after", "0".parse().unwrap());
            }
            return answer;
        }
        Some(Say::Reject(spans)) => spans,
        _ => 0,
    };
    let header = |name: &str| headers.get(name).map(|value| value.as_bytes().to_owned());
    let plain = match header("content-encoding").as_deref() {
        Some(b"gzip") => {
            let mut plain = Vec::new();
            let mut decoder = flate2::read::GzDecoder::new(body.as_ref());
            std::io::Read::read_to_end(&mut decoder, &mut plain).unwrap();
            plain
        }
        Some(b"zstd") => zstd::bulk::decompress(&body, 1_000_000).unwrap(),
        _ => body.to_vec(),
    };
    let json = header("content-type").as_deref() == Some(b"application/json");
    let (request, answer) = if json {
        let answer = serde_json::to_vec(&response(rejected)).unwrap();
        (serde_json::from_slice(&plain).unwrap(), answer)
    } else {
        let request = ExportTraceServiceRequest::decode(plain.as_slice()).unwrap();
        (request, response(rejected).encode_to_vec())
    };
    backend.take(&request);
    let kind = headers.get("content-type").unwrap().clone();
    let mut answer = Response::new(Body::from(answer));
    answer.headers_mut().insert("content-type", kind);
    answer
}

async fn serve(backend: Backend, kind: &str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    if kind == "otlp_grpc" {
        let service = TraceServiceServer::new(backend)
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Zstd);
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    } else {
        let router = axum::Router::new()
            .route("/v1/traces", axum::routing::post(post))
            .with_state(backend);
        tokio::spawn(async move { axum::serve(listener, router).await });
    }
    address
}

/// Sends two requests of 30 spans each, and shows what became of them and what the server saw.
async fn outcome(kind: &str, keys: &str, says: &[Say]) -> (String, Vec<String>) {
    let backend = Backend::default();
    backend.answers.lock().unwrap().extend(says);
    let address = serve(backend.clone(), kind).await;
    let yaml = format!(
        "endpoint: 'http://{address}'\nretry_on_failure: {{ initial_interval: 1ms }}\n{keys}"
    );
    let document = serde_yaml_ng::Deserializer::from_str(&yaml);
    let config = Config::read(kind, document).unwrap().unwrap();
    let mut faults = Faults::default();
    config.check(&mut faults);
    assert!(faults.is_empty(), "{:?}", faults.into_vec());
    let id = format!("{kind}/backend").parse().unwrap();
    let (sender, exporter) = bind(&id, &config, stream(1, "exporter")).unwrap();
    for trace in 1..=2 {
        let payload = Payload::new(sample::request(trace, 30).into(), 30);
        sender.reserve(&payload).await.unwrap().send(payload);
    }
    sender.close();
    let tally = exporter.tally();
    exporter.run(CancellationToken::new()).await;
    let counts = tally.counts();
    let shown = format!(
        "sent {} rejected {} dropped {}, the backend has {}",
        counts.sent,
        counts.rejected,
        counts.dropped,
        backend.spans.lock().unwrap()
    );
    let requests = backend.requests.lock().unwrap().clone();
    (shown, requests)
}

async fn check(kind: &str, says: &[Say], expected: &str) {
    assert_eq!(outcome(kind, "", says).await.0, expected, "{kind} {says:?}");
}

async fn check_seen(kind: &str, keys: &str, expected: &str) {
    let (shown, requests) = outcome(kind, keys, &[]).await;
    assert_eq!(shown, "sent 60 rejected 0 dropped 0, the backend has 60");
    assert_eq!(requests, [expected, expected], "{keys}");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_arrive_whole_in_every_encoding() {
    check_seen("otlp_grpc", "", "gzip -").await;
    check_seen("otlp_grpc", "compression: zstd", "zstd -").await;
    check_seen(
        "otlp_grpc",
        "compression: none\nheaders: { X-Tenant: a }",
        "- a",
    )
    .await;
    let proto = "application/x-protobuf";
    check_seen("otlp_http", "", &format!("{proto} gzip -")).await;
    check_seen("otlp_http", "compression: zstd", &format!("{proto} zstd -")).await;
    check_seen(
        "otlp_http",
        "compression: none\nheaders: { x-tenant: b }",
        &format!("{proto} - b"),
    )
    .await;
    check_seen("otlp_http", "encoding: json", "application/json gzip -").await;
}

#[tokio::test]
async fn what_may_pass_is_sent_again() {
    let all = "sent 60 rejected 0 dropped 0, the backend has 60";
    let grpc = [
        Say::Grpc(Code::Unavailable, true),
        Say::Grpc(Code::ResourceExhausted, true),
        Say::Grpc(Code::Aborted, false),
    ];
    check("otlp_grpc", &grpc, all).await;
    let http = [
        Say::Http(503, true),
        Say::Http(429, false),
        Say::Http(502, false),
    ];
    check("otlp_http", &http, all).await;
}

#[tokio::test]
async fn what_will_not_pass_is_sent_once() {
    let half = "sent 30 rejected 0 dropped 30, the backend has 30";
    check("otlp_grpc", &[Say::Grpc(Code::InvalidArgument, true)], half).await;
    check(
        "otlp_grpc",
        &[Say::Grpc(Code::ResourceExhausted, false)],
        half,
    )
    .await;
    check("otlp_http", &[Say::Http(400, true)], half).await;
    check("otlp_http", &[Say::Http(500, false)], half).await;
}

#[tokio::test]
async fn a_partial_success_is_counted_and_not_sent_again() {
    let most = "sent 53 rejected 7 dropped 0, the backend has 60";
    check("otlp_grpc", &[Say::Reject(7)], most).await;
    check("otlp_http", &[Say::Reject(7)], most).await;
    let (shown, _) = outcome("otlp_http", "encoding: json", &[Say::Reject(7)]).await;
    assert_eq!(shown, most);
}

#[tokio::test]
async fn a_backend_that_is_not_there_is_tried_until_the_time_is_over() {
    for kind in ["otlp_grpc", "otlp_http"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let yaml = format!(
            "endpoint: 'http://{address}'\nretry_on_failure: {{ max_elapsed_time: 1ms }}\n"
        );
        let document = serde_yaml_ng::Deserializer::from_str(&yaml);
        let config = Config::read(kind, document).unwrap().unwrap();
        let (sender, exporter) =
            bind(&kind.parse().unwrap(), &config, stream(1, "exporter")).unwrap();
        let payload = Payload::new(sample::request(1, 3).into(), 3);
        sender.reserve(&payload).await.unwrap().send(payload);
        sender.close();
        let tally = exporter.tally();
        exporter.run(CancellationToken::new()).await;
        // The time is up before the first wait is over; nothing was sent, nothing panicked.
        assert_eq!(tally.counts().dropped, 3, "{kind}");
    }
}

#[test]
fn a_file_that_can_not_be_written_fails_before_anything_starts() {
    let document = serde_yaml_ng::Deserializer::from_str("path: /nowhere/traces.json");
    let config = Config::read("file", document).unwrap().unwrap();
    let fault = bind(&"file/audit".parse().unwrap(), &config, stream(1, "x")).unwrap_err();
    assert_eq!(
        fault.to_string(),
        "exporters.file/audit: can't write to /nowhere/traces.json (No such file or directory (os error 2)); name a file in a folder that this process may write to"
    );
}
