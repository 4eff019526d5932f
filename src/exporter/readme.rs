//! The key tables of the READMEs say what the configs say.

use serde::Serialize;

use super::*;
use crate::config::key_table;

/// The table below the heading; each block of keys has one of its own.
fn check(readme: &str, heading: &str, config: &impl Serialize) {
    let section = readme
        .split("\n## ")
        .find(|section| section.lines().next() == Some(heading));
    key_table::check(section.unwrap(), config, |_| true);
}

#[test]
fn each_key_table_is_the_config() {
    let shared = include_str!("README.md");
    check(shared, "`sending_queue`", &SendingQueue::default());
    check(shared, "`sending_queue.batch`", &Batch::default());
    check(shared, "`retry_on_failure`", &RetryOnFailure::default());
    let readme = include_str!("otlp_grpc/README.md");
    check(readme, "Keys", &otlp_grpc::Config::default());
    check(readme, "`keepalive`", &otlp_grpc::Keepalive::default());
    let readme = include_str!("otlp_http/README.md");
    check(readme, "Keys", &otlp_http::Config::default());
    #[cfg(feature = "kafka")]
    {
        let readme = include_str!("kafka/README.md");
        check(readme, "Keys", &kafka::Config::default());
        check(readme, "`traces`", &kafka::TracesConfig::default());
        check(readme, "`producer`", &kafka::ProducerConfig::default());
    }
    let readme = include_str!("file/README.md");
    check(readme, "Keys", &file::Config::default());
    check(readme, "`rotation`", &file::Rotation::default());
    check(
        include_str!("debug/README.md"),
        "Keys",
        &debug::Config::default(),
    );
}
