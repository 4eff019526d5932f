//! What slows a system down for a while: the load of each service, the mood of each store.
//!
//! It changes with time and not with the traces, so everything that touches one store within its
//! slow mood is slow together.

use rand::RngExt as _;
use rand_distr::{Distribution as _, Exp1, StandardNormal};

use super::plan::Plan;
use crate::chance::{self, Rng};

const SECOND: u64 = 1_000_000_000;
/// A store is as it should be for so long on average,
const CALM: f64 = 60.0;
/// and then slow for so long.
const SLOW: f64 = 5.0;
/// A longer pause between two traces is not lived through second by second.
const LONGEST: u64 = 3_600 * SECOND;

/// The state of everything at one moment.
#[derive(Debug)]
pub(super) struct Weather {
    services: Vec<Load>,
    stores: Vec<Mood>,
    now: Option<u64>,
}

#[derive(Debug)]
struct Load {
    rng: Rng,
    /// Share of its capacity in use, and where that tends to.
    used: f64,
    usual: f64,
}

#[derive(Debug)]
struct Mood {
    rng: Rng,
    slowness: f64,
    changes: u64,
}

impl Weather {
    pub(super) fn new(plan: &Plan, seed: u64) -> Self {
        let services = plan.services.iter().map(|service| {
            let mut rng = chance::stream(seed, &format!("load of {}", service.name));
            let usual = rng.random_range(0.15..0.6);
            Load {
                rng,
                used: usual,
                usual,
            }
        });
        let stores = plan.stores.iter().map(|store| Mood {
            rng: chance::stream(seed, &format!("mood of {}", store.name)),
            slowness: 1.0,
            changes: 0,
        });
        Self {
            services: services.collect(),
            stores: stores.collect(),
            now: None,
        }
    }

    /// Lets time pass until `to`, in nanoseconds since the epoch. Time that runs backwards stands.
    pub(super) fn advance(&mut self, to: u64) {
        let Some(now) = self.now else {
            for mood in &mut self.stores {
                mood.changes = to + mood.dwell(CALM);
            }
            self.now = Some(to);
            return;
        };
        let from = now.max(to.saturating_sub(LONGEST));
        for _ in from / SECOND..to / SECOND {
            self.services.iter_mut().for_each(Load::second);
        }
        for mood in &mut self.stores {
            mood.changes = mood.changes.max(from);
            while mood.changes <= to {
                mood.change();
            }
        }
        self.now = Some(now.max(to));
    }

    /// How long a request waits for a service, as a multiple of the work it asks for.
    pub(super) fn wait(&self, service: usize) -> f64 {
        let used = self.services.get(service).map_or(0.0, |load| load.used);
        0.3 * used / (1.0 - used)
    }

    /// How many times as long as usual a store takes.
    pub(super) fn slowness(&self, store: usize) -> f64 {
        self.stores.get(store).map_or(1.0, |mood| mood.slowness)
    }
}

impl Load {
    fn second(&mut self) {
        let noise: f64 = StandardNormal.sample(&mut self.rng);
        let pulled = self.used + 0.05 * (self.usual - self.used) + 0.02 * noise;
        self.used = pulled.clamp(0.05, 0.92);
    }
}

impl Mood {
    fn change(&mut self) {
        if self.slowness > 1.0 {
            self.slowness = 1.0;
            self.changes += self.dwell(CALM);
        } else {
            let noise: f64 = StandardNormal.sample(&mut self.rng);
            self.slowness = 1.5 + 5.0 * (0.6 * noise).exp();
            self.changes += self.dwell(SLOW);
        }
    }

    fn dwell(&mut self, mean: f64) -> u64 {
        let drawn: f64 = Exp1.sample(&mut self.rng);
        ((drawn * mean).max(0.1) * SECOND as f64) as u64
    }
}
