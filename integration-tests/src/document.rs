//! Config documents on free ports.

use std::net::SocketAddr;

use crate::free_port;

/// A document and the addresses that it listens on.
#[derive(Debug, Clone)]
pub struct Document {
    /// The YAML.
    pub yaml: String,
    /// `host:port` of the gRPC receiver.
    pub grpc: String,
    /// `host:port` of the HTTP receiver.
    pub http: String,
    /// `host:port` of the health check.
    pub health: String,
    /// `host:port` of the program's own metrics.
    pub metrics: String,
}

/// What a test varies.
#[derive(Debug, Clone)]
pub struct Shape<'a> {
    /// Where both pipelines send to.
    pub backend: SocketAddr,
    /// Whether observed traces are forwarded.
    pub forward: bool,
    /// The body of the `synthesizer` connector, as YAML flow text; none leaves it out.
    pub synthesizer: Option<&'a str>,
    /// Further keys of the exporter, as YAML flow text, each with a comma behind it.
    pub exporter: &'a str,
}

impl Document {
    /// OTLP in, a backend out, a synthesizer between them if asked for.
    pub fn new(shape: &Shape<'_>) -> anyhow::Result<Self> {
        let address = || Ok::<_, anyhow::Error>(format!("127.0.0.1:{}", free_port()?));
        let (grpc, http) = (address()?, address()?);
        let (health, metrics) = (address()?, address()?);
        let backend = shape.backend;
        let mut observed = Vec::new();
        if shape.forward {
            observed.push("otlp_grpc/backend");
        }
        let (mut connectors, mut synthetic) = (String::new(), String::new());
        if let Some(body) = shape.synthesizer {
            observed.push("synthesizer");
            connectors = format!("connectors:\n  synthesizer: {{ {body} }}\n");
            synthetic = "    traces/synthetic: { receivers: [synthesizer], exporters: [otlp_grpc/backend] }\n"
                .to_owned();
        }
        let yaml = format!(
            "receivers:
  otlp:
    protocols:
      grpc: {{ endpoint: '{grpc}' }}
      http: {{ endpoint: '{http}' }}
{connectors}exporters:
  otlp_grpc/backend:
    endpoint: '{backend}'
    tls: {{ insecure: true }}
    {{exporter}}
extensions:
  health_check: {{ endpoint: '{health}' }}
service:
  extensions: [health_check]
  telemetry: {{ metrics: {{ address: '{metrics}' }} }}
  pipelines:
    traces/observed: {{ receivers: [otlp], exporters: [{}] }}
{synthetic}",
            observed.join(", ")
        );
        Ok(Self {
            yaml: yaml.replace("{exporter}", shape.exporter),
            grpc,
            http,
            health,
            metrics,
        })
    }
}
