//! Simulated traces into a file.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::UNIX_EPOCH;

use anyhow::Context as _;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;

use super::Arguments;
use crate::cli::packed::{Effort, Packed};
use crate::cli::progress::Progress;
use crate::cli::say;
use crate::simulate::Simulator;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    /// One request a line.
    Lines,
    /// One request of all traces, as JSON.
    Json,
    /// One request of all traces, as protobuf.
    Protobuf,
}

pub(super) fn write(arguments: &Arguments, path: &Path) -> anyhow::Result<ExitCode> {
    let content = content(path)?;
    let mut out = Packed::create(path, Effort::Small).with_context(|| {
        format!(
            "can't write {}; its folder must be there and writable",
            path.display()
        )
    })?;
    let written = fill(arguments, content, &mut out)?;
    out.end()
        .with_context(|| format!("can't finish {}", path.display()))?;
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

/// What a file's name says of its form.
fn content(path: &Path) -> anyhow::Result<Content> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let packed = [".gz", ".zst"]
        .iter()
        .find_map(|end| name.strip_suffix(end));
    let ending = packed.unwrap_or(&name).rsplit_once('.');
    Ok(match ending.map(|(_, ending)| ending) {
        Some("jsonl") => Content::Lines,
        Some("json") => Content::Json,
        Some("pb") => Content::Protobuf,
        _ => anyhow::bail!(
            "{}: no form is known by this ending; write .jsonl, .json or .pb, with .gz or .zst \
             behind it or not",
            path.display()
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_name_says_its_form() {
        let check = |name: &str, expected| {
            assert_eq!(content(Path::new(name)).ok(), expected, "{name}");
        };
        check("a/shop.jsonl", Some(Content::Lines));
        check("shop.jsonl.gz", Some(Content::Lines));
        check("shop.x.jsonl.zst", Some(Content::Lines));
        check("request.json", Some(Content::Json));
        check("request.pb", Some(Content::Protobuf));
        check("shop.csv", None);
        check("shop.zst", None);
        check("jsonl", None);
    }
}
