//! `doppelspan replay`: observed files at present times, told by the times in the spans that arrive.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use integration_tests::moody::{Mood, Moody};
use integration_tests::sink::hex;
use integration_tests::{process, traffic, validity};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};

/// 2023-11-14T22:13:20Z.
const THEN: u64 = 1_700_000_000_000_000_000;
const MS: u64 = 1_000_000;

/// A trace of four spans that begins so many ms after [`THEN`] and lasts 20 ms: a root, two
/// children, and a grandchild with an event and a link to its sibling.
fn trace(number: u64, after: u64) -> Vec<Span> {
    let at = |ms: u64| THEN + (after + ms) * MS;
    let id = |at: u64| (number * 10 + at).to_be_bytes().to_vec();
    let span = |own: u64, parent: u64, from: u64, to: u64| Span {
        trace_id: (u128::from(number) + 1).to_be_bytes().to_vec(),
        span_id: id(own),
        parent_span_id: if parent == 0 { Vec::new() } else { id(parent) },
        name: format!("operation {own}"),
        kind: 2,
        start_time_unix_nano: at(from),
        end_time_unix_nano: at(to),
        ..Span::default()
    };
    let mut spans = vec![
        span(1, 0, 0, 20),
        span(2, 1, 1, 5),
        span(3, 1, 6, 19),
        span(4, 3, 7, 9),
    ];
    spans[3].events = vec![Event {
        time_unix_nano: at(8),
        name: "half way".to_owned(),
        ..Event::default()
    }];
    spans[3].links = vec![Link {
        trace_id: spans[0].trace_id.clone(),
        span_id: id(2),
        ..Link::default()
    }];
    spans
}

fn request(spans: Vec<Span>) -> traffic::Request {
    let name = KeyValue {
        key: "service.name".to_owned(),
        value: Some(AnyValue {
            value: Some(Value::StringValue("shop".to_owned())),
        }),
        ..KeyValue::default()
    };
    traffic::Request {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: vec![name],
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans {
                spans,
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    }
}

/// A file of traces that begin at these ms; spans of each in two lines, the later traces first.
fn write(path: &Path, begins: &[u64]) -> anyhow::Result<()> {
    let mut lines = String::new();
    for part in [0..2, 2..4] {
        for (number, after) in begins.iter().enumerate().rev() {
            let spans = trace(number as u64 + 1, *after)[part.clone()].to_vec();
            lines += &serde_json::to_string(&request(spans))?;
            lines.push('\n');
        }
    }
    Ok(std::fs::write(path, lines)?)
}

/// Replays a file: what was said, and the backend.
async fn replay(begins: &[u64], further: &str, code: i32) -> anyhow::Result<(String, Moody)> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("observed.jsonl");
    write(&file, begins)?;
    let backend = Moody::start(Mood::Takes).await?;
    let (file, address) = (file.to_string_lossy(), backend.grpc.to_string());
    let mut arguments = vec!["replay", &file, "--otlp-endpoint", &address];
    arguments.extend(further.split_whitespace());
    let output = process::run(&arguments).await?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert_eq!(output.status.code(), Some(code), "{said}");
    Ok((said, backend))
}

/// The root of each trace, by when it starts.
fn roots(spans: &[Span]) -> Vec<Span> {
    let mut roots: Vec<_> = spans
        .iter()
        .filter(|span| span.parent_span_id.is_empty())
        .cloned()
        .collect();
    roots.sort_by_key(|span| span.start_time_unix_nano);
    roots
}

#[expect(
    clippy::disallowed_methods,
    reason = "what arrives is compared with the present"
)]
fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_nanos() as u64
}

#[tokio::test(flavor = "multi_thread")]
async fn gaps_between_traces_are_divided_and_what_is_within_a_trace_stays() -> anyhow::Result<()> {
    let check = async |pace: &str, expected: &[u64]| -> anyhow::Result<()> {
        let before = now();
        let (said, backend) = replay(&[0, 40, 400, 1_000], pace, 0).await?;
        assert!(said.contains("replayed 4 traces of 16 spans;"), "{said}");
        let spans = backend.spans();
        assert_eq!(validity::traces(&spans)?, 4);
        let roots = roots(&spans);
        let first = roots[0].start_time_unix_nano;
        assert!(
            (before..now()).contains(&first),
            "the first begins in the present"
        );
        let begins: Vec<u64> = roots
            .iter()
            .map(|root| root.start_time_unix_nano - first)
            .collect();
        assert_eq!(
            begins,
            expected.iter().map(|us| us * 1_000).collect::<Vec<_>>(),
            "{pace}"
        );
        // By their ids, which were not rewritten.
        let observed: BTreeMap<_, _> = [0, 40, 400, 1_000]
            .iter()
            .enumerate()
            .flat_map(|(at, after)| trace(at as u64 + 1, *after))
            .map(|span| (span.span_id.clone(), span))
            .collect();
        for span in &spans {
            let root = roots
                .iter()
                .find(|root| root.trace_id == span.trace_id)
                .unwrap();
            let was = &observed[&span.span_id];
            let was_root = observed
                .values()
                .find(|it| it.trace_id == was.trace_id && it.parent_span_id.is_empty());
            let offset = root.start_time_unix_nano - was_root.unwrap().start_time_unix_nano;
            let mut expected = was.clone();
            expected.start_time_unix_nano += offset;
            expected.end_time_unix_nano += offset;
            expected
                .events
                .iter_mut()
                .for_each(|event| event.time_unix_nano += offset);
            assert_eq!(*span, expected);
        }
        Ok(())
    };
    check("--speed 1", &[0, 40_000, 400_000, 1_000_000]).await?;
    check("--speed 2", &[0, 20_000, 200_000, 500_000]).await?;
    check("--speed 100", &[0, 400, 4_000, 10_000]).await?;
    check("--rate 20", &[0, 50_000, 100_000, 150_000]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn traces_arrive_when_they_have_ended_in_the_order_in_which_they_do() -> anyhow::Result<()> {
    let (_, backend) = replay(&[0, 100, 200, 300, 400], "--speed 1", 0).await?;
    let mut order: Vec<String> = Vec::new();
    for span in backend.spans() {
        let id = hex(&span.trace_id);
        if order.last() != Some(&id) {
            order.push(id);
        }
    }
    let expected: Vec<String> = (2..7_u128)
        .map(|number| hex(&number.to_be_bytes()))
        .collect();
    assert_eq!(order, expected);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rewritten_ids_are_new_keep_what_they_name_and_hang_on_the_seed() -> anyhow::Result<()> {
    let ids = |spans: &[Span]| -> BTreeSet<String> {
        spans
            .iter()
            .flat_map(|span| [hex(&span.trace_id), hex(&span.span_id)])
            .collect()
    };
    let observed = ids(&[trace(1, 0), trace(2, 5)].concat());
    let mut seen = Vec::new();
    for seed in ["1", "1", "2"] {
        let further = format!("--rewrite-ids --seed {seed} --print-trace-ids");
        let (said, backend) = replay(&[0, 5], &further, 0).await?;
        let spans = backend.spans();
        assert_eq!(validity::traces(&spans)?, 2);
        for span in spans.iter().filter(|span| !span.links.is_empty()) {
            let sibling = spans
                .iter()
                .find(|other| other.name == "operation 2" && other.trace_id == span.trace_id);
            let sibling = sibling.unwrap();
            assert_eq!(span.links[0].span_id, sibling.span_id);
            assert_eq!(span.links[0].trace_id, sibling.trace_id);
        }
        let new = ids(&spans);
        assert!(new.is_disjoint(&observed));
        for span in &spans {
            assert!(said.contains(&hex(&span.trace_id)), "{said}");
        }
        seen.push(new);
    }
    assert_eq!(seen[0], seen[1]);
    assert!(seen[0].is_disjoint(&seen[2]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn late_spans_come_in_a_later_request_and_none_is_lost() -> anyhow::Result<()> {
    let begins: Vec<u64> = (0..60).map(|at| at * 2).collect();
    let (said, backend) = replay(&begins, "--late 0.25 --late-by 600ms --seed 3", 0).await?;
    assert!(said.contains("took 240 spans"), "{said}");
    let late: usize = said
        .split_once(" of them late")
        .and_then(|(before, _)| before.rsplit(' ').next()?.parse().ok())
        .unwrap();
    assert!((30..90).contains(&late), "{late} of 240");
    assert_eq!(validity::traces(&backend.spans())?, 60);
    // All traces end within 140 ms, so whatever came after 600 ms is what was late.
    let mut whole: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    let mut punctual = 0;
    let requests = backend.taken();
    for taken in &requests {
        for span in traffic::spans(&taken.request) {
            *whole.entry(span.trace_id.clone()).or_default() += 1;
        }
    }
    assert!(whole.values().all(|count| *count == 4));
    for taken in &requests {
        let count = traffic::spans(&taken.request).count();
        if punctual + count > 240 - late {
            break;
        }
        punctual += count;
    }
    assert_eq!(
        punctual,
        240 - late,
        "late spans have requests of their own, behind the others"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_begins_anew_with_new_ids_until_it_has_enough_or_ctrl_c() -> anyhow::Result<()> {
    let (said, backend) = replay(&[0, 10, 20], "--loop --rewrite-ids --traces 10", 0).await?;
    assert!(said.contains("replayed 10 traces of 40 spans;"), "{said}");
    let spans = backend.spans();
    assert_eq!(validity::traces(&spans)?, 10);
    let roots = roots(&spans);
    let gaps: Vec<u64> = roots
        .windows(2)
        .map(|pair| pair[1].start_time_unix_nano - pair[0].start_time_unix_nano)
        .collect();
    assert_eq!(gaps, [10 * MS; 9]);

    let folder = tempfile::tempdir()?;
    let file = folder.path().join("observed.jsonl");
    write(&file, &[0, 10, 20])?;
    let backend = Moody::start(Mood::Takes).await?;
    let child = tokio::process::Command::new(process::binary()?)
        .args([
            "replay",
            "--loop",
            "--rewrite-ids",
            "--otlp-endpoint",
            &backend.grpc.to_string(),
        ])
        .args(["--late", "0.2", "--late-by", "10m"])
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    backend.wait(|backend| backend.spans().len() > 100).await?;
    let id = child.id().unwrap_or_default().to_string();
    assert!(
        tokio::process::Command::new("kill")
            .args(["-INT", &id])
            .status()
            .await?
            .success()
    );
    let ended = tokio::time::timeout(Duration::from_secs(30), child.wait_with_output()).await??;
    let out = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert_eq!(ended.status.code(), Some(0), "{out}");
    // Late spans did not wait for their time: every trace is whole.
    let spans = backend.spans();
    let traces = validity::traces(&spans)?;
    assert!(
        out.contains(&format!("replayed {traces} traces of {} spans", traces * 4)),
        "{out}"
    );
    assert_eq!(spans.len(), traces * 4);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_other_formats_and_bad_records_are_replayed_as_far_as_they_go()
-> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let csv = "TraceID,SpanID,ParentID,PodName,OperationName,StartTimeUnixNano,EndTimeUnixNano,Duration\n\
               t1,a,root,web-579b9bff58-t2dbm,GET /,1661273974000000000,1661273974010000000,10000\n\
               t1,b,a,web-579b9bff58-t2dbm,GET /x,soon,1661273974010000000,10000\n";
    let jaeger = r#"{"data":[{"traceID":"2","spans":[{"traceID":"2","spanID":"1","operationName":"GET /",
        "references":[],"startTime":1661273974000000,"duration":10,"processID":"p1"}],
        "processes":{"p1":{"serviceName":"web"}}}]}"#;
    std::fs::write(path("a.csv"), csv)?;
    std::fs::write(path("b.json"), jaeger)?;
    let backend = Moody::start(Mood::Takes).await?;
    let address = backend.grpc.to_string();
    let files = [path("a.csv"), path("b.json")];
    let output =
        process::run(&["replay", &files[0], &files[1], "--otlp-endpoint", &address]).await?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("replayed 2 traces of 2 spans;"), "{said}");
    assert!(
        said.contains("a.csv:3: column StartTimeUnixNano: `soon` is no number"),
        "{said}"
    );
    assert_eq!(backend.spans().len(), 2);

    let check = async |arguments: &[&str], code: i32, words: &str| {
        let output = process::run(&[&["replay"], arguments].concat()).await?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(words), "{said}");
        anyhow::Ok(())
    };
    let [csv, _] = &files;
    check(&["--otlp-endpoint", &address], 2, "<FILE>").await?;
    check(&[csv, "--speed", "0"], 1, "--speed must be above 0").await?;
    check(&[csv, "--late", "2"], 1, "--late must lie in 0 to 1").await?;
    check(&[csv, "--loop"], 2, "--rewrite-ids").await?;
    check(&["/nowhere/x.jsonl"], 1, "can't read /nowhere/x.jsonl").await
}
