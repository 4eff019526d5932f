//! `doppelspan components`

use std::process::ExitCode;

use serde_json::json;

use super::say;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print JSON instead of YAML
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let list = |kinds: &[(&str, &str)]| {
        let row = |(name, purpose): &(&str, &str)| json!({"name": name, "purpose": purpose});
        kinds.iter().map(row).collect::<Vec<_>>()
    };
    let all = json!({
        "buildinfo": {
            "command": env!("CARGO_PKG_NAME"),
            "description": env!("CARGO_PKG_DESCRIPTION"),
            "version": env!("CARGO_PKG_VERSION"),
        },
        "receivers": list(&[
            ("otlp", "takes OTLP over gRPC and HTTP"),
            ("otlpjsonfile", "reads files of OTLP/JSON lines, plain or compressed, whole or followed"),
            #[cfg(feature = "kafka")]
            ("kafka", "reads topics of Apache Kafka as a member of a consumer group"),
        ]),
        "exporters": list(&[
            ("otlp_grpc", "sends OTLP over gRPC (alias: otlp)"),
            ("otlp_http", "sends OTLP over HTTP (alias: otlphttp)"),
            #[cfg(feature = "kafka")]
            ("kafka", "writes requests, or whole traces by their ids, to a topic of Apache Kafka"),
            ("file", "writes OTLP/JSON lines or framed protobuf, with rotation"),
            ("debug", "says what passes in the log"),
        ]),
        "connectors": list(&[
            ("synthesizer", "learns the traces of one pipeline and begins another with synthetic ones"),
        ]),
        "extensions": list(&[
            ("admin", "shows both pipelines side by side on a page"),
            ("health_check", "answers whether the service is up"),
        ]),
    });
    let text = if arguments.json {
        serde_json::to_string_pretty(&all)?
    } else {
        serde_yaml_ng::to_string(&all)?
    };
    say(text.trim_end())?;
    Ok(ExitCode::SUCCESS)
}
