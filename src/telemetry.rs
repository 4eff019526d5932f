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
