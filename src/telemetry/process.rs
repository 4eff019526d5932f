//! The process's own use of time and memory, read from the system when somebody asks.

use std::sync::OnceLock;
use std::time::Instant;

use metrics::gauge;

use super::{PROCESS_CPU_SECONDS, PROCESS_MEMORY_RSS, PROCESS_UPTIME};

/// Clock ticks per second of `/proc/self/stat`, which Linux fixes for its users at 100.
const TICKS: f64 = 100.0;

static STARTED: OnceLock<Instant> = OnceLock::new();

/// Begins to count the uptime; the first call counts.
pub fn begin() {
    #[expect(clippy::disallowed_methods, reason = "uptime is told from this clock")]
    STARTED.get_or_init(Instant::now);
}

/// Brings the gauges up to date. What the system does not tell is left out.
pub fn record() {
    if let Some(started) = STARTED.get() {
        gauge!(PROCESS_UPTIME.name).set(started.elapsed().as_secs_f64());
    }
    if let Some(seconds) = cpu_seconds() {
        gauge!(PROCESS_CPU_SECONDS.name).set(seconds);
    }
    if let Some(bytes) = resident_bytes() {
        gauge!(PROCESS_MEMORY_RSS.name).set(bytes);
    }
}

fn cpu_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name, in brackets, may hold spaces; utime and stime are the 12th and 13th after it.
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS)
}

fn resident_bytes() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024.0)
}
