//! "Normal or fault window": which traces a fault was at work in, as the `labels.csv` of a corpus says.
//!
//! A line has a `trace_id` in hexadecimal digits, and either a `label` (`normal` or `abnormal`; where there
//! is an `in_fault_window` too, normal ones count only with 0 in it) or a `fault` (`none` or its name).
//! Fields hold no commas.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;

/// What both kinds of traces are called.
pub const KINDS: [&str; 2] = ["normal", "fault"];

/// By trace, the place of its kind in [`KINDS`].
pub type Labels = HashMap<Vec<u8>, usize>;

/// Reads labels; none if there is no such file.
pub fn labels(path: &Path) -> Result<Option<Labels>> {
    match std::fs::read_to_string(path) {
        Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => Ok(None),
        told => parse(&told?)
            .with_context(|| path.display().to_string())
            .map(Some),
    }
}

fn parse(told: &str) -> Result<Labels> {
    let mut lines = told.lines();
    let head: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    let column = |name: &str| head.iter().position(|column| *column == name);
    let id = column("trace_id").context("there is no column trace_id")?;
    let [label, window, fault] = ["label", "in_fault_window", "fault"].map(column);
    let kind = |fields: &[&str]| {
        let field = |at: Option<usize>| at.and_then(|at| fields.get(at).copied());
        match (field(label), field(fault)) {
            (Some("abnormal"), _) => Some(1),
            (Some("normal"), _) => field(window).is_none_or(|told| told == "0").then_some(0),
            (None, Some("none")) => Some(0),
            (None, Some(fault)) if !fault.is_empty() => Some(1),
            _ => None,
        }
    };
    let labelled = lines.filter_map(|line| {
        let fields: Vec<&str> = line.split(',').collect();
        Some((bytes(fields.get(id)?)?, kind(&fields)?))
    });
    Ok(labelled.collect())
}

/// Of hexadecimal digits.
fn bytes(digits: &str) -> Option<Vec<u8>> {
    let byte = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    (0..digits.len()).step_by(2).map(byte).collect()
}

/// Writes the traces of one kind.
pub fn part(from: &Path, to: &Path, labels: &Labels, kind: usize) -> Result<()> {
    let mut out = zstd::Encoder::new(std::fs::File::create(to)?, 3)?;
    let lines = BufReader::new(zstd::Decoder::new(std::fs::File::open(from)?)?).lines();
    for line in lines {
        let request: ExportTraceServiceRequest = serde_json::from_str(&line?)?;
        let kept = super::only(request, |trace| labels.get(trace) == Some(&kind));
        if let Some(kept) = kept {
            serde_json::to_writer(&mut out, &kept)?;
            out.write_all(b"\n")?;
        }
    }
    out.finish()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_say_that_a_fault_was_at_work_are_read() {
        let labels = parse(
            "trace_id,label,in_fault_window\n\
             0a0b,normal,0\n\
             0c,normal,1\n\
             0d,abnormal,1\n\
             0e,normal,tail\n\
             zz,normal,0\n",
        );
        let expected = Labels::from([(vec![10, 11], 0), (vec![13], 1)]);
        assert_eq!(labels.unwrap(), expected);
        let labels = parse("fault,trace_id\nnone,01\nslow_cache,02\n,03\n");
        assert_eq!(labels.unwrap(), Labels::from([(vec![1], 0), (vec![2], 1)]));
        assert!(parse("id,label\n").is_err());
    }
}
