//! Why a request was turned away, in the words of the protocol's answer table.

use std::time::Duration;

use tonic::Code;

/// A request was not accepted; the sender is told, and nothing of it was kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// gRPC `INVALID_ARGUMENT`, HTTP 400: never to be sent again.
    #[error("{0}")]
    Malformed(String),
    /// gRPC `RESOURCE_EXHAUSTED` without `RetryInfo`, HTTP 413: never to be sent again.
    #[error("{0}")]
    TooLarge(String),
    /// gRPC `UNAVAILABLE` + `RetryInfo`, HTTP 503 + `Retry-After`: try again later.
    #[error("{what} is full; retry in {retry_after:?}")]
    Full {
        /// Which queue.
        what: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// As `Full`: the service is shutting down.
    #[error("shutting down")]
    Draining,
    /// An exporter without a sending queue could not deliver, and sending again may help.
    #[error("{exporter}: {message}")]
    Undelivered {
        /// Which exporter.
        exporter: String,
        /// What the backend said.
        message: String,
        /// Whether the sender should try again.
        retryable: bool,
        /// What it answered, in the codes of OTLP's `Status`; an HTTP answer as the one it stands for.
        code: Code,
        /// When it asked to be tried again.
        retry_after: Option<Duration>,
    },
}
