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
];

/// Every gauge.
pub const GAUGES: &[Metric] = &[
    EXPORTER_QUEUE_SIZE,
    EXPORTER_QUEUE_CAPACITY,
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
