//! `doppelspan validate`

use std::process::ExitCode;

use super::source::Source;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    source: Source,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    Ok(match arguments.source.load() {
        Ok(_) => ExitCode::SUCCESS,
        Err(code) => code,
    })
}
