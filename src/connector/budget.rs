//! How much of a core training may take.

use std::time::Duration;

/// Work that was saved up while idle, at most: a burst after a pause is no longer than this.
const BURST: Duration = Duration::from_millis(250);

/// Lets work take a share of the time that passes. Synchronous: times are handed in.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    share: f64,
    /// Seconds of work that may be done now; below zero after a long piece.
    left: f64,
    told: Duration,
}

impl Budget {
    pub(super) fn new(share: f64) -> Self {
        Self {
            share: share.clamp(0.01, 1.0),
            left: 0.0,
            told: Duration::ZERO,
        }
    }

    /// How long to wait before the next piece of work; zero if it may begin.
    pub(super) fn wait(&mut self, now: Duration) -> Duration {
        let passed = now.saturating_sub(self.told).as_secs_f64();
        self.told = now;
        self.left = (self.left + passed * self.share).min(BURST.as_secs_f64());
        if self.left >= 0.0 {
            Duration::ZERO
        } else {
            Duration::from_secs_f64(-self.left / self.share)
        }
    }

    /// Takes off what a piece of work took.
    pub(super) fn spend(&mut self, worked: Duration) {
        self.left -= worked.as_secs_f64();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Works in pieces of so many ms for ten seconds; the share of the time that was worked.
    fn check(share: f64, piece: u64, pause: u64, expected: std::ops::Range<f64>) {
        let mut budget = Budget::new(share);
        let mut now = Duration::from_millis(pause);
        let (mut worked, began) = (Duration::ZERO, now);
        while now < began + Duration::from_secs(10) {
            let wait = budget.wait(now);
            if wait.is_zero() {
                let piece = Duration::from_millis(piece);
                (now, worked) = (now + piece, worked + piece);
                budget.spend(piece);
            } else {
                now += wait;
            }
        }
        let got = worked.as_secs_f64() / (now - began).as_secs_f64();
        assert!(expected.contains(&got), "{got} of a core");
    }

    #[test]
    fn work_takes_its_share_whatever_the_size_of_its_pieces() {
        check(0.5, 10, 0, 0.48..0.52);
        check(0.5, 900, 0, 0.45..0.55);
        check(0.1, 40, 0, 0.09..0.11);
        check(1.0, 30, 0, 0.99..1.01);
    }

    #[test]
    fn a_long_pause_saves_up_no_more_than_a_burst() {
        check(0.1, 10, 3_600_000, 0.10..0.13);
    }
}
