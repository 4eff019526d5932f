//! Through real neighbours and back: SDK → Collector → doppelspan → Collector → Jaeger, and
//! telemetrygen → doppelspan.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use integration_tests::jaeger::{Jaeger, Seen};
use integration_tests::peers::{Neighbour, collector, program};
use integration_tests::process::{free_port, run};
use integration_tests::rust_sdk::{make_traces, over_grpc, over_http};
use integration_tests::sdk::Ids;
use integration_tests::told::told;
use integration_tests::{Document, Running, Sdk, Shape, Sink, traffic};

const PATIENCE: Duration = Duration::from_secs(60);

fn address() -> anyhow::Result<String> {
    Ok(format!("127.0.0.1:{}", free_port()?))
}

/// SDK → Collector → doppelspan → Collector → Jaeger, with a sink beside each Collector's exit that
/// keeps what it sent on.
struct Chain {
    /// Where the first Collector takes OTLP over gRPC and over HTTP.
    entry: [String; 2],
    /// What went into doppelspan.
    before: Sink,
    /// What came out of the second Collector.
    after: Sink,
    /// Has all of it.
    jaeger: Jaeger,
    first: Neighbour,
    doppelspan: Running,
    second: Neighbour,
}

impl Chain {
    /// Starts it with a synthesizer of these settings, from the backend to the entry.
    async fn start(synthesizer: &str) -> anyhow::Result<Option<Self>> {
        let Some(jaeger) = Jaeger::start().await? else {
            return Ok(None);
        };
        let (before, after) = (Sink::start().await?, Sink::start().await?);
        let exit = address()?;
        let second = format!(
            "receivers: {{ otlp: {{ protocols: {{ grpc: {{ endpoint: '{exit}' }} }} }} }}
exporters:
  otlp_grpc/jaeger: {{ endpoint: '{}', tls: {{ insecure: true }} }}
  otlp_grpc/sink: {{ endpoint: '{}', tls: {{ insecure: true }} }}
service: {{ pipelines: {{ traces: {{ receivers: [otlp], exporters: [otlp_grpc/jaeger, otlp_grpc/sink] }} }} }}
",
            jaeger.grpc, after.address
        );
        let Some(second) = collector(&second, &[&exit]).await? else {
            return Ok(None);
        };
        let (middle, metrics) = (address()?, address()?);
        let document = format!(
            "receivers: {{ otlp: {{ protocols: {{ grpc: {{ endpoint: '{middle}' }} }} }} }}
connectors: {{ synthesizer: {{ {synthesizer} }} }}
exporters: {{ otlp_grpc: {{ endpoint: '{exit}', tls: {{ insecure: true }} }} }}
service:
  telemetry: {{ metrics: {{ address: '{metrics}' }} }}
  pipelines:
    traces/observed: {{ receivers: [otlp], exporters: [otlp_grpc, synthesizer] }}
    traces/synthetic: {{ receivers: [synthesizer], exporters: [otlp_grpc] }}
"
        );
        let doppelspan = Running::start(&document, &middle).await?;
        let entry = [address()?, address()?];
        let first = format!(
            "receivers: {{ otlp: {{ protocols: {{ grpc: {{ endpoint: '{}' }}, http: {{ endpoint: '{}' }} }} }} }}
processors: {{ batch: {{ timeout: 100ms }} }}
exporters:
  otlp_grpc/doppelspan: {{ endpoint: '{middle}', tls: {{ insecure: true }} }}
  otlp_grpc/sink: {{ endpoint: '{}', tls: {{ insecure: true }} }}
service:
  pipelines:
    traces: {{ receivers: [otlp], processors: [batch], exporters: [otlp_grpc/doppelspan, otlp_grpc/sink] }}
",
            entry[0], entry[1], before.address
        );
        let Some(first) = collector(&first, &[&entry[0], &entry[1]]).await? else {
            return Ok(None);
        };
        Ok(Some(Self {
            entry,
            before,
            after,
            jaeger,
            first,
            doppelspan,
            second,
        }))
    }

    /// Waits until `observed` spans and about `synthetic` spans came through, ends the way from its
    /// beginning, and gives what the sinks kept and what Jaeger tells, observed and synthetic.
    async fn finish(self, observed: usize, synthetic: usize) -> anyhow::Result<Ends> {
        self.before.wait_for_spans(observed, PATIENCE).await?;
        self.after.wait_for_synthetic(synthetic, PATIENCE).await?;
        self.first.terminate().await?;
        let (code, log) = self.doppelspan.terminate().await?;
        assert_eq!(code, Some(0), "{log}");
        self.second.terminate().await?;
        let seen = self.jaeger.wait_for(self.after.span_count()).await?;
        Ok(Ends {
            before: told(&self.before.requests()),
            after: told(&self.after.requests()),
            seen,
            jaeger: self.jaeger,
        })
    }
}

/// What stood at the ends of a chain.
struct Ends {
    before: BTreeSet<Seen>,
    after: BTreeSet<Seen>,
    seen: BTreeSet<Seen>,
    jaeger: Jaeger,
}

impl Ends {
    /// Nothing was lost, changed or doubled on the way, and nothing synthetic can be mistaken.
    fn check(&self) {
        let (synthetic, observed): (BTreeSet<_>, BTreeSet<_>) =
            self.after.iter().cloned().partition(|span| span.synthetic);
        assert_eq!(
            same(&observed, &self.before),
            "",
            "observed spans changed on their way"
        );
        assert_eq!(
            same(&self.seen, &self.after),
            "",
            "Jaeger tells of other spans"
        );
        assert!(!synthetic.is_empty());
        let ids = |spans: &BTreeSet<Seen>| -> BTreeSet<String> {
            let ids = spans
                .iter()
                .flat_map(|span| [span.trace.clone(), span.span.clone()]);
            ids.collect()
        };
        let shared: Vec<_> = ids(&synthetic)
            .intersection(&ids(&observed))
            .cloned()
            .collect();
        assert!(shared.is_empty(), "ids of both kinds of traces: {shared:?}");
        let mut marks: BTreeMap<&str, BTreeSet<bool>> = BTreeMap::new();
        for span in &self.seen {
            marks.entry(&span.trace).or_default().insert(span.synthetic);
        }
        assert!(
            marks.values().all(|marks| marks.len() == 1),
            "a trace is marked in part"
        );
        let whole: BTreeSet<_> = synthetic
            .iter()
            .map(|span| (&span.trace, &span.span))
            .collect();
        for span in synthetic.iter().filter(|span| span.parent != "-") {
            assert!(
                whole.contains(&(&span.trace, &span.parent)),
                "no parent of {span:?}"
            );
        }
    }
}

/// The first difference between two sets of spans, in words; empty if there is none.
fn same(left: &BTreeSet<Seen>, right: &BTreeSet<Seen>) -> String {
    let missing = right.difference(left).next();
    match (left.difference(right).next(), missing) {
        (None, None) => String::new(),
        (left, right) => format!("{left:#?}\nin place of {right:#?}"),
    }
}

const SYNTHESIZER: &str = "assembler: { max_wait: 5s, initial_quiet: 500ms }, \
    generation: { mode: rate, rate: 150 }, privacy: { min_traces: 20 }";

async fn check(send: impl AsyncFn(&Chain) -> anyhow::Result<Option<Ids>>) -> anyhow::Result<()> {
    let Some(chain) = Chain::start(SYNTHESIZER).await? else {
        return Ok(());
    };
    let Some(sent) = send(&chain).await? else {
        return Ok(());
    };
    // A trace in ten has an error: that none of 150 has one happens once in seven million times.
    let ends = chain.finish(sent.len(), 450).await?;
    ends.check();
    let arrived = ends.seen.iter().filter(|span| !span.synthetic);
    let arrived: Ids = arrived
        .map(|span| (span.trace.clone(), span.span.clone(), span.parent.clone()))
        .collect();
    assert_eq!(arrived, sent, "what the SDK made and what Jaeger tells");
    // All that the SDK was told to make is there to be told.
    for synthetic in [false, true] {
        let of = |what: &str, has: fn(&Seen) -> bool| {
            let mut spans = ends.seen.iter().filter(|span| span.synthetic == synthetic);
            assert!(
                spans.any(has),
                "no span with {what}, synthetic: {synthetic}"
            );
        };
        of("kind server", |span| span.kind == "server");
        of("kind client", |span| span.kind == "client");
        of("kind producer", |span| span.kind == "producer");
        of("an error", |span| span.status.0 == "ERROR");
        of("an event", |span| {
            span.events.iter().any(|event| event.1 == "queued")
        });
        if !synthetic {
            of("a link", |span| !span.links.is_empty());
            of("a message", |span| span.status.1 == "queue is slow");
        }
    }
    Ok(())
}

async fn check_sdk(sdk: Sdk, protocol: &str) -> anyhow::Result<()> {
    check(async |chain| {
        let entry = &chain.entry[usize::from(protocol == "http")];
        sdk.send(protocol, &format!("http://{entry}"), 100).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_s_traces_read_back_from_jaeger() -> anyhow::Result<()> {
    check_sdk(Sdk::Python, "grpc").await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_javascript_sdk_s_traces_read_back_from_jaeger() -> anyhow::Result<()> {
    check_sdk(Sdk::JavaScript, "http").await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rust_sdk_s_traces_read_back_from_jaeger() -> anyhow::Result<()> {
    check(async |chain| {
        let mut sent = make_traces(over_grpc(&format!("http://{}", chain.entry[0]))?, 60).await?;
        sent.extend(make_traces(over_http(&format!("http://{}", chain.entry[1]))?, 60).await?);
        Ok(Some(sent))
    })
    .await
}

async fn check_telemetrygen(http: bool) -> anyhow::Result<()> {
    let Some(program) = program("telemetrygen")? else {
        return Ok(());
    };
    let sink = Sink::start().await?;
    let document = Document::new(&Shape {
        backend: sink.address,
        forward: true,
        synthesizer: Some(SYNTHESIZER),
        exporter: "",
    })?;
    let running = Running::start(&document.yaml, &document.grpc).await?;
    let endpoint = if http { &document.http } else { &document.grpc };
    // No faster than its own batch queue takes spans: beyond that it drops them without a word.
    let mut command = tokio::process::Command::new(program);
    command
        .args(["traces", "--otlp-insecure", "--otlp-endpoint", endpoint])
        .args(
            "--traces 100 --child-spans 3 --span-links 1 --rate 400 --status-code Error".split(' '),
        )
        .kill_on_drop(true);
    if http {
        command.arg("--otlp-http");
    }
    let output = tokio::time::timeout(PATIENCE, command.output()).await??;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    sink.wait_for_spans(400, PATIENCE).await?;
    sink.wait_for_synthetic(200, PATIENCE).await?;
    let (code, log) = running.terminate().await?;
    assert_eq!(code, Some(0), "{log}");

    let told = told(&sink.requests());
    for synthetic in [false, true] {
        let spans: Vec<_> = told
            .iter()
            .filter(|span| span.synthetic == synthetic)
            .collect();
        let traces: BTreeSet<_> = spans.iter().map(|span| &span.trace).collect();
        assert_eq!(
            spans.len(),
            traces.len() * 4,
            "spans a trace, synthetic: {synthetic}"
        );
        assert!(synthetic || traces.len() == 100, "{} traces", traces.len());
        for span in spans {
            assert_eq!(span.service, "telemetrygen");
            assert_eq!(span.status.0, "ERROR");
            let (name, kind) = match span.parent.as_str() {
                "-" => ("lets-go", "client"),
                _ => ("okey-dokey-", "server"),
            };
            assert!(span.name.starts_with(name) && span.kind == kind, "{span:?}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn telemetrygen_is_a_source_over_grpc() -> anyhow::Result<()> {
    check_telemetrygen(false).await
}

#[tokio::test(flavor = "multi_thread")]
async fn telemetrygen_is_a_source_over_http() -> anyhow::Result<()> {
    check_telemetrygen(true).await
}

/// Calls between two services, as Jaeger counts them: a span whose parent is of another service.
fn calls<'a>(spans: impl Iterator<Item = &'a Seen>) -> BTreeMap<&'a str, Graph> {
    let spans: Vec<&Seen> = spans.collect();
    let service: BTreeMap<_, _> = spans
        .iter()
        .map(|span| ((&span.trace, &span.span), &span.service))
        .collect();
    let mut traces: BTreeMap<&str, Graph> = BTreeMap::new();
    for span in &spans {
        let graph = traces.entry(&span.trace).or_default();
        let Some(parent) = service.get(&(&span.trace, &span.parent)) else {
            continue;
        };
        if **parent != span.service {
            let edge = ((*parent).clone(), span.service.clone());
            *graph.entry(edge).or_default() += 1;
        }
    }
    traces
}

type Graph = BTreeMap<(String, String), u64>;

/// Number, mean and variance of the calls along an edge in each of some traces.
fn moments(traces: &[&Graph], edge: &(String, String)) -> (f64, f64, f64) {
    let calls = traces
        .iter()
        .map(|graph| graph.get(edge).copied().unwrap_or(0) as f64);
    let count = traces.len() as f64;
    let mean = calls.clone().sum::<f64>() / count;
    let variance = calls.map(|calls| (calls - mean).powi(2)).sum::<f64>() / (count - 1.0);
    (count, mean, variance)
}

/// How many standard errors the mean calls of a trace along one of the edges may be apart: a test of
/// two means at each edge. Under the hypothesis that both kinds of traces call alike, one of fifty
/// edges exceeds this once in 3,000 runs (the normal tail, 3.4e-6 on either side, times fifty).
const STANDARD_ERRORS: f64 = 4.5;

#[tokio::test(flavor = "multi_thread")]
async fn the_dependency_graph_of_synthetic_traces_is_the_learnt_one() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (input, model) = (path("observed.jsonl"), path("shop.model"));
    let simulate = "simulate --system shop --traces 600 --rate 100 --seed 5 --output";
    let train = "train --steps 1 --min-traces 5 --seed 5 --output";
    for (command, further) in [
        (simulate, [&*input].as_slice()),
        (train, &[&model, "--input", &input]),
    ] {
        let arguments: Vec<&str> = command.split(' ').chain(further.iter().copied()).collect();
        let output = run(&arguments).await?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{command}: {said}");
    }
    let settings = format!(
        "seed: 5, learner: {{ enabled: false }}, checkpoint: {{ path: '{model}' }}, \
         generation: {{ mode: rate, rate: 150 }}"
    );
    let Some(chain) = Chain::start(&settings).await? else {
        return Ok(());
    };
    let text = std::fs::read_to_string(&input)?;
    let requests: Vec<traffic::Request> = text
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let spans = requests.iter().flat_map(traffic::spans).count();
    let sent = traffic::send(&chain.entry[0], requests).await?;
    assert_eq!(sent.accepted, spans);
    let ends = chain.finish(spans, spans).await?;
    ends.check();

    let of = |synthetic: bool| {
        calls(
            ends.seen
                .iter()
                .filter(move |span| span.synthetic == synthetic),
        )
    };
    let (observed, synthetic) = (of(false), of(true));
    let mut total = Graph::new();
    for (edge, calls) in observed.values().chain(synthetic.values()).flatten() {
        *total.entry(edge.clone()).or_default() += calls;
    }
    assert_eq!(
        ends.jaeger.dependencies().await?,
        total,
        "Jaeger's graph and its spans"
    );
    let (observed, synthetic): (Vec<&Graph>, Vec<&Graph>) =
        (observed.values().collect(), synthetic.values().collect());
    assert!(total.len() > 5, "{total:?}");
    for edge in total.keys() {
        let (count, mean, variance) = moments(&observed, edge);
        let (drawn, mean_drawn, variance_drawn) = moments(&synthetic, edge);
        let error = (variance / count + variance_drawn / drawn).sqrt();
        let apart = (mean - mean_drawn).abs();
        println!(
            "{edge:?} {mean:.3} {mean_drawn:.3} {:.2}",
            (mean_drawn - mean) / error
        );
        assert!(
            mean_drawn > 0.0 || mean * drawn < 10.0,
            "{edge:?} was learnt and is never drawn"
        );
        assert!(
            apart <= STANDARD_ERRORS * error,
            "{edge:?}: {mean:.3} calls a trace in {count} observed ones, {mean_drawn:.3} in {drawn} synthetic ones"
        );
    }
    Ok(())
}
