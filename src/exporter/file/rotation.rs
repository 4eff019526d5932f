//! Rotation: a full file is set aside under the time of day, and old backups are removed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::config::Faults;

/// When the file is set aside and how many old ones stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rotation {
    /// Size at which a new file is begun, MiB.
    pub max_megabytes: u32,
    /// Age at which a backup is removed, days; 0 keeps them for ever.
    pub max_days: u32,
    /// Backups that stay; 0 keeps all.
    pub max_backups: u32,
    /// Whether backups are named in local time instead of UTC; not built.
    pub localtime: bool,
}

impl Default for Rotation {
    fn default() -> Self {
        Self {
            max_megabytes: 100,
            max_days: 0,
            max_backups: 100,
            localtime: false,
        }
    }
}

impl Rotation {
    /// What serde can't say.
    pub fn check(&self, faults: &mut Faults) {
        if self.max_megabytes == 0 {
            faults.push("max_megabytes", "must be at least 1, got 0");
        }
        if self.localtime {
            faults.push(
                "localtime",
                "backups are named in UTC here; write false or leave the key out",
            );
        }
    }

    /// Bytes that a file may hold.
    pub(super) fn limit(&self) -> u64 {
        u64::from(self.max_megabytes) * 1024 * 1024
    }
}

/// Renames the file to `stem-<time>.extension`, a name that no other file has.
pub(super) fn set_aside(path: &Path, now: SystemTime) -> io::Result<()> {
    // Two rotations within a millisecond: the later one takes the next free name.
    let free = (0..1000)
        .map(|later| backup(path, &stamp(now + Duration::from_millis(later))))
        .find(|backup| !backup.exists());
    match free {
        Some(free) => fs::rename(path, free),
        None => Err(io::ErrorKind::AlreadyExists.into()),
    }
}

/// Removes backups that are too many or too old.
pub(super) fn prune(path: &Path, rotation: &Rotation, now: SystemTime) -> io::Result<()> {
    let oldest = (rotation.max_days > 0).then(|| {
        let age = Duration::from_secs(u64::from(rotation.max_days) * 24 * 60 * 60);
        stamp(now.checked_sub(age).unwrap_or(UNIX_EPOCH))
    });
    let mut backups = backups(path)?;
    // The stamps sort as the times do; newest first.
    backups.sort_unstable_by(|a, b| b.cmp(a));
    for (rank, stamp) in backups.iter().enumerate() {
        let many = rotation.max_backups > 0 && rank >= rotation.max_backups as usize;
        let old = oldest.as_ref().is_some_and(|oldest| stamp < oldest);
        if many || old {
            fs::remove_file(backup(path, stamp))?;
        }
    }
    Ok(())
}

/// `2027-01-15T08-00-00.000`, UTC.
fn stamp(time: SystemTime) -> String {
    let text = humantime::format_rfc3339_millis(time).to_string();
    text.trim_end_matches('Z').replace(':', "-")
}

fn backup(path: &Path, stamp: &str) -> PathBuf {
    let (stem, extension) = parts(path);
    path.with_file_name(format!("{stem}-{stamp}{extension}"))
}

/// `traces` and `.json` of `traces.json`.
fn parts(path: &Path) -> (String, String) {
    let stem = path.file_stem().unwrap_or_default();
    let extension = path.extension().map(|text| text.to_string_lossy());
    (
        stem.to_string_lossy().into_owned(),
        extension.map_or_else(String::new, |text| format!(".{text}")),
    )
}

/// The stamps of the backups that lie beside the file.
fn backups(path: &Path) -> io::Result<Vec<String>> {
    let (stem, extension) = parts(path);
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        let stamp = name
            .strip_prefix(&stem)
            .and_then(|rest| rest.strip_prefix('-'))
            .and_then(|rest| rest.strip_suffix(extension.as_str()));
        if let Some(stamp) = stamp.filter(|text| is_stamp(text)) {
            found.push(stamp.to_owned());
        }
    }
    Ok(found)
}

fn is_stamp(text: &str) -> bool {
    let pattern = "0000-00-00T00-00-00.000";
    text.len() == pattern.len()
        && text.bytes().zip(pattern.bytes()).all(|(got, like)| {
            if like == b'0' {
                got.is_ascii_digit()
            } else {
                got == like
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(number: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000 + number * 24 * 60 * 60)
    }

    #[test]
    fn backups_older_than_max_days_are_removed_and_other_files_are_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("traces.json");
        for number in 0..4 {
            fs::write(&path, "x").unwrap();
            set_aside(&path, day(number)).unwrap();
        }
        fs::write(folder.path().join("traces-notes.json"), "mine").unwrap();
        let rotation = Rotation {
            max_days: 2,
            ..Rotation::default()
        };
        prune(&path, &rotation, day(3)).unwrap();
        let mut left: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(
            left,
            [
                "traces-2027-01-16T08-00-00.000.json",
                "traces-2027-01-17T08-00-00.000.json",
                "traces-2027-01-18T08-00-00.000.json",
                "traces-notes.json",
            ]
        );
    }
}
