//! How a Kafka cluster is reached: what the receiver, the exporter and the exchange of models
//! have in common.

mod auth;
mod cluster;
mod context;
mod encoding;

pub use auth::{Auth, Mechanism, PlainText, Sasl, Secret};
pub use cluster::{Cluster, check_version};
pub use context::Context;
pub use encoding::Encoding;
