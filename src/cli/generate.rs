//! `doppelspan generate`

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use rand::{SeedableRng as _, rngs::SysRng};
use tokio_util::sync::CancellationToken;

use super::packed::{Effort, Packed};
use super::progress::Progress;
use super::{complain, say};
use crate::chance::{self, Rng};
use crate::config::{ComponentId, Period};
use crate::exporter::{self, Compression, ExporterCounts, otlp_grpc};
use crate::features::Sampled;
use crate::learner::{Checkpoint, Published};
use crate::otlp::Payload;
use crate::pipeline::{Outlet, Refusal};
use crate::synthesizer::{Asked, Conditions, Identity, Mode, Pace, Sampler, Writer};

/// Traces drawn at once.
const DRAWN: usize = 64;
/// Spans of a request, about; of a line in a file, so that one line stays readable.
const SPANS: usize = 500;
/// Spans of a synthetic trace, at most.
const MOST: usize = 2_000;
/// When files begin that are made with a seed: 2026-01-01T00:00:00Z, so that bytes repeat.
const EPOCH: Duration = Duration::from_secs(1_767_225_600);

/// Where the conditions stand in the help.
const CONDITIONS: &str = "Conditions (each is left to the model unless given)";

#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("amount").required(true).args(["traces", "duration"])))]
#[command(group(clap::ArgGroup::new("to").required(true).args(["output", "otlp_endpoint"])))]
pub(super) struct Arguments {
    /// A model: what `train` wrote, or the checkpoint of a synthesizer
    #[arg(long, value_name = "MODEL")]
    model: PathBuf,
    /// Traces to make
    #[arg(long)]
    traces: Option<u64>,
    /// How long to make traces, as `10s` or `5m`, at `--rate` a second
    #[arg(long, requires = "rate")]
    duration: Option<Period>,
    /// Traces a second; in a file it spaces their times (10 unless given), over the network it
    /// paces them (as fast as the backend takes them unless given)
    #[arg(long)]
    rate: Option<f64>,
    /// Spans of every trace; left to the model unless given
    #[arg(long, conflicts_with_all = ["min_spans", "max_spans"])]
    spans: Option<usize>,
    /// Spans of a trace at least
    #[arg(long, value_name = "SPANS", help_heading = CONDITIONS)]
    min_spans: Option<usize>,
    /// Spans of a trace at most
    #[arg(long, value_name = "SPANS", help_heading = CONDITIONS)]
    max_spans: Option<usize>,
    /// A root operation, as `shop/GET /cart`: every trace begins with it, or with one of several
    /// (give the option once for each)
    #[arg(long = "root", value_name = "SERVICE/OPERATION", help_heading = CONDITIONS)]
    roots: Vec<String>,
    /// Share of the traces, 0 to 1, that have a span of error status; the others have none
    #[arg(long, value_name = "SHARE", help_heading = CONDITIONS)]
    errors: Option<f64>,
    /// Share of the traces, 0 to 1, of a shape that at most 1 in 1000 of the model's own draws
    /// has; the others have a more frequent one
    #[arg(long, value_name = "SHARE", help_heading = CONDITIONS)]
    rare: Option<f64>,
    /// The same seed and model give the same traces, ids and (in a file) times; fresh unless given
    #[arg(long)]
    seed: Option<u64>,
    /// A file of OTLP/JSON lines; compressed if it ends in .gz or .zst; `-` is standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// `host:port` of an OTLP backend, over gRPC
    #[arg(long, value_name = "ADDRESS")]
    otlp_endpoint: Option<String>,
    /// Talk to the backend without TLS (the default for addresses of this machine)
    #[arg(long, requires = "otlp_endpoint")]
    otlp_insecure: bool,
    /// How long to try again to send what the backend does not take, before it is given up
    #[arg(
        long,
        requires = "otlp_endpoint",
        default_value = "30s",
        value_name = "PERIOD"
    )]
    give_up_after: Period,
}

impl Arguments {
    /// How many traces: one of the two was given, and a duration with its rate.
    fn count(&self) -> u64 {
        let long = self.duration.unwrap_or(Period::ZERO).duration();
        let drawn = long.as_secs_f64() * self.rate.unwrap_or_default();
        self.traces.unwrap_or(drawn as u64)
    }

    fn conditions(&self) -> Conditions {
        Conditions {
            roots: self.roots.clone(),
            errors: self.errors,
            min_spans: self.min_spans,
            max_spans: self.max_spans,
            rare: self.rare,
            spans: self.spans,
        }
    }
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if let Some(rate) = arguments.rate {
        ensure!(
            rate > 0.0 && rate <= 1e6,
            "--rate must be above 0 and at most 1000000, got {rate}"
        );
    }
    if let Some(spans) = arguments.spans {
        ensure!(
            (1..=MOST).contains(&spans),
            "--spans must be from 1 to {MOST}, got {spans}"
        );
    }
    if let Some((key, fault)) = arguments.conditions().faults(MOST).into_iter().next() {
        let option = match key {
            "roots" => "root".to_owned(),
            key => key.replace('_', "-"),
        };
        anyhow::bail!("--{option} {fault}");
    }
    let checkpoint = Checkpoint::load(&arguments.model)?;
    let published = checkpoint.published()?.with_context(|| {
        format!(
            "{}: has learnt too little to draw from",
            arguments.model.display()
        )
    })?;
    let maker = Maker::new(arguments, &published)?;
    match (&arguments.output, &arguments.otlp_endpoint) {
        (Some(path), _) => to_file(arguments, maker, path),
        (None, Some(endpoint)) => {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()?;
            runtime.block_on(to_backend(arguments, maker, endpoint))
        }
        (None, None) => anyhow::bail!("give --output or --otlp-endpoint"),
    }
}

/// Draws traces and writes them.
struct Maker {
    sampler: Sampler,
    asked: Asked,
    writer: Writer,
    chance: Rng,
    identity: Identity,
    drawn: std::vec::IntoIter<Sampled>,
}

impl Maker {
    fn new(arguments: &Arguments, published: &Published) -> anyhow::Result<Self> {
        let stream = |purpose| -> anyhow::Result<Rng> {
            Ok(match arguments.seed {
                Some(seed) => chance::stream(seed, purpose),
                None => Rng::try_from_rng(&mut SysRng).context("the system gives no chance")?,
            })
        };
        let mut sampler = Sampler::new(published)?;
        let asked = Asked::new(&arguments.conditions(), &mut sampler, &published.words)
            .map_err(|fault| anyhow::anyhow!("--root: {fault}"))?;
        let mut maker = Self {
            sampler,
            asked,
            writer: Writer::new(&published.words),
            chance: stream("samples")?,
            identity: Identity::new(stream("ids")?),
            drawn: Vec::new().into_iter(),
        };
        // Conditions that can't be met are told before anything is written.
        maker.draw()?;
        Ok(maker)
    }

    /// Draws the next traces.
    fn draw(&mut self) -> anyhow::Result<()> {
        let met = self
            .asked
            .sample_many(&mut self.sampler, &mut self.chance, DRAWN);
        if let Some(unmet) = met.unmet {
            anyhow::bail!("{unmet}; ask for less of it, or train on traces that have more of it");
        }
        self.drawn = met.traces.into_iter();
        Ok(())
    }

    /// Adds a trace that starts so long after 1970.
    fn add(&mut self, start: Duration) -> anyhow::Result<()> {
        if self.drawn.len() == 0 {
            self.draw()?;
        }
        if let Some(sampled) = self.drawn.next() {
            let start = start.as_nanos() as u64;
            // A sampler draws nothing that can't be written; a model that could would be told here.
            if !self.writer.add(&sampled, start, &mut self.identity) {
                complain("a trace was drawn that can't be written");
            }
        }
        Ok(())
    }
}

fn to_file(
    arguments: &Arguments,
    mut maker: Maker,
    path: &std::path::Path,
) -> anyhow::Result<ExitCode> {
    let rate = arguments.rate.unwrap_or(10.0);
    let count = arguments.count();
    let begin = match arguments.seed {
        Some(_) => EPOCH,
        None => now()?,
    };
    let failed = || format!("can't write {}", path.display());
    let mut lines = Packed::create(path, Effort::Fast).with_context(failed)?;
    let mut progress = Progress::new("writing", count, "traces");
    let mut spans = 0;
    for at in 0..count {
        maker.add(begin + Duration::from_secs_f64(at as f64 / rate))?;
        if maker.writer.spans() >= SPANS || at + 1 == count {
            let payload = maker.writer.take();
            spans += payload.spans();
            crate::exporter::json::write(payload.bytes(), &mut lines)
                .map_err(anyhow::Error::msg)?;
            lines.write_all(b"\n").with_context(failed)?;
        }
        progress.tell(at + 1, || format!("{spans} spans"));
    }
    progress.end();
    lines.end().with_context(failed)?;
    if path.as_os_str() != "-" {
        say(&format!(
            "wrote {count} traces of {spans} spans to {}",
            path.display()
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a command line reads the clock for its user"
)]
fn now() -> anyhow::Result<Duration> {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the system's clock stands before 1970")
}

#[expect(
    clippy::disallowed_methods,
    reason = "a command line reads the clock for its user"
)]
async fn to_backend(
    arguments: &Arguments,
    mut maker: Maker,
    endpoint: &str,
) -> anyhow::Result<ExitCode> {
    let mut config = otlp_grpc::Config {
        endpoint: endpoint.to_owned(),
        compression: Compression::None,
        ..otlp_grpc::Config::default()
    };
    config.tls.insecure = arguments.otlp_insecure || is_local(endpoint);
    config.retry_on_failure.max_elapsed_time = arguments.give_up_after;
    let mut faults = crate::config::Faults::default();
    config.check(&mut faults);
    if let Some(fault) = faults.into_vec().into_iter().next() {
        anyhow::bail!("--otlp-endpoint: {}", fault.message);
    }
    let id: ComponentId = "otlp_grpc/generate".parse().map_err(anyhow::Error::msg)?;
    let jitter = chance::stream(arguments.seed.unwrap_or_default(), "retries");
    let config = exporter::Config::OtlpGrpc(Box::new(config));
    let (queue, exporter) = exporter::bind(&id, &config, jitter)?;
    let tally = exporter.tally();
    let stop = CancellationToken::new();
    let sending = tokio::spawn(exporter.run(stop.clone()));
    let outlet = Outlet::new(vec![queue.clone()]);

    let count = arguments.count();
    let began = Instant::now();
    let mut pace = arguments
        .rate
        .map(|per_second| Pace::new(Mode::Rate { per_second }));
    let mut progress = Progress::new("sending", count, "traces");
    let (mut made, mut given) = (0, 0);
    while made < count {
        let elapsed = began.elapsed();
        let owed = match &mut pace {
            Some(pace) => pace.owed(elapsed, 0),
            None => DRAWN as u64,
        };
        let batch = owed.min(count - made);
        let present = now()?;
        for _ in 0..batch {
            maker.add(present)?;
            if maker.writer.spans() >= SPANS * 4 {
                given += give(&outlet, maker.writer.take()).await;
            }
        }
        given += give(&outlet, maker.writer.take()).await;
        made += batch;
        progress.tell(made, || format!("{} spans sent", tally.counts().sent));
        if let Some(pace) = &pace
            && made < count
        {
            tokio::time::sleep(pace.next_due(began.elapsed())).await;
        }
    }
    progress.end();
    queue.close();
    sending.await?;
    told(made, given, &tally.counts(), endpoint)
}

/// Gives a payload to the exporter, waiting for room; the spans given.
async fn give(outlet: &Outlet, payload: Payload) -> u64 {
    if payload.spans() == 0 {
        return 0;
    }
    loop {
        match outlet.offer(&payload).await {
            Ok(()) => return payload.spans() as u64,
            Err(Refusal::Full { .. }) => tokio::time::sleep(Duration::from_millis(5)).await,
            Err(_) => return 0,
        }
    }
}

/// Says what became of everything; a failure unless all of it arrived.
fn told(
    traces: u64,
    given: u64,
    counts: &ExporterCounts,
    endpoint: &str,
) -> anyhow::Result<ExitCode> {
    say(&format!(
        "made {traces} traces of {given} spans; {endpoint} took {} spans",
        counts.sent
    ))?;
    let lost = given.saturating_sub(counts.sent);
    if lost == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    complain(&format!(
        "{lost} spans did not arrive ({} rejected by the backend, {} given up)",
        counts.rejected, counts.dropped
    ));
    Ok(ExitCode::FAILURE)
}

fn is_local(endpoint: &str) -> bool {
    let host = endpoint.rsplit_once(':').map_or(endpoint, |(host, _)| host);
    let host = host.trim_start_matches("http://");
    ["localhost", "127.0.0.1", "[::1]"].contains(&host)
}
