//! `doppelspan generate` to a backend: telemetrygen's flags, every span in one count, and an exit
//! code that says whether all arrived.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use integration_tests::moody::{Mood, Moody};
use integration_tests::sink::hex;
use integration_tests::{free_port, process, validity};

/// What the program said, and its exit code.
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

async fn doppelspan(arguments: &str) -> anyhow::Result<Ended> {
    let arguments: Vec<&str> = arguments.split_whitespace().collect();
    let output = process::run(&arguments).await?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Ended {
        code: output.status.code(),
        out: text(&output.stdout),
        err: text(&output.stderr),
    })
}

/// Generates to a backend in a mood over gRPC: what it says and its exit code; the backend.
async fn check(mood: Mood, further: &str, code: i32, words: &[&str]) -> anyhow::Result<Moody> {
    let backend = Moody::start(mood).await?;
    let arguments = format!("generate traces --otlp-endpoint {} {further}", backend.grpc);
    let ended = doppelspan(&arguments).await?;
    let said = format!("{}{}", ended.out, ended.err);
    assert_eq!(ended.code, Some(code), "{arguments}: {said}");
    for words in words {
        assert!(said.contains(words), "`{words}` is not in {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
    Ok(backend)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_takes_all_gets_whole_marked_traces_without_a_model() -> anyhow::Result<()> {
    let words = ["made 30 traces of 150 spans", "took 150 spans"];
    let backend = check(
        Mood::Takes,
        "--otlp-insecure --traces 30 --spans 5",
        0,
        &words,
    )
    .await?;
    assert_eq!(validity::traces(&backend.spans())?, 30);
    for taken in backend.taken() {
        for group in &taken.request.resource_spans {
            assert!(integration_tests::sink::is_synthetic(group), "{group:?}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_worker_makes_its_traces_at_its_rate_and_one_if_none_are_asked_for()
-> anyhow::Result<()> {
    let backend = check(
        Mood::Takes,
        "--workers 3 --traces 4 --child-spans 1",
        0,
        &["12 traces of 24 spans"],
    )
    .await?;
    assert_eq!(validity::traces(&backend.spans())?, 12);
    let backend = check(Mood::Takes, "", 0, &["made 1 traces"]).await?;
    assert_eq!(validity::traces(&backend.spans())?, 1);
    check(
        Mood::Takes,
        "--workers 2 --duration 1s --rate 10 --spans 1",
        0,
        &["made 20 traces"],
    )
    .await?;
    // Without a rate, as fast as the backend takes them, for as long as the clock says.
    let backend = check(
        Mood::Takes,
        "--duration 300ms --rate 0 --spans 1",
        0,
        &["took"],
    )
    .await?;
    assert!(backend.spans().len() > 64, "{}", backend.spans().len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttling_backend_is_asked_again_and_gets_every_span_once() -> anyhow::Result<()> {
    let backend = check(
        Mood::Busy(3),
        "--traces 20 --spans 5",
        0,
        &["took 100 spans"],
    )
    .await?;
    assert_eq!(backend.asked(), 4);
    assert_eq!(validity::traces(&backend.spans())?, 20);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_backend_refuses_is_counted_told_with_its_words_and_fails() -> anyhow::Result<()> {
    let words = [
        "took 0 spans",
        "100 spans did not arrive (0 rejected by the backend, 100 given up)",
        "not with me",
    ];
    let backend = check(Mood::Refuses, "--traces 20 --spans 5", 1, &words).await?;
    assert_eq!((backend.asked(), backend.spans().len()), (1, 0));
    let words = [
        "took 93 spans",
        "7 spans did not arrive (7 rejected by the backend, 0 given up): too old",
    ];
    check(Mood::Rejects(7), "--traces 20 --spans 5", 1, &words).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_loss_ends_it_unless_it_is_told_to_go_on() -> anyhow::Result<()> {
    // Far more than would fit any queue: it can't be that all of it was made.
    let ended = check(
        Mood::Refuses,
        "--traces 500000 --spans 5",
        1,
        &["took 0 spans"],
    )
    .await?;
    assert!(ended.asked() < 500, "asked {} times", ended.asked());
    let further = "--traces 2000 --spans 5 --allow-export-failures";
    let words = ["made 2000 traces of 10000 spans", "10000 given up"];
    check(Mood::Refuses, further, 1, &words).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_is_not_there_is_a_failure_and_said_so() -> anyhow::Result<()> {
    let address = format!("127.0.0.1:{}", free_port()?);
    for protocol in ["", " --otlp-http"] {
        let arguments = format!(
            "generate traces --otlp-endpoint {address} --traces 4 --spans 5 --give-up-after 300ms{protocol}"
        );
        let ended = doppelspan(&arguments).await?;
        assert_eq!(ended.code, Some(1), "{}{}", ended.out, ended.err);
        assert!(
            ended.out.contains(&format!("{address} took 0 spans")),
            "{}",
            ended.out
        );
        assert!(
            ended.err.contains("20 spans did not arrive"),
            "{}",
            ended.err
        );
        assert!(ended.err.contains("refused"), "{}", ended.err);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn http_its_path_and_headers_are_as_they_were_asked_for() -> anyhow::Result<()> {
    let backend = Moody::start(Mood::Busy(1)).await?;
    let arguments = format!(
        "generate traces --otlp-http --otlp-endpoint {} --otlp-http-url-path /otlp/v1/traces \
         --otlp-header x-scope-orgid=demo --otlp-header authorization=\"secret\" --traces 3 --spans 2",
        backend.http
    );
    let arguments = arguments.split_whitespace().collect::<Vec<_>>().join(" ");
    let ended = doppelspan(&arguments).await?;
    assert_eq!(ended.code, Some(0), "{}{}", ended.out, ended.err);
    let taken = backend.taken();
    assert_eq!((taken.len(), backend.spans().len()), (1, 6));
    assert_eq!(taken[0].path, "/otlp/v1/traces");
    for (name, value) in [
        ("x-scope-orgid", "demo"),
        ("authorization", "secret"),
        ("content-type", "application/x-protobuf"),
    ] {
        let header = (name.to_owned(), value.to_owned());
        assert!(
            taken[0].headers.contains(&header),
            "{name} in {:?}",
            taken[0].headers
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_that_are_asked_for_stand_in_every_resource_beside_the_mark()
-> anyhow::Result<()> {
    let further =
        "--traces 20 --otlp-attributes deployment.environment=test --otlp-attributes shard=3";
    let backend = check(Mood::Takes, further, 0, &["made 20 traces"]).await?;
    let mut resources = 0;
    for group in backend
        .taken()
        .iter()
        .flat_map(|taken| &taken.request.resource_spans)
    {
        assert!(integration_tests::sink::is_synthetic(group));
        let attributes = group.resource.iter().flat_map(|it| &it.attributes);
        let told: Vec<String> = attributes
            .map(|it| format!("{} {:?}", it.key, it.value))
            .collect();
        let has = |key: &str, value: &str| {
            told.iter()
                .any(|it| it.starts_with(key) && it.contains(value))
        };
        assert!(
            has("deployment.environment", "StringValue(\"test\")"),
            "{told:?}"
        );
        assert!(has("shard", "IntValue(3)"), "{told:?}");
        resources += 1;
    }
    assert!(resources > 5, "{resources}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_are_printed_and_nothing_else_stands_among_them() -> anyhow::Result<()> {
    let backend = Moody::start(Mood::Takes).await?;
    let arguments = format!(
        "generate traces --otlp-endpoint {} --traces 200 --print-trace-ids",
        backend.grpc
    );
    let ended = doppelspan(&arguments).await?;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let printed: BTreeSet<String> = ended.out.lines().map(str::to_owned).collect();
    let arrived: BTreeSet<String> = backend
        .spans()
        .iter()
        .map(|span| hex(&span.trace_id))
        .collect();
    assert_eq!(printed, arrived);
    assert_eq!((printed.len(), ended.out.lines().count()), (200, 200));
    assert!(ended.err.contains("made 200 traces"), "{}", ended.err);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_it_with_all_that_was_made_delivered_and_counted() -> anyhow::Result<()> {
    let backend = Moody::start(Mood::Takes).await?;
    let address = backend.grpc.to_string();
    let child = tokio::process::Command::new(process::binary()?)
        .args([
            "generate",
            "traces",
            "--duration",
            "inf",
            "--rate",
            "200",
            "--otlp-endpoint",
            &address,
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    backend.wait(|backend| backend.spans().len() > 500).await?;
    let id = child.id().unwrap_or_default().to_string();
    let sent = tokio::process::Command::new("kill")
        .args(["-INT", &id])
        .status()
        .await?;
    assert!(sent.success());
    let ended = tokio::time::timeout(Duration::from_secs(30), child.wait_with_output()).await??;
    let out = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert_eq!(
        ended.status.code(),
        Some(0),
        "{out}{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    let spans = backend.spans();
    let traces = validity::traces(&spans)?;
    let expected = format!(
        "made {traces} traces of {0} spans; {address} took {0} spans",
        spans.len()
    );
    assert_eq!(out.trim(), expected);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_told_before_anything_is_sent() -> anyhow::Result<()> {
    let check = async |arguments: &str, code: i32, words: &str| {
        let ended = doppelspan(arguments).await?;
        assert_eq!(ended.code, Some(code), "{arguments}: {}", ended.err);
        assert!(ended.err.contains(words), "{arguments}: {}", ended.err);
        anyhow::Ok(())
    };
    check("generate metrics", 2, "possible values: traces").await?;
    check("generate --traces 3", 2, "--otlp-endpoint").await?;
    check("generate traces --rate -1", 2, "unexpected argument").await?;
    check("generate traces --rate=-1", 1, "--rate must be at least 0").await?;
    check("generate traces --otlp-header nothing", 2, "no `=`").await?;
    check("generate traces --otlp-endpoint nowhere", 1, "has no port").await?;
    check(
        "generate traces --system mall",
        2,
        "shop, social-network, ticket-office",
    )
    .await?;
    check("generate traces --workers 0", 2, "--workers").await?;
    check(
        "generate --output - --duration inf",
        1,
        "--duration inf makes no file",
    )
    .await
}
