//! Systems of the project's own making that behave like real ones, from a seed: what fixtures,
//! tests and `demo` are made from.
//!
//! `shop.rs`, `social_network.rs` and `ticket_office.rs` declare what each system does in the words
//! of `plan.rs`; `play.rs` plays requests through a plan, `weather.rs` slows parts of it down for a
//! while, `write.rs` makes OTLP of it, and `drive` sends it live.

mod drive;
mod plan;
mod play;
mod shop;
mod social_network;
#[cfg(test)]
mod tests;
mod ticket_office;
mod weather;
mod write;

use std::fmt;
use std::str::FromStr;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use rand::RngExt as _;
use rand_distr::{Distribution as _, Exp1};

pub use self::drive::{Drive, DriveCounts, DriveMeter};
use self::plan::Plan;
use self::play::Play;
use self::weather::Weather;
use self::write::Writer;
use crate::chance::{self, Rng};

/// A system that can be simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    /// Sells things: a storefront over gRPC services, Kafka behind the checkout.
    Shop,
    /// Timelines, posts and followers: HTTP throughout, fan-out over RabbitMQ.
    SocialNetwork,
    /// Sells seats: a waiting room, seat locks, payments that are slow and break.
    TicketOffice,
}

impl System {
    /// Every system.
    pub const ALL: [Self; 3] = [Self::Shop, Self::SocialNetwork, Self::TicketOffice];

    /// As a command line has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Shop => "shop",
            Self::SocialNetwork => "social-network",
            Self::TicketOffice => "ticket-office",
        }
    }

    fn plan(self) -> Plan {
        match self {
            Self::Shop => shop::plan(),
            Self::SocialNetwork => social_network::plan(),
            Self::TicketOffice => ticket_office::plan(),
        }
    }
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for System {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|system| system.name() == text);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("`{text}` is no system; systems are {names}")
        })
    }
}

/// Makes the traces of one system, one after the other. The same seed and the same start times
/// give the same bytes.
#[derive(Debug)]
pub struct Simulator {
    plan: Plan,
    weather: Weather,
    writer: Writer,
    requests: Rng,
    gaps: Rng,
}

impl Simulator {
    /// A system at rest.
    pub fn new(system: System, seed: u64) -> Self {
        let plan = system.plan();
        Self {
            weather: Weather::new(&plan, seed),
            writer: Writer::new(&plan, seed),
            requests: chance::stream(seed, "requests"),
            gaps: chance::stream(seed, "gaps between requests"),
            plan,
        }
    }

    /// The trace of a request that comes in at this time (nanoseconds since the epoch), whole:
    /// spans grouped by the process that made them, each group with its resource.
    pub fn next_trace(&mut self, start_unix_nano: u64) -> ExportTraceServiceRequest {
        self.weather.advance(start_unix_nano);
        let shares = self.plan.requests.iter().map(|request| request.share);
        let mut left = self.requests.random::<f64>() * shares.sum::<f64>();
        let drawn = self.plan.requests.iter().find(|request| {
            left -= request.share;
            left < 0.0
        });
        let Some(request) = drawn.or(self.plan.requests.last()) else {
            return ExportTraceServiceRequest::default();
        };
        let play = Play::new(&self.plan, &self.weather, &mut self.requests);
        let played = play.request(request);
        self.writer.write(&self.plan, &played, start_unix_nano)
    }

    /// Nanoseconds until the next request, where so many come per second on average and none
    /// knows of another.
    pub fn next_gap(&mut self, per_second: f64) -> u64 {
        let drawn: f64 = Exp1.sample(&mut self.gaps);
        (drawn / per_second * 1e9) as u64
    }
}
