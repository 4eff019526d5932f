//! The demo's backend: takes every request, and counts what is in it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::ResourceSpans;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::synthesizer::MARK;

/// What arrived.
#[derive(Debug, Default)]
pub(super) struct Arrived {
    observed: AtomicU64,
    synthetic: AtomicU64,
}

impl Arrived {
    /// Spans that carry no mark.
    pub(super) fn observed(&self) -> u64 {
        self.observed.load(Ordering::Relaxed)
    }

    /// Spans whose resource carries the synthetic mark.
    pub(super) fn synthetic(&self) -> u64 {
        self.synthetic.load(Ordering::Relaxed)
    }
}

struct Counter(Arc<Arrived>);

#[tonic::async_trait]
impl TraceService for Counter {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for resource in request.into_inner().resource_spans {
            let spans = resource.scope_spans.iter().map(|scope| scope.spans.len());
            let count = match is_synthetic(&resource) {
                true => &self.0.synthetic,
                false => &self.0.observed,
            };
            count.fetch_add(spans.sum::<usize>() as u64, Ordering::Relaxed);
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn is_synthetic(resource: &ResourceSpans) -> bool {
    let attributes = resource.resource.iter().flat_map(|r| &r.attributes);
    attributes
        .into_iter()
        .any(|attribute| attribute.key == MARK)
}

/// Listens on a free port of this machine until `stop`.
pub(super) async fn start(stop: CancellationToken) -> std::io::Result<(SocketAddr, Arc<Arrived>)> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let arrived = Arc::new(Arrived::default());
    let service = TraceServiceServer::new(Counter(arrived.clone()));
    let served = Server::builder().add_service(service);
    let served =
        served.serve_with_incoming_shutdown(TcpIncoming::from(listener), stop.cancelled_owned());
    tokio::spawn(async move {
        if let Err(fault) = served.await {
            tracing::warn!(%fault, "the demo's backend ended");
        }
    });
    Ok((address, arrived))
}
