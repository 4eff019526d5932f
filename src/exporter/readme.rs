//! The key tables of the READMEs say what the configs say.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::*;

/// Compares the rows ``| `key` | `default` | …`` below the heading with the config's keys and
/// defaults. A key whose value is a block of keys shows `{}`.
fn check(readme: &str, heading: &str, config: &impl Serialize) {
    let section = readme
        .split("\n## ")
        .find(|section| section.lines().next() == Some(heading));
    let rows = section.unwrap().lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let key = cells.next()?.trim_end_matches('`').to_owned();
        Some((key, cells.next()?.trim_matches('`').to_owned()))
    });
    let written: BTreeMap<String, String> = rows.collect();
    let Value::Object(keys) = serde_json::to_value(config).unwrap() else {
        unreachable!("a config is a map");
    };
    let meant: BTreeMap<String, String> = keys
        .into_iter()
        .map(|(key, value)| {
            let shown = match value {
                Value::Object(_) => "{}".to_owned(),
                Value::String(text) if text.is_empty() => "–".to_owned(),
                Value::String(text) => text,
                Value::Null => "–".to_owned(),
                other => other.to_string(),
            };
            (key, shown)
        })
        .collect();
    assert_eq!(written, meant);
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
