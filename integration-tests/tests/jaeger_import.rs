//! Observed traces replayed into a real Jaeger, and what its API answers imported: the same traces.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use integration_tests::http::{Call, Version, send};
use integration_tests::sink::hex;
use integration_tests::{Jaeger, process, traffic};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};

async fn doppelspan(arguments: &[&str]) -> anyhow::Result<String> {
    let output = process::run(arguments).await?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    anyhow::ensure!(output.status.success(), "{arguments:?}: {said}");
    Ok(said)
}

/// What a file of OTLP/JSON lines holds: each span as a line of all that Jaeger keeps of it, and when
/// it starts and ends, in microseconds since its trace began.
fn read(path: &Path) -> anyhow::Result<BTreeMap<String, (String, [u64; 2])>> {
    let mut began: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
    let mut all: Vec<(String, Span)> = Vec::new();
    for line in std::fs::read_to_string(path)?.lines() {
        let request: traffic::Request = serde_json::from_str(line)?;
        for group in request.resource_spans {
            let service = service(&group);
            for span in group.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                let start = span.start_time_unix_nano / 1_000;
                let first = began.entry(span.trace_id.clone()).or_insert(start);
                *first = start.min(*first);
                all.push((service.clone(), span));
            }
        }
    }
    let lines = all.into_iter().map(|(service, span)| {
        let first = began[&span.trace_id];
        let micros = |nanos: u64| nanos / 1_000 - first;
        let status = span.status.clone().unwrap_or_default();
        let events: Vec<_> = span
            .events
            .iter()
            .map(|event| (event.name.clone(), sorted(&event.attributes)))
            .collect();
        let links: BTreeSet<_> = span.links.iter().map(|link| hex(&link.span_id)).collect();
        let times = [span.start_time_unix_nano, span.end_time_unix_nano].map(micros);
        let told = format!(
            "{service} {} below {} kind {} status {} {} events {events:?} links {links:?} {:?}",
            span.name,
            hex(&span.parent_span_id),
            span.kind,
            status.code,
            status.message,
            sorted(&span.attributes),
        );
        (
            format!("{} {}", hex(&span.trace_id), hex(&span.span_id)),
            (told, times),
        )
    });
    Ok(lines.collect())
}

fn sorted<T: std::fmt::Debug>(all: &[T]) -> BTreeSet<String> {
    all.iter().map(|it| format!("{it:?}")).collect()
}

fn service(group: &ResourceSpans) -> String {
    let mut attributes = group.resource.iter().flat_map(|it| &it.attributes);
    let named = attributes.find(|it| it.key == "service.name");
    match named.and_then(|it| it.value.as_ref()?.value.as_ref()) {
        Some(Value::StringValue(name)) => name.clone(),
        _ => String::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_jaegers_api_answers_is_what_was_replayed_into_it() -> anyhow::Result<()> {
    let Some(jaeger) = Jaeger::start().await? else {
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let observed = path("observed.jsonl");
    let simulate = [
        "simulate", "--traces", "60", "--seed", "9", "--output", &observed,
    ];
    doppelspan(&simulate).await?;
    let replay = [
        "replay",
        &observed,
        "--otlp-endpoint",
        &jaeger.grpc,
        "--speed",
        "1000",
    ];
    let said = doppelspan(&replay).await?;
    let expected = read(Path::new(&observed))?;
    assert!(
        said.contains(&format!("took {} spans", expected.len())),
        "{said}"
    );
    jaeger.wait_for(expected.len()).await?;

    // As people do it: an answer for each service, one behind the other, traces again and again.
    let mut answers = Vec::new();
    for service in jaeger.services().await? {
        let call = Call::get(format!(
            "/api/traces?service={service}&limit=1000&lookback=1h"
        ));
        let answer = send(&jaeger.query, Version::One, &call).await?;
        anyhow::ensure!(answer.status.is_success(), "{service}: {}", answer.status);
        answers.extend_from_slice(&answer.body);
    }
    std::fs::write(path("jaeger.json"), answers)?;
    let convert = [
        "convert",
        "--input",
        &path("jaeger.json"),
        "--output",
        &path("back.jsonl"),
    ];
    let said = doppelspan(&convert).await?;
    assert!(said.contains("is read as jaeger"), "{said}");
    let seen = read(Path::new(&path("back.jsonl")))?;
    assert!(
        seen.keys().eq(expected.keys()),
        "{} spans of {}",
        seen.len(),
        expected.len()
    );
    for (id, (told, times)) in &seen {
        let (expected, exact) = &expected[id];
        assert_eq!(told, expected, "{id}");
        // Moved to the present, a time falls between other microseconds.
        let near = times.iter().zip(exact).all(|(a, b)| a.abs_diff(*b) <= 2);
        assert!(near, "{id}: {times:?}, not {exact:?}");
    }
    Ok(())
}
