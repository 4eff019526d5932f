//! Files of observed spans to whole traces, as `train` and `evaluate` read them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use super::complain;
use super::progress::Progress;
use crate::assembler::{Assembler, AssemblerCounts, AssemblerSettings, Tap, TapSettings};
use crate::features::Interner;
use crate::otlp::view::{self, Limits, ResourceView, SpanView, Visit, Walked};
use crate::receiver::otlpjsonfile;
use crate::trace::{Trace, TraceId};

/// What a record of a file adds to the clock besides its spans' own times, so that a file whose
/// times stand still ends its traces too.
const TICK: Duration = Duration::from_millis(10);

/// What was read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Read {
    /// Records that were read.
    pub(super) records: u64,
    /// Records that were passed over because they could not be used.
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
    paths: &[PathBuf],
    texts: &Arc<Interner>,
    mut each: impl FnMut(Trace) -> anyhow::Result<()>,
) -> anyhow::Result<Read> {
    read_begun(paths, texts, |_, trace| each(trace))
}

/// As [`read`], with when each trace's first span began, in ns since the epoch.
pub(super) fn read_begun(
    paths: &[PathBuf],
    texts: &Arc<Interner>,
    mut each: impl FnMut(u64, Trace) -> anyhow::Result<()>,
) -> anyhow::Result<Read> {
    let settings = TapSettings {
        shards: 1,
        waiting_spans: usize::MAX / 2,
        max_wait: Duration::from_secs(60),
    };
    let (tap, feeds) = Tap::new(&settings, texts.clone());
    let mut assembler = Assembler::new(AssemblerSettings {
        max_wait: Duration::from_secs(60),
        max_open_traces: 1_000_000,
        max_bytes: 1 << 30,
        ..AssemblerSettings::default()
    });
    let mut read = Read::default();
    let mut clock = Clock::default();
    for path in paths {
        let requests =
            otlpjsonfile::read(path).with_context(|| format!("can't read {}", path.display()))?;
        let bytes = requests.progress();
        let mut progress = Progress::new("reading", bytes.total(), "bytes");
        let mut named = false;
        for request in requests {
            read.records += 1;
            let walked = request
                .map_err(|fault| fault.to_string())
                .and_then(|bytes| walk(&bytes, &tap, &mut clock));
            match walked {
                Ok(walked) => read.rejected += walked.rejected as u64,
                Err(fault) => {
                    read.bad += 1;
                    if !std::mem::replace(&mut named, true) {
                        complain(&format!("passed over: {fault}"));
                    }
                    continue;
                }
            }
            clock.now += TICK;
            for feed in &feeds {
                while let Ok(Some(records)) = feed.next(Duration::ZERO) {
                    assembler.add(records, clock.now);
                }
            }
            for done in assembler.take_done(clock.now) {
                let began = clock.began.remove(&done.id).unwrap_or_default();
                done.trace.map_or(Ok(()), |trace| each(began, trace))?;
            }
            let traces = assembler.counts().traces_complete;
            progress.tell(bytes.read(), || format!("{traces} traces"));
        }
        progress.end();
    }
    for done in assembler.finish(clock.now) {
        let began = clock.began.remove(&done.id).unwrap_or_default();
        done.trace.map_or(Ok(()), |trace| each(began, trace))?;
    }
    read.assembled = assembler.counts();
    Ok(read)
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
