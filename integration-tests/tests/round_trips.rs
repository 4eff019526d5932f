//! Through real neighbours and back: SDK → Collector → doppelspan → Collector → Jaeger, files of the
//! Collector's, and telemetrygen.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use integration_tests::jaeger::{Jaeger, Seen};
use integration_tests::peers::{Neighbour, collector};
use integration_tests::process::free_port;
use integration_tests::rust_sdk::{make_traces, over_grpc, over_http};
use integration_tests::sdk::Ids;
use integration_tests::told::told;
use integration_tests::{Running, Sdk, Sink};

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
    generation: { mode: rate, rate: 50 }, privacy: { min_traces: 20 }";

async fn check(send: impl AsyncFn(&Chain) -> anyhow::Result<Option<Ids>>) -> anyhow::Result<()> {
    let Some(chain) = Chain::start(SYNTHESIZER).await? else {
        return Ok(());
    };
    let Some(sent) = send(&chain).await? else {
        return Ok(());
    };
    let ends = chain.finish(sent.len(), 150).await?;
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
