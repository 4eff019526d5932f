//! Texts of configs: read, merged in order, the environment expanded, keys set.

use serde_yaml_ng::{Mapping, Value};

use super::lines::Lines;
use crate::config::Fault;

/// The merged tree of all sources, and where its keys stand.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) root: Mapping,
    pub(super) lines: Lines,
}

fn fault(path: &str, message: String) -> Fault {
    Fault {
        path: path.to_owned(),
        message,
        place: None,
    }
}

/// Reads the sources in order, then the sets; faults are added to `faults`.
pub(super) fn read(sources: &[String], sets: &[String], faults: &mut Vec<Fault>) -> Tree {
    let mut tree = Tree::default();
    for source in sources {
        // A text on the command line is too long to name a place by itself.
        let name = if source.starts_with("yaml:") {
            "yaml:…"
        } else {
            source
        };
        match text(source) {
            Ok(text) => tree.add(name, &text, faults),
            Err(message) => faults.push(fault("--config", message)),
        }
    }
    for set in sets {
        if let Err(message) = tree.set(set) {
            faults.push(fault("--set", message));
        }
    }
    let mut root = Value::Mapping(std::mem::take(&mut tree.root));
    expand(&mut root, "", &mut |path, message| {
        faults.push(fault(path, message));
    });
    if let Value::Mapping(root) = root {
        tree.root = root;
    }
    tree
}

fn text(source: &str) -> Result<String, String> {
    if let Some(text) = source.strip_prefix("yaml:") {
        // The Collector's short form: `yaml:a::b: c`.
        return Ok(text.to_owned());
    }
    if let Some(variable) = source.strip_prefix("env:") {
        return environment(variable)
            .ok_or_else(|| format!("the environment variable {variable} is not set"));
    }
    let path = source.strip_prefix("file:").unwrap_or(source);
    std::fs::read_to_string(path).map_err(|fault| format!("can't read {path}: {fault}"))
}

#[expect(
    clippy::disallowed_methods,
    reason = "configs are where the environment is read"
)]
fn environment(variable: &str) -> Option<String> {
    std::env::var(variable).ok()
}

impl Tree {
    fn add(&mut self, name: &str, text: &str, faults: &mut Vec<Fault>) {
        match serde_yaml_ng::from_str::<Value>(text) {
            Ok(Value::Mapping(mapping)) => {
                self.lines.note(name, text);
                merge(&mut self.root, mapping);
            }
            Ok(Value::Null) => {}
            Ok(_) => faults.push(fault(name, "is no mapping of sections".to_owned())),
            Err(error) => faults.push(fault(name, format!("is no YAML: {error}"))),
        }
    }

    fn set(&mut self, set: &str) -> Result<(), String> {
        let (path, value) = set
            .split_once('=')
            .ok_or_else(|| format!("`{set}` has no =; write a::b=value"))?;
        if path.split("::").any(str::is_empty) {
            return Err(format!("`{set}` has an empty key; write a::b=value"));
        }
        let value: Value = serde_yaml_ng::from_str(value)
            .map_err(|fault| format!("the value of `{set}` is no YAML: {fault}"))?;
        let nested = path.rsplit("::").fold(value, |inner, key| {
            let mut mapping = Mapping::new();
            mapping.insert(Value::String(key.to_owned()), inner);
            Value::Mapping(mapping)
        });
        if let Value::Mapping(nested) = nested {
            merge(&mut self.root, nested);
        }
        Ok(())
    }
}

/// Mappings are merged key by key; anything else is replaced.
fn merge(into: &mut Mapping, from: Mapping) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Mapping(into)), Value::Mapping(from)) => merge(into, from),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

fn expand(value: &mut Value, path: &str, fault: &mut impl FnMut(&str, String)) {
    match value {
        Value::String(text) if text.contains('$') => match expanded(text) {
            Ok(new) => *value = new,
            Err(message) => fault(path, message),
        },
        Value::Sequence(values) => {
            for (at, value) in values.iter_mut().enumerate() {
                expand(value, &format!("{path}.{at}"), fault);
            }
        }
        Value::Mapping(mapping) => {
            for (key, value) in mapping.iter_mut() {
                let key = key.as_str().unwrap_or_default();
                let below = if path.is_empty() {
                    key.to_owned()
                } else {
                    format!("{path}.{key}")
                };
                expand(value, &below, fault);
            }
        }
        _ => {}
    }
}

/// `${env:X}`, `${env:X:-default}`, `${X}` and `$$`. A text that is nothing but one expansion
/// takes the type that its YAML has.
fn expanded(text: &str) -> Result<Value, String> {
    let mut out = String::new();
    let mut rest = text;
    let mut alone = false;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let end = after
                .find('}')
                .ok_or_else(|| format!("`{text}` has ${{ without a }}"))?;
            alone = at == 0 && out.is_empty() && end + 1 == after.len();
            let inside = &after[..end];
            let inside = inside.strip_prefix("env:").unwrap_or(inside);
            let (variable, default) = match inside.split_once(":-") {
                Some((variable, default)) => (variable, Some(default)),
                None => (inside, None),
            };
            let value = environment(variable).or_else(|| default.map(str::to_owned));
            out.push_str(&value.ok_or_else(|| {
                format!("the environment variable {variable} is not set; set it, or write ${{env:{variable}:-default}}")
            })?);
            rest = &after[end + 1..];
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    if alone && let Ok(value) = serde_yaml_ng::from_str(&out) {
        return Ok(value);
    }
    Ok(Value::String(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sources: &[&str], sets: &[&str], expected: &str) {
        let own = |texts: &[&str]| texts.iter().map(|&t| t.to_owned()).collect::<Vec<_>>();
        let mut faults = Vec::new();
        let tree = read(&own(sources), &own(sets), &mut faults);
        assert_eq!(faults, []);
        let expected: Mapping = serde_yaml_ng::from_str(expected).unwrap();
        assert_eq!(tree.root, expected);
    }

    #[test]
    fn later_sources_are_merged_over_earlier_ones_and_sets_over_all() {
        check(
            &["yaml:{a: {b: 1, c: [1, 2]}}", "yaml:{a: {c: [3], d: 4}}"],
            &["a::b=5", "e::f=[x]"],
            "{a: {b: 5, c: [3], d: 4}, e: {f: [x]}}",
        );
    }

    #[test]
    fn defaults_of_unset_variables_take_their_type_and_two_dollars_are_one() {
        check(
            &[
                "yaml:{a: '${env:DOPPELSPAN_UNSET:-17}', b: 'x${env:DOPPELSPAN_UNSET:-y}z', c: '$$5'}",
            ],
            &[],
            "{a: 17, b: xyz, c: $5}",
        );
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        let mut faults = Vec::new();
        let sources = [
            "yaml:{a: '${env:DOPPELSPAN_UNSET}'}",
            "yaml:[",
            "nowhere.yaml",
        ];
        let sets = ["x", "a::=1", "a::b=["];
        read(
            &sources.map(str::to_owned),
            &sets.map(str::to_owned),
            &mut faults,
        );
        assert_eq!(faults.len(), 6, "{faults:?}");
    }
}
