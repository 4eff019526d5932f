//! The real Rust SDK: providers that send over OTLP, and traces made with them.

use std::pin::pin;

use opentelemetry::trace::{
    Link, Span as _, SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{Compression, Protocol, WithExportConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use tokio::runtime::Handle;

use crate::sdk::Ids;

/// An exporter whose futures need a tokio runtime around them, called by a processor that has a
/// thread of its own without one.
#[derive(Debug)]
struct InRuntime<E>(E, Handle);

impl<E: SpanExporter> SpanExporter for InRuntime<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let mut export = pin!(self.0.export(batch));
        std::future::poll_fn(|context| {
            let _entered = self.1.enter();
            export.as_mut().poll(context)
        })
        .await
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}

fn provider(exporter: impl SpanExporter + 'static) -> SdkTracerProvider {
    let exporter = InRuntime(exporter, Handle::current());
    let resource = Resource::builder_empty().with_service_name("rust-shop");
    let builder = SdkTracerProvider::builder().with_resource(resource.build());
    builder.with_batch_exporter(exporter).build()
}

/// Sends over gRPC with gzip to `http://host:port`.
pub fn over_grpc(endpoint: &str) -> anyhow::Result<SdkTracerProvider> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_compression(Compression::Gzip)
        .build()?;
    Ok(provider(exporter))
}

/// Sends protobuf over HTTP to `http://host:port`.
pub fn over_http(endpoint: &str) -> anyhow::Result<SdkTracerProvider> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{endpoint}/v1/traces"))
        .build()?;
    Ok(provider(exporter))
}

/// Ends `traces` traces of three spans, as the other SDKs' scripts do, and waits until they are
/// exported; their ids.
pub async fn make_traces(provider: SdkTracerProvider, traces: usize) -> anyhow::Result<Ids> {
    let made = tokio::task::spawn_blocking(move || -> anyhow::Result<Ids> {
        let tracer = provider.tracer("integration-tests");
        let mut ids = Ids::new();
        for number in 0..traces {
            let root = tracer
                .span_builder("GET /basket")
                .with_kind(SpanKind::Server)
                .start(&tracer);
            let context = root.span_context().clone();
            let (trace, above) = (
                context.trace_id().to_string(),
                context.span_id().to_string(),
            );
            ids.insert((trace.clone(), above.clone(), "-".to_owned()));
            let inside = Context::new().with_span(root);
            let mut query = tracer
                .span_builder("SELECT basket")
                .with_kind(SpanKind::Client)
                .start_with_context(&tracer, &inside);
            let of_query = query.span_context().clone();
            ids.insert((trace.clone(), of_query.span_id().to_string(), above.clone()));
            query.end();
            let mut notify = tracer
                .span_builder("notify")
                .with_kind(SpanKind::Producer)
                .with_links(vec![Link::with_context(of_query)])
                .start_with_context(&tracer, &inside);
            notify.add_event("queued", vec![KeyValue::new("number", number as i64)]);
            if number % 10 == 0 {
                notify.set_status(Status::error("queue is slow"));
            }
            ids.insert((trace, notify.span_context().span_id().to_string(), above));
            notify.end();
            inside.span().end();
        }
        provider.force_flush()?;
        provider.shutdown()?;
        Ok(ids)
    });
    made.await?
}
