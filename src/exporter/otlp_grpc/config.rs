//! Keys of `otlp_grpc`.

use serde::{Deserialize, Serialize};

use crate::config::{ClientTls, Faults, Period};
use crate::exporter::{Compression, Headers, RetryOnFailure, SendingQueue};

/// Sends OTLP over gRPC.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `host:port` of the backend; `http://` before it means plain text, `https://` means TLS.
    pub endpoint: String,
    /// TLS; on unless `insecure: true`.
    pub tls: ClientTls,
    /// How requests are compressed: `none`, `gzip` or `zstd`.
    pub compression: Compression,
    /// Sent along with every request.
    pub headers: Headers,
    /// How long one attempt may take; 0 is without limit.
    pub timeout: Period,
    /// Probes of the connection; off unless written.
    pub keepalive: Option<Keepalive>,
    /// `round_robin` or `pick_first`: one connection is kept either way.
    pub balancer_name: String,
    /// Whether an attempt waits for a connection until its timeout; it always does here.
    pub wait_for_ready: bool,
    /// The queue in front of the backend.
    pub sending_queue: SendingQueue,
    /// When what failed is sent again.
    pub retry_on_failure: RetryOnFailure,
}

/// HTTP/2 pings that find out whether the backend is still there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keepalive {
    /// How often to ask.
    pub time: Period,
    /// How long to wait for the answer.
    pub timeout: Period,
    /// Whether to ask while nothing is being sent.
    pub permit_without_stream: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            tls: ClientTls::default(),
            compression: Compression::Gzip,
            headers: Headers::default(),
            timeout: Period::from_secs(5),
            keepalive: None,
            balancer_name: "round_robin".to_owned(),
            wait_for_ready: false,
            sending_queue: SendingQueue::default(),
            retry_on_failure: RetryOnFailure::default(),
        }
    }
}

impl Default for Keepalive {
    fn default() -> Self {
        Self {
            time: Period::from_secs(10),
            timeout: Period::from_secs(20),
            permit_without_stream: false,
        }
    }
}

impl Config {
    /// What serde can't say.
    pub fn check(&self, faults: &mut Faults) {
        if let Err(message) = super::address(&self.endpoint, self.tls.insecure) {
            faults.push("endpoint", message);
        }
        if !["", "round_robin", "pick_first"].contains(&self.balancer_name.as_str()) {
            faults.push(
                "balancer_name",
                format!(
                    "must be round_robin or pick_first, got `{}`",
                    self.balancer_name
                ),
            );
        }
        if self.keepalive.as_ref().is_some_and(|it| it.time.is_zero()) {
            faults.below("keepalive", |faults| {
                faults.push("time", "must be longer than 0, got 0s");
            });
        }
        faults.below("tls", |faults| self.tls.check(faults));
        faults.below("headers", |faults| self.headers.check(faults));
        faults.below("sending_queue", |faults| self.sending_queue.check(faults));
        faults.below("retry_on_failure", |faults| {
            self.retry_on_failure.check(faults);
        });
    }
}
