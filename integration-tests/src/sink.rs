//! A plain OTLP backend on port 0 that keeps what it receives.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};
use tokio::sync::watch;
use tonic::codec::CompressionEncoding;
use tonic::{Code, Request, Response, Status};

/// A gRPC server that accepts everything, unless told to be unavailable.
#[derive(Debug)]
pub struct Sink {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<State>,
    spans: watch::Receiver<usize>,
    stop: tokio_util::sync::DropGuard,
}

#[derive(Debug)]
struct State {
    requests: Mutex<Vec<ExportTraceServiceRequest>>,
    spans: watch::Sender<usize>,
    /// Answered instead of taking a request.
    instead: watch::Sender<Option<Code>>,
}

struct Service(Arc<State>);

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        if let Some(code) = *self.0.instead.borrow() {
            return Err(Status::new(code, "told to answer so"));
        }
        let request = request.into_inner();
        let spans = count(&request);
        self.0.requests.lock().unwrap().push(request);
        self.0.spans.send_modify(|total| *total += spans);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn count(request: &ExportTraceServiceRequest) -> usize {
    let scopes = request.resource_spans.iter().flat_map(|r| &r.scope_spans);
    scopes.map(|scope| scope.spans.len()).sum()
}

/// Whether a resource carries the mark of synthetic traces.
pub fn is_synthetic(resource_spans: &ResourceSpans) -> bool {
    let attributes = resource_spans.resource.iter().flat_map(|r| &r.attributes);
    attributes
        .filter(|attribute| attribute.key == "doppelspan.synthetic")
        .any(|attribute| {
            let value = attribute.value.as_ref().and_then(|v| v.value.as_ref());
            matches!(value, Some(Value::BoolValue(true)))
        })
}

impl Sink {
    /// Starts a sink on a free port of the loopback address.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// Starts a sink at an address of this machine.
    pub async fn start_at(address: SocketAddr) -> anyhow::Result<Self> {
        let listener = tokio::net::TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (sender, spans) = watch::channel(0);
        let state = Arc::new(State {
            requests: Mutex::default(),
            spans: sender,
            instead: watch::Sender::new(None),
        });
        let stop = tokio_util::sync::CancellationToken::new();
        let service = TraceServiceServer::new(Service(state.clone()))
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Zstd)
            .max_decoding_message_size(256 << 20);
        let stopped = stop.clone().cancelled_owned();
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming_shutdown(incoming, stopped),
        );
        Ok(Self {
            address,
            state,
            spans,
            stop: stop.drop_guard(),
        })
    }

    /// Answers `UNAVAILABLE` from now on, or takes requests again.
    pub fn set_unavailable(&self, unavailable: bool) {
        self.answer(unavailable.then_some(Code::Unavailable));
    }

    /// Answers with this code from now on, or takes requests again.
    pub fn answer(&self, instead: Option<Code>) {
        self.state.instead.send_replace(instead);
    }

    /// Waits until at least `count` spans came in, and fails after `patience`.
    pub async fn wait_for_spans(&self, count: usize, patience: Duration) -> anyhow::Result<()> {
        let mut spans = self.spans.clone();
        let enough = spans.wait_for(|total| *total >= count);
        match tokio::time::timeout(patience, enough).await {
            Ok(answer) => answer.map(drop).map_err(Into::into),
            Err(_) => anyhow::bail!(
                "{} spans came in {patience:?}, waited for {count}",
                self.span_count()
            ),
        }
    }

    /// Waits until at least `count` spans of synthetic traces came in.
    pub async fn wait_for_synthetic(&self, count: usize, patience: Duration) -> anyhow::Result<()> {
        let mut spans = self.spans.clone();
        let enough = async {
            while self.spans(true).len() < count {
                spans.changed().await?;
            }
            anyhow::Ok(())
        };
        match tokio::time::timeout(patience, enough).await {
            Ok(answer) => answer,
            Err(_) => anyhow::bail!(
                "{} synthetic spans came in {patience:?}, waited for {count}",
                self.spans(true).len()
            ),
        }
    }

    /// Spans so far.
    pub fn span_count(&self) -> usize {
        *self.spans.borrow()
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<ExportTraceServiceRequest> {
        self.state.requests.lock().unwrap().clone()
    }

    /// The resource groups so far that carry the synthetic mark, or that don't.
    pub fn resources(&self, synthetic: bool) -> Vec<ResourceSpans> {
        let requests = self.requests();
        let all = requests.into_iter().flat_map(|r| r.resource_spans);
        all.filter(|r| is_synthetic(r) == synthetic).collect()
    }

    /// The spans so far of synthetic or of observed traces.
    pub fn spans(&self, synthetic: bool) -> Vec<Span> {
        let resources = self.resources(synthetic).into_iter();
        resources
            .flat_map(|r| r.scope_spans)
            .flat_map(|scope| scope.spans)
            .collect()
    }

    /// (trace id, span id, parent id) of every span, in hex, `-` for no parent.
    pub fn ids(&self, synthetic: bool) -> BTreeSet<(String, String, String)> {
        let spans = self.spans(synthetic).into_iter();
        spans
            .map(|span| {
                let parent = match span.parent_span_id.as_slice() {
                    [] => "-".to_owned(),
                    id => hex(id),
                };
                (hex(&span.trace_id), hex(&span.span_id), parent)
            })
            .collect()
    }

    /// Stops listening; what came in can still be read.
    pub fn stop(self) -> Vec<ExportTraceServiceRequest> {
        drop(self.stop);
        self.state.requests.lock().unwrap().clone()
    }
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
