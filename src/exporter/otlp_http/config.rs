//! Keys of `otlp_http`.

use serde::{Deserialize, Serialize};

use crate::config::{ClientTls, Faults, Period};
use crate::exporter::{Compression, Headers, RetryOnFailure, SendingQueue};

/// Sends OTLP over HTTP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Base URL of the backend, to which `/v1/traces` is added.
    pub endpoint: String,
    /// The whole URL for traces, instead of `endpoint`.
    pub traces_endpoint: String,
    /// `proto` or `json`.
    pub encoding: Encoding,
    /// TLS of `https://` addresses.
    pub tls: ClientTls,
    /// How requests are compressed: `none`, `gzip` or `zstd`.
    pub compression: Compression,
    /// Sent along with every request.
    pub headers: Headers,
    /// How long one attempt may take; 0 is without limit.
    pub timeout: Period,
    /// How long an idle connection is kept; 0 for ever.
    pub idle_conn_timeout: Period,
    /// The queue in front of the backend.
    pub sending_queue: SendingQueue,
    /// When what failed is sent again.
    pub retry_on_failure: RetryOnFailure,
}

/// How requests are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Protobuf, which is what came in.
    #[default]
    Proto,
    /// OTLP/JSON.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            traces_endpoint: String::new(),
            encoding: Encoding::Proto,
            tls: ClientTls::default(),
            compression: Compression::Gzip,
            headers: Headers::default(),
            timeout: Period::from_secs(30),
            idle_conn_timeout: Period::from_secs(90),
            sending_queue: SendingQueue::default(),
            retry_on_failure: RetryOnFailure::default(),
        }
    }
}

impl Config {
    /// What serde can't say.
    pub fn check(&self, faults: &mut Faults) {
        if let Err(message) = super::address(&self.endpoint, &self.traces_endpoint) {
            let key = if self.traces_endpoint.is_empty() {
                "endpoint"
            } else {
                "traces_endpoint"
            };
            faults.push(key, message);
        }
        faults.below("tls", |faults| self.tls.check(faults));
        faults.below("headers", |faults| self.headers.check(faults));
        faults.below("sending_queue", |faults| self.sending_queue.check(faults));
        faults.below("retry_on_failure", |faults| {
            self.retry_on_failure.check(faults);
        });
    }
}
