//! The Collector's own behaviour as the measure: the same YAML and the same requests to a Collector and
//! to doppelspan. Every difference stands in docs/beside-a-collector.md, and nothing else does.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::Method;
use integration_tests::Running;
use integration_tests::http::{Answer, Call, Version, send};
use integration_tests::peers::{Neighbour, collector};
use integration_tests::process::{free_port, root};
use integration_tests::raw::EXPORT;
use integration_tests::scripted::{Say, Scripted};
use integration_tests::traffic::{self, Request, spans_mut};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use tonic::Code;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest request that either takes.
const CAP: usize = 1 << 20;

/// Case and way, and what the Collector and doppelspan did.
type Outcomes = BTreeMap<(String, String), [String; 2]>;

/// One of the two, with a config that the other has as well.
struct Side {
    grpc: String,
    http: String,
    _process: Process,
}

#[expect(dead_code, reason = "held while it runs")]
enum Process {
    Collector(Neighbour),
    Doppelspan(Running),
}

impl Side {
    /// The Collector and doppelspan, each before a backend of its own; none where it is skipped.
    async fn both(exporter: &str) -> anyhow::Result<Option<[(Self, Scripted); 2]>> {
        let theirs = Scripted::start().await?;
        let Some(collector) = Self::start(true, exporter, &theirs).await? else {
            return Ok(None);
        };
        let ours = Scripted::start().await?;
        let doppelspan = Self::start(false, exporter, &ours).await?;
        let doppelspan = doppelspan.context("doppelspan is always there")?;
        Ok(Some([(collector, theirs), (doppelspan, ours)]))
    }

    async fn start(
        theirs: bool,
        exporter: &str,
        backend: &Scripted,
    ) -> anyhow::Result<Option<Self>> {
        let address = || Ok::<_, anyhow::Error>(format!("127.0.0.1:{}", free_port()?));
        let (grpc, http, metrics) = (address()?, address()?, address()?);
        let exporter = exporter.replace("BACKEND", &backend.address.to_string());
        let name = exporter.split(':').next().unwrap_or_default().to_owned();
        let document = format!(
            "receivers:
  otlp:
    protocols:
      grpc: {{ endpoint: '{grpc}', max_recv_msg_size_mib: 1 }}
      http: {{ endpoint: '{http}', max_request_body_size: {CAP} }}
exporters:
  {exporter}
service:
  pipelines:
    traces: {{ receivers: [otlp], exporters: [{name}] }}
"
        );
        let process = if theirs {
            let started = collector(&document, &[&grpc, &http]).await?;
            let Some(started) = started else {
                return Ok(None);
            };
            Process::Collector(started)
        } else {
            // Where its metrics are read is the one thing that the Collector words otherwise.
            let own = format!("service:\n  telemetry: {{ metrics: {{ address: '{metrics}' }} }}");
            let document = document.replace("service:", &own);
            Process::Doppelspan(Running::start(&document, &grpc).await?)
        };
        Ok(Some(Self {
            grpc,
            http,
            _process: process,
        }))
    }

    /// Sends a call on its way and says what came back.
    async fn ask(&self, way: &str, call: &Call) -> String {
        let (address, version) = match way {
            "gRPC" => (&self.grpc, Version::Two),
            _ => (&self.http, Version::One),
        };
        match tokio::time::timeout(PATIENCE, send(address, version, call)).await {
            Ok(Ok(answer)) => shown(way, &answer),
            Ok(Err(_)) => "breaks off".to_owned(),
            Err(_) => "no answer".to_owned(),
        }
    }
}

/// An answer: status, content type (`in kind`, if it is the request's), kind of body, and whether it
/// says when to come again.
fn shown(way: &str, answer: &Answer) -> String {
    let typed = answer.header("content-type");
    let mut words = Vec::new();
    if !answer.header("grpc-status").is_empty() {
        let code = Code::from_bytes(answer.header("grpc-status").as_bytes());
        words.push(format!("{code:?}"));
        if answer.status != 200 {
            words.push(format!("HTTP {}", answer.status.as_u16()));
        }
        if typed != "application/grpc" {
            words.push(typed.to_owned());
        }
        if code == Code::Ok {
            let packed = answer.body.first() == Some(&1);
            let message = answer.body.get(5..).unwrap_or_default();
            words.push(match (packed, answer.header("grpc-encoding")) {
                (false, _) => response(message),
                (true, "gzip") => response(&inflated(flate2::read::GzDecoder::new(message))),
                (true, _) => match zstd::Decoder::new(message) {
                    Ok(packed) => response(&inflated(packed)),
                    Err(_) => "unreadable".to_owned(),
                },
            });
        }
        if !answer.header("grpc-status-details-bin").is_empty() {
            words.push("RetryInfo".to_owned());
        }
        return words.join(", ");
    }
    words.push(answer.status.as_u16().to_string());
    let kind = typed.split(';').next().unwrap_or_default();
    words.push(match kind {
        "" => "no content type".to_owned(),
        kind if kind == content_type(way) => "in kind".to_owned(),
        kind => kind.to_owned(),
    });
    words.push(match (kind, answer.status.is_success()) {
        (_, false) if answer.body.is_empty() => "empty".to_owned(),
        ("application/x-protobuf", true) => response(&answer.body),
        ("application/x-protobuf", false) => match status(&answer.body) {
            Some(code) => format!("Status {code:?}"),
            None => "unreadable".to_owned(),
        },
        ("application/json", success) => {
            match serde_json::from_slice::<serde_json::Value>(&answer.body) {
                Ok(body) if success => match body["partialSuccess"]["rejectedSpans"].as_str() {
                    Some(rejected) => format!("{rejected} rejected"),
                    None => "all taken".to_owned(),
                },
                Ok(body) => match body["code"].as_i64() {
                    Some(code) => format!("Status {:?}", Code::from_i32(code as i32)),
                    None => format!("{body}"),
                },
                Err(_) => "unreadable".to_owned(),
            }
        }
        _ if answer.body.is_empty() => "empty".to_owned(),
        _ => "a sentence".to_owned(),
    });
    if !answer.header("retry-after").is_empty() {
        words.push("Retry-After".to_owned());
    }
    words.join(", ")
}

fn inflated(source: impl std::io::Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    match source.take(1 << 20).read_to_end(&mut bytes) {
        Ok(_) => bytes,
        // No response begins so.
        Err(_) => vec![0xff],
    }
}

fn response(bytes: &[u8]) -> String {
    match ExportTraceServiceResponse::decode(bytes) {
        Ok(response) => match response
            .partial_success
            .map(|partial| partial.rejected_spans)
        {
            None | Some(0) => "all taken".to_owned(),
            Some(rejected) => format!("{rejected} rejected"),
        },
        Err(_) => "unreadable".to_owned(),
    }
}

/// The code of a `google.rpc.Status`.
fn status(bytes: &[u8]) -> Option<Code> {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Status {
        #[prost(int32, tag = "1")]
        code: i32,
        #[prost(string, tag = "2")]
        message: String,
    }
    let status = Status::decode(bytes).ok()?;
    Some(Code::from_i32(status.code))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("a Vec takes all");
    encoder.finish().expect("a Vec takes all")
}

/// A request of one trace of five spans, the first of which is named so.
fn request(name: &str) -> Request {
    let mut request = traffic::requests(1, 5).remove(0);
    if let Some(span) = spans_mut(&mut request).next() {
        span.name = name.to_owned();
    }
    request
}

fn framed(flag: u8, bytes: &[u8]) -> Bytes {
    let length = (bytes.len() as u32).to_be_bytes();
    [&[flag][..], &length, bytes].concat().into()
}

/// A unary call of these bytes.
fn grpc(headers: &[(&'static str, &str)], body: impl Into<Bytes>) -> Call {
    let usual = [("content-type", "application/grpc"), ("te", "trailers")];
    Call::post(EXPORT, &[&usual, headers].concat(), body)
}

/// A request in the form of a way.
fn written(way: &str, request: &Request) -> Vec<u8> {
    match way {
        "HTTP JSON" => serde_json::to_vec(request).expect("JSON"),
        _ => request.encode_to_vec(),
    }
}

fn content_type(way: &str) -> &'static str {
    match way {
        "HTTP JSON" => "application/json",
        _ => "application/x-protobuf",
    }
}

/// The usual call of a way.
fn usual(way: &str, body: Vec<u8>, encoding: &str) -> Call {
    if way == "gRPC" {
        let headers = [("grpc-encoding", encoding)];
        return match encoding {
            "" => grpc(&[], framed(0, &body)),
            _ => grpc(&headers, framed(1, &body)),
        };
    }
    let headers = [
        ("content-type", content_type(way)),
        ("content-encoding", encoding),
    ];
    let headers = &headers[..if encoding.is_empty() { 1 } else { 2 }];
    Call::post("/v1/traces", headers, body)
}

/// Calls that are made in each of the three ways.
fn in_each_way(way: &'static str) -> Vec<(&'static str, Call)> {
    let good = written(way, &request("good"));
    let with = |change: fn(&mut opentelemetry_proto::tonic::trace::v1::Span)| {
        let mut request = request("changed");
        spans_mut(&mut request).take(1).for_each(change);
        written(way, &request)
    };
    let long = written(way, &request(&"x".repeat(CAP + 1)));
    let mut calls = vec![
        ("good", usual(way, good.clone(), "")),
        ("good, gzip", usual(way, gzip(&good), "gzip")),
        (
            "good, zstd",
            usual(way, zstd::encode_all(&good[..], 1).expect("zstd"), "zstd"),
        ),
        (
            "empty request",
            usual(way, written(way, &Request::default()), ""),
        ),
        (
            "can't be decoded",
            usual(way, b"\x0a\xff{ this is neither".to_vec(), ""),
        ),
        ("cut off", usual(way, good[..good.len() - 3].to_vec(), "")),
        ("over-large", usual(way, long.clone(), "")),
        ("over-large when inflated", usual(way, gzip(&long), "gzip")),
        (
            "broken gzip",
            usual(way, b"this is no gzip".to_vec(), "gzip"),
        ),
        ("unknown encoding", usual(way, good.clone(), "x-unknown")),
        (
            "trace id of 3 bytes",
            usual(way, with(|span| span.trace_id = vec![1; 3]), ""),
        ),
        (
            "no trace id",
            usual(way, with(|span| span.trace_id = Vec::new()), ""),
        ),
        (
            "trace id of zeros",
            usual(way, with(|span| span.trace_id = vec![0; 16]), ""),
        ),
        (
            "span id of 20 bytes",
            usual(way, with(|span| span.span_id = vec![1; 20]), ""),
        ),
        (
            "no span id",
            usual(way, with(|span| span.span_id = Vec::new()), ""),
        ),
        (
            "parent id of 3 bytes",
            usual(way, with(|span| span.parent_span_id = vec![1; 3]), ""),
        ),
        (
            "end before start",
            usual(way, with(|span| span.end_time_unix_nano = 1), ""),
        ),
        (
            "no name",
            usual(way, with(|span| span.name = String::new()), ""),
        ),
        ("unknown kind", usual(way, with(|span| span.kind = 77), "")),
    ];
    if way != "HTTP JSON" {
        // The name ends the string of one span; its bytes are no UTF-8.
        let mut bytes = written(way, &request("NOT-UTF-8"));
        if let Some(at) = bytes.windows(9).position(|part| part == b"NOT-UTF-8") {
            bytes[at] = 0xff;
        }
        calls.push(("name that is no UTF-8", usual(way, bytes, "")));
    }
    calls
}

/// Calls that only HTTP knows.
fn over_http(way: &'static str) -> Vec<(&'static str, Call)> {
    let good = written(way, &request("good"));
    let usual = usual(way, good.clone(), "");
    let post =
        |path: &str, headers: &[(&'static str, &str)]| Call::post(path, headers, good.clone());
    let own = ("content-type", content_type(way));
    let method = |method: Method| Call {
        method,
        ..usual.clone()
    };
    vec![
        (
            "empty body",
            post("/v1/traces", &[own]).clone_with(Vec::new()),
        ),
        ("no content type", post("/v1/traces", &[])),
        (
            "unknown content type",
            post("/v1/traces", &[("content-type", "text/plain")]),
        ),
        (
            "content type with a parameter",
            post(
                "/v1/traces",
                &[("content-type", &format!("{}; charset=utf-8", own.1))],
            ),
        ),
        (
            "content type in capitals",
            post("/v1/traces", &[("content-type", &own.1.to_uppercase())]),
        ),
        ("GET", method(Method::GET)),
        ("PUT", method(Method::PUT)),
        ("OPTIONS", method(Method::OPTIONS)),
        ("HEAD", method(Method::HEAD)),
        ("unknown path", post("/v1/nothing", &[own])),
        ("path of metrics", post("/v1/metrics", &[own])),
        ("path with a slash behind it", post("/v1/traces/", &[own])),
        ("path with a query", post("/v1/traces?a=b", &[own])),
        ("deflate", usual_packed(way, &good, "deflate")),
        (
            "identity",
            post("/v1/traces", &[own, ("content-encoding", "identity")]),
        ),
        (
            "gRPC's content type",
            post("/v1/traces", &[("content-type", "application/grpc")]),
        ),
    ]
}

fn usual_packed(way: &str, bytes: &[u8], encoding: &str) -> Call {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("a Vec takes all");
    usual(way, encoder.finish().expect("a Vec takes all"), encoding)
}

trait CloneWith {
    fn clone_with(&self, body: Vec<u8>) -> Self;
}

impl CloneWith for Call {
    fn clone_with(&self, body: Vec<u8>) -> Self {
        Self {
            body: body.into(),
            ..self.clone()
        }
    }
}

/// Calls that only gRPC knows.
fn over_grpc() -> Vec<(&'static str, Call)> {
    let good = request("good").encode_to_vec();
    let usual = grpc(&[], framed(0, &good));
    let to = |path: &str| Call {
        path: path.to_owned(),
        ..usual.clone()
    };
    let typed = |content_type: &str| {
        let headers = [("content-type", content_type), ("te", "trailers")];
        Call::post(EXPORT, &headers, framed(0, &good))
    };
    vec![
        (
            "unknown method",
            to("/opentelemetry.proto.collector.trace.v1.TraceService/Nothing"),
        ),
        ("unknown service", to("/nobody.knows/Export")),
        (
            "service of metrics",
            to("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"),
        ),
        (
            "content type application/grpc+proto",
            typed("application/grpc+proto"),
        ),
        ("content type application/json", typed("application/json")),
        (
            "packed, encoding unnamed",
            grpc(&[], framed(1, &gzip(&good))),
        ),
        ("no message", grpc(&[], Bytes::new())),
        (
            "message cut off",
            grpc(&[], framed(0, &good).slice(..good.len() - 3)),
        ),
        (
            "two messages",
            grpc(&[], [framed(0, &good), framed(0, &good)].concat()),
        ),
        (
            "GET",
            Call {
                method: Method::GET,
                ..usual.clone()
            },
        ),
    ]
}

const WAYS: [&str; 3] = ["HTTP protobuf", "HTTP JSON", "gRPC"];

/// What both say to whoever sends to them.
async fn of_senders() -> anyhow::Result<Outcomes> {
    let mut outcomes = Outcomes::new();
    let exporter = "otlp_grpc: { endpoint: 'BACKEND', tls: { insecure: true } }";
    let Some([(theirs, _backend), (ours, _other)]) = Side::both(exporter).await? else {
        return Ok(outcomes);
    };
    for way in WAYS {
        let mut calls = in_each_way(way);
        calls.extend(match way {
            "gRPC" => over_grpc(),
            _ => over_http(way),
        });
        for (case, call) in calls {
            let said = [theirs.ask(way, &call).await, ours.ask(way, &call).await];
            outcomes.insert((case.to_owned(), way.to_owned()), said);
        }
    }
    Ok(outcomes)
}

const SOON: Duration = Duration::from_millis(300);

/// What a backend may say, in words; over gRPC or over HTTP.
fn sayings(grpc: bool) -> Vec<(String, Say)> {
    let mut sayings = Vec::new();
    if grpc {
        for code in 1..=16 {
            let code = Code::from_i32(code);
            sayings.push((format!("{code:?}"), Say::Grpc(code, None)));
        }
        for code in [Code::Unavailable, Code::ResourceExhausted, Code::Internal] {
            let say = Say::Grpc(code, Some(SOON));
            sayings.push((format!("{code:?} with RetryInfo"), say));
        }
    } else {
        for status in [400, 401, 403, 404, 408, 413, 429, 500, 501, 502, 503, 504] {
            sayings.push((status.to_string(), Say::Http(status, None)));
        }
        for status in [429, 503, 500] {
            let say = Say::Http(status, Some(1));
            sayings.push((format!("{status} with Retry-After"), say));
        }
    }
    sayings
}

fn exporter(grpc: bool, settings: &str) -> String {
    match grpc {
        true => format!(
            "otlp_grpc: {{ endpoint: 'BACKEND', tls: {{ insecure: true }}, compression: none, {settings} }}"
        ),
        false => {
            format!("otlp_http: {{ endpoint: 'http://BACKEND', compression: none, {settings} }}")
        }
    }
}

fn protocol(grpc: bool) -> &'static str {
    if grpc { "gRPC" } else { "HTTP" }
}

/// What a sender hears of a backend's answer where nothing stands between them but the two programs.
async fn handed_on(grpc: bool) -> anyhow::Result<Outcomes> {
    let mut outcomes = Outcomes::new();
    let settings = "sending_queue: { enabled: false }, retry_on_failure: { enabled: false }";
    let Some(sides) = Side::both(&exporter(grpc, settings)).await? else {
        return Ok(outcomes);
    };
    for (words, say) in sayings(grpc) {
        for way in ["HTTP protobuf", "gRPC"] {
            let call = usual(way, request("throttled").encode_to_vec(), "");
            let mut said = Vec::new();
            for (side, backend) in &sides {
                backend.once(say);
                said.push(side.ask(way, &call).await);
            }
            let case = format!("backend says {words} over {}, no queue", protocol(grpc));
            let said = said.try_into().expect("two sides");
            outcomes.insert((case, way.to_owned()), said);
        }
    }
    Ok(outcomes)
}

/// Whether a backend's answer makes a request be sent again, and when.
async fn tried_again(grpc: bool) -> anyhow::Result<Outcomes> {
    let mut outcomes = Outcomes::new();
    let settings = "sending_queue: { num_consumers: 1 }, retry_on_failure: { initial_interval: 20ms, randomization_factor: 0 }";
    let Some(sides) = Side::both(&exporter(grpc, settings)).await? else {
        return Ok(outcomes);
    };
    for (words, say) in sayings(grpc) {
        let mut said = Vec::new();
        for (side, backend) in &sides {
            backend.once(say);
            // The one consumer turns to the second request when the first one's lot is cast.
            let [first, second] = ["first", "second"].map(|which| format!("{which} of {words}."));
            for name in [&first, &second] {
                let call = usual("gRPC", request(name).encode_to_vec(), "");
                side.ask("gRPC", &call).await;
            }
            backend.wait_for(&second).await?;
            let asked = match say {
                Say::Grpc(_, asked) => asked,
                Say::Http(_, asked) => asked.map(Duration::from_secs),
                Say::Nothing => None,
            };
            said.push(match backend.came(&first)[..] {
                [_] => "dropped".to_owned(),
                [one, two] if asked.is_some_and(|asked| two - one >= asked) => {
                    "sent again when asked".to_owned()
                }
                [_, _] => "sent again".to_owned(),
                ref times => format!("sent {} times", times.len()),
            });
        }
        let case = format!("backend says {words}, queue");
        let said = said.try_into().expect("two sides");
        outcomes.insert((case, format!("to {}", protocol(grpc))), said);
    }
    Ok(outcomes)
}

/// What a sender hears once the queue is full.
async fn full() -> anyhow::Result<Outcomes> {
    let mut outcomes = Outcomes::new();
    for way in WAYS {
        let settings = "sending_queue: { queue_size: 2, num_consumers: 1 }, timeout: 60s";
        let Some(sides) = Side::both(&exporter(true, settings)).await? else {
            return Ok(outcomes);
        };
        let (mut taken, mut refused) = (Vec::new(), Vec::new());
        for (side, backend) in &sides {
            backend.always(Some(Say::Nothing));
            let call = usual(way, written(way, &request("waits")), "");
            let good = side.ask(way, &call).await;
            // Until the one consumer holds the first, how many find room is a matter of luck.
            backend.wait_for("waits").await?;
            let mut answers = 1;
            let last = loop {
                let answer = side.ask(way, &call).await;
                if answer != good {
                    break answer;
                }
                answers += 1;
                anyhow::ensure!(answers < 100, "the queue never fills");
            };
            taken.push(format!("{answers} requests"));
            refused.push(last);
        }
        let mut note = |case: &str, said: Vec<String>| {
            let said = said.try_into().expect("two sides");
            outcomes.insert((case.to_owned(), way.to_owned()), said);
        };
        note("queue full", refused);
        note("taken by a queue of 2", taken);
    }
    Ok(outcomes)
}

/// The rows of the page's table: case and way, the two answers.
fn documented() -> anyhow::Result<Outcomes> {
    let page = std::fs::read_to_string(root().join("docs/beside-a-collector.md"))?;
    let mut outcomes = Outcomes::new();
    let rows = page
        .lines()
        .skip_while(|line| !line.starts_with("| case |"));
    for row in rows.skip(2).take_while(|line| line.starts_with('|')) {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [cases, ways, theirs, ours, decides] = cells[..] else {
            anyhow::bail!("five cells, not {row}");
        };
        anyhow::ensure!(!decides.is_empty(), "nothing decides {row}");
        for case in cases.split("; ") {
            for way in ways.split("; ") {
                let said = [theirs.to_owned(), ours.to_owned()];
                let before = outcomes.insert((case.to_owned(), way.to_owned()), said);
                anyhow::ensure!(before.is_none(), "twice: {case}, {way}");
            }
        }
    }
    Ok(outcomes)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_difference_from_the_collector_is_written_down() -> anyhow::Result<()> {
    let (senders, full) = tokio::try_join!(of_senders(), full())?;
    let (grpc, http) = tokio::try_join!(handed_on(true), handed_on(false))?;
    let (grpc_again, http_again) = tokio::try_join!(tried_again(true), tried_again(false))?;
    let mut all = Outcomes::new();
    for outcomes in [senders, full, grpc, http, grpc_again, http_again] {
        all.extend(outcomes);
    }
    if all.is_empty() {
        return Ok(());
    }
    let mut lines = String::new();
    for ((case, way), [theirs, ours]) in &all {
        lines += &format!("| {case} | {way} | {theirs} | {ours} |\n");
    }
    // All of them, for whoever writes the page.
    std::fs::create_dir_all(root().join("target"))?;
    std::fs::write(root().join("target/beside_collector.md"), lines)?;
    let compared = all.len();
    all.retain(|_, [theirs, ours]| theirs != ours);
    println!("{compared} compared, {} not the same", all.len());
    let documented = documented()?;
    let mut faults = Vec::new();
    for (key, said) in &all {
        if documented.get(key) != Some(said) {
            faults.push(format!(
                "seen, not written down: | {} | {} | {} | {} |",
                key.0, key.1, said[0], said[1]
            ));
        }
    }
    for (key, said) in &documented {
        if !all.contains_key(key) {
            faults.push(format!("written down, not seen: {key:?} {said:?}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(())
}
