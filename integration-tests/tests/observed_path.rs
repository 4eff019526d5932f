//! What a real SDK sends comes out at the backend with the ids it went in with.

use std::collections::BTreeSet;
use std::time::Duration;

use integration_tests::{Document, Running, Sdk, Shape, Sink};

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
