//! Imports run in one direction: a module may use the modules that its row names, and no others.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each top-level module and what it may import; a new module needs a row.
const TABLE: &[(&str, &[&str])] = &[
    ("trace", &[]),
    ("chance", &[]),
    ("telemetry", &[]),
    ("model", &[]),
    ("config", &[]),
    ("kafka", &["config"]),
    ("otlp", &["trace"]),
    ("features", &["trace", "model", "chance"]),
    (
        "assembler",
        &["trace", "otlp", "features", "telemetry", "config"],
    ),
    (
        "pipeline",
        &["trace", "otlp", "assembler", "telemetry", "config"],
    ),
    ("simulate", &["trace", "otlp", "chance"]),
    (
        "learner",
        &["trace", "features", "model", "chance", "telemetry"],
    ),
    (
        "synthesizer",
        &[
            "trace",
            "otlp",
            "features",
            "model",
            "learner",
            "pipeline",
            "chance",
            "telemetry",
            "config",
        ],
    ),
    (
        "eval",
        &[
            "trace",
            "features",
            "model",
            "synthesizer",
            "learner",
            "chance",
        ],
    ),
    (
        "exporter",
        &[
            "trace",
            "otlp",
            "pipeline",
            "config",
            "telemetry",
            "chance",
            "kafka",
        ],
    ),
    (
        "receiver",
        &["trace", "otlp", "pipeline", "config", "telemetry", "kafka"],
    ),
    ("import", &["otlp", "receiver"]),
    (
        "connector",
        &[
            "trace",
            "otlp",
            "features",
            "model",
            "assembler",
            "learner",
            "synthesizer",
            "pipeline",
            "config",
            "chance",
            "telemetry",
            "kafka",
        ],
    ),
    (
        "admin",
        &[
            "trace",
            "features",
            "learner",
            "connector",
            "config",
            "telemetry",
        ],
    ),
    (
        "service",
        &[
            "trace",
            "otlp",
            "features",
            "assembler",
            "pipeline",
            "learner",
            "synthesizer",
            "exporter",
            "receiver",
            "connector",
            "admin",
            "config",
            "chance",
            "telemetry",
        ],
    ),
    ("cli", &["*"]),
    ("main", &["*"]),
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The top-level modules that a source names after `crate::` or `doppelspan::`, its tests left out.
fn imports(source: &str) -> BTreeSet<String> {
    let code = source
        .split("#[cfg(test)]\nmod ")
        .next()
        .unwrap_or_default();
    let mut found = BTreeSet::new();
    for line in code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
    {
        for prefix in ["crate::", "doppelspan::"] {
            for (at, _) in line.match_indices(prefix) {
                let rest = &line[at + prefix.len()..];
                let name: String = rest
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                if !name.is_empty() {
                    found.insert(name);
                }
            }
        }
    }
    found
}

#[test]
fn every_module_imports_only_what_its_row_allows() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../src");
    let table: BTreeMap<_, _> = TABLE.iter().copied().collect();
    let mut faults = Vec::new();
    for path in sources(&root) {
        let below = path.strip_prefix(&root).unwrap();
        let first = below.components().next().unwrap().as_os_str();
        let module = first.to_string_lossy().trim_end_matches(".rs").to_owned();
        if module == "lib" {
            continue;
        }
        let Some(allowed) = table.get(module.as_str()) else {
            faults.push(format!("{module}: has no row in the table"));
            continue;
        };
        for name in imports(&fs::read_to_string(&path).unwrap()) {
            let fine = name == module
                || allowed.contains(&"*")
                || allowed.contains(&name.as_str())
                || !table.contains_key(name.as_str());
            if !fine {
                faults.push(format!("{}: imports {name}", below.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_check_sees_an_import_and_passes_over_comments_and_tests() {
    let source =
        "use crate::trace::Span;\n// crate::cli\n#[cfg(test)]\nmod tests { use crate::eval::x; }";
    assert_eq!(imports(source).into_iter().collect::<Vec<_>>(), ["trace"]);
}
