//! Files of the Collector's `file` exporter are read, and ours hold what the Collector's hold.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use integration_tests::peers::collector;
use integration_tests::process::{free_port, root};
use integration_tests::traffic::{self, Request, singles};
use integration_tests::{Running, Sink};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message as _;
use serde_json::{Value as Json, json};

fn attribute(key: &str, value: Option<Value>) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value }),
        ..KeyValue::default()
    }
}

/// A span with every field of the protocol and every kind of value.
fn everything() -> Request {
    let list = vec![AnyValue {
        value: Some(Value::BoolValue(true)),
    }];
    let attributes = vec![
        attribute(
            "text",
            Some(Value::StringValue("a \"quoted\"\n \u{1f980} line".into())),
        ),
        attribute("empty", Some(Value::StringValue(String::new()))),
        attribute("true", Some(Value::BoolValue(true))),
        attribute("false", Some(Value::BoolValue(false))),
        attribute("least", Some(Value::IntValue(i64::MIN))),
        attribute("zero", Some(Value::IntValue(0))),
        attribute("real", Some(Value::DoubleValue(0.1))),
        attribute("huge", Some(Value::DoubleValue(1e300))),
        attribute("bytes", Some(Value::BytesValue(vec![0, 255, 62, 63]))),
        attribute("list", Some(Value::ArrayValue(ArrayValue { values: list }))),
        attribute(
            "map",
            Some(Value::KvlistValue(KeyValueList {
                values: vec![attribute("inside", Some(Value::IntValue(1)))],
            })),
        ),
        attribute("none", None),
    ];
    let span = Span {
        trace_id: vec![0xab; 16],
        span_id: vec![0xcd; 8],
        trace_state: "vendor=1".into(),
        parent_span_id: vec![0xef; 8],
        flags: 0x301,
        name: "everything".into(),
        kind: 5,
        start_time_unix_nano: 1_700_000_000_000_000_001,
        end_time_unix_nano: 1_700_000_000_123_456_789,
        attributes: attributes.clone(),
        dropped_attributes_count: 1,
        events: vec![Event {
            time_unix_nano: 1_700_000_000_000_000_002,
            name: "event".into(),
            attributes: attributes.clone(),
            dropped_attributes_count: 2,
        }],
        dropped_events_count: 3,
        links: vec![Link {
            trace_id: vec![0x12; 16],
            span_id: vec![0x34; 8],
            trace_state: "other=2".into(),
            attributes: attributes.clone(),
            dropped_attributes_count: 4,
            flags: 0x101,
        }],
        dropped_links_count: 5,
        status: Some(Status {
            message: "said".into(),
            code: 2,
        }),
    };
    Request {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: attributes.clone(),
                dropped_attributes_count: 6,
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans {
                scope: Some(InstrumentationScope {
                    name: "scope".into(),
                    version: "1".into(),
                    attributes,
                    dropped_attributes_count: 7,
                }),
                spans: vec![span],
                schema_url: "of the scope".into(),
            }],
            schema_url: "of the resource".into(),
        }],
    }
}

fn requests() -> anyhow::Result<Vec<Request>> {
    let mut requests = vec![everything()];
    for system in ["shop", "social-network", "ticket-office"] {
        let path = root().join(format!("fixtures/{system}-request.pb"));
        requests.push(Request::decode(&*std::fs::read(path)?)?);
    }
    requests.extend(traffic::requests(20, 50));
    Ok(requests)
}

/// The file that the Collector's `file` exporter, or ours, writes of [`requests`] with these
/// settings; none where the Collector is skipped.
async fn written(by_collector: bool, settings: &str, path: &Path) -> anyhow::Result<Option<()>> {
    let address = format!("127.0.0.1:{}", free_port()?);
    let metrics = format!("127.0.0.1:{}", free_port()?);
    let document = format!(
        "receivers: {{ otlp: {{ protocols: {{ grpc: {{ endpoint: '{address}' }} }} }} }}
exporters: {{ file: {{ path: '{}', {settings} }} }}
service:
  {{telemetry}}
  pipelines: {{ traces: {{ receivers: [otlp], exporters: [file] }} }}
",
        path.display()
    );
    if by_collector {
        let document = document.replace("{telemetry}", "");
        let Some(collector) = collector(&document, &[&address]).await? else {
            return Ok(None);
        };
        traffic::send(&address, requests()?).await?;
        collector.terminate().await?;
    } else {
        let telemetry = format!("telemetry: {{ metrics: {{ address: '{metrics}' }} }}");
        let running =
            Running::start(&document.replace("{telemetry}", &telemetry), &address).await?;
        traffic::send(&address, requests()?).await?;
        let (code, log) = running.terminate().await?;
        assert_eq!(code, Some(0), "{log}");
    }
    Ok(Some(()))
}

/// What our `otlpjsonfile` receiver makes of a file.
async fn read(path: &Path, spans: usize) -> anyhow::Result<Vec<Vec<u8>>> {
    let sink = Sink::start().await?;
    let metrics = format!("127.0.0.1:{}", free_port()?);
    let document = format!(
        "receivers: {{ otlpjsonfile: {{ include: ['{}'], start_at: beginning }} }}
exporters: {{ otlp_grpc: {{ endpoint: '{}', tls: {{ insecure: true }} }} }}
service:
  telemetry: {{ metrics: {{ address: '{metrics}' }} }}
  pipelines: {{ traces: {{ receivers: [otlpjsonfile], exporters: [otlp_grpc] }} }}
",
        path.display(),
        sink.address
    );
    let running = Running::start(&document, &metrics).await?;
    sink.wait_for_spans(spans, Duration::from_secs(30)).await?;
    let (code, log) = running.terminate().await?;
    assert_eq!(code, Some(0), "{log}");
    Ok(singles(&sink.requests()))
}

/// The records of a file: a line each, or behind their lengths, each packed by itself.
fn records(path: &Path, settings: &str) -> anyhow::Result<Vec<Vec<u8>>> {
    let bytes = std::fs::read(path)?;
    let packed = settings.contains("zstd");
    if !packed && settings.contains("json") {
        let lines = bytes
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        return Ok(lines.map(<[u8]>::to_vec).collect());
    }
    let (mut rest, mut records) = (&bytes[..], Vec::new());
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let (record, behind) = behind.split_at(u32::from_be_bytes(*length) as usize);
        records.push(match packed {
            true => {
                let mut inflated = Vec::new();
                let packed = zstd::Decoder::new(record)?;
                packed.take(1 << 24).read_to_end(&mut inflated)?;
                inflated
            }
            false => record.to_vec(),
        });
        rest = behind;
    }
    Ok(records)
}

async fn check(settings: &str) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let [theirs, ours] = ["theirs", "ours"].map(|name| folder.path().join(name));
    if written(true, settings, &theirs).await?.is_none() {
        return Ok(());
    }
    written(false, settings, &ours).await?;
    let sent = singles(&requests()?);
    for (whose, path) in [("the Collector's", &theirs), ("our", &ours)] {
        let read = read(path, sent.len()).await?;
        for (read, sent) in read.iter().zip(&sent) {
            let [read, sent] = [read, sent].map(|single| ResourceSpans::decode(&**single));
            assert_eq!(read, sent, "{settings}: read of {whose} file, and sent");
        }
        assert_eq!(read.len(), sent.len());
    }
    let (theirs, ours) = (records(&theirs, settings)?, records(&ours, settings)?);
    assert_eq!(theirs.len(), ours.len(), "{settings}: records");
    let mut differences = BTreeSet::new();
    for (theirs, ours) in theirs.iter().zip(&ours) {
        if settings.contains("json") {
            let parsed = |record: &[u8]| serde_json::from_slice::<Json>(record);
            let mut ours = parsed(ours)?;
            leave_out_defaults(&mut ours);
            differ("", &parsed(theirs)?, &ours, &mut differences);
        } else {
            let decoded = |record: &[u8]| anyhow::Ok(singles(&[Request::decode(record)?]));
            let same = decoded(theirs)? == decoded(ours)?;
            assert!(same, "{settings}: ours holds other spans");
        }
    }
    let differences: Vec<String> = differences.into_iter().collect();
    assert_eq!(differences, [""; 0], "{settings}: the Collector's and ours");
    Ok(())
}

/// Fields that ours writes and the Collector's leaves out where they have their default. The JSON form
/// of protobuf means the same by both (docs/beside-a-collector.md).
const LEFT_OUT: [&str; 11] = [
    "attributes",
    "droppedAttributesCount",
    "droppedEventsCount",
    "droppedLinksCount",
    "entityRefs",
    "events",
    "flags",
    "links",
    "parentSpanId",
    "schemaUrl",
    "traceState",
];

/// Writes a value as the Collector does.
fn leave_out_defaults(value: &mut Json) {
    match value {
        Json::Array(values) => values.iter_mut().for_each(leave_out_defaults),
        Json::Object(fields) => {
            fields.retain(|key, value| {
                let default = *value == json!(0) || *value == json!("") || *value == json!([]);
                !(default && LEFT_OUT.contains(&&**key))
            });
            for (key, value) in fields {
                if value.is_null() && ["scope", "status"].contains(&&**key) {
                    *value = json!({});
                }
                leave_out_defaults(value);
            }
        }
        _ => {}
    }
}

/// Each place where two values are not the same.
fn differ(path: &str, left: &Json, right: &Json, differences: &mut BTreeSet<String>) {
    match (left, right) {
        (Json::Object(lefts), Json::Object(rights)) => {
            for key in lefts.keys().chain(rights.keys()).collect::<BTreeSet<_>>() {
                let side = |side: &serde_json::Map<String, Json>| side.get(key).cloned();
                let path = format!("{path}.{key}");
                match (side(lefts), side(rights)) {
                    (Some(left), Some(right)) => differ(&path, &left, &right, differences),
                    (left, right) => {
                        differences.insert(format!("{path}: {left:?}, {right:?}"));
                    }
                }
            }
        }
        (Json::Array(lefts), Json::Array(rights)) if lefts.len() == rights.len() => {
            for (left, right) in lefts.iter().zip(rights) {
                differ(&format!("{path}[]"), left, right, differences);
            }
        }
        _ if left == right => {}
        _ => {
            differences.insert(format!("{path}: {left}, {right}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn json_lines() -> anyhow::Result<()> {
    check("format: json").await
}

#[tokio::test(flavor = "multi_thread")]
async fn protobuf_behind_lengths() -> anyhow::Result<()> {
    check("format: proto").await
}

#[tokio::test(flavor = "multi_thread")]
async fn json_packed_with_zstd() -> anyhow::Result<()> {
    check("format: json, compression: zstd").await
}

#[tokio::test(flavor = "multi_thread")]
async fn protobuf_packed_with_zstd() -> anyhow::Result<()> {
    check("format: proto, compression: zstd").await
}
