//! The command line: argv in, exit code out. One file per subcommand.
//!
//! Exit codes: 0 done; 1 it failed while running; 2 the command line or the config has faults, and
//! nothing was started.

mod alone;
mod built_in;
mod components;
mod convert;
mod delivery;
mod demo;
mod evaluate;
mod generate;
mod inspect;
mod logs;
mod manual;
mod observed;
mod packed;
mod progress;
mod replay;
mod run;
mod signals;
mod simulate;
mod source;
mod train;
mod validate;

use std::process::ExitCode;

pub use alone::alone;

use clap::{Parser, Subcommand};

/// What a config or a command line with faults ends with.
const FAULTY: u8 = 2;

#[derive(Debug, Parser)]
#[command(
    name = "doppelspan",
    version,
    about = "Learns a model of OpenTelemetry traces while they flow, and emits synthetic OTLP traces.",
    after_help = "Examples:
  doppelspan demo                                            watch it learn, in a browser
  doppelspan validate --config pipelines/alongside.yaml      every fault of a config at once
  doppelspan run --config pipelines/alongside.yaml           stand between SDKs and a backend
  doppelspan train --input traces.jsonl.zst --output shop.model
  doppelspan generate --model shop.model --traces 1000 --output synthetic.jsonl
  doppelspan generate traces --otlp-insecure --rate 20 --duration 1m
  doppelspan replay traces.jsonl.zst --otlp-endpoint localhost:4317 --rewrite-ids
  doppelspan evaluate --train traces.jsonl --held-out others.jsonl --model shop.model --output report"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch it learn: a simulated system, synthetic traces beside its own, a page in the browser
    Demo(demo::Arguments),
    /// Run the pipelines of a config until SIGTERM or Ctrl-C
    Run(run::Arguments),
    /// Tell every fault of a config, and start nothing
    Validate(validate::Arguments),
    /// Learn a model from files of observed spans
    Train(train::Arguments),
    /// Make synthetic traces from a model: a file, or live to an OTLP backend
    Generate(Box<generate::Arguments>),
    /// Send files of observed traces to an OTLP backend, at present times
    Replay(Box<replay::Arguments>),
    /// Write files of observed traces (Jaeger, Zipkin, Tempo, CSV) as OTLP/JSON lines
    Convert(convert::Arguments),
    /// Measure how good synthetic traces are, beside controls
    Evaluate(evaluate::Arguments),
    /// Say what a model has learnt
    Inspect(inspect::Arguments),
    /// List the components that a config can name
    Components(components::Arguments),
    /// Make traces of a simulated system: into a file, or live over gRPC
    Simulate(simulate::Arguments),
    /// Print what a shell needs to complete commands and options
    Completions(manual::Completions),
    /// Write the man pages
    Man(manual::Man),
}

/// Runs the program with the arguments of its process.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(fault) => {
            // `--help` and `--version` come this way too, and are no fault.
            let faulty = fault.use_stderr();
            return match fault.print() {
                Ok(()) if !faulty => ExitCode::SUCCESS,
                _ => ExitCode::from(FAULTY),
            };
        }
    };
    let done = match arguments.command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Run(arguments) => run::run(&arguments),
        Command::Validate(arguments) => validate::run(&arguments),
        Command::Train(arguments) => train::run(&arguments),
        Command::Generate(arguments) => generate::run(&arguments),
        Command::Evaluate(arguments) => evaluate::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Components(arguments) => components::run(&arguments),
        Command::Simulate(arguments) => simulate::run(&arguments),
        Command::Replay(arguments) => replay::run(&arguments),
        Command::Convert(arguments) => convert::run(&arguments),
        Command::Completions(arguments) => manual::complete(&arguments),
        Command::Man(arguments) => manual::man(&arguments),
    };
    done.unwrap_or_else(|fault| {
        complain(&format!("error: {fault:#}"));
        ExitCode::FAILURE
    })
}

/// A line for the user on standard error; one that can't be written has nobody to read it.
fn complain(line: &str) {
    use std::io::Write as _;
    writeln!(std::io::stderr(), "{line}").ok();
}

/// A line of output. A reader that hangs up (`| head`) ends the program quietly.
fn say(line: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    match writeln!(std::io::stdout(), "{line}") {
        Err(fault) if fault.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        done => Ok(done?),
    }
}
