//! Whole traces out of OTLP requests, as the connector's shards make them, without a socket.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use doppelspan::assembler::{Assembler, AssemblerSettings, Done, Feed, Tap, TapSettings};
use doppelspan::features::Interner;
use doppelspan::otlp::view::{Limits, SpanView, Visit, walk};

/// Time that a request adds, so that traces end where times stand still.
const TICK: Duration = Duration::from_millis(10);

/// Puts traces together, in the order in which they end. Time is that of the spans.
pub struct Traces {
    tap: Tap,
    feeds: Vec<Feed>,
    assembler: Assembler,
    first: Option<u64>,
    now: Duration,
}

impl Traces {
    /// None so far; symbols are those of `texts`.
    pub fn new(texts: &Arc<Interner>) -> Self {
        let max_wait = Duration::from_secs(60);
        let settings = TapSettings {
            shards: 1,
            waiting_spans: usize::MAX / 2,
            max_wait,
        };
        let (tap, feeds) = Tap::new(&settings, texts.clone());
        let assembler = Assembler::new(AssemblerSettings {
            max_wait,
            max_open_traces: 1_000_000,
            max_bytes: 1 << 30,
            ..AssemblerSettings::default()
        });
        Self {
            tap,
            feeds,
            assembler,
            first: None,
            now: Duration::ZERO,
        }
    }

    /// Takes a protobuf request; what ended by it.
    pub fn add(&mut self, request: &[u8]) -> Result<Vec<Done>> {
        let mut latest = Latest(0, u64::MAX);
        walk(request, &Limits::default(), &mut latest)?;
        let mut batch = self.tap.begin();
        walk(request, &Limits::default(), &mut batch)?;
        batch.commit();
        if latest.0 > 0 {
            let first = *self.first.get_or_insert(latest.1);
            let since = Duration::from_nanos(latest.0.saturating_sub(first));
            self.now = self.now.max(since);
        }
        self.now += TICK;
        for feed in &self.feeds {
            while let Ok(Some(records)) = feed.next(Duration::ZERO) {
                self.assembler.add(records, self.now);
            }
        }
        Ok(self.assembler.take_done(self.now))
    }

    /// What is still open, as it is.
    pub fn finish(&mut self) -> Vec<Done> {
        self.assembler.finish(self.now)
    }
}

/// The latest end and the earliest start of a span.
struct Latest(u64, u64);

impl Visit for Latest {
    fn span(&mut self, span: &SpanView<'_>) {
        self.0 = self.0.max(span.end);
        self.1 = self.1.min(span.start);
    }
}
