//! `doppelspan generate` under conditions: what is read back is what was asked for.

use std::collections::BTreeMap;
use std::path::Path;

use integration_tests::{process, traffic};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;

/// A model of the simulated shop.
async fn model(folder: &Path) -> anyhow::Result<String> {
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let (input, model) = (path("observed.jsonl.zst"), path("shop.model"));
    let simulate = [
        "simulate", "--system", "shop", "--traces", "400", "--seed", "3",
    ];
    let train = [
        "train",
        "--input",
        &input,
        "--output",
        &model,
        "--min-traces",
        "5",
        "--steps",
        "5",
    ];
    for arguments in [&[&simulate[..], &["--output", &input]].concat()[..], &train] {
        let output = process::run(arguments).await?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        anyhow::ensure!(output.status.success(), "{arguments:?}: {said}");
    }
    Ok(model)
}

/// What a file holds: for each trace the name of its root, its spans, and whether one failed.
fn read(file: &Path) -> anyhow::Result<Vec<(String, usize, bool)>> {
    let mut traces: BTreeMap<Vec<u8>, Vec<Span>> = BTreeMap::new();
    for line in std::fs::read_to_string(file)?.lines() {
        let request: ExportTraceServiceRequest = serde_json::from_str(line)?;
        for span in traffic::spans(&request) {
            let trace = traces.entry(span.trace_id.clone()).or_default();
            trace.push(span.clone());
        }
    }
    let told = traces.into_values().map(|spans| {
        let root = spans.iter().find(|span| span.parent_span_id.is_empty());
        let failed = |span: &Span| span.status.as_ref().is_some_and(|status| status.code == 2);
        let root = root.map(|root| root.name.clone()).unwrap_or_default();
        (root, spans.len(), spans.iter().any(failed))
    });
    Ok(told.collect())
}

/// Generates 128 traces under conditions, twice.
async fn check(
    (model, folder): (&str, &Path),
    conditions: &[&str],
    meets: impl Fn(&(String, usize, bool)) -> bool,
    failed: Option<usize>,
) -> anyhow::Result<()> {
    let files = ["first.jsonl", "second.jsonl"].map(|name| folder.join(name));
    for file in &files {
        let file = file.to_string_lossy();
        let plain = [
            "generate", "--model", model, "--traces", "128", "--seed", "1", "--output", &file,
        ];
        let output = process::run(&[&plain[..], conditions].concat()).await?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        anyhow::ensure!(output.status.success(), "{conditions:?}: {said}");
    }
    assert_eq!(std::fs::read(&files[0])?, std::fs::read(&files[1])?);
    let traces = read(&files[0])?;
    assert_eq!(traces.len(), 128);
    for trace in &traces {
        assert!(meets(trace), "{conditions:?}: {trace:?}");
    }
    if let Some(failed) = failed {
        let got = traces.iter().filter(|(_, _, failed)| *failed).count();
        assert!(got.abs_diff(failed) <= 2, "{got} failed");
    }
    Ok(())
}

/// Asks for what can't be, and says with what words it is refused.
async fn check_refused(model: &str, conditions: &[&str], words: &[&str]) -> anyhow::Result<()> {
    let plain = [
        "generate", "--model", model, "--traces", "10", "--output", "-",
    ];
    let output = process::run(&[&plain[..], conditions].concat()).await?;
    assert!(!output.status.success() && output.stdout.is_empty());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    for word in words {
        assert!(said.contains(word), "{conditions:?}: {said}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_is_what_is_written_and_what_can_t_be_is_said() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let model = model(folder.path()).await?;
    let model = (&*model, folder.path());
    let search = ["--root", "storefront/GET /search"];
    let home = ["--root", "storefront/GET /"];
    let either = [search, home].concat();
    let named = |(name, ..): &(String, usize, bool)| name == "GET /search" || name == "GET /";
    check(model, &either, named, None).await?;
    let sizes = ["--min-spans", "5", "--max-spans", "30"];
    check(
        model,
        &sizes,
        |(_, spans, _)| (5..=30).contains(spans),
        None,
    )
    .await?;
    check(model, &["--errors", "0"], |(_, _, failed)| !failed, Some(0)).await?;
    check(model, &["--errors", "0.25"], |_| true, Some(32)).await?;
    check(model, &["--rare", "0.5"], |_| true, None).await?;
    let all = [&search[..], &["--errors", "0.5", "--max-spans", "100"]].concat();
    check(
        model,
        &all,
        |(name, spans, _)| name == "GET /search" && *spans <= 100,
        Some(64),
    )
    .await?;

    let unknown = ["--root", "storefront/GET /serch"];
    check_refused(
        model.0,
        &unknown,
        &["--root", "GET /serch", "`storefront/GET /search`"],
    )
    .await?;
    let range = ["--min-spans", "9", "--max-spans", "5"];
    check_refused(model.0, &range, &["--min-spans", "(5), got 9"]).await?;
    check_refused(model.0, &["--errors", "1.5"], &["--errors", "0 to 1"]).await?;
    check_refused(
        model.0,
        &["--spans", "5", "--min-spans", "2"],
        &["cannot be used"],
    )
    .await?;
    let never = ["--root", "storefront/GET /search", "--min-spans", "1900"];
    check_refused(
        model.0,
        &never,
        &["at least 1900 spans", "structures that the model drew"],
    )
    .await?;
    Ok(())
}
