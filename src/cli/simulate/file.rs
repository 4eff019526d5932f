//! Simulated traces into a file.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::UNIX_EPOCH;

use anyhow::Context as _;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;

use super::Arguments;
use crate::cli::progress::Progress;
use crate::cli::say;
use crate::simulate::Simulator;

/// Enough that a fixture is small, and still faster than the simulation is.
const ZSTD_LEVEL: i32 = 12;

/// What a file's name says of its form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Form {
    content: Content,
    packing: Packing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    /// One request a line.
    Lines,
    /// One request of all traces, as JSON.
    Json,
    /// One request of all traces, as protobuf.
    Protobuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    Plain,
    Gzip,
    Zstd,
}

pub(super) fn write(arguments: &Arguments, path: &Path) -> anyhow::Result<ExitCode> {
    let form = form(path)?;
    let file = File::create(path).with_context(|| {
        format!(
            "can't write {}; its folder must be there and writable",
            path.display()
        )
    })?;
    let written = match form.packing {
        Packing::Plain => {
            let mut out = BufWriter::new(file);
            let written = fill(arguments, form.content, &mut out)?;
            out.flush().map(|()| written)
        }
        Packing::Gzip => {
            let mut out = flate2::write::GzEncoder::new(file, flate2::Compression::best());
            let written = fill(arguments, form.content, &mut out)?;
            out.finish().map(|_| written)
        }
        Packing::Zstd => {
            let mut out = zstd::stream::write::Encoder::new(file, ZSTD_LEVEL)?;
            let written = fill(arguments, form.content, &mut out)?;
            out.finish().map(|_| written)
        }
    };
    let written = written.with_context(|| format!("can't finish {}", path.display()))?;
    written.progress.end();
    say(&format!(
        "wrote {} traces of {} spans to {}",
        written.traces,
        written.spans,
        path.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}

struct Written {
    traces: u64,
    spans: u64,
    progress: Progress,
}

fn fill(arguments: &Arguments, content: Content, out: &mut impl Write) -> io::Result<Written> {
    let start = arguments.start.duration_since(UNIX_EPOCH);
    let start = start.map_or(0, |since| since.as_nanos() as u64);
    let until = arguments
        .duration
        .map(|length| start + length.as_nanos() as u64);
    let traces = match until {
        Some(_) => u64::MAX,
        None => arguments.traces.unwrap_or(100),
    };
    let expected = match arguments.duration {
        Some(length) => (length.as_secs_f64() * arguments.rate) as u64,
        None => traces,
    };
    let mut simulator = Simulator::new(arguments.system, arguments.seed);
    let mut written = Written {
        traces: 0,
        spans: 0,
        progress: Progress::new("simulating", expected, "traces"),
    };
    let mut whole = ExportTraceServiceRequest::default();
    let mut now = start;
    while written.traces < traces && until.is_none_or(|until| now < until) {
        let request = simulator.next_trace(now);
        written.traces += 1;
        written.spans += spans(&request);
        match content {
            Content::Lines => {
                serde_json::to_writer(&mut *out, &request)?;
                out.write_all(b"\n")?;
            }
            Content::Json | Content::Protobuf => {
                whole.resource_spans.extend(request.resource_spans);
            }
        }
        now += simulator.next_gap(arguments.rate);
        let spans = written.spans;
        written
            .progress
            .tell(written.traces, || format!("{spans} spans"));
    }
    match content {
        Content::Lines => {}
        Content::Json => serde_json::to_writer(&mut *out, &whole)?,
        Content::Protobuf => out.write_all(&whole.encode_to_vec())?,
    }
    Ok(written)
}

fn spans(request: &ExportTraceServiceRequest) -> u64 {
    let scopes = request.resource_spans.iter().flat_map(|r| &r.scope_spans);
    scopes.map(|scope| scope.spans.len() as u64).sum()
}

fn form(path: &Path) -> anyhow::Result<Form> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let (name, packing) = if let Some(name) = name.strip_suffix(".gz") {
        (name, Packing::Gzip)
    } else if let Some(name) = name.strip_suffix(".zst") {
        (name, Packing::Zstd)
    } else {
        (&*name, Packing::Plain)
    };
    let content = match name.rsplit_once('.') {
        Some((_, "jsonl")) => Content::Lines,
        Some((_, "json")) => Content::Json,
        Some((_, "pb")) => Content::Protobuf,
        _ => anyhow::bail!(
            "{}: no form is known by this ending; write .jsonl, .json or .pb, with .gz or .zst \
             behind it or not",
            path.display()
        ),
    };
    Ok(Form { content, packing })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_name_says_its_form() {
        let check = |name: &str, expected| {
            let form = form(Path::new(name)).ok();
            let said = form.map(|form| (form.content, form.packing));
            assert_eq!(said, expected, "{name}");
        };
        check("a/shop.jsonl", Some((Content::Lines, Packing::Plain)));
        check("shop.jsonl.gz", Some((Content::Lines, Packing::Gzip)));
        check("shop.x.jsonl.zst", Some((Content::Lines, Packing::Zstd)));
        check("request.json", Some((Content::Json, Packing::Plain)));
        check("request.pb", Some((Content::Protobuf, Packing::Plain)));
        check("shop.csv", None);
        check("shop.zst", None);
        check("jsonl", None);
    }
}
