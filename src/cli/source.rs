//! `--config` and `--set`, which several subcommands take.

use std::process::ExitCode;

use super::{FAULTY, complain};
use crate::service::{Document, load};

/// Where a config comes from.
#[derive(Debug, clap::Args)]
pub(super) struct Source {
    /// A config: a path, `file:PATH`, `env:VARIABLE` or `yaml:TEXT`; given several times, later
    /// ones are merged over earlier ones
    #[arg(long, required = true, value_name = "CONFIG")]
    config: Vec<String>,
    /// Set one key: `receivers::otlp::protocols::grpc::endpoint=localhost:5317`
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl Source {
    /// The document, or the exit code after every fault was told.
    pub(super) fn load(&self) -> Result<Document, ExitCode> {
        load(&self.config, &self.set).map_err(|faults| {
            for fault in &faults {
                complain(&fault.to_string());
            }
            let count = faults.len();
            let noun = if count == 1 { "fault" } else { "faults" };
            complain(&format!("{count} {noun}; nothing was started"));
            ExitCode::from(FAULTY)
        })
    }
}
