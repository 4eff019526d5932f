//! The key table of the README says what the config says.

use std::collections::BTreeMap;

use serde_json::Value;

use super::SynthesizerConfig;

fn keys(path: &str, value: &Value, found: &mut BTreeMap<String, String>) {
    let Value::Object(map) = value else {
        let shown = match value {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        };
        found.insert(path.to_owned(), shown);
        return;
    };
    for (key, value) in map {
        let path = match path {
            "" => key.clone(),
            path => format!("{path}.{key}"),
        };
        keys(&path, value, found);
    }
}

#[test]
fn the_key_table_is_the_config() {
    let rows = include_str!("README.md").lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split('|').map(str::trim);
        let key = cells.next()?.trim_end_matches('`').to_owned();
        Some((key, cells.next()?.trim_matches('`').to_owned()))
    });
    let written: BTreeMap<String, String> = rows.collect();
    let config = serde_json::to_value(SynthesizerConfig::default()).unwrap();
    let mut meant = BTreeMap::new();
    keys("", &config, &mut meant);
    assert_eq!(written, meant);
}
