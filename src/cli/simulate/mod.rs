//! `doppelspan simulate`

mod file;
mod live;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use crate::simulate::System;

/// Makes traces of a simulated system
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// shop, social-network or ticket-office
    #[arg(long, default_value_t = System::Shop)]
    system: System,
    /// How many traces; 100 unless a duration is given
    #[arg(long, conflicts_with = "duration")]
    traces: Option<u64>,
    /// For how long requests come in, as `90s` or `5m`
    #[arg(long, value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// Requests per second
    #[arg(long, default_value_t = 10.0, value_parser = rate)]
    rate: f64,
    /// The same seed gives the same traces
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// When the first request comes in, for files
    #[arg(long, default_value = "2026-01-01T00:00:00Z", value_parser = humantime::parse_rfc3339)]
    start: std::time::SystemTime,
    /// Write to a file: .jsonl (a request a line), .json or .pb (one request), with .gz or .zst
    /// behind it or not
    #[arg(long, value_name = "FILE", required_unless_present = "otlp_endpoint")]
    output: Option<PathBuf>,
    /// Send live over gRPC, as SDKs do
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "output")]
    otlp_endpoint: Option<String>,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    match (&arguments.output, &arguments.otlp_endpoint) {
        (Some(path), _) => file::write(arguments, path),
        (None, Some(endpoint)) => live::send(arguments, endpoint),
        // The command line's own rules leave no such case.
        (None, None) => Ok(ExitCode::from(super::FAULTY)),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= 1e6 => Ok(rate),
        Ok(rate) => Err(format!(
            "must lie above 0 and at 1000000 at most, got {rate}"
        )),
        Err(_) => Err("is no number".to_owned()),
    }
}
