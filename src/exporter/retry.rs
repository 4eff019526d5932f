//! `retry_on_failure`: when to send again, and when to give up.

use std::time::Duration;

use rand::RngExt as _;
use serde::{Deserialize, Serialize};

use crate::chance::Rng;
use crate::config::{Faults, Period};

/// Exponential back-off with jitter, in the Collector's keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryOnFailure {
    /// Whether what may pass is tried again.
    pub enabled: bool,
    /// The first wait.
    pub initial_interval: Period,
    /// Each wait is drawn from `wait * (1 - factor)` to `wait * (1 + factor)`.
    pub randomization_factor: f64,
    /// How much longer each wait is than the one before.
    pub multiplier: f64,
    /// The longest wait, before it is drawn.
    pub max_interval: Period,
    /// When a request is given up; 0 is never.
    pub max_elapsed_time: Period,
}

impl Default for RetryOnFailure {
    fn default() -> Self {
        Self {
            enabled: true,
            initial_interval: Period::from_secs(5),
            randomization_factor: 0.5,
            multiplier: 1.5,
            max_interval: Period::from_secs(30),
            max_elapsed_time: Period::from_secs(300),
        }
    }
}

impl RetryOnFailure {
    /// What serde can't say.
    pub fn check(&self, faults: &mut Faults) {
        if !(0.0..=1.0).contains(&self.randomization_factor) {
            faults.push(
                "randomization_factor",
                format!("must lie in 0 to 1, got {}", self.randomization_factor),
            );
        }
        if !(1.0..=1000.0).contains(&self.multiplier) {
            faults.push(
                "multiplier",
                format!("must lie in 1 to 1000, got {}", self.multiplier),
            );
        }
        if self.enabled && self.initial_interval.is_zero() {
            faults.push("initial_interval", "must be longer than 0, got 0s");
        }
        if self.max_interval < self.initial_interval {
            faults.push(
                "max_interval",
                format!(
                    "must be at least initial_interval ({}), got {}",
                    self.initial_interval, self.max_interval
                ),
            );
        }
    }
}

/// The waits of one request.
#[derive(Debug)]
pub(super) struct Schedule<'a> {
    config: &'a RetryOnFailure,
    interval: Duration,
}

impl<'a> Schedule<'a> {
    pub(super) fn new(config: &'a RetryOnFailure) -> Self {
        Self {
            config,
            interval: config.initial_interval.duration(),
        }
    }

    /// How long to wait before the next attempt, `elapsed` after the first one began; none to
    /// give up. What the backend `asked` for is a lower bound.
    pub(super) fn next(
        &mut self,
        elapsed: Duration,
        asked: Option<Duration>,
        rng: &mut Rng,
    ) -> Option<Duration> {
        if !self.config.enabled {
            return None;
        }
        let spread = self.config.randomization_factor * rng.random_range(-1.0..=1.0);
        let drawn = self.interval.mul_f64(1.0 + spread);
        let wait = asked.map_or(drawn, |asked| asked.max(drawn));
        self.interval = self
            .interval
            .mul_f64(self.config.multiplier)
            .min(self.config.max_interval.duration());
        let limit = self.config.max_elapsed_time;
        let in_time = limit.is_zero() || elapsed.saturating_add(wait) <= limit.duration();
        in_time.then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::stream;

    /// The waits in seconds until the request is given up, ten at most.
    fn check(config: &RetryOnFailure, asked: Option<u64>, expected: &[f64]) {
        let mut schedule = Schedule::new(config);
        let mut rng = stream(1, "retry");
        let mut elapsed = Duration::ZERO;
        let mut waits = Vec::new();
        while let Some(wait) = schedule.next(elapsed, asked.map(Duration::from_secs), &mut rng) {
            elapsed += wait;
            waits.push((wait.as_secs_f64() * 100.0).round() / 100.0);
            if waits.len() == expected.len() && config.max_elapsed_time.is_zero() {
                break;
            }
        }
        assert_eq!(waits, expected);
    }

    fn steady() -> RetryOnFailure {
        RetryOnFailure {
            randomization_factor: 0.0,
            max_elapsed_time: Period::from_secs(100),
            ..RetryOnFailure::default()
        }
    }

    #[test]
    fn waits_grow_to_the_longest_and_end_when_the_time_is_up() {
        check(&steady(), None, &[5.0, 7.5, 11.25, 16.88, 25.31, 30.0]);
    }

    #[test]
    fn zero_never_gives_up() {
        let config = RetryOnFailure {
            max_elapsed_time: Period::ZERO,
            max_interval: Period::from_secs(6),
            ..steady()
        };
        check(&config, None, &[5.0, 6.0, 6.0, 6.0, 6.0, 6.0, 6.0, 6.0]);
    }

    #[test]
    fn a_backend_that_asks_for_more_time_gets_it() {
        check(&steady(), Some(20), &[20.0, 20.0, 20.0, 20.0]);
        check(&steady(), Some(101), &[]);
    }

    #[test]
    fn nothing_is_tried_again_when_it_is_off() {
        let config = RetryOnFailure {
            enabled: false,
            ..steady()
        };
        check(&config, None, &[]);
    }

    #[test]
    fn jitter_stays_within_its_factor_and_comes_from_the_seed() {
        let config = RetryOnFailure::default();
        let draw = |seed| {
            let mut rng = stream(seed, "retry");
            let wait = Schedule::new(&config).next(Duration::ZERO, None, &mut rng);
            wait.unwrap().as_secs_f64()
        };
        let waits: Vec<_> = (0..200).map(draw).collect();
        assert!(waits.iter().all(|wait| (2.5..=7.5).contains(wait)));
        assert!(waits.iter().any(|wait| *wait < 3.0) && waits.iter().any(|wait| *wait > 7.0));
        assert_eq!(draw(7), draw(7));
    }
}
