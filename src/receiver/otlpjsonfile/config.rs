//! Keys of `otlpjsonfile`.

use serde::{Deserialize, Serialize};

use crate::config::{Faults, Period};

/// Reads files of OTLP traces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FileConfig {
    /// Files and patterns to read. Needed.
    pub include: Vec<String>,
    /// Files and patterns not to read, of those.
    pub exclude: Vec<String>,
    /// Where to begin in files that are there at start.
    pub start_at: StartAt,
    /// Whether to go on reading what is added; otherwise each file is read once, whole.
    pub follow: bool,
    /// How often to look for what was added.
    pub poll_interval: Period,
}

/// Where to begin in a file that is there at start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StartAt {
    /// With its first record.
    Beginning,
    /// With what is added from now on.
    #[default]
    End,
}

impl Default for FileConfig {
    fn default() -> Self {
        Self {
            include: Vec::new(),
            exclude: Vec::new(),
            start_at: StartAt::End,
            follow: true,
            poll_interval: Period::from_millis(200),
        }
    }
}

impl FileConfig {
    /// What serde can't say.
    pub fn check(&self, faults: &mut Faults) {
        if self.include.is_empty() {
            faults.push(
                "include",
                "names no file; write paths or patterns, as `[\"traces/*.jsonl\"]`",
            );
        }
        for (key, patterns) in [("include", &self.include), ("exclude", &self.exclude)] {
            for pattern in patterns {
                if let Err(fault) = glob::Pattern::new(pattern) {
                    faults.push(key, format!("`{pattern}` is no pattern: {}", fault.msg));
                }
            }
        }
        if self.poll_interval.is_zero() {
            faults.push(
                "poll_interval",
                "must be longer than 0s; write `200ms`, say",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::key_table;

    #[test]
    fn the_key_table_of_the_readme_is_the_config() {
        key_table::check(include_str!("README.md"), &FileConfig::default(), |_| false);
    }

    #[test]
    fn every_fault_names_its_key() {
        let config: FileConfig =
            serde_yaml_ng::from_str("{exclude: ['a[']  , poll_interval: 0s}").unwrap();
        let mut faults = Faults::default();
        config.check(&mut faults);
        let keys: Vec<_> = faults.into_vec().into_iter().map(|f| f.path).collect();
        assert_eq!(keys, ["include", "exclude", "poll_interval"]);
    }
}
