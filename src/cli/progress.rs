//! How far long work is: a bar on a terminal, a plain line every few seconds elsewhere.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::complain;

/// How often a plain line is written.
const EVERY: Duration = Duration::from_secs(5);

/// Progress towards a known length, on standard error.
pub(super) struct Progress {
    what: &'static str,
    total: u64,
    bar: Option<ProgressBar>,
    said: Instant,
}

impl Progress {
    /// `unit` is what is counted: `bytes`, or a noun in the plural.
    #[expect(
        clippy::disallowed_methods,
        reason = "a command line reads the clock for its user"
    )]
    pub(super) fn new(what: &'static str, total: u64, unit: &str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            let counts = match unit {
                "bytes" => "{bytes} of {total_bytes}".to_owned(),
                unit => format!("{{pos}} of {{len}} {unit}"),
            };
            let form = format!("{what:>10} {{wide_bar}} {counts}, {{eta}} left {{msg}}");
            let style = ProgressStyle::with_template(&form);
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Self {
            what,
            total,
            bar,
            said: Instant::now(),
        }
    }

    /// So much is done.
    #[expect(
        clippy::disallowed_methods,
        reason = "a command line reads the clock for its user"
    )]
    pub(super) fn tell(&mut self, done: u64, note: impl FnOnce() -> String) {
        if let Some(bar) = &self.bar {
            bar.set_position(done.min(self.total));
            if self.said.elapsed() > Duration::from_millis(200) {
                self.said = Instant::now();
                bar.set_message(note());
            }
        } else if self.said.elapsed() >= EVERY {
            self.said = Instant::now();
            let percent = 100 * done.min(self.total) / self.total.max(1);
            complain(&format!("{}: {percent}% {}", self.what, note()));
        }
    }

    /// It is over.
    pub(super) fn end(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
