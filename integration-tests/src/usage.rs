//! What a process takes of the machine, as Linux tells it in `/proc`.

use std::collections::BTreeMap;
use std::path::Path;

/// User and system seconds of a process so far.
pub fn cpu_seconds(id: u32) -> anyhow::Result<f64> {
    Ok(stat(Path::new(&format!("/proc/{id}")))?.1)
}

/// CPU seconds of each kind of thread so far: a trailing number is no part of a kind.
pub fn cpu_seconds_by_thread(id: u32) -> anyhow::Result<BTreeMap<String, f64>> {
    let mut all = BTreeMap::new();
    for thread in std::fs::read_dir(format!("/proc/{id}/task"))? {
        // One that ends just now took next to nothing.
        let Ok((name, seconds)) = stat(&thread?.path()) else {
            continue;
        };
        let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-');
        *all.entry(name.to_owned()).or_default() += seconds;
    }
    Ok(all)
}

fn stat(folder: &Path) -> anyhow::Result<(String, f64)> {
    let text = std::fs::read_to_string(folder.join("stat"))?;
    // The name in brackets may hold spaces; utime and stime are fields 14 and 15, in ticks.
    let (before, rest) = text.rsplit_once(')').unwrap_or_default();
    let name = before.split_once('(').unwrap_or_default().1;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    anyhow::ensure!(fields.len() > 12, "{} reads {text}", folder.display());
    let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    Ok((name.to_owned(), ticks / 100.0))
}

/// A line of `/proc/ID/status` in MiB: `VmRSS` now, `VmHWM` at the most.
pub fn memory_mib(id: u32, key: &str) -> anyhow::Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = text.lines().find(|line| line.starts_with(key));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(kib.unwrap_or("0").parse::<f64>()? / 1024.0)
}
