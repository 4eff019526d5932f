//! What a synthesizer says of itself in metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{Counter, Gauge, counter, gauge};

use crate::assembler::{AssemblerCounts, Partial, Tap};
use crate::learner::{Serving, Status};
use crate::telemetry as t;

/// The metrics of one shard.
pub(super) struct ShardGauge {
    connector: String,
    shard: String,
    missed: Arc<AtomicU64>,
    torn: Counter,
    /// The first shard speaks for the tap too.
    tap: Option<Tap>,
}

impl ShardGauge {
    pub(super) fn new(id: &str, number: usize, missed: Arc<AtomicU64>, tap: Option<Tap>) -> Self {
        let shard = number.to_string();
        Self {
            torn: counter!(t::LEARNER_TORN_TRACES.name, "connector" => id.to_owned(), "shard" => shard.clone()),
            connector: id.to_owned(),
            shard,
            missed,
            tap,
        }
    }

    /// Whole traces of which the tap may have shed spans: not learnt.
    pub(super) fn torn(&self, traces: u64) {
        self.torn.increment(traces);
    }

    /// Traces that the learner had no room for.
    pub(super) fn missed(&self, traces: u64) {
        self.missed.fetch_add(traces, Ordering::Relaxed);
    }

    pub(super) fn tell(&self, counts: &AssemblerCounts, admitted: f64) {
        let spans = |fate: &'static str, spans: u64| {
            self.counter(t::ASSEMBLER_SPANS, "fate", fate)
                .absolute(spans);
        };
        spans("complete", counts.complete);
        spans("partial", counts.partial);
        spans("late", counts.late);
        spans("duplicate", counts.duplicate);
        spans("evicted", counts.evicted);
        spans("oversized", counts.oversized);
        let traces = |fate: &'static str, traces: u64| {
            self.counter(t::ASSEMBLER_TRACES, "fate", fate)
                .absolute(traces);
        };
        traces("complete", counts.traces_complete);
        traces("evicted", counts.traces_evicted);
        traces("oversized", counts.traces_oversized);
        for (reason, &count) in Partial::ALL.iter().zip(&counts.traces_partial) {
            traces(reason.word(), count);
        }
        let broken = [("cycle", counts.cycles), ("backwards", counts.backwards)];
        for (what, count) in broken {
            self.counter(t::ASSEMBLER_MENDED, "what", what)
                .absolute(count);
        }
        self.gauge(t::ASSEMBLER_OPEN_SPANS).set(counts.open as f64);
        self.gauge(t::ASSEMBLER_OPEN_TRACES)
            .set(counts.traces_open as f64);
        self.gauge(t::ASSEMBLER_OPEN_BYTES)
            .set(counts.bytes_open as f64);
        self.gauge(t::TAP_ADMITTED).set(admitted);
        if let Some(tap) = &self.tap {
            let counts = tap.counts();
            let connector = || self.connector.clone();
            counter!(t::CONNECTOR_CONSUMED_ITEMS.name, "connector" => connector())
                .absolute(counts.seen);
            counter!(t::TAP_SHED_SPANS.name, "connector" => connector()).absolute(counts.shed);
            let texts = tap.texts();
            counter!(t::TAP_BARE_SPANS.name, "connector" => connector())
                .absolute(texts.profiles_full);
            gauge!(t::TAP_PROFILES.name, "connector" => connector()).set(texts.profiles as f64);
            gauge!(t::TAP_KEYS_GIVEN_UP.name, "connector" => connector())
                .set(texts.keys_given_up as f64);
        }
    }

    fn counter(&self, metric: t::Metric, key: &'static str, value: &'static str) -> Counter {
        let (connector, shard) = (self.connector.clone(), self.shard.clone());
        counter!(metric.name, "connector" => connector, "shard" => shard, key => value)
    }

    fn gauge(&self, metric: t::Metric) -> Gauge {
        let (connector, shard) = (self.connector.clone(), self.shard.clone());
        gauge!(metric.name, "connector" => connector, "shard" => shard)
    }
}

/// The metrics of the learner.
pub(super) struct LearnerGauge {
    connector: String,
    missed: Arc<AtomicU64>,
}

impl LearnerGauge {
    pub(super) fn new(id: &str, missed: Arc<AtomicU64>) -> Self {
        Self {
            connector: id.to_owned(),
            missed,
        }
    }

    /// Traces that shards could not hand over.
    pub(super) fn dropped(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    /// A model was exchanged with another instance.
    pub(super) fn exchanged(&self, fate: &'static str) {
        counter!(t::EXCHANGE_MODELS.name, "connector" => self.id(), "fate" => fate).increment(1);
    }

    /// How much the model that serves has learnt.
    pub(super) fn tell_served(&self, traces: u64) {
        gauge!(t::LEARNER_SERVED_TRACES.name, "connector" => self.id()).set(traces as f64);
    }

    pub(super) fn tell(&self, status: &Status) {
        let traces = [
            ("seen", status.traces_seen),
            ("held_out", status.traces_held_out),
            ("unlearnable", status.traces_unlearnable),
        ];
        for (fate, count) in traces {
            counter!(t::LEARNER_TRACES.name, "connector" => self.id(), "fate" => fate)
                .absolute(count);
        }
        let count = |metric: t::Metric, count: u64| {
            counter!(metric.name, "connector" => self.id()).absolute(count);
        };
        count(t::LEARNER_DROPPED_TRACES, status.traces_dropped);
        count(t::LEARNER_STEPS, status.steps);
        count(t::LEARNER_UNDONE_STEPS, status.steps_undone);
        count(t::LEARNER_SNAPSHOTS, status.snapshots);
        count(t::LEARNER_DRIFTS, status.drift.noticed);
        let set = |metric: t::Metric, value: f64| {
            gauge!(metric.name, "connector" => self.id()).set(value);
        };
        set(t::LEARNER_WAITING_TRACES, status.traces_waiting as f64);
        set(t::LEARNER_KEPT_TRACES, status.traces_kept as f64);
        set(t::LEARNER_LABELS, status.tokens as f64);
        set(t::LEARNER_CPU_SECONDS, status.cpu_seconds);
        set(t::LEARNER_DRAWN_KEPT, status.drawn_kept.unwrap_or(1.0));
        let loss = [
            ("total", status.loss.total),
            ("node", status.loss.node),
            ("edge", status.loss.edge),
            ("kl_graph", status.loss.kl_graph),
            ("kl_node", status.loss.kl_node),
        ];
        for (term, nats) in loss {
            gauge!(t::LEARNER_LOSS.name, "connector" => self.id(), "term" => term).set(nats);
        }
        let held_out = [
            ("vae", status.held_out_vae),
            ("grammar", status.held_out_grammar),
        ];
        for (model, nats) in held_out {
            if let Some(nats) = nats {
                gauge!(t::LEARNER_HELD_OUT_NATS.name, "connector" => self.id(), "model" => model)
                    .set(nats);
            }
        }
        let drift = [("mix", status.drift.mix), ("latency", status.drift.latency)];
        for (what, far) in drift {
            gauge!(t::LEARNER_DRIFT.name, "connector" => self.id(), "what" => what).set(far);
        }
        let samplers = [("grammar", Serving::Grammar), ("vae", Serving::Vae)];
        for (sampler, serving) in samplers {
            let serves = f64::from(u8::from(status.serving == serving));
            gauge!(t::LEARNER_SERVING.name, "connector" => self.id(), "sampler" => sampler)
                .set(serves);
        }
    }

    fn id(&self) -> String {
        self.connector.clone()
    }
}

/// The metrics of what is emitted.
pub(super) struct EmitterGauge {
    produced: Counter,
    given_up: Counter,
    unmet: Counter,
}

impl EmitterGauge {
    pub(super) fn new(id: &str) -> Self {
        let count = |metric: t::Metric| counter!(metric.name, "connector" => id.to_owned());
        Self {
            produced: count(t::CONNECTOR_PRODUCED_ITEMS),
            given_up: count(t::SYNTHESIZER_GIVEN_UP_SPANS),
            unmet: count(t::SYNTHESIZER_UNMET_TRACES),
        }
    }

    /// Spans that every exporter of the synthetic pipelines has.
    pub(super) fn produced(&self, spans: u64) {
        self.produced.increment(spans);
    }

    /// Spans drawn when the service was stopped, which nobody has.
    pub(super) fn given_up(&self, spans: u64) {
        self.given_up.increment(spans);
    }

    /// Traces that were asked for under conditions that the model does not meet.
    pub(super) fn unmet(&self, traces: u64) {
        self.unmet.increment(traces);
    }
}
