//! The same traces in every format that is read are the same traces.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use doppelspan::features::Interner;
use doppelspan::import::{self, Format, Unit};
use integration_tests::{Traces, foreign, process, traffic};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message as _;

/// What a format holds of a span besides its ids, its parent, its service, its name and its times.
#[derive(Debug, Clone, Copy, Default)]
struct Holds {
    /// Times to the nanosecond, and not to the microsecond.
    nanos: bool,
    kind: bool,
    status: bool,
    message: bool,
    events: bool,
    links: bool,
    attributes: bool,
}

const ALL: Holds = Holds {
    nanos: true,
    kind: true,
    status: true,
    message: true,
    events: true,
    links: true,
    attributes: true,
};

/// What each file holds, and the format that its content tells.
const FORMATS: [(&str, Format, Holds); 6] = [
    ("otlp.json", Format::Documents, ALL),
    ("tempo.json", Format::Documents, ALL),
    (
        "jaeger.json",
        Format::Jaeger,
        Holds {
            nanos: false,
            ..ALL
        },
    ),
    // Zipkin's tags are text.
    (
        "zipkin.json",
        Format::Zipkin,
        Holds {
            nanos: false,
            links: false,
            attributes: false,
            ..ALL
        },
    ),
    (
        "nezha.csv",
        Format::Nezha,
        Holds {
            nanos: true,
            kind: false,
            status: false,
            message: false,
            events: false,
            links: false,
            attributes: false,
        },
    ),
    (
        "eadro.csv",
        Format::Eadro(Unit::Micros),
        Holds {
            nanos: false,
            kind: false,
            status: true,
            message: false,
            events: false,
            links: false,
            attributes: false,
        },
    ),
];

/// Spans by trace and span id, as lines of what a format holds of them.
type Dags = BTreeMap<String, String>;

fn dags(request: &traffic::Request, holds: Holds, into: &mut Dags) {
    let time = |nanos: u64| if holds.nanos { nanos } else { nanos / 1_000 };
    for group in &request.resource_spans {
        let attributes = group.resource.iter().flat_map(|it| &it.attributes);
        let mut named = attributes.filter(|it| it.key == "service.name");
        let service = named
            .next()
            .and_then(|it| it.value.as_ref()?.value.as_ref());
        let Some(Value::StringValue(service)) = service else {
            panic!("a span without a service");
        };
        for span in group.scope_spans.iter().flat_map(|scope| &scope.spans) {
            let status = span.status.clone().unwrap_or_default();
            let mut told = format!("{service} {} below {:?}", span.name, span.parent_span_id);
            let (start, end) = (span.start_time_unix_nano, span.end_time_unix_nano);
            told += &format!(" {} to {}", time(start), time(end));
            if holds.kind {
                told += &format!(" kind {}", span.kind);
            }
            if holds.status {
                told += &format!(" status {}", status.code);
            }
            if holds.message {
                told += &format!(" {}", status.message);
            }
            if holds.events {
                let events = span
                    .events
                    .iter()
                    .map(|it| (time(it.time_unix_nano), &it.name));
                told += &format!(" events {:?}", events.collect::<Vec<_>>());
            }
            if holds.links {
                let links = span.links.iter().map(|it| (&it.trace_id, &it.span_id));
                told += &format!(" links {:?}", links.collect::<BTreeSet<_>>());
            }
            if holds.attributes {
                let attributes: BTreeSet<String> =
                    span.attributes.iter().map(|it| format!("{it:?}")).collect();
                told += &format!(" attributes {attributes:?}");
            }
            let id = format!("{:?} {:?}", span.trace_id, span.span_id);
            assert!(into.insert(id, told).is_none(), "a span twice");
        }
    }
}

/// What is read of a file, with nothing that can't be used; and whole traces that come of it.
fn read(path: &Path, format: Option<Format>, holds: Holds) -> anyhow::Result<(Dags, u64)> {
    let (mut seen, mut whole) = (Dags::new(), 0);
    let mut traces = Traces::new(&Arc::new(Interner::default()));
    let mut count = |done: Vec<doppelspan::assembler::Done>| {
        whole += done.iter().filter(|done| done.trace.is_ok()).count() as u64;
    };
    for request in import::open(path, format)? {
        let request = request?;
        count(traces.add(&request)?);
        dags(&traffic::Request::decode(request)?, holds, &mut seen);
    }
    count(traces.finish());
    Ok((seen, whole))
}

fn requests(file: &Path) -> anyhow::Result<Vec<traffic::Request>> {
    let lines = import::open(file, Some(Format::Otlp))?;
    lines
        .map(|line| Ok(traffic::Request::decode(line?)?))
        .collect()
}

/// Writes traces in every format and reads them back.
fn check(requests: &[traffic::Request], folder: &Path) -> anyhow::Result<()> {
    for ((name, write), (_, format, holds)) in foreign::ALL.into_iter().zip(FORMATS) {
        let path = folder.join(name);
        std::fs::write(&path, write(requests))?;
        assert_eq!(import::open(&path, None)?.format(), format, "{name}");
        let mut expected = Dags::new();
        requests
            .iter()
            .for_each(|request| dags(request, holds, &mut expected));
        for format in [None, Some(format)] {
            let (seen, whole) = read(&path, format, holds)?;
            assert!(seen.keys().eq(expected.keys()), "{name}: other spans");
            for (id, told) in &seen {
                assert_eq!(*told, expected[id], "{name}");
            }
            assert_eq!(whole, requests.len() as u64, "{name}: whole traces");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_traces_in_each_format_are_the_same_dags() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    for system in ["shop", "social-network", "ticket-office"] {
        let file = folder.path().join("observed.jsonl");
        let simulate = [
            "simulate",
            "--system",
            system,
            "--traces",
            "60",
            "--output",
            &file.to_string_lossy(),
        ];
        assert!(process::run(&simulate).await?.status.success());
        check(&requests(&file)?, folder.path())?;
    }
    Ok(())
}

/// The fixtures are what the harness writes of three traces of the ticket office; with
/// UPDATE_FIXTURES=1 they are written anew.
#[tokio::test(flavor = "multi_thread")]
async fn the_fixtures_hold_the_same_three_traces() -> anyhow::Result<()> {
    let fixtures = process::root().join("fixtures/imports");
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("observed.jsonl");
    let simulate = "simulate --system ticket-office --traces 3 --seed 5 --output";
    let simulate: Vec<&str> = simulate.split(' ').chain(file.to_str()).collect();
    assert!(process::run(&simulate).await?.status.success());
    let requests = requests(&file)?;
    let mut names = BTreeSet::from(["README.md".to_owned()]);
    for (name, write) in foreign::ALL {
        let path = fixtures.join(name);
        if std::env::var_os("UPDATE_FIXTURES").is_some() {
            std::fs::write(&path, write(&requests))?;
        }
        let there = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        assert!(
            there == write(&requests),
            "{name}: write it anew with UPDATE_FIXTURES=1"
        );
        names.insert(name.to_owned());
    }
    let there = std::fs::read_dir(&fixtures)?
        .map(|entry| entry.map(|it| it.file_name().to_string_lossy().into_owned()));
    assert_eq!(there.collect::<Result<BTreeSet<_>, _>>()?, names);
    check(&requests, folder.path())
}

#[tokio::test(flavor = "multi_thread")]
async fn train_and_evaluate_read_every_format_and_say_what_they_can_t_use() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (observed, model) = (path("observed.jsonl"), path("a.model"));
    let run = async |arguments: &[&str], code: i32| {
        let output = process::run(arguments).await?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        anyhow::Ok(said)
    };
    run(&["simulate", "--traces", "60", "--output", &observed], 0).await?;
    let requests = requests(Path::new(&observed))?;
    for (name, write) in foreign::ALL {
        let file = path(&format!("{name}.zst"));
        std::fs::write(&file, zstd::encode_all(write(&requests).as_bytes(), 1)?)?;
        let train = [
            "train",
            "--input",
            &file,
            "--output",
            &model,
            "--steps",
            "1",
            "--min-traces",
            "5",
        ];
        let said = run(&train, 0).await?;
        assert!(said.contains("read 60 traces of"), "{name}: {said}");
    }
    let (jaeger, zipkin) = (path("jaeger.json.zst"), path("zipkin.json.zst"));
    let report = path("report");
    let evaluate = [
        "evaluate",
        "--train",
        &jaeger,
        "--held-out",
        &zipkin,
        "--synthetic",
        &jaeger,
        "--output",
        &report,
    ];
    let said = run(&evaluate, 0).await?;
    assert!(said.contains("report.html"), "{said}");

    // Bad rows: the first few are named by line and column, the others are counted.
    let mut rows = std::fs::read_to_string(process::root().join("fixtures/imports/nezha.csv"))?;
    rows += "\n1,2,root,web,GET /,soon,5,1\n1,,root,web,GET /,4,5,1\n1,2\n1,2,root,web,GET /,-4,5,1\n\"1,2\n";
    std::fs::write(path("bad.csv"), rows)?;
    let convert = [
        "convert",
        "--input",
        &path("bad.csv"),
        "--output",
        &path("bad.jsonl"),
    ];
    let said = run(&convert, 0).await?;
    let lines = std::fs::read_to_string(path("bad.csv"))?.lines().count();
    for (behind, words) in [
        (5, "column StartTimeUnixNano: `soon` is no number"),
        (4, "column SpanID: is empty"),
        (3, "column ParentID: missing: the row has 2 columns"),
    ] {
        let named = format!("bad.csv:{}: {words}", lines - behind + 1);
        assert!(said.contains(&named), "{named} in {said}");
    }
    assert!(said.contains("2 more of"), "{said}");
    assert!(said.contains("wrote 3 requests"), "{said}");

    // What is no format, and what is not the one that was asked for.
    std::fs::write(path("other.txt"), "hello\n")?;
    let said = run(
        &["train", "--input", &path("other.txt"), "--output", &model],
        1,
    )
    .await?;
    assert!(
        said.contains("it begins with `hello`") && said.contains("understood are otlp"),
        "{said}"
    );
    let asked = [
        "train",
        "--input",
        &observed,
        "--input-format",
        "eadro:ms",
        "--output",
        &model,
    ];
    let said = run(&asked, 1).await?;
    assert!(said.contains("has no timestamp, service_name"), "{said}");
    let unknown = [
        "train",
        "--input",
        &observed,
        "--input-format",
        "csv",
        "--output",
        &model,
    ];
    let said = run(&unknown, 2).await?;
    assert!(said.contains("eadro:UNIT"), "{said}");
    Ok(())
}
