//! gRPC without protobuf types: prepared request bytes out, bytes in and counted.
//!
//! For load: neither end should cost more than what is measured.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Buf as _, BufMut as _, Bytes};
use doppelspan::otlp::view::{Limits, walk};
use http::uri::PathAndQuery;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

/// The one method of OTLP traces over gRPC.
pub const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// Bytes out, bytes in.
#[derive(Debug, Clone, Copy, Default)]
pub struct RawCodec;

impl Codec for RawCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = buffer.remaining();
        Ok(Some(buffer.copy_to_bytes(length)))
    }
}

/// Sends one prepared request.
pub async fn export(channel: &Channel, request: Bytes) -> Result<Bytes, Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client
        .ready()
        .await
        .map_err(|fault| Status::unknown(fault.to_string()))?;
    let path = PathAndQuery::from_static(EXPORT);
    let answer = client.unary(Request::new(request), path, RawCodec).await?;
    Ok(answer.into_inner())
}

/// A backend that counts spans and keeps nothing.
#[derive(Debug)]
pub struct NullSink {
    /// Where it listens.
    pub address: SocketAddr,
    spans: Arc<AtomicUsize>,
}

#[derive(Clone)]
struct Counting(Arc<AtomicUsize>);

impl tonic::server::UnaryService<Bytes> for Counting {
    type Response = Bytes;
    type Future = std::future::Ready<Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let walked = walk(request.get_ref(), &Limits::default(), &mut ());
        std::future::ready(match walked {
            Ok(walked) => {
                self.0.fetch_add(walked.spans, Ordering::Relaxed);
                Ok(Response::new(Bytes::new()))
            }
            Err(fault) => Err(Status::invalid_argument(fault.to_string())),
        })
    }
}

impl NullSink {
    /// Starts on a free port; lives as long as the runtime.
    pub async fn start() -> anyhow::Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let spans = Arc::new(AtomicUsize::new(0));
        let counting = Counting(spans.clone());
        let service = tower::service_fn(move |request: http::Request<hyper::body::Incoming>| {
            let counting = counting.clone();
            async move {
                // Rotel names gzip in its header, also where it packs nothing.
                let mut grpc = tonic::server::Grpc::new(RawCodec)
                    .accept_compressed(tonic::codec::CompressionEncoding::Gzip)
                    .max_decoding_message_size(64 << 20);
                Ok::<_, std::convert::Infallible>(grpc.unary(counting, request).await)
            }
        });
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).ok();
                let service = hyper_util::service::TowerToHyperService::new(service.clone());
                tokio::spawn(
                    hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new())
                        .initial_stream_window_size(4 << 20)
                        .initial_connection_window_size(16 << 20)
                        .serve_connection(hyper_util::rt::TokioIo::new(stream), service),
                );
            }
        });
        Ok(Self { address, spans })
    }

    /// Spans so far.
    pub fn spans(&self) -> usize {
        self.spans.load(Ordering::Relaxed)
    }
}
