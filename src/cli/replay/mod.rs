//! `doppelspan replay`

mod ahead;
mod rewrite;
mod schedule;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use prost::Message as _;
use rand::{Rng as _, SeedableRng as _, rngs::SysRng};

use self::ahead::Ahead;
use self::rewrite::{Ids, shift};
use self::schedule::{Beat, Part, Schedule};
use super::delivery::{Backend, Delivery, hex};
use super::observed::InputFormat;
use super::progress::Progress;
use super::{complain, say};
use crate::chance::{self, Rng};
use crate::config::Period;
use crate::import::{self, Observed};
use crate::otlp::Payload;

/// Spans of a request, about.
const SPANS: usize = 500;
/// Spans that wait for their time, at most; then no further traces are begun.
const WAITING: usize = 500_000;
/// The longest sleep, so that the progress moves.
const LONGEST_SLEEP: Duration = Duration::from_millis(250);

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  doppelspan replay traces.jsonl.zst --otlp-endpoint localhost:4317 --rewrite-ids
  doppelspan replay jaeger.json --otlp-endpoint localhost:4317 --speed 10 --late 0.01
  doppelspan replay trace.csv --otlp-endpoint localhost:4318 --otlp-http --rewrite-ids --loop

Times are moved to the present: the first trace begins now, the gaps between the beginnings of
traces are divided by the speed, and within a trace all stays as it was observed. Each span is sent
when its trace has ended. The traces are observed ones and bear no mark; the exit code is 0 only if
the backend acknowledged every span.")]
pub(super) struct Arguments {
    /// Files of observed spans in any format that `train` reads
    #[arg(value_name = "FILE", required_unless_present = "input")]
    files: Vec<PathBuf>,
    /// The same, as train and evaluate have it
    #[arg(long, num_args = 1.., value_name = "FILE", conflicts_with = "files")]
    input: Vec<PathBuf>,
    #[command(flatten)]
    format: InputFormat,
    /// The gaps between traces are divided by this
    #[arg(long, default_value_t = 1.0)]
    speed: f64,
    /// Traces a second, evenly, in place of the gaps that were observed
    #[arg(long, conflicts_with = "speed")]
    rate: Option<f64>,
    /// Give every trace and span a new id; parents and links are kept
    #[arg(long)]
    rewrite_ids: bool,
    /// The same seed gives the same new ids and late spans; fresh unless given
    #[arg(long)]
    seed: Option<u64>,
    /// Share of the spans, 0 to 1, that are sent late, in a request of their own
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    late: f64,
    /// How late
    #[arg(long, value_name = "PERIOD", default_value = "5s")]
    late_by: Period,
    /// Begin anew when the files are over, until Ctrl-C; needs --rewrite-ids, as no id is to be
    /// sent twice
    #[arg(long = "loop", requires = "rewrite_ids")]
    again: bool,
    /// Stop after so many traces
    #[arg(long)]
    traces: Option<u64>,
    #[command(flatten)]
    backend: Backend,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    ensure!(
        arguments.speed > 0.0 && arguments.speed.is_finite(),
        "--speed must be above 0, got {}",
        arguments.speed
    );
    ensure!(
        (0.0..=1.0).contains(&arguments.late),
        "--late must lie in 0 to 1, got {}",
        arguments.late
    );
    if let Some(rate) = arguments.rate {
        ensure!(
            rate > 0.0 && rate <= 1e6,
            "--rate must be above 0 and at most 1000000, got {rate}"
        );
    }
    let files = match arguments.files.as_slice() {
        [] => &arguments.input,
        _ => &arguments.files,
    };
    // What can't be read at all is told before anything is sent.
    for file in files {
        import::open(file, arguments.format.input_format)?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    runtime.block_on(replay(arguments, files))
}

/// What was replayed.
#[derive(Debug, Default)]
struct Told {
    traces: u64,
    late: u64,
    bad: u64,
}

async fn replay(arguments: &Arguments, files: &[PathBuf]) -> anyhow::Result<ExitCode> {
    let mut chance = match arguments.seed {
        Some(seed) => chance::stream(seed, "replay"),
        None => Rng::try_from_rng(&mut SysRng).context("the system gives no chance")?,
    };
    let jitter = chance::stream(chance.next_u64(), "retries");
    // One request on its way: spans arrive in the order of their times.
    let mut delivery = Delivery::open(&arguments.backend, 1, jitter)?;
    let beat = match arguments.rate {
        Some(rate) => Beat::Rate(rate),
        None => Beat::Speed(arguments.speed),
    };
    let mut schedule = Schedule::new(beat, nanos()?);
    let mut told = Told::default();
    loop {
        let ids = arguments.rewrite_ids.then(|| Ids::draw(&mut chance));
        let mut ahead = Ahead::new(files, arguments.format.input_format);
        let begun = told.traces;
        pass(
            arguments,
            (&mut ahead, ids),
            &mut schedule,
            &mut delivery,
            (&mut chance, &mut told),
        )
        .await?;
        told.bad += ahead.bad();
        let enough = arguments.traces.is_some_and(|most| told.traces >= most);
        if !arguments.again || enough || delivery.is_over() {
            break;
        }
        ensure!(told.traces > begun, "there is no trace to replay");
        schedule.next_pass();
    }
    // What waits for its time is sent: at its time, or at once after Ctrl-C.
    flush(&mut schedule, &mut delivery).await?;
    let late = match told.late {
        0 => String::new(),
        late => format!(", {late} of them late"),
    };
    if told.bad > 0 {
        complain(&format!("{} records or spans could not be used", told.bad));
    }
    let replayed = format!("replayed {} traces", told.traces);
    delivery.end(&replayed, &late).await
}

/// Sends the files once: returns when every trace has begun.
async fn pass(
    arguments: &Arguments,
    (ahead, ids): (&mut Ahead<'_>, Option<Ids>),
    schedule: &mut Schedule,
    delivery: &mut Delivery,
    (chance, told): (&mut Rng, &mut Told),
) -> anyhow::Result<()> {
    let bytes = ahead.total();
    let mut progress = Progress::new("replaying", bytes, "bytes");
    while let Some(mut trace) = ahead.next()? {
        if arguments.traces.is_some_and(|most| told.traces >= most) {
            break;
        }
        let start = starts(&trace);
        let begins = schedule.begin(start);
        loop {
            let now = nanos()?;
            send_due(schedule, delivery, now).await?;
            if delivery.is_over() {
                return Ok(());
            }
            if begins <= now && schedule.waiting() < WAITING {
                break;
            }
            let next = match schedule.waiting() {
                WAITING.. => schedule.next_due().unwrap_or(now),
                _ => schedule.next_due().map_or(begins, |due| due.min(begins)),
            };
            let wait = Duration::from_nanos(next.saturating_sub(now));
            progress.tell(ahead.read(), || format!("{} spans sent", delivery.sent()));
            delivery
                .sleep(wait.clamp(Duration::from_micros(100), LONGEST_SLEEP))
                .await;
        }
        let offset = begins.wrapping_sub(start) as i64;
        for observed in &mut trace {
            shift(&mut observed.span, offset);
            if let Some(ids) = ids {
                ids.rewrite(&mut observed.span);
            }
        }
        if arguments.backend.prints_ids()
            && let Some(first) = trace.first()
        {
            say(&hex(&first.span.trace_id))?;
        }
        told.traces += 1;
        told.late += schedule.put(
            trace,
            (arguments.late, arguments.late_by.duration()),
            chance,
        );
    }
    progress.end();
    Ok(())
}

/// Sends what waits: each part when it is due, all of it once Ctrl-C was pressed.
async fn flush(schedule: &mut Schedule, delivery: &mut Delivery) -> anyhow::Result<()> {
    while let Some(due) = schedule.next_due() {
        let now = if delivery.is_over() {
            u64::MAX
        } else {
            nanos()?
        };
        send_due(schedule, delivery, now).await?;
        let wait = Duration::from_nanos(due.saturating_sub(now));
        delivery.sleep(wait.min(LONGEST_SLEEP)).await;
    }
    Ok(())
}

/// Sends what is due, in requests of whole parts; late spans in requests of their own.
async fn send_due(
    schedule: &mut Schedule,
    delivery: &mut Delivery,
    now: u64,
) -> anyhow::Result<()> {
    let mut spans: Vec<Observed> = Vec::new();
    let mut late = false;
    while let Some(Part {
        spans: part,
        is_late,
    }) = schedule.take(now)
    {
        if !spans.is_empty() && (is_late != late || spans.len() + part.len() > SPANS) {
            give(std::mem::take(&mut spans), delivery).await?;
        }
        late = is_late;
        spans.extend(part);
    }
    give(spans, delivery).await
}

async fn give(spans: Vec<Observed>, delivery: &mut Delivery) -> anyhow::Result<()> {
    let count = spans.len();
    let bytes = import::request(spans).encode_to_vec();
    delivery.give(Payload::new(bytes.into(), count)).await
}

/// When a trace begins.
fn starts(trace: &[Observed]) -> u64 {
    let starts = trace.iter().map(|it| it.span.start_time_unix_nano);
    starts.min().unwrap_or_default()
}

/// The present in nanoseconds since the epoch.
#[expect(
    clippy::disallowed_methods,
    reason = "a command line reads the clock for its user"
)]
fn nanos() -> anyhow::Result<u64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let since = since.context("the system's clock stands before 1970")?;
    Ok(since.as_nanos() as u64)
}
