//! The fixtures are what their README's commands make, and can be learnt from.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;

use anyhow::Context as _;
use integration_tests::{process, traffic};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::ResourceSpans;
use prost::Message as _;

/// The files of `fixtures/` and the arguments that make each, as its README's table has them.
fn rows(readme: &str) -> Vec<(String, Vec<String>)> {
    let rows = readme.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let mut code = row.split('`').skip(1).step_by(2);
        let file = code.next().unwrap().to_owned();
        let command = code.find(|code| code.starts_with("doppelspan ")).unwrap();
        let arguments = command.split_whitespace().skip(1).map(str::to_owned);
        (file, arguments.collect())
    })
    .collect()
}

/// What is in a file behind its compression, which another version of a library may pack
/// differently.
fn content(path: &Path) -> anyhow::Result<Vec<u8>> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    let mut content = Vec::new();
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("gz") => flate2::read::GzDecoder::new(&*bytes).read_to_end(&mut content)?,
        Some("zst") => zstd::stream::read::Decoder::new(&*bytes)?.read_to_end(&mut content)?,
        _ => return Ok(bytes),
    };
    Ok(content)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fixture_is_what_the_command_beside_it_makes() -> anyhow::Result<()> {
    let fixtures = process::root().join("fixtures");
    let rows = rows(&std::fs::read_to_string(fixtures.join("README.md"))?);
    let mut there: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(&fixtures)? {
        there.push(entry?.file_name().to_string_lossy().into_owned());
    }
    // `imports` is made and checked by `tests/imports.rs`.
    there.retain(|name| name != "README.md" && name != "imports");
    there.sort();
    let mut told: Vec<_> = rows.iter().map(|(file, _)| file.clone()).collect();
    told.sort();
    assert_eq!(there, told, "every file has a row, and every row a file");
    let folder = tempfile::tempdir()?;
    for (file, mut arguments) in rows {
        let made = folder.path().join(&file);
        let output = arguments.last_mut().context("a command has arguments")?;
        assert_eq!(*output, format!("fixtures/{file}"));
        *output = made.to_string_lossy().into_owned();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let ended = process::run(&arguments).await?;
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(ended.status.success(), "{file}: {said}");
        let same = content(&made)? == content(&fixtures.join(&file))?;
        assert!(
            same,
            "{file} is not what its command makes; `make fixtures`"
        );
    }
    Ok(())
}

#[test]
fn each_systems_request_is_the_same_as_protobuf_and_as_json() -> anyhow::Result<()> {
    let check = |system: &str| -> anyhow::Result<()> {
        let read = |ending| {
            let file = format!("fixtures/{system}-request.{ending}");
            std::fs::read(process::root().join(file))
        };
        let protobuf = traffic::Request::decode(&*read("pb")?)?;
        let json: traffic::Request = serde_json::from_slice(&read("json")?)?;
        assert_eq!(protobuf, json, "{system}");
        assert!(traffic::spans(&json).count() > 2, "{system}");
        Ok(())
    };
    check("shop")?;
    check("social-network")?;
    check("ticket-office")
}

/// The traces in which each (service, span name) stands, and every span's id.
#[derive(Default)]
struct Content {
    traces_of: BTreeMap<(String, String), BTreeSet<Vec<u8>>>,
    ids: BTreeSet<Vec<u8>>,
}

fn content_of(lines: &[u8]) -> anyhow::Result<Content> {
    let mut found = Content::default();
    for line in lines.split(|byte| *byte == b'\n').filter(|l| !l.is_empty()) {
        let request: traffic::Request = serde_json::from_slice(line)?;
        for group in &request.resource_spans {
            let service = service(group).context("a resource has a service.name")?;
            for span in group.scope_spans.iter().flat_map(|scope| &scope.spans) {
                let label = (service.clone(), span.name.clone());
                let traces = found.traces_of.entry(label).or_default();
                traces.insert(span.trace_id.clone());
                found.ids.insert(span.trace_id.clone());
                found.ids.insert(span.span_id.clone());
            }
        }
    }
    Ok(found)
}

fn service(group: &ResourceSpans) -> Option<String> {
    let attributes = &group.resource.as_ref()?.attributes;
    let named = attributes.iter().find(|a| a.key == "service.name")?;
    match named.value.as_ref()?.value.as_ref()? {
        Value::StringValue(name) => Some(name.clone()),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_of_the_shops_file_tells_what_many_traces_share_and_nothing_else()
-> anyhow::Result<()> {
    let shop = process::root().join("fixtures/shop.jsonl.zst");
    let observed = content(&shop)?;
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (shop, model, output) = (
        shop.to_string_lossy().into_owned(),
        path("shop.model"),
        path("synthetic.jsonl"),
    );
    let train = ["train", "--input", &shop, "--output", &model];
    let train = [&train[..], &["--steps", "3", "--min-traces", "10"]].concat();
    let generate = ["generate", "--model", &model, "--output", &output];
    let generate = [&generate[..], &["--traces", "100", "--seed", "1"]].concat();
    for arguments in [train, generate] {
        let ended = process::run(&arguments).await?;
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(ended.status.success(), "{arguments:?}: {said}");
    }
    let synthetic = std::fs::read(&output)?;

    // Visitors stand in attributes and messages of the observed traces.
    let texts = [&observed, &synthetic].map(|lines| String::from_utf8_lossy(lines).into_owned());
    let visitors = texts.each_ref().map(|text| text.contains("visitor-"));
    assert_eq!(visitors, [true, false]);
    let (observed, synthetic) = (content_of(&observed)?, content_of(&synthetic)?);
    assert!(observed.ids.is_disjoint(&synthetic.ids), "an observed id");
    let traces: BTreeSet<_> = synthetic.traces_of.values().flatten().collect();
    assert_eq!(traces.len(), 100);
    assert!(synthetic.traces_of.len() > 10, "few operations");
    for label in synthetic.traces_of.keys() {
        let shared = observed.traces_of.get(label).map_or(0, BTreeSet::len);
        assert!(shared >= 10, "{label:?} stands in {shared} observed traces");
    }
    Ok(())
}
