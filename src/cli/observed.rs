//! Files of observed spans to whole traces, as `train` and `evaluate` read them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::complain;
use super::progress::Progress;
use crate::assembler::{
    Assembler, AssemblerCounts, AssemblerSettings, Done, Feed, Tap, TapSettings,
};
use crate::features::Interner;
use crate::import::{self, Format};
use crate::otlp::view::{self, Limits, ResourceView, SpanView, Visit, Walked};
use crate::trace::{Trace, TraceId};

/// Records that can't be used and are named, in each file; the others are counted.
const NAMED: u64 = 3;

/// Which files, and how they are to be read; flattened into the arguments of those who read some.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(super) struct InputFormat {
    /// The format of the files of observed spans: otlp, otlp-json (Tempo's too), jaeger, zipkin,
    /// nezha, eadro, or eadro:UNIT with the unit of its durations (s, ms, us, ns); told by each
    /// file's content unless given
    #[arg(long, value_name = "FORMAT")]
    pub(super) input_format: Option<Format>,
}

/// What a record of a file adds to the clock besides its spans' own times, so that a file whose
/// times stand still ends its traces too.
const TICK: Duration = Duration::from_millis(10);

/// What was read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Read {
    /// Records that were read.
    pub(super) records: u64,
    /// What was passed over because it could not be used: whole records, or spans of them.
    pub(super) bad: u64,
    /// Spans that break the protocol.
    pub(super) rejected: u64,
    /// What the assembler made of the others.
    pub(super) assembled: AssemblerCounts,
}

/// Hands the whole traces of the files on, in the order in which they ended.
///
/// Time is that of the spans: the same files give the same traces in the same order.
pub(super) fn read(
    (paths, format): (&[PathBuf], InputFormat),
    texts: &Arc<Interner>,
    mut each: impl FnMut(Trace) -> anyhow::Result<()>,
) -> anyhow::Result<Read> {
    read_begun((paths, format), texts, |_, trace| each(trace))
}

/// As [`read`], with when each trace's first span began, in ns since the epoch.
pub(super) fn read_begun(
    (paths, format): (&[PathBuf], InputFormat),
    texts: &Arc<Interner>,
    mut each: impl FnMut(u64, Trace) -> anyhow::Result<()>,
) -> anyhow::Result<Read> {
    let mut assembly = Assembly::new(texts);
    let mut read = Read::default();
    for path in paths {
        let mut requests = import::open(path, format.input_format)?;
        let bytes = requests.progress();
        let mut progress = Progress::new("reading", bytes.total(), "bytes");
        let mut bad = Bad::default();
        for request in requests.by_ref() {
            let walked = request
                .map_err(|fault| fault.to_string())
                .and_then(|bytes| assembly.walk(&bytes));
            match walked {
                Ok(walked) => read.rejected += walked.rejected as u64,
                Err(fault) => {
                    bad.tell(&fault);
                    continue;
                }
            }
            assembly.done(&mut each)?;
            let traces = assembly.assembler.counts().traces_complete;
            progress.tell(bytes.read(), || format!("{traces} traces"));
        }
        progress.end();
        bad.end(path);
        read.bad += bad.count;
        read.records += requests.records();
    }
    read.assembled = assembly.finish(each)?;
    Ok(read)
}

/// Requests put together to traces, by the time of their spans.
pub(super) struct Assembly {
    tap: Tap,
    feeds: Vec<Feed>,
    assembler: Assembler,
    clock: Clock,
}

impl Assembly {
    /// None yet; symbols are those of `texts`.
    pub(super) fn new(texts: &Arc<Interner>) -> Self {
        let settings = TapSettings {
            shards: 1,
            waiting_spans: usize::MAX / 2,
            max_wait: Duration::from_secs(60),
        };
        let (tap, feeds) = Tap::new(&settings, texts.clone());
        let assembler = Assembler::new(AssemblerSettings {
            max_wait: Duration::from_secs(60),
            max_open_traces: 1_000_000,
            max_bytes: 1 << 30,
            ..AssemblerSettings::default()
        });
        Self {
            tap,
            feeds,
            assembler,
            clock: Clock::default(),
        }
    }

    /// Takes the spans of a request.
    pub(super) fn walk(&mut self, bytes: &[u8]) -> Result<Walked, String> {
        let walked = walk(bytes, &self.tap, &mut self.clock)?;
        self.clock.now += TICK;
        for feed in &self.feeds {
            while let Ok(Some(records)) = feed.next(Duration::ZERO) {
                self.assembler.add(records, self.clock.now);
            }
        }
        Ok(walked)
    }

    /// Hands on the whole traces that have ended by now, with when they began.
    pub(super) fn done(
        &mut self,
        each: &mut impl FnMut(u64, Trace) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let done = self.assembler.take_done(self.clock.now);
        self.hand_on(done, each)
    }

    /// Hands on what is left, and says what became of all.
    pub(super) fn finish(
        mut self,
        mut each: impl FnMut(u64, Trace) -> anyhow::Result<()>,
    ) -> anyhow::Result<AssemblerCounts> {
        let done = self.assembler.finish(self.clock.now);
        self.hand_on(done, &mut each)?;
        Ok(self.assembler.counts())
    }

    fn hand_on(
        &mut self,
        done: Vec<Done>,
        each: &mut impl FnMut(u64, Trace) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        for done in done {
            let began = self.clock.began.remove(&done.id).unwrap_or_default();
            done.trace.map_or(Ok(()), |trace| each(began, trace))?;
        }
        Ok(())
    }
}

/// What can't be used of a file: the first few are named.
#[derive(Debug, Default)]
pub(super) struct Bad {
    pub(super) count: u64,
}

impl Bad {
    /// One more.
    pub(super) fn tell(&mut self, fault: &str) {
        self.count += 1;
        if self.count <= NAMED {
            complain(&format!("passed over: {fault}"));
        }
    }

    /// The file is over.
    pub(super) fn end(&self, path: &Path) {
        if self.count > NAMED {
            complain(&format!(
                "passed over: {} more of {}",
                self.count - NAMED,
                path.display()
            ));
        }
    }
}

fn walk(bytes: &[u8], tap: &Tap, clock: &mut Clock) -> Result<Walked, String> {
    let mut batch = tap.begin();
    let mut both = Both(&mut batch, clock);
    let walked = view::walk(bytes, &Limits::default(), &mut both);
    let walked = walked.map_err(|fault| fault.to_string())?;
    batch.commit();
    Ok(walked)
}

/// The latest end of a span so far, since the first.
#[derive(Debug, Default)]
struct Clock {
    first: Option<u64>,
    now: Duration,
    /// When the traces that are open began.
    began: HashMap<TraceId, u64>,
}

struct Both<'a, V>(&'a mut V, &'a mut Clock);

impl<V: Visit> Visit for Both<'_, V> {
    fn resource(&mut self, resource: &ResourceView<'_>) {
        self.0.resource(resource);
    }

    fn span(&mut self, span: &SpanView<'_>) {
        self.0.span(span);
        let began = self.1.began.entry(span.trace_id).or_insert(span.start);
        *began = span.start.min(*began);
        let first = *self.1.first.get_or_insert(span.start);
        let since = Duration::from_nanos(span.end.saturating_sub(first));
        // A span years away (a broken clock) must not end everything that is open.
        if since < self.1.now + Duration::from_secs(3_600) {
            self.1.now = self.1.now.max(since);
        }
    }
}
