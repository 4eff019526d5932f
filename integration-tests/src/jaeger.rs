//! Jaeger all-in-one on free ports, and its query API's answers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

use crate::http::{Call, Version, send};
use crate::peers::{Neighbour, program};
use crate::process::free_port;

/// Jaeger with everything in memory.
#[derive(Debug)]
pub struct Jaeger {
    /// `host:port` of its OTLP receiver, gRPC.
    pub grpc: String,
    /// `host:port` of its OTLP receiver, HTTP.
    pub http: String,
    /// `host:port` of its query API.
    pub query: String,
    _process: Neighbour,
}

/// A span as the query API tells it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    /// Trace id, hex.
    pub trace: String,
    /// Span id, hex.
    pub span: String,
    /// Parent id, hex, or `-`; see [`linked`].
    pub parent: String,
    /// The service of its process.
    pub service: String,
    /// Its name.
    pub name: String,
    /// `server`, `client`, …; empty for none and for internal.
    pub kind: String,
    /// `OK`, `ERROR` or empty, and what was said of it.
    pub status: (String, String),
    /// Microseconds since 1970.
    pub start: u64,
    /// Microseconds.
    pub length: u64,
    /// (microseconds since 1970, name) of each event.
    pub events: Vec<(u64, String)>,
    /// (trace id, span id) of each link.
    pub links: BTreeSet<(String, String)>,
    /// Its attributes, as text.
    pub attributes: BTreeMap<String, String>,
    /// Whether its process carries `doppelspan.synthetic = true`.
    pub synthetic: bool,
}

impl Jaeger {
    /// Starts it, or says that it is skipped.
    pub async fn start() -> anyhow::Result<Option<Self>> {
        let Some(program) = program("jaeger")? else {
            return Ok(None);
        };
        let address = || Ok::<_, anyhow::Error>(format!("127.0.0.1:{}", free_port()?));
        let (grpc, http, query) = (address()?, address()?, address()?);
        let listeners = [
            ("collector.otlp.grpc", grpc.clone()),
            ("collector.otlp.http", http.clone()),
            ("query.http-server", query.clone()),
            ("query.grpc-server", address()?),
            ("collector.grpc-server", address()?),
            ("collector.http-server", address()?),
            ("admin.http", address()?),
        ];
        let answering: [&str; 3] = [&grpc, &http, &query];
        let process = Neighbour::start(&program, &answering, |_, command| {
            command.env("SPAN_STORAGE_TYPE", "memory");
            for (name, address) in &listeners {
                command.arg(format!("--{name}.host-port={address}"));
            }
            Ok(())
        });
        Ok(Some(Self {
            _process: process.await?,
            grpc,
            http,
            query,
        }))
    }

    async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let answer = send(&self.query, Version::One, &Call::get(path)).await?;
        let text = String::from_utf8_lossy(&answer.body);
        anyhow::ensure!(answer.status.is_success(), "{path}: {text}");
        let mut answer: Value = serde_json::from_slice(&answer.body)?;
        Ok(answer["data"].take())
    }

    /// The services that it knows.
    pub async fn services(&self) -> anyhow::Result<BTreeSet<String>> {
        let services = self.get("/api/services").await?;
        let names = services.as_array().into_iter().flatten();
        Ok(names.map(text).collect())
    }

    /// Every span of every trace, each once.
    pub async fn spans(&self) -> anyhow::Result<BTreeSet<Seen>> {
        let mut spans = BTreeSet::new();
        for service in self.services().await? {
            let traces = self
                .get(&format!(
                    "/api/traces?service={service}&limit=100000&lookback=custom&start=0&end={}",
                    i64::MAX / 1000
                ))
                .await?;
            for trace in traces.as_array().into_iter().flatten() {
                for span in trace["spans"].as_array().into_iter().flatten() {
                    spans.insert(seen(span, &trace["processes"])?);
                }
            }
        }
        Ok(spans)
    }

    /// Waits until it has `count` spans.
    pub async fn wait_for(&self, count: usize) -> anyhow::Result<BTreeSet<Seen>> {
        let mut spans = BTreeSet::new();
        for _ in 0..120 {
            spans = self.spans().await?;
            if spans.len() >= count {
                return Ok(spans);
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        anyhow::bail!("{} spans in Jaeger, waited for {count}", spans.len())
    }

    /// Calls from service to service, as its dependency graph has them.
    pub async fn dependencies(&self) -> anyhow::Result<BTreeMap<(String, String), u64>> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        // An hour on, for traces whose clocks run ahead; and as far back as its clock goes.
        let end = now.as_millis() as u64 + 3_600_000;
        let lookback = 200_u64 * 365 * 86_400_000;
        let edges = self
            .get(&format!(
                "/api/dependencies?endTs={end}&lookback={lookback}"
            ))
            .await?;
        let edges = edges.as_array().into_iter().flatten();
        let edge = |edge: &Value| {
            let calls = edge["callCount"].as_u64().context("no callCount")?;
            anyhow::Ok(((text(&edge["parent"]), text(&edge["child"])), calls))
        };
        edges.map(edge).collect()
    }
}

/// The span of the same trace that stands for a parent where Jaeger keeps none: it has one reference to
/// another span, so that a link to the parent takes the parent's place. Of several links the least.
pub fn linked(trace: &str, links: &BTreeSet<(String, String)>) -> Option<String> {
    let same = links.iter().find(|link| link.0 == trace);
    same.map(|link| link.1.clone())
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Key and value of each tag.
fn tags(tags: &Value) -> BTreeMap<String, String> {
    let tags = tags.as_array().into_iter().flatten();
    tags.map(|tag| (text(&tag["key"]), text(&tag["value"])))
        .collect()
}

fn seen(span: &Value, processes: &Value) -> anyhow::Result<Seen> {
    let process = &processes[text(&span["processID"])];
    let mut attributes = tags(&span["tags"]);
    let mut take = |key: &str| attributes.remove(key).unwrap_or_default();
    let kind = take("span.kind");
    let status = (take("otel.status_code"), take("otel.status_description"));
    let trace = text(&span["traceID"]);
    let (mut parent, mut links) = (None, BTreeSet::new());
    for reference in span["references"].as_array().into_iter().flatten() {
        let to = (text(&reference["traceID"]), text(&reference["spanID"]));
        match (reference["refType"].as_str(), to.0 == trace) {
            (Some("CHILD_OF"), true) if parent.is_none() => parent = Some(to.1),
            _ => _ = links.insert(to),
        }
    }
    let parent = parent.unwrap_or_else(|| linked(&trace, &links).unwrap_or_else(|| "-".to_owned()));
    let logs = span["logs"].as_array().into_iter().flatten();
    let event = |log: &Value| {
        let name = tags(&log["fields"]).remove("event").unwrap_or_default();
        anyhow::Ok((log["timestamp"].as_u64().context("no timestamp")?, name))
    };
    let mut events = logs.map(event).collect::<anyhow::Result<Vec<_>>>()?;
    events.sort();
    Ok(Seen {
        trace,
        span: text(&span["spanID"]),
        parent,
        service: text(&process["serviceName"]),
        name: text(&span["operationName"]),
        kind,
        status,
        start: span["startTime"].as_u64().context("no startTime")?,
        length: span["duration"].as_u64().context("no duration")?,
        events,
        links,
        attributes,
        synthetic: tags(&process["tags"])
            .get("doppelspan.synthetic")
            .map(String::as_str)
            == Some("true"),
    })
}
