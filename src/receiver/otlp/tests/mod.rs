//! The receiver behind real sockets, in front of a queue that the test holds.

mod grpc;
mod http;
mod life;

use std::net::SocketAddr;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use tokio::task::JoinHandle;

use super::*;
use crate::config::Present;
use crate::otlp::view::Limits;
use crate::pipeline::{Item, QueueReceiver, QueueSender, QueueSettings, queue};

/// A receiver that is served on free ports.
struct Served {
    grpc: SocketAddr,
    http: SocketAddr,
    sink: QueueSender,
    queue: QueueReceiver,
    stop: CancellationToken,
    run: JoinHandle<()>,
}

fn loopback() -> ListenAddress {
    "127.0.0.1:0".parse().unwrap()
}

/// Small caps, so that tests stay small: 1 MiB over gRPC, 1 MiB over HTTP.
fn config() -> OtlpConfig {
    OtlpConfig {
        protocols: Protocols {
            grpc: Present(Some(GrpcConfig {
                endpoint: loopback(),
                max_recv_msg_size_mib: 1,
                ..GrpcConfig::default()
            })),
            http: Present(Some(HttpConfig {
                endpoint: loopback(),
                max_request_body_size: 1 << 20,
                ..HttpConfig::default()
            })),
        },
    }
}

async fn serve_with(config: &OtlpConfig, settings: QueueSettings) -> Served {
    let (sink, queue) = queue("otlp_grpc/backend", settings);
    let limits = Limits {
        elements: 1000,
        ..Limits::default()
    };
    let intake = |transport| {
        let sinks = vec![sink.clone()];
        Intake::new("otlp", transport, limits.clone(), sinks, Vec::new())
    };
    let receiver = OtlpReceiver::bind(config, intake).await.unwrap();
    let stop = CancellationToken::new();
    Served {
        grpc: receiver.grpc_address().unwrap(),
        http: receiver.http_address().unwrap(),
        run: tokio::spawn(receiver.run(stop.clone())),
        sink,
        queue,
        stop,
    }
}

fn settings(wait_for_result: bool) -> QueueSettings {
    QueueSettings {
        sizer: Default::default(),
        size: 1,
        block_on_overflow: false,
        wait_for_result,
    }
}

async fn serve() -> Served {
    serve_with(&config(), settings(false)).await
}

impl Served {
    /// Fills the queue's one place.
    async fn fill(&self) {
        let payload = crate::otlp::Payload::new(Bytes::from_static(b"full"), 1);
        self.sink.reserve(&payload).await.unwrap().send(payload);
    }

    /// What reached the queue.
    async fn taken(&self) -> Bytes {
        let Item { payload, .. } = self.queue.next().await.unwrap();
        payload.bytes().clone()
    }

    async fn end(self) {
        self.stop.cancel();
        self.run.await.unwrap();
    }
}

fn span(number: u8) -> Span {
    Span {
        trace_id: vec![number; 16],
        span_id: vec![number; 8],
        name: format!("GET /{number}"),
        start_time_unix_nano: 1,
        end_time_unix_nano: 2,
        ..Span::default()
    }
}

/// A request of spans with these numbers; 0 makes a bad one.
fn request(numbers: impl IntoIterator<Item = u8>) -> Vec<u8> {
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            scope_spans: vec![ScopeSpans {
                spans: numbers.into_iter().map(span).collect(),
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    }
    .encode_to_vec()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(bytes, 1).unwrap()
}

/// `google.rpc.Status`, as a client reads it.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<RpcDetail>,
}

#[derive(Clone, PartialEq, Message)]
struct RpcDetail {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}
