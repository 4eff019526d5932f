//! From the merged tree to types, going on after each fault so that all are told.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_yaml_ng::{Mapping, Value};

use super::source::{self, Tree};
use super::{Document, Extension, PipelineConfig, ServiceConfig};
use crate::config::{ComponentId, Fault, Faults, Present};
use crate::connector::SynthesizerConfig;
use crate::{connector, exporter, receiver};

const SECTIONS: [&str; 6] = [
    "receivers",
    "processors",
    "exporters",
    "connectors",
    "extensions",
    "service",
];

/// One section of faults may not take the whole day.
const MOST_FAULTS: usize = 100;

/// Reads configs in order, merges them, expands the environment, applies `--set`, and checks all
/// of it: the document, or every fault with its key path and place.
pub fn load(sources: &[String], sets: &[String]) -> Result<Document, Vec<Fault>> {
    let mut found = Vec::new();
    let mut tree = source::read(sources, sets, &mut found);
    let mut faults = Faults::default();
    let document = read(&mut tree, &mut faults);
    found.extend(faults.into_vec());
    if found.is_empty() {
        return Ok(document);
    }
    for fault in &mut found {
        fault.place = fault.place.take().or_else(|| tree.lines.place(&fault.path));
    }
    Err(found)
}

fn read(tree: &mut Tree, faults: &mut Faults) -> Document {
    for key in tree.root.keys() {
        let key = key.as_str().unwrap_or_default();
        if !SECTIONS.contains(&key) {
            faults.push(
                key,
                format!("is no section; sections are {}", SECTIONS.join(", ")),
            );
        }
    }
    let root = &tree.root;
    let receivers = section(
        root,
        "receivers",
        receiver::Config::KINDS,
        faults,
        |kind, value| tracked(value, |d| receiver::Config::read(kind, d)),
    );
    let exporters = section(
        root,
        "exporters",
        exporter::Config::KINDS,
        faults,
        |kind, value| tracked(value, |d| exporter::Config::read(kind, d)),
    );
    let extensions = section(
        root,
        "extensions",
        &Extension::KINDS,
        faults,
        |kind, value| {
            Ok(match kind {
                "admin" => Some(Extension::Admin(keys(value)?)),
                "health_check" => Some(Extension::HealthCheck(keys(value)?)),
                _ => None,
            })
        },
    );
    let connectors = section(
        root,
        "connectors",
        &connector::KINDS,
        faults,
        |kind, value| match kind {
            "synthesizer" => keys(value).map(Some),
            _ => Ok(None),
        },
    );
    section::<()>(root, "processors", &[], faults, |_, _| Ok(None));
    let service = service(root, faults);
    faults.below("receivers", |faults| {
        for (id, config) in &receivers {
            faults.below(&id.to_string(), |faults| config.check(faults));
        }
    });
    faults.below("exporters", |faults| {
        for (id, config) in &exporters {
            faults.below(&id.to_string(), |faults| config.check(faults));
        }
    });
    faults.below("connectors", |faults| {
        let connectors: &BTreeMap<ComponentId, SynthesizerConfig> = &connectors;
        for (id, config) in connectors {
            faults.below(&id.to_string(), |faults| config.check(faults));
        }
    });
    faults.below("extensions", |faults| {
        for (id, extension) in &extensions {
            faults.below(&id.to_string(), |faults| extension.check(faults));
        }
    });
    let document = Document {
        receivers,
        exporters,
        connectors,
        extensions,
        service,
    };
    faults.below("service", |faults| check_service(root, &document, faults));
    document
}

/// Why a value can't be read: the path below it, and what is wrong.
struct Bad {
    path: String,
    message: String,
}

fn whole<T: DeserializeOwned>(value: &Value) -> Result<T, Bad> {
    serde_path_to_error::deserialize(value.clone()).map_err(|fault| Bad {
        path: fault.path().to_string(),
        message: fault.inner().to_string(),
    })
}

/// A component's keys; none written means all defaults.
fn keys<T: DeserializeOwned + Default>(value: &Value) -> Result<T, Bad> {
    let keys: Present<T> = whole(value)?;
    Ok(keys.into_option().unwrap_or_default())
}

fn tracked<T>(
    value: &Value,
    read: impl FnOnce(
        serde_path_to_error::Deserializer<'_, '_, Value>,
    ) -> Result<T, serde_yaml_ng::Error>,
) -> Result<T, Bad> {
    let mut track = serde_path_to_error::Track::new();
    let deserializer = serde_path_to_error::Deserializer::new(value.clone(), &mut track);
    let done = read(deserializer);
    done.map_err(|fault| Bad {
        path: track.path().to_string(),
        message: fault.to_string(),
    })
}

/// Reads a value, telling each fault, taking the faulty key out and reading again.
fn with_every_fault<T>(
    value: &Value,
    faults: &mut Faults,
    read: impl Fn(&Value) -> Result<T, Bad>,
) -> Option<T> {
    let mut value = value.clone();
    for _ in 0..MOST_FAULTS {
        let bad = match read(&value) {
            Ok(done) => return Some(done),
            Err(bad) => bad,
        };
        let mut path = if bad.path == "." {
            String::new()
        } else {
            bad.path
        };
        if let Some(rest) = bad.message.strip_prefix("unknown field `")
            && let Some((key, _)) = rest.split_once('`')
            && !path.ends_with(key)
        {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(key);
        }
        faults.push(&path, for_people(&bad.message));
        if path.is_empty() || !take_out(&mut value, &path) {
            return None;
        }
    }
    None
}

/// What serde says, without the names that types have in the source.
fn for_people(message: &str) -> String {
    let Some((before, expected)) = message.split_once("expected ") else {
        return message.to_owned();
    };
    let words = match expected {
        "u16" | "u32" | "u64" | "usize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        _ if expected.starts_with("struct ") => "keys and values",
        _ => expected,
    };
    format!("{before}expected {words}")
}

fn take_out(value: &mut Value, path: &str) -> bool {
    let Value::Mapping(mapping) = value else {
        return false;
    };
    // Keys may hold dots themselves (attribute names), so the longest key that fits is tried.
    let keys: Vec<String> = mapping
        .keys()
        .filter_map(|k| k.as_str().map(str::to_owned))
        .collect();
    for key in keys {
        if path == key {
            return mapping.remove(key.as_str()).is_some();
        }
        let below = path.strip_prefix(key.as_str());
        let below = below.and_then(|rest| {
            rest.strip_prefix('.')
                .or_else(|| rest.starts_with('[').then_some(rest))
        });
        if let Some(below) = below
            && let Some(inner) = mapping.get_mut(key.as_str())
        {
            return take_out(inner, below) || mapping.remove(key.as_str()).is_some();
        }
    }
    false
}

fn section<T>(
    root: &Mapping,
    name: &str,
    kinds: &[&str],
    faults: &mut Faults,
    read: impl Fn(&str, &Value) -> Result<Option<T>, Bad>,
) -> BTreeMap<ComponentId, T> {
    let mut all = BTreeMap::new();
    let components = match root.get(name) {
        None | Some(Value::Null) => return all,
        Some(Value::Mapping(components)) => components,
        Some(_) => {
            faults.push(name, "is no mapping of components");
            return all;
        }
    };
    faults.below(name, |faults| {
        for (key, value) in components {
            let key = key.as_str().unwrap_or_default();
            let id: ComponentId = match key.parse() {
                Ok(id) => id,
                Err(message) => {
                    faults.push(key, message);
                    continue;
                }
            };
            faults.below(key, |faults| {
                let config = with_every_fault(value, faults, |value| read(id.kind(), value));
                match config {
                    Some(Some(config)) => {
                        all.insert(id.clone(), config);
                    }
                    Some(None) => faults.push("", unknown_kind(id.kind(), name, kinds)),
                    None => {}
                }
            });
        }
    });
    all
}

fn unknown_kind(kind: &str, section: &str, kinds: &[&str]) -> String {
    if kinds.is_empty() {
        format!("`{kind}` is not built; there are no {section} yet")
    } else {
        format!(
            "`{kind}` is none of the {section} there are: {}",
            kinds.join(", ")
        )
    }
}

fn service(root: &Mapping, faults: &mut Faults) -> ServiceConfig {
    let Some(value) = root.get("service") else {
        faults.push("service", "is missing; it names the pipelines to run");
        return ServiceConfig::default();
    };
    let mut service = None;
    faults.below("service", |faults| {
        service = with_every_fault(value, faults, whole::<Present<ServiceConfig>>);
    });
    service.and_then(Present::into_option).unwrap_or_default()
}

fn check_service(root: &Mapping, document: &Document, faults: &mut Faults) {
    let service = &document.service;
    faults.below("telemetry", |faults| service.telemetry.check(faults));
    let declared = |section: &str, id: &str| {
        let section = root.get(section).and_then(Value::as_mapping);
        section.is_some_and(|section| section.contains_key(id))
    };
    for id in &service.extensions {
        if !declared("extensions", id) {
            faults.push(
                "extensions",
                format!("`{id}` is not declared in `extensions`; declare it there, or take it out"),
            );
        }
    }
    if root.contains_key("service") && service.pipelines.is_empty() {
        faults.push(
            "pipelines",
            "names no pipeline; write one, as `traces: {receivers: [otlp], exporters: [debug]}`",
        );
    }
    faults.below("pipelines", |faults| {
        for (name, pipeline) in &service.pipelines {
            faults.below(name, |faults| {
                check_pipeline(name, pipeline, &declared, faults)
            });
        }
        let pipelines: Vec<&PipelineConfig> = service.pipelines.values().collect();
        for id in document.connectors.keys() {
            check_connector(&id.to_string(), &pipelines, faults);
        }
    });
}

/// A connector ends at least one pipeline and begins at least one, and no trace that it made comes
/// back to it.
fn check_connector(id: &str, pipelines: &[&PipelineConfig], faults: &mut Faults) {
    let ends = |p: &&&PipelineConfig| p.exporters.iter().any(|named| named == id);
    let begins = |p: &&&PipelineConfig| p.receivers.iter().any(|named| named == id);
    match (pipelines.iter().any(|p| ends(&p)), pipelines.iter().any(|p| begins(&p))) {
        (true, false) => faults.push(
            "",
            format!("connector `{id}` ends a pipeline and begins none; name it among the receivers of another"),
        ),
        (false, true) => faults.push(
            "",
            format!("connector `{id}` begins a pipeline and ends none; name it among the exporters of another"),
        ),
        _ => {}
    }
    let mut reached: Vec<&str> = vec![id];
    let mut at = 0;
    while let Some(&from) = reached.get(at) {
        at += 1;
        let begun = pipelines
            .iter()
            .filter(|p| p.receivers.iter().any(|named| named == from));
        for next in begun.flat_map(|p| &p.exporters) {
            if next == id {
                faults.push("", format!("what connector `{id}` makes comes back to it; take it out of the exporters of the pipelines that it begins"));
                return;
            }
            if !reached.contains(&next.as_str()) {
                reached.push(next);
            }
        }
    }
}

fn check_pipeline(
    name: &str,
    pipeline: &PipelineConfig,
    declared: &impl Fn(&str, &str) -> bool,
    faults: &mut Faults,
) {
    match name.parse::<ComponentId>() {
        Ok(id) if id.kind() == "traces" => {}
        Ok(id) => faults.push(
            "",
            format!("`{}` is not handled; only traces are", id.kind()),
        ),
        Err(message) => faults.push("", message),
    }
    let sides = [
        ("receivers", &pipeline.receivers),
        ("processors", &pipeline.processors),
        ("exporters", &pipeline.exporters),
    ];
    for (side, named) in sides {
        if named.is_empty() && side != "processors" {
            faults.push(side, "names none; a pipeline needs at least one");
        }
        for id in named {
            if !declared(side, id) && !declared("connectors", id) {
                faults.push(
                    side,
                    format!(
                        "`{id}` is not declared in `{side}`; declare it there, or take it out of \
                         the pipeline"
                    ),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(yaml: &str, expected: &[&str]) {
        let told = match load(&[format!("yaml:{yaml}")], &[]) {
            Ok(_) => Vec::new(),
            Err(faults) => faults
                .into_iter()
                .map(|fault| {
                    let line = fault
                        .place
                        .and_then(|p| p.rsplit_once(' ').map(|(_, n)| n.to_owned()));
                    format!(
                        "{}@{}: {}",
                        fault.path,
                        line.unwrap_or_default(),
                        fault.message
                    )
                })
                .collect(),
        };
        assert_eq!(told.len(), expected.len(), "{told:#?}");
        for (told, expected) in told.iter().zip(expected) {
            assert!(told.starts_with(expected), "{told} is not {expected}");
        }
    }

    #[test]
    fn a_good_document_has_no_fault() {
        check(
            "receivers: { otlp: { protocols: { grpc: , http: } } }\n\
             exporters: { debug: , otlp_grpc/x: { endpoint: localhost:1, tls: { insecure: true } } }\n\
             service: { pipelines: { traces: { receivers: [otlp], exporters: [debug, otlp_grpc/x] } } }",
            &[],
        );
    }

    #[test]
    fn every_fault_is_told_with_its_path_and_line() {
        check(
            "receivers:\n  otlp:\n    protocols:\n      grpc:\n        endpont: x\n        max_connections: many\n\
             exporters:\n  kafkaesque:\nservice:\n  pipelines:\n    traces:\n      receivers: [otlp/2]\n      exporters: []\n\
             extra: 1\n",
            &[
                "extra@14: is no section",
                "receivers.otlp.protocols.grpc.endpont@5: unknown field",
                "receivers.otlp.protocols.grpc.max_connections@6: invalid type: string \"many\", expected a whole number",
                "exporters.kafkaesque@8: `kafkaesque` is none of the exporters there are",
                "service.pipelines.traces.receivers@12: `otlp/2` is not declared",
                "service.pipelines.traces.exporters@13: names none",
            ],
        );
    }

    #[test]
    fn a_connector_ends_a_pipeline_begins_another_and_never_hears_itself() {
        let with = |pipelines: &str, expected: &[&str]| {
            let yaml = format!(
                "receivers: {{ otlp: {{ protocols: {{ grpc: }} }} }}\nexporters: {{ debug: }}\n\
                 connectors: {{ synthesizer: }}\nservice: {{ pipelines: {{ {pipelines} }} }}"
            );
            check(&yaml, expected);
        };
        let first = "traces/a: { receivers: [otlp], exporters: [synthesizer] }";
        let second = "traces/b: { receivers: [synthesizer], exporters: [debug] }";
        with(&format!("{first}, {second}"), &[]);
        with(
            first,
            &["service.pipelines@4: connector `synthesizer` ends a pipeline and begins none"],
        );
        with(
            &format!("{second}, traces/c: {{ receivers: [otlp], exporters: [debug] }}"),
            &["service.pipelines@4: connector `synthesizer` begins a pipeline and ends none"],
        );
        with(
            &format!("{first}, traces/b: {{ receivers: [synthesizer], exporters: [synthesizer] }}"),
            &["service.pipelines@4: what connector `synthesizer` makes comes back to it"],
        );
    }

    #[test]
    fn a_component_that_is_not_built_is_a_fault_that_says_so() {
        check(
            "connectors: { sampler: }\nprocessors: { batch: }\nreceivers: { otlp: { protocols: { grpc: } } }\nexporters: { debug: }\n\
             service: { pipelines: { traces: { receivers: [otlp], exporters: [debug] } } }",
            &[
                "connectors.sampler@1: `sampler` is none of the connectors there are: synthesizer",
                "processors.batch@2: `batch` is not built; there are no processors yet",
            ],
        );
    }
}
