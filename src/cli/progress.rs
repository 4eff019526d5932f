//! How far something is: a bar on a terminal, plain lines elsewhere.

use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::complain;

/// Progress towards a known total.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
    unit: &'static str,
    plain: bool,
    total: u64,
    said: u64,
}

impl Progress {
    /// Begins at 0 of `total`, on standard error.
    pub(super) fn new(total: u64, unit: &'static str) -> Self {
        let plain = !std::io::stderr().is_terminal();
        let target = if plain {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        };
        let bar = ProgressBar::with_draw_target(Some(total), target);
        let template = "{bar:32} {human_pos} of {human_len} {msg}, {per_sec}, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(unit);
        Self {
            bar,
            unit,
            plain,
            total,
            said: 0,
        }
    }

    /// So many are done. Without a terminal, every tenth of the total is a line.
    pub(super) fn set(&mut self, done: u64) {
        self.bar.set_position(done);
        let tenth = done * 10 / self.total.max(1);
        if self.plain && tenth > self.said && done < self.total {
            self.said = tenth;
            complain(&format!("{done} of {} {}", self.total, self.unit));
        }
    }

    /// Over: the bar goes, and this line stays.
    pub(super) fn finish(self, summary: &str) {
        self.bar.finish_and_clear();
        complain(summary);
    }
}
