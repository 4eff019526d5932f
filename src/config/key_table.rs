//! The key tables of the READMEs, held against the configs.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

/// Compares rows ``| `key` | `default` | …`` with a config's keys and defaults; nothing is `–` or an
/// empty cell. Keys of a block have dots between their levels, but for blocks that have a table of
/// their own: those show `{}`.
pub(crate) fn check(table: &str, config: &impl Serialize, own_table: impl Fn(&str) -> bool) {
    let rows = table.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split('|').map(str::trim);
        let key = cells.next()?.trim_end_matches('`').to_owned();
        let shown = cells.next()?.trim_matches('`');
        Some((key, if shown == "–" { "" } else { shown }.to_owned()))
    });
    let written: BTreeMap<String, String> = rows.collect();
    let mut meant = BTreeMap::new();
    keys(
        "",
        &serde_json::to_value(config).unwrap(),
        &own_table,
        &mut meant,
    );
    assert_eq!(written, meant);
}

fn keys(
    path: &str,
    value: &Value,
    own_table: &dyn Fn(&str) -> bool,
    found: &mut BTreeMap<String, String>,
) {
    let shown = match value {
        Value::Object(map) if path.is_empty() || !own_table(path) => {
            for (key, value) in map {
                let path = match path {
                    "" => key.clone(),
                    path => format!("{path}.{key}"),
                };
                keys(&path, value, own_table, found);
            }
            return;
        }
        Value::Object(_) => "{}".to_owned(),
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    found.insert(path.to_owned(), shown);
}
