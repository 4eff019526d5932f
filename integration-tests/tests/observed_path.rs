//! What a real SDK sends comes out at the backend with the ids it went in with, and with none of
//! them on the synthetic path beside it.

use std::collections::BTreeSet;
use std::pin::pin;
use std::time::Duration;

use integration_tests::{Document, Running, Sdk, Shape, Sink};
use opentelemetry::trace::{
    Span as _, SpanKind, TraceContextExt as _, Tracer as _, TracerProvider as _,
};
use opentelemetry_otlp::{Compression, Protocol, WithExportConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use tokio::runtime::Handle;

type Ids = BTreeSet<(String, String, String)>;

const SYNTHESIZER: &str = "assembler: { max_wait: 5s, initial_quiet: 500ms }, \
    generation: { mode: rate, rate: 50 }, privacy: { min_traces: 20 }";

async fn check(send: impl AsyncFn(&Document) -> anyhow::Result<Option<Ids>>) -> anyhow::Result<()> {
    let sink = Sink::start().await?;
    let document = Document::new(&Shape {
        backend: sink.address,
        forward: true,
        synthesizer: Some(SYNTHESIZER),
        exporter: "",
    })?;
    let running = Running::start(&document.yaml, &document.grpc).await?;
    if let Some(sent) = send(&document).await? {
        assert!(!sent.is_empty());
        sink.wait_for_spans(sent.len(), Duration::from_secs(30))
            .await?;
        sink.wait_for_synthetic(20, Duration::from_secs(30)).await?;
        assert_eq!(sink.ids(false), sent);
        assert_eq!(sink.spans(false).len(), sent.len(), "a span came twice");
        for (trace, span, _) in sink.ids(true) {
            let known = |ids: &&(String, String, String)| ids.0 == trace || ids.1 == span;
            assert!(sent.iter().find(known).is_none(), "an observed id got out");
        }
    }
    let (code, log) = running.terminate().await?;
    assert_eq!(code, Some(0), "{log}");
    Ok(())
}

async fn check_sdk(sdk: Sdk, protocol: &str) -> anyhow::Result<()> {
    check(async |document| {
        let address = match protocol {
            "grpc" => &document.grpc,
            _ => &document.http,
        };
        sdk.send(protocol, &format!("http://{address}"), 100).await
    })
    .await
}

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
}

fn provider(exporter: impl SpanExporter + 'static) -> SdkTracerProvider {
    let exporter = InRuntime(exporter, Handle::current());
    let builder = SdkTracerProvider::builder();
    builder.with_batch_exporter(exporter).build()
}

/// Ends `traces` traces of two spans and waits until they are exported.
async fn make_traces(provider: SdkTracerProvider, traces: usize) -> anyhow::Result<Ids> {
    let made = tokio::task::spawn_blocking(move || -> anyhow::Result<Ids> {
        let tracer = provider.tracer("integration-tests");
        let mut ids = Ids::new();
        for _ in 0..traces {
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
            let inside = opentelemetry::Context::new().with_span(root);
            let mut query = tracer
                .span_builder("SELECT basket")
                .with_kind(SpanKind::Client)
                .start_with_context(&tracer, &inside);
            ids.insert((trace, query.span_context().span_id().to_string(), above));
            query.end();
            inside.span().end();
        }
        provider.force_flush()?;
        provider.shutdown()?;
        Ok(ids)
    });
    made.await?
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rust_sdk_over_grpc() -> anyhow::Result<()> {
    check(async |document| {
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_tonic()
            .with_endpoint(format!("http://{}", document.grpc))
            .with_compression(Compression::Gzip)
            .build()?;
        Ok(Some(make_traces(provider(exporter), 200).await?))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rust_sdk_over_http() -> anyhow::Result<()> {
    check(async |document| {
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("http://{}/v1/traces", document.http))
            .build()?;
        Ok(Some(make_traces(provider(exporter), 200).await?))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_over_grpc() -> anyhow::Result<()> {
    check_sdk(Sdk::Python, "grpc").await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_over_http() -> anyhow::Result<()> {
    check_sdk(Sdk::Python, "http").await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_javascript_sdk_over_grpc() -> anyhow::Result<()> {
    check_sdk(Sdk::JavaScript, "grpc").await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_javascript_sdk_over_http() -> anyhow::Result<()> {
    check_sdk(Sdk::JavaScript, "http").await
}
