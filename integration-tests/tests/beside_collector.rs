//! The Collector's own behaviour as the measure: the same YAML and the same requests to a Collector and
//! to doppelspan. Every difference stands in docs/beside-a-collector.md, and nothing else does.

#[path = "beside_collector/answers.rs"]
mod answers;
#[path = "beside_collector/calls.rs"]
mod calls;

use std::collections::BTreeMap;
use std::time::Duration;

use answers::shown;
use anyhow::Context as _;
use calls::{in_each_way, over_grpc, over_http, request, usual, written};
use integration_tests::Running;
use integration_tests::http::{Call, Version, send};
use integration_tests::peers::{Neighbour, collector};
use integration_tests::process::{free_port, root};
use integration_tests::scripted::{Say, Scripted};
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
