//! How a Kafka cluster is reached: what the receiver, the exporter and the exchange of models
//! have in common.

mod auth;
mod cluster;
mod context;

pub use auth::{Auth, Mechanism, PlainText, Sasl, Secret};
pub use cluster::{Cluster, check_version};
pub use context::Context;
