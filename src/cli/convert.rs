//! `doppelspan convert`

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

use super::observed::{Bad, InputFormat};
use super::packed::{Effort, Packed};
use super::progress::Progress;
use super::{complain, say};
use crate::exporter::json;
use crate::import;

/// Writes files of observed traces as OTLP/JSON lines
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Files of observed spans in any format that `train` reads
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    input: Vec<PathBuf>,
    #[command(flatten)]
    format: InputFormat,
    /// A file of OTLP/JSON lines; compressed if it ends in .gz or .zst; `-` is standard output
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let output = arguments.output.display();
    let failed = || format!("can't write {output}");
    let mut lines = Packed::create(&arguments.output, Effort::Fast).with_context(failed)?;
    let (mut written, mut bad) = (0_u64, 0);
    for path in &arguments.input {
        let requests = import::open(path, arguments.format.input_format)?;
        let bytes = requests.progress();
        let format = requests.format();
        let mut progress = Progress::new("converting", bytes.total(), "bytes");
        let mut faults = Bad::default();
        for request in requests {
            let request = match request {
                Ok(request) => request,
                Err(fault) => {
                    faults.tell(&fault.to_string());
                    continue;
                }
            };
            match json::write(&request, &mut lines) {
                Ok(()) => lines.write_all(b"\n").with_context(failed)?,
                Err(fault) => anyhow::bail!("{}: {fault}", failed()),
            }
            written += 1;
            progress.tell(bytes.read(), || format!("{written} lines"));
        }
        progress.end();
        faults.end(path);
        bad += faults.count;
        complain(&format!("{} is read as {format}", path.display()));
    }
    lines.end().with_context(failed)?;
    if arguments.output.as_os_str() != "-" {
        say(&format!("wrote {written} requests to {output}"))?;
    }
    if bad > 0 {
        complain(&format!("{bad} records or spans could not be used"));
    }
    Ok(ExitCode::SUCCESS)
}
