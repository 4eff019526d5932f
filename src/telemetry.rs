//! Every metric name and its help, in one place.
//!
//! Counters for what passes; the Collector's names where the Collector has one.

/// A metric: its name in Prometheus form without the `_total` of counters, and its help.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Name.
    pub name: &'static str,
    /// Help, one sentence.
    pub help: &'static str,
}

/// Spans that went on to the pipeline.
pub const RECEIVER_ACCEPTED_SPANS: Metric = Metric {
    name: "otelcol_receiver_accepted_spans",
    help: "Spans that a receiver took and every exporter of its pipelines has in hand.",
};

/// Spans that the sender was told to keep.
pub const RECEIVER_REFUSED_SPANS: Metric = Metric {
    name: "otelcol_receiver_refused_spans",
    help: "Good spans of requests that were turned away, the sender told why.",
};

/// Spans whose fate is not known.
pub const RECEIVER_FAILED_SPANS: Metric = Metric {
    name: "otelcol_receiver_failed_spans",
    help: "Good spans of requests that an exporter without a queue did not answer.",
};

/// Spans that were cut out of their requests.
pub const RECEIVER_REJECTED_SPANS: Metric = Metric {
    name: "doppelspan_receiver_rejected_spans",
    help: "Bad spans that were cut out of accepted requests and named in partial_success.",
};

/// Requests whose spans could not be counted.
pub const RECEIVER_UNDECODABLE_REQUESTS: Metric = Metric {
    name: "doppelspan_receiver_undecodable_requests",
    help: "Requests and file records that are no OTLP, or ask for more than the limits allow.",
};

/// Partitions that are ours.
pub const RECEIVER_PARTITIONS: Metric = Metric {
    name: "doppelspan_receiver_partitions",
    help: "Partitions of Kafka topics that the consumer group has given to this receiver.",
};

/// Spans that a backend took.
pub const EXPORTER_SENT_SPANS: Metric = Metric {
    name: "otelcol_exporter_sent_spans",
    help: "Spans that a backend has acknowledged.",
};

/// Spans that could not be delivered.
pub const EXPORTER_SEND_FAILED_SPANS: Metric = Metric {
    name: "otelcol_exporter_send_failed_spans",
    help: "Spans that could not be delivered and are not tried again.",
};

/// Spans that found no room in a sending queue.
pub const EXPORTER_ENQUEUE_FAILED_SPANS: Metric = Metric {
    name: "otelcol_exporter_enqueue_failed_spans",
    help: "Spans that were refused because a sending queue was full or closed.",
};

/// How full a sending queue is.
pub const EXPORTER_QUEUE_SIZE: Metric = Metric {
    name: "otelcol_exporter_queue_size",
    help: "What waits in a sending queue or is on its way, in the unit of its sizer.",
};

/// How much a sending queue holds.
pub const EXPORTER_QUEUE_CAPACITY: Metric = Metric {
    name: "otelcol_exporter_queue_capacity",
    help: "What a sending queue holds at most, in the unit of its sizer.",
};

/// Spans given up after they were accepted.
pub const EXPORTER_DROPPED_SPANS: Metric = Metric {
    name: "doppelspan_exporter_dropped_spans",
    help: "Spans given up after acceptance, by reason: rejected, failed, expired or shutdown.",
};

/// Spans of accepted requests that a connector was shown.
pub const CONNECTOR_CONSUMED_ITEMS: Metric = Metric {
    name: "otelcol_connector_consumed_items",
    help: "Spans of accepted requests that a connector was shown.",
};

/// Synthetic spans that every exporter of the connector's pipelines has in hand.
pub const CONNECTOR_PRODUCED_ITEMS: Metric = Metric {
    name: "otelcol_connector_produced_items",
    help: "Synthetic spans that every exporter of the connector's pipelines has in hand.",
};

/// Spans shed, as whole traces, because the assembler had no room; the observed path is not touched.
pub const TAP_SHED_SPANS: Metric = Metric {
    name: "doppelspan_tap_shed_spans",
    help: "Spans shed, as whole traces, because the assembler had no room; the observed path is not touched.",
};

/// Spans learnt without their attributes because the table of attribute profiles was full.
pub const TAP_BARE_SPANS: Metric = Metric {
    name: "doppelspan_tap_bare_spans",
    help: "Spans learnt without their attributes because the table of attribute profiles was full.",
};

/// Spans by what became of them: complete, partial, late, duplicate, evicted, oversized.
pub const ASSEMBLER_SPANS: Metric = Metric {
    name: "doppelspan_assembler_spans",
    help: "Spans by what became of them: complete, partial, late, duplicate, evicted, oversized.",
};

/// Traces by what became of them: complete, evicted, oversized, or why they are partial.
pub const ASSEMBLER_TRACES: Metric = Metric {
    name: "doppelspan_assembler_traces",
    help: "Traces by what became of them: complete, evicted, oversized, or why they are partial.",
};

/// Cycles broken and spans that ended before they started.
pub const ASSEMBLER_MENDED: Metric = Metric {
    name: "doppelspan_assembler_mended",
    help: "Cycles broken and spans that ended before they started.",
};

/// Whole traces not learnt because the tap may have shed spans of them.
pub const LEARNER_TORN_TRACES: Metric = Metric {
    name: "doppelspan_learner_torn_traces",
    help: "Whole traces not learnt because the tap may have shed spans of them.",
};

/// Whole traces that the learner has seen, held out of training, or could not learn.
pub const LEARNER_TRACES: Metric = Metric {
    name: "doppelspan_learner_traces",
    help: "Whole traces that the learner has seen, held out of training, or could not learn.",
};

/// Whole traces not learnt because the learner was busy.
pub const LEARNER_DROPPED_TRACES: Metric = Metric {
    name: "doppelspan_learner_dropped_traces",
    help: "Whole traces not learnt because the learner was busy.",
};

/// Optimiser steps.
pub const LEARNER_STEPS: Metric = Metric {
    name: "doppelspan_learner_steps",
    help: "Optimiser steps.",
};

/// Optimiser steps undone because something was not finite.
pub const LEARNER_UNDONE_STEPS: Metric = Metric {
    name: "doppelspan_learner_undone_steps",
    help: "Optimiser steps undone because something was not finite.",
};

/// Snapshots published to the synthesizer.
pub const LEARNER_SNAPSHOTS: Metric = Metric {
    name: "doppelspan_learner_snapshots",
    help: "Snapshots published to the synthesizer.",
};

/// Changes of the traffic that were noticed.
pub const LEARNER_DRIFTS: Metric = Metric {
    name: "doppelspan_learner_drifts",
    help: "Changes of the traffic that were noticed: another mix of requests, or another latency.",
};

/// Synthetic spans drawn when the service was stopped, and sent to nobody.
pub const SYNTHESIZER_GIVEN_UP_SPANS: Metric = Metric {
    name: "doppelspan_synthesizer_given_up_spans",
    help: "Synthetic spans drawn when the service was stopped, and sent to nobody.",
};

/// Synthetic traces not made, because the model has none under the conditions.
pub const SYNTHESIZER_UNMET_TRACES: Metric = Metric {
    name: "doppelspan_synthesizer_unmet_traces",
    help: "Synthetic traces not made, because the model has none that meets the conditions.",
};

/// Spans of traces being assembled.
pub const ASSEMBLER_OPEN_SPANS: Metric = Metric {
    name: "doppelspan_assembler_open_spans",
    help: "Spans of traces being assembled.",
};

/// Traces being assembled.
pub const ASSEMBLER_OPEN_TRACES: Metric = Metric {
    name: "doppelspan_assembler_open_traces",
    help: "Traces being assembled.",
};

/// Memory of traces being assembled.
pub const ASSEMBLER_OPEN_BYTES: Metric = Metric {
    name: "doppelspan_assembler_open_bytes",
    help: "Memory of traces being assembled.",
};

/// Share of the observed traces that the tap admits to learning at present.
pub const TAP_ADMITTED: Metric = Metric {
    name: "doppelspan_tap_admitted_ratio",
    help: "Share of the observed traces that the tap admits to learning at present.",
};

/// Attribute profiles that the tap remembers, most of them below the vocabulary floor.
pub const TAP_PROFILES: Metric = Metric {
    name: "doppelspan_tap_profiles",
    help: "Attribute profiles that the tap remembers, most of them below the vocabulary floor.",
};

/// Attribute keys that are no longer learnt because they had too many values.
pub const TAP_KEYS_GIVEN_UP: Metric = Metric {
    name: "doppelspan_tap_keys_given_up",
    help: "Attribute keys that are no longer learnt because they had too many values.",
};

/// Traces that wait because a label of theirs is below the vocabulary floor.
pub const LEARNER_WAITING_TRACES: Metric = Metric {
    name: "doppelspan_learner_waiting_traces",
    help: "Traces that wait because a label of theirs is below the vocabulary floor.",
};

/// Traces kept for replay.
pub const LEARNER_KEPT_TRACES: Metric = Metric {
    name: "doppelspan_learner_kept_traces",
    help: "Traces kept for replay.",
};

/// Labels (service, operation, kind) above the vocabulary floor.
pub const LEARNER_LABELS: Metric = Metric {
    name: "doppelspan_learner_labels",
    help: "Labels (service, operation, kind) above the vocabulary floor.",
};

/// CPU seconds spent learning.
pub const LEARNER_CPU_SECONDS: Metric = Metric {
    name: "doppelspan_learner_cpu_seconds",
    help: "CPU seconds spent learning.",
};

/// Terms of the objective at the last step, in nats a trace.
pub const LEARNER_LOSS: Metric = Metric {
    name: "doppelspan_learner_loss_nats",
    help: "Terms of the objective at the last step, in nats a trace.",
};

/// Nats a held-out trace costs, by model: lower is better.
pub const LEARNER_HELD_OUT_NATS: Metric = Metric {
    name: "doppelspan_learner_held_out_nats",
    help: "Nats a held-out trace costs, by model: lower is better.",
};

/// Share of the traces drawn that is kept, the others being told from observed ones too easily.
pub const LEARNER_DRAWN_KEPT: Metric = Metric {
    name: "doppelspan_learner_drawn_kept_ratio",
    help: "Share of the traces drawn that is kept, the others being told from observed ones too easily.",
};

/// 1 for the sampler that synthetic traces come from, 0 for the other.
pub const LEARNER_SERVING: Metric = Metric {
    name: "doppelspan_learner_serving",
    help: "1 for the sampler that synthetic traces come from, 0 for the other.",
};

/// How far the newest traces are from those before them, by what: mix (total variation of the kinds
/// of trace), latency (shift of an operation's median duration, log10).
pub const LEARNER_DRIFT: Metric = Metric {
    name: "doppelspan_learner_drift",
    help: "How far the newest traces are from those before: mix (total variation), latency (log10).",
};

/// Models exchanged with other instances.
pub const EXCHANGE_MODELS: Metric = Metric {
    name: "doppelspan_exchange_models",
    help: "Models exchanged with other instances, by fate: sent, served, continued, declined, unreadable.",
};

/// Traces that the model that serves has learnt.
pub const LEARNER_SERVED_TRACES: Metric = Metric {
    name: "doppelspan_learner_served_traces",
    help: "Traces that the model that serves has learnt, those of other instances included.",
};

/// Seconds since the start.
pub const PROCESS_UPTIME: Metric = Metric {
    name: "otelcol_process_uptime",
    help: "Seconds since the process started.",
};

/// User and system time.
pub const PROCESS_CPU_SECONDS: Metric = Metric {
    name: "otelcol_process_cpu_seconds",
    help: "User and system CPU seconds of the process.",
};

/// Resident memory.
pub const PROCESS_MEMORY_RSS: Metric = Metric {
    name: "otelcol_process_memory_rss",
    help: "Resident memory of the process in bytes.",
};

pub mod process;

/// Gives every metric its help. Called once, before components make their handles.
pub fn describe_all() {
    process::begin();
    for metric in COUNTERS {
        metrics::describe_counter!(metric.name, metric.help);
    }
    for metric in GAUGES {
        metrics::describe_gauge!(metric.name, metric.help);
    }
}

/// Every counter.
pub const COUNTERS: &[Metric] = &[
    RECEIVER_ACCEPTED_SPANS,
    RECEIVER_REFUSED_SPANS,
    RECEIVER_FAILED_SPANS,
    RECEIVER_REJECTED_SPANS,
    RECEIVER_UNDECODABLE_REQUESTS,
    EXPORTER_SENT_SPANS,
    EXPORTER_SEND_FAILED_SPANS,
    EXPORTER_ENQUEUE_FAILED_SPANS,
    EXPORTER_DROPPED_SPANS,
    CONNECTOR_CONSUMED_ITEMS,
    CONNECTOR_PRODUCED_ITEMS,
    TAP_SHED_SPANS,
    TAP_BARE_SPANS,
    ASSEMBLER_SPANS,
    ASSEMBLER_TRACES,
    ASSEMBLER_MENDED,
    LEARNER_TORN_TRACES,
    LEARNER_TRACES,
    LEARNER_DROPPED_TRACES,
    LEARNER_STEPS,
    LEARNER_UNDONE_STEPS,
    LEARNER_SNAPSHOTS,
    LEARNER_DRIFTS,
    EXCHANGE_MODELS,
    SYNTHESIZER_GIVEN_UP_SPANS,
    SYNTHESIZER_UNMET_TRACES,
];

/// Every gauge.
pub const GAUGES: &[Metric] = &[
    RECEIVER_PARTITIONS,
    EXPORTER_QUEUE_SIZE,
    EXPORTER_QUEUE_CAPACITY,
    ASSEMBLER_OPEN_SPANS,
    ASSEMBLER_OPEN_TRACES,
    ASSEMBLER_OPEN_BYTES,
    TAP_ADMITTED,
    TAP_PROFILES,
    TAP_KEYS_GIVEN_UP,
    LEARNER_WAITING_TRACES,
    LEARNER_KEPT_TRACES,
    LEARNER_LABELS,
    LEARNER_CPU_SECONDS,
    LEARNER_LOSS,
    LEARNER_HELD_OUT_NATS,
    LEARNER_DRAWN_KEPT,
    LEARNER_SERVING,
    LEARNER_SERVED_TRACES,
    LEARNER_DRIFT,
    PROCESS_UPTIME,
    PROCESS_CPU_SECONDS,
    PROCESS_MEMORY_RSS,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_of_this_file_is_listed_once_and_has_a_sentence_of_help() {
        let source = include_str!("telemetry.rs");
        let declared = source.matches(": Metric = Metric {\n").count();
        let mut names: Vec<_> = COUNTERS.iter().chain(GAUGES).map(|m| m.name).collect();
        assert_eq!(names.len(), declared, "a metric is in no list, or in two");
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), declared, "two metrics have one name");
        for metric in COUNTERS.iter().chain(GAUGES) {
            assert!(metric.help.ends_with('.'), "{}", metric.name);
            let known = ["otelcol_", "doppelspan_"];
            assert!(known.iter().any(|prefix| metric.name.starts_with(prefix)));
        }
    }
}
