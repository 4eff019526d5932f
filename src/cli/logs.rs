//! Logs and own spans of a running service, as `service.telemetry` asks for them.

use std::io::IsTerminal as _;

use anyhow::Context as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, fmt};

use crate::service::{LogEncoding, TelemetryConfig};

/// Sends own spans on until it is dropped or shut down.
#[derive(Debug)]
pub(super) struct Telemetry(Option<SdkTracerProvider>);

/// Installs logs on standard error and, where an endpoint is given, own spans. To be called inside
/// a runtime, once per process.
pub(super) fn install(config: &TelemetryConfig) -> anyhow::Result<Telemetry> {
    // What libraries say of every frame is nobody's log, even at `debug`.
    let level = config.logs.level.as_str();
    let filter = EnvFilter::new(format!(
        "{level},h2=warn,hyper=warn,tower=warn,tonic=warn,rustls=warn"
    ));
    // Colours are for terminals; a file or a journal would hold their codes.
    let colours = std::io::stderr().is_terminal();
    let lines = match config.logs.encoding {
        LogEncoding::Console => fmt::layer()
            .with_ansi(colours)
            .with_writer(std::io::stderr)
            .boxed(),
        LogEncoding::Json => fmt::layer().json().with_writer(std::io::stderr).boxed(),
    };
    let provider = match &config.traces.endpoint {
        Some(endpoint) => Some(own_spans(endpoint)?),
        None => None,
    };
    let spans = provider.as_ref().map(|provider| {
        let tracer = provider.tracer(env!("CARGO_PKG_NAME"));
        tracing_opentelemetry::layer().with_tracer(tracer)
    });
    tracing_subscriber::registry()
        .with(spans)
        .with(lines)
        .with(filter)
        .try_init()
        .context("a second service in this process can't have logs of its own")?;
    Ok(Telemetry(provider))
}

fn own_spans(endpoint: &str) -> anyhow::Result<SdkTracerProvider> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()
        .with_context(|| format!("service.telemetry.traces.endpoint: {endpoint}"))?;
    let resource = Resource::builder().with_service_name(env!("CARGO_PKG_NAME"));
    Ok(SdkTracerProvider::builder()
        .with_resource(resource.build())
        .with_batch_exporter(exporter)
        .build())
}

impl Telemetry {
    /// Sends what is left. Blocking.
    pub(super) fn shut_down(self) {
        if let Some(fault) = self.0.and_then(|provider| provider.shutdown().err()) {
            tracing::warn!(%fault, "own spans were not all sent");
        }
    }
}
