//! What a real SDK sends comes out at the backend with the ids it went in with, and with none of
//! them on the synthetic path beside it.

use std::time::Duration;

use integration_tests::rust_sdk::{make_traces, over_grpc, over_http};
use integration_tests::sdk::Ids;
use integration_tests::{Document, Running, Sdk, Shape, Sink};

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

#[tokio::test(flavor = "multi_thread")]
async fn the_rust_sdk_over_grpc() -> anyhow::Result<()> {
    check(async |document| {
        let provider = over_grpc(&format!("http://{}", document.grpc))?;
        Ok(Some(make_traces(provider, 200).await?))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rust_sdk_over_http() -> anyhow::Result<()> {
    check(async |document| {
        let provider = over_http(&format!("http://{}", document.http))?;
        Ok(Some(make_traces(provider, 200).await?))
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
