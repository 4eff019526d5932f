//! What a real SDK sends comes out at the backend with the ids it went in with.

use std::collections::BTreeSet;
use std::time::Duration;

use integration_tests::{Document, Running, Sdk, Shape, Sink};
use opentelemetry::trace::{
    Span as _, SpanKind, TraceContextExt as _, Tracer as _, TracerProvider as _,
};
use opentelemetry_otlp::{
    Compression, Protocol, WithExportConfig as _, WithHttpConfig as _, WithTonicConfig as _,
};
use opentelemetry_sdk::trace::SdkTracerProvider;

type Ids = BTreeSet<(String, String, String)>;

async fn check(send: impl AsyncFn(&Document) -> anyhow::Result<Option<Ids>>) -> anyhow::Result<()> {
    let sink = Sink::start().await?;
    let document = Document::new(&Shape {
        backend: sink.address,
        forward: true,
        synthesizer: None,
        exporter: "",
    })?;
    let running = Running::start(&document.yaml, &document.grpc).await?;
    if let Some(sent) = send(&document).await? {
        assert!(!sent.is_empty());
        sink.wait_for_spans(sent.len(), Duration::from_secs(30))
            .await?;
        assert_eq!(sink.ids(false), sent);
        assert_eq!(sink.span_count(), sent.len(), "a span came twice");
    }
    let (code, log) = running.terminate().await?;
    assert_eq!(code, Some(0), "{log}");
    Ok(())
}

fn make_traces(provider: &SdkTracerProvider, traces: usize) -> anyhow::Result<Ids> {
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
    Ok(ids)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rust_sdk_over_grpc() -> anyhow::Result<()> {
    check(async |document| {
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_tonic()
            .with_endpoint(format!("http://{}", document.grpc))
            .with_compression(Compression::Gzip)
            .build()?;
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .build();
        let ids = tokio::task::spawn_blocking({
            let provider = provider.clone();
            move || make_traces(&provider, 200)
        });
        let ids = ids.await??;
        Ok(Some(ids))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rust_sdk_over_http() -> anyhow::Result<()> {
    check(async |document| {
        let address = document.http.clone();
        let ids = tokio::task::spawn_blocking(move || {
            let exporter = opentelemetry_otlp::SpanExporter::builder()
                .with_http()
                .with_protocol(Protocol::HttpBinary)
                .with_endpoint(format!("http://{address}/v1/traces"))
                .with_headers([("x-tenant".to_owned(), "a".to_owned())].into())
                .build()?;
            let provider = SdkTracerProvider::builder()
                .with_batch_exporter(exporter)
                .build();
            make_traces(&provider, 200)
        });
        Ok(Some(ids.await??))
    })
    .await
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
