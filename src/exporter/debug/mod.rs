//! The `debug` exporter: shows in the log what passes. Its user asks to see observed text.

mod config;
mod show;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use tokio::time::Instant;

use super::failure::{Accepted, Failure};
use crate::otlp::Payload;
use crate::pipeline::off_reactor;

pub use config::{Config, Verbosity};

/// Writes requests to the log.
#[derive(Debug)]
pub(super) struct Printer {
    config: Config,
    sampler: Mutex<Sampler>,
}

impl Printer {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            config: config.clone(),
            sampler: Mutex::default(),
        }
    }

    pub(super) fn send(&self, exporter: &str, payload: &Payload) -> Result<Accepted, Failure> {
        let mut sampler = self.sampler.lock().unwrap_or_else(PoisonError::into_inner);
        if !sampler.take(Instant::now(), &self.config) {
            return Ok(Accepted::default());
        }
        drop(sampler);
        let (bytes, spans) = (payload.bytes(), payload.spans());
        if self.config.verbosity == Verbosity::Basic {
            tracing::info!(exporter, spans, bytes = bytes.len(), "traces");
            return Ok(Accepted::default());
        }
        off_reactor(|| {
            let request = ExportTraceServiceRequest::decode(bytes.as_ref())
                .map_err(|fault| Failure::lasting(fault.to_string()))?;
            let text = if self.config.verbosity == Verbosity::Normal {
                show::lines(&request)
            } else {
                show::details(&request)
            };
            tracing::info!(exporter, spans, "traces\n{text}");
            Ok(Accepted::default())
        })
    }
}

/// Which requests of a second are shown.
#[derive(Debug, Default)]
struct Sampler {
    second: Option<Instant>,
    seen: u32,
}

impl Sampler {
    fn take(&mut self, now: Instant, config: &Config) -> bool {
        let fresh = |begun: Instant| now.duration_since(begun) < Duration::from_secs(1);
        if !self.second.is_some_and(fresh) {
            self.second = Some(now);
            self.seen = 0;
        }
        self.seen = self.seen.saturating_add(1);
        let later = self.seen.saturating_sub(config.sampling_initial);
        later == 0
            || (config.sampling_thereafter > 0 && later.is_multiple_of(config.sampling_thereafter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_second_are_shown_and_then_one_in_so_many() {
        let check = |initial, thereafter, expected: &str| {
            let config = Config {
                sampling_initial: initial,
                sampling_thereafter: thereafter,
                ..Config::default()
            };
            let mut sampler = Sampler::default();
            let begun = Instant::now();
            // Eight requests at once, and one a second later.
            let times = [0, 0, 0, 0, 0, 0, 0, 0, 1];
            let shown: String = times
                .map(|second| {
                    let now = begun + Duration::from_secs(second);
                    if sampler.take(now, &config) { 'x' } else { '.' }
                })
                .iter()
                .collect();
            assert_eq!(shown, expected);
        };
        check(2, 1, "xxxxxxxxx");
        check(2, 3, "xx..x..xx");
        check(1, 0, "x.......x");
    }
}
