//! Topics of Apache Kafka, read as a member of a consumer group.

mod config;
mod hand_over;
mod marks;
mod receiver;

pub use config::{Autocommit, InitialOffset, KafkaConfig, MessageMarking, Strategy, TracesConfig};
pub use receiver::KafkaReceiver;
