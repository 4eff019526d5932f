//! `doppelspan generate`

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use rand::{SeedableRng as _, rngs::SysRng};

use super::delivery::{Backend, Delivery, ids};
use super::packed::{Effort, Packed};
use super::progress::Progress;
use super::{built_in, complain, say};
use crate::chance::{self, Rng};
use crate::config::Period;
use crate::features::Sampled;
use crate::learner::{Checkpoint, Published};
use crate::otlp::Payload;
use crate::otlp::view::ValueView;
use crate::simulate::System;
use crate::synthesizer::{Asked, Conditions, Identity, MARK, Mode, Pace, Sampler, Writer};

/// Traces drawn at once.
const DRAWN: usize = 64;
/// Spans of a request, about; of a line in a file, so that one line stays readable.
const SPANS: usize = 500;
/// Spans of a synthetic trace, at most.
const MOST: usize = 2_000;
/// Requests on their way at once, at least.
const REQUESTS: u32 = 4;
/// When files begin that are made with a seed: 2026-01-01T00:00:00Z, so that bytes repeat.
const EPOCH: Duration = Duration::from_secs(1_767_225_600);

/// Where the conditions stand in the help.
const CONDITIONS: &str = "Conditions (each is left to the model unless given)";

#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("amount").args(["traces", "duration"])))]
#[command(group(clap::ArgGroup::new("to").required(true).args(["signal", "output", "otlp_endpoint"]).multiple(true)))]
#[command(after_help = "Examples:
  doppelspan generate traces --otlp-insecure --traces 10          to localhost:4317, as telemetrygen does
  doppelspan generate traces --otlp-http --rate 20 --duration 1m  to localhost:4318
  doppelspan generate --model shop.model --traces 1000 --seed 1 --output synthetic.jsonl.zst

The exit code is 0 only if every span was written, or acknowledged by the backend.")]
pub(super) struct Arguments {
    /// `traces`: send to localhost unless told where else, as telemetrygen does
    #[arg(value_name = "traces")]
    signal: Option<Signal>,
    /// A model: what `train` wrote, or the checkpoint of a synthesizer; a grammar of a simulated
    /// system unless given
    #[arg(long, value_name = "MODEL")]
    model: Option<PathBuf>,
    /// The simulated system, where no model is given: shop, social-network or ticket-office
    #[arg(long, default_value_t = System::Shop, conflicts_with = "model")]
    system: System,
    /// Traces to make, by each worker; 1 unless this or a duration is given
    #[arg(long)]
    traces: Option<u64>,
    /// How long to make traces, as `10s` or `5m`; `inf` until Ctrl-C
    #[arg(long)]
    duration: Option<Length>,
    /// Traces a second, by each worker; in a file it spaces their times (10 unless given), over the
    /// network it paces them (0, or nothing: as fast as the backend takes them)
    #[arg(long)]
    rate: Option<f64>,
    /// Each makes so many traces at such a rate, and has a request on its way
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    workers: u32,
    /// Spans of every trace; left to the model unless given
    #[arg(long, conflicts_with_all = ["min_spans", "max_spans"])]
    spans: Option<usize>,
    /// Spans of every trace besides its root
    #[arg(long, value_name = "SPANS", conflicts_with_all = ["spans", "min_spans", "max_spans"])]
    child_spans: Option<usize>,
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
    /// Keep every trace that the model draws, whatever its discriminator says: over three times as
    /// fast, and easier to tell from observed ones
    #[arg(long)]
    keep_all: bool,
    /// The same seed and model give the same traces, ids and (in a file) times; fresh unless given
    #[arg(long)]
    seed: Option<u64>,
    /// A file of OTLP/JSON lines; compressed if it ends in .gz or .zst; `-` is standard output
    #[arg(long, value_name = "FILE", conflicts_with = "otlp_endpoint")]
    output: Option<PathBuf>,
    /// An attribute of every resource, as `deployment.environment=test`, `shard=3` or `canary=true`;
    /// may be repeated
    #[arg(long = "otlp-attributes", value_name = "KEY=VALUE", value_parser = attribute)]
    attributes: Vec<(String, Given)>,
    #[command(flatten)]
    backend: Backend,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq)]
enum Given {
    Text(String),
    Int(i64),
    Bool(bool),
}

/// `key=value` as telemetrygen reads it: true, false, a whole number, or text, in quotes or not.
fn attribute(text: &str) -> Result<(String, Given), String> {
    let (key, value) = text.split_once('=').ok_or("it has no `=`")?;
    if key.is_empty() || ["service.name", MARK].contains(&key) {
        return Err("this key can't be set".to_owned());
    }
    if value.starts_with('[') {
        return Err("lists are not written".to_owned());
    }
    let inner = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
    let value = match (inner, value.parse(), value.parse()) {
        (Some(inner), ..) => Given::Text(inner.to_owned()),
        (None, Ok(truth), _) => Given::Bool(truth),
        (None, _, Ok(number)) => Given::Int(number),
        _ => Given::Text(value.to_owned()),
    };
    Ok((key.to_owned(), value))
}

/// What is generated.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Signal {
    Traces,
}

/// How long.
#[derive(Debug, Clone, Copy)]
enum Length {
    Of(Period),
    Endless,
}

impl FromStr for Length {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "inf" => Ok(Self::Endless),
            _ => text.parse().map(Self::Of),
        }
    }
}

impl Arguments {
    /// Traces a second of all workers; none where nothing holds them back.
    fn pace(&self) -> Option<f64> {
        let rate = self.rate.filter(|rate| *rate > 0.0)?;
        Some(rate * f64::from(self.workers))
    }

    /// How many traces, if that is known beforehand.
    fn count(&self) -> Option<u64> {
        match self.duration {
            None => Some(self.traces.unwrap_or(1) * u64::from(self.workers)),
            Some(Length::Of(long)) => {
                let drawn = long.duration().as_secs_f64() * self.pace()?;
                Some(drawn as u64)
            }
            Some(Length::Endless) => None,
        }
    }

    /// When to end, if the clock says so.
    fn limit(&self) -> Option<Duration> {
        match (self.duration, self.pace()) {
            (Some(Length::Of(long)), None) => Some(long.duration()),
            _ => None,
        }
    }

    fn conditions(&self) -> Conditions {
        Conditions {
            roots: self.roots.clone(),
            errors: self.errors,
            min_spans: self.min_spans,
            max_spans: self.max_spans,
            rare: self.rare,
            spans: self.size(),
        }
    }

    fn size(&self) -> Option<usize> {
        self.spans.or(self.child_spans.map(|others| others + 1))
    }
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if let Some(rate) = arguments.rate {
        ensure!(
            (0.0..=1e6).contains(&rate),
            "--rate must be at least 0 and at most 1000000, got {rate}"
        );
    }
    if let Some(spans) = arguments.size() {
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
    let published = match &arguments.model {
        Some(model) => {
            let checkpoint = Checkpoint::load(model)?;
            checkpoint.published()?.with_context(|| {
                format!("{}: has learnt too little to draw from", model.display())
            })?
        }
        None => built_in::published(arguments.system)?,
    };
    let maker = Maker::new(arguments, &published)?;
    match &arguments.output {
        Some(path) => to_file(arguments, maker, path),
        None => {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()?;
            runtime.block_on(to_backend(arguments, maker))
        }
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
        let resource = arguments.attributes.iter().map(|(key, value)| {
            let value = match value {
                Given::Text(text) => ValueView::Str(text),
                Given::Int(number) => ValueView::Int(*number),
                Given::Bool(truth) => ValueView::Bool(*truth),
            };
            (&**key, value)
        });
        let resource: Vec<_> = resource.collect();
        let mut sampler = Sampler::new(published)?;
        if arguments.keep_all {
            sampler = sampler.keep_all();
        }
        let asked = Asked::new(&arguments.conditions(), &mut sampler, &published.words)
            .map_err(|fault| anyhow::anyhow!("--root: {fault}"))?;
        let mut maker = Self {
            sampler,
            asked,
            writer: Writer::with(&published.words, &resource),
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
    let rate = arguments.pace().unwrap_or(10.0);
    let count = match (arguments.duration, arguments.count()) {
        (_, Some(count)) => count,
        (Some(Length::Of(_)), None) => {
            anyhow::bail!("--duration needs --rate where a file is written")
        }
        (_, None) => anyhow::bail!("--duration inf makes no file"),
    };
    let begin = match arguments.seed {
        Some(_) => EPOCH,
        None => now()?,
    };
    ensure!(
        !(path.as_os_str() == "-" && arguments.backend.prints_ids()),
        "--print-trace-ids and --output - both write to standard output"
    );
    let failed = || format!("can't write {}", path.display());
    let mut lines = Packed::create(path, Effort::Fast).with_context(failed)?;
    let mut progress = Progress::new("writing", count, "traces");
    let mut spans = 0;
    for at in 0..count {
        maker.add(begin + Duration::from_secs_f64(at as f64 / rate))?;
        if maker.writer.spans() >= SPANS || at + 1 == count {
            let payload = maker.writer.take();
            spans += payload.spans();
            if arguments.backend.prints_ids() {
                say(&ids(&payload)?)?;
            }
            crate::exporter::json::write(payload.bytes(), &mut lines)
                .map_err(anyhow::Error::msg)?;
            lines.write_all(b"\n").with_context(failed)?;
        }
        progress.tell(at + 1, || format!("{spans} spans"));
    }
    progress.end();
    lines.end().with_context(failed)?;
    let wrote = format!(
        "wrote {count} traces of {spans} spans to {}",
        path.display()
    );
    if arguments.backend.prints_ids() {
        complain(&wrote);
    } else if path.as_os_str() != "-" {
        say(&wrote)?;
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
async fn to_backend(arguments: &Arguments, mut maker: Maker) -> anyhow::Result<ExitCode> {
    let jitter = chance::stream(arguments.seed.unwrap_or_default(), "retries");
    let requests = arguments.workers.max(REQUESTS);
    let mut delivery = Delivery::open(&arguments.backend, requests, jitter)?;
    let (count, limit) = (arguments.count(), arguments.limit());
    let began = Instant::now();
    let mut pace = arguments
        .pace()
        .map(|per_second| Pace::new(Mode::Rate { per_second }));
    let mut progress = Progress::new("sending", count.unwrap_or_default(), "traces");
    let mut made = 0;
    while count.is_none_or(|count| made < count) && !delivery.is_over() {
        let elapsed = began.elapsed();
        if limit.is_some_and(|limit| elapsed >= limit) {
            break;
        }
        let owed = match &mut pace {
            Some(pace) => pace.owed(elapsed, 0),
            None => DRAWN as u64,
        };
        let batch = owed.min(count.unwrap_or(u64::MAX) - made);
        let present = now()?;
        for _ in 0..batch {
            maker.add(present)?;
            made += 1;
            if maker.writer.spans() >= SPANS * 4 {
                give(arguments, &mut delivery, maker.writer.take()).await?;
                if delivery.is_over() {
                    break;
                }
            }
        }
        give(arguments, &mut delivery, maker.writer.take()).await?;
        progress.tell(made, || format!("{} spans sent", delivery.sent()));
        if let Some(pace) = &pace
            && count.is_none_or(|count| made < count)
        {
            delivery.sleep(pace.next_due(began.elapsed())).await;
        }
    }
    progress.end();
    delivery.end(&format!("made {made} traces"), "").await
}

async fn give(
    arguments: &Arguments,
    delivery: &mut Delivery,
    payload: Payload,
) -> anyhow::Result<()> {
    if payload.spans() > 0 && arguments.backend.prints_ids() {
        say(&ids(&payload)?)?;
    }
    delivery.give(payload).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_is_text_a_number_or_a_truth() {
        let check = |text: &str, expected: Option<Given>| {
            let seen = attribute(text).ok().map(|(_, value)| value);
            assert_eq!(seen, expected, "{text}");
        };
        check("a=b", Some(Given::Text("b".to_owned())));
        check("a=\"true\"", Some(Given::Text("true".to_owned())));
        check("a=true", Some(Given::Bool(true)));
        check("a=-3", Some(Given::Int(-3)));
        check("a=", Some(Given::Text(String::new())));
        check("a=[1,2]", None);
        check("a", None);
        check("service.name=x", None);
        check("doppelspan.synthetic=false", None);
    }
}
