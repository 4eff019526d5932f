//! One request played through a plan: what calls what, when, and how it ends.
//!
//! Times are nanoseconds after the request began, by a clock that is right everywhere; each host's
//! own clock comes in when spans are written.

use rand::RngExt as _;
use rand_distr::{Distribution as _, Exp1, StandardNormal};
use smallvec::SmallVec;

use super::plan::{Entry, Operation, Plan, Protocol, Quantity, Request, Step};
use super::weather::Weather;
use crate::chance::Rng;

const MILLISECOND: f64 = 1e6;
/// From one process to another, over the network.
const WIRE: f64 = 0.12;
/// From the broker to whoever takes the message.
const BROKER: f64 = 6.0;
/// How often a message is handed out before it is left lying.
const DELIVERIES: u32 = 3;
/// No plan comes near it; a plan that publishes in a circle ends here.
const MOST_SPANS: usize = 2_000;

/// One process of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) service: usize,
    pub(super) instance: usize,
}

/// What a span is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    /// Answers a call of its operation.
    Serve(&'static str),
    /// Calls an operation of a service.
    Call(Protocol, &'static str, &'static str),
    /// Asks the store at this position.
    Query(usize, &'static str),
    /// Hands a message of a topic to the broker.
    Publish(&'static str),
    /// Takes a message of a topic.
    Process(&'static str),
    /// Works by itself.
    Inside(&'static str),
}

/// Why something did not go well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The callee said no, with an HTTP status below 500: no error of the callee.
    Declined(u16),
    /// Something threw an exception of this type.
    Broke(&'static str),
    /// The caller did not wait longer than this many milliseconds.
    TimedOut(u32),
}

/// A span as it was played.
#[derive(Debug)]
pub(super) struct Played {
    pub(super) parent: Option<usize>,
    pub(super) place: Place,
    pub(super) deed: Deed,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) fault: Option<Fault>,
    /// Whether the fault arose here, and did not come up from a span below.
    pub(super) origin: bool,
    /// A span before it in time that it names: an attempt that failed, another message.
    pub(super) link: Option<usize>,
    /// How often it was tried before.
    pub(super) attempt: u32,
}

/// A step that could not be taken, and when that was known.
#[derive(Debug, Clone, Copy)]
struct Stopped {
    at: u64,
    fault: Fault,
}

#[derive(Debug, Clone, Copy)]
struct Here {
    span: usize,
    place: Place,
}

#[derive(Debug, Clone, Copy)]
struct Message {
    topic: &'static str,
    producer: usize,
    at: u64,
}

/// A request being played.
pub(super) struct Play<'a> {
    plan: &'a Plan,
    weather: &'a Weather,
    rng: &'a mut Rng,
    spans: Vec<Played>,
    quantities: SmallVec<[(&'static str, u32); 4]>,
    messages: Vec<Message>,
}

impl<'a> Play<'a> {
    pub(super) fn new(plan: &'a Plan, weather: &'a Weather, rng: &'a mut Rng) -> Self {
        Self {
            plan,
            weather,
            rng,
            spans: Vec::with_capacity(64),
            quantities: SmallVec::new(),
            messages: Vec::new(),
        }
    }

    /// Plays a request and all that comes of it: its spans, each after its parent.
    pub(super) fn request(mut self, request: &Request) -> Vec<Played> {
        if let Some(callee) = self.plan.operation(request.service, request.operation) {
            self.serve(None, callee, 0);
        }
        let mut next = 0;
        while next < self.messages.len() {
            self.deliver(self.messages[next]);
            next += 1;
        }
        self.spans
    }

    fn serve(
        &mut self,
        parent: Option<usize>,
        callee: (usize, usize),
        arrives: u64,
    ) -> (u64, Option<Fault>) {
        let operation = self.offered(callee);
        let wait = self.weather.wait(callee.0) * operation.takes;
        let drawn: f64 = Exp1.sample(self.rng);
        // A root has no caller that could see it wait.
        let start = match parent {
            Some(_) => arrives + nanoseconds(wait * drawn),
            None => arrives,
        };
        let place = self.some_place(callee.0);
        let deed = Deed::Serve(operation.name);
        let span = self.open(parent, place, deed, start);
        self.work(Here { span, place }, operation, start)
    }

    /// An operation's own work and its steps, within a span that is open.
    fn work(&mut self, here: Here, operation: &Operation, start: u64) -> (u64, Option<Fault>) {
        let own = self.around(operation.takes);
        let before = start + own * 6 / 10;
        let (end, fault) = match self.steps(here, &operation.steps, before) {
            Ok(now) => (now + own * 4 / 10, None),
            Err(stopped) => (stopped.at + own / 10, Some(stopped.fault)),
        };
        self.close(here.span, end, fault);
        (end, fault)
    }

    fn steps(&mut self, here: Here, steps: &[Step], start: u64) -> Result<u64, Stopped> {
        let mut now = start;
        for step in steps {
            now = self.step(here, step, now)?;
            now += self.around(0.012);
        }
        Ok(now)
    }

    fn step(&mut self, here: Here, step: &Step, now: u64) -> Result<u64, Stopped> {
        if self.spans.len() >= MOST_SPANS {
            return Ok(now);
        }
        match step {
            Step::Call(service, operation) => self.call(here, service, operation, now),
            Step::Query(store, text) => self.query(here, store, text, now),
            Step::Inside(name, takes, steps) => self.inside(here, name, *takes, steps, now),
            Step::Cached {
                store,
                key,
                hit,
                miss,
            } => self.cached(here, store, key, *hit, miss, now),
            Step::Together(steps) => {
                self.at_once(here, steps.iter().map(std::slice::from_ref), now)
            }
            Step::InOrder(steps) => self.steps(here, steps, now),
            Step::Each(quantity, steps) => {
                (0..self.quantity(quantity)).try_fold(now, |now, _| self.steps(here, steps, now))
            }
            Step::EachAtOnce(quantity, steps) => {
                let times = self.quantity(quantity) as usize;
                self.at_once(here, std::iter::repeat_n(steps.as_slice(), times), now)
            }
            Step::Sometimes(probability, steps) if self.happens(*probability) => {
                self.steps(here, steps, now)
            }
            Step::Sometimes(..) => Ok(now),
            Step::Publish(topic) => Ok(self.publish(here, topic, now)),
            Step::Later(name, steps) => {
                let begins = now + self.around(0.05);
                // Nobody waits for it, so nobody hears how it ended.
                self.inside(here, name, 0.5, steps, begins).ok();
                Ok(now)
            }
            Step::Declines(probability, status) => {
                self.stops(*probability, Fault::Declined(*status), now)
            }
            Step::Breaks(probability, exception) => {
                self.stops(*probability, Fault::Broke(exception), now)
            }
            Step::OrWithout(step) => Ok(self.step(here, step, now).unwrap_or_else(|s| s.at)),
            Step::Within(limit, step) => self.within(here, *limit, step, now),
            Step::Retried(times, step) => self.retried(here, *times, step, now),
        }
    }

    fn call(
        &mut self,
        here: Here,
        service: &'static str,
        operation: &'static str,
        now: u64,
    ) -> Result<u64, Stopped> {
        let Some(callee) = self.plan.operation(service, operation) else {
            return Ok(now);
        };
        let protocol = self.plan.services[callee.0].protocol;
        let deed = Deed::Call(protocol, service, operation);
        let client = self.open(Some(here.span), here.place, deed, now);
        let arrives = now + self.around(WIRE);
        let (answered, fault) = self.serve(Some(client), callee, arrives);
        let end = answered + self.around(WIRE);
        self.close(client, end, fault);
        ended(end, fault)
    }

    fn query(
        &mut self,
        here: Here,
        store: &'static str,
        text: &'static str,
        now: u64,
    ) -> Result<u64, Stopped> {
        let Some(at) = self.plan.store(store) else {
            return Ok(now);
        };
        let slowness = self.weather.slowness(at);
        let reads = ["GET", "SELECT", "find", "MGET", "mget", "get"];
        let verb = text.split(' ').next().unwrap_or_default();
        let cost = if reads.contains(&verb) { 1.0 } else { 1.6 };
        let takes = self.around(self.plan.stores[at].takes * cost * slowness);
        let span = self.open(Some(here.span), here.place, Deed::Query(at, text), now);
        let fault = self
            .happens(4e-4 * slowness * slowness)
            .then_some(Fault::Broke("ConnectionReset"));
        let end = now + takes + 2 * self.around(WIRE);
        self.close(span, end, fault);
        ended(end, fault)
    }

    fn inside(
        &mut self,
        here: Here,
        name: &'static str,
        takes: f64,
        steps: &[Step],
        now: u64,
    ) -> Result<u64, Stopped> {
        let span = self.open(Some(here.span), here.place, Deed::Inside(name), now);
        let before = now + self.around(takes);
        let inner = Here { span, ..here };
        let (end, fault) = match self.steps(inner, steps, before) {
            Ok(end) => (end, None),
            Err(stopped) => (stopped.at, Some(stopped.fault)),
        };
        self.close(span, end, fault);
        ended(end, fault)
    }

    fn cached(
        &mut self,
        here: Here,
        store: &'static str,
        key: &'static str,
        hit: f64,
        miss: &[Step],
        now: u64,
    ) -> Result<u64, Stopped> {
        let looked = self.query(here, store, key, now);
        if looked.is_ok() && self.happens(hit) {
            return looked;
        }
        // A cache that does not answer is a cache that does not have it.
        let now = looked.unwrap_or_else(|stopped| stopped.at);
        let now = self.steps(here, miss, now)?;
        let put = self.query(here, store, "SET", now);
        Ok(put.unwrap_or_else(|stopped| stopped.at))
    }

    /// Each list of steps begins at once; it is over with the last, and fails if one failed.
    fn at_once<'s>(
        &mut self,
        here: Here,
        lists: impl Iterator<Item = &'s [Step]>,
        now: u64,
    ) -> Result<u64, Stopped> {
        let (mut begins, mut last, mut failed) = (now, now, None);
        for steps in lists {
            match self.steps(here, steps, begins) {
                Ok(end) => last = last.max(end),
                Err(stopped) => {
                    last = last.max(stopped.at);
                    failed = failed.or(Some(stopped.fault));
                }
            }
            begins += self.around(0.02);
        }
        ended(last, failed)
    }

    fn publish(&mut self, here: Here, topic: &'static str, now: u64) -> u64 {
        let span = self.open(Some(here.span), here.place, Deed::Publish(topic), now);
        let end = now + self.around(0.6);
        self.close(span, end, None);
        self.messages.push(Message {
            topic,
            producer: span,
            at: end,
        });
        end
    }

    fn deliver(&mut self, message: Message) {
        let plan = self.plan;
        for &taker in plan.subscribers(message.topic) {
            let operation = self.offered(taker);
            let mut at = message.at + self.around(BROKER);
            let mut link = None;
            if let Entry::Messages(other) = operation.entry {
                let Some(other) = self.messages.iter().find(|m| m.topic == other).copied() else {
                    continue;
                };
                at = at.max(other.at + self.around(BROKER));
                link = Some(other.producer);
            }
            for attempt in 0..DELIVERIES {
                let place = self.some_place(taker.0);
                let deed = Deed::Process(operation.name);
                let span = self.open(Some(message.producer), place, deed, at);
                (self.spans[span].link, self.spans[span].attempt) = (link, attempt);
                let (end, fault) = self.work(Here { span, place }, operation, at);
                if fault.is_none() {
                    break;
                }
                (at, link) = (end + self.around(120.0), Some(span));
            }
        }
    }

    fn stops(&mut self, probability: f64, fault: Fault, at: u64) -> Result<u64, Stopped> {
        if self.happens(probability) {
            Err(Stopped { at, fault })
        } else {
            Ok(at)
        }
    }

    fn within(&mut self, here: Here, limit: f64, step: &Step, now: u64) -> Result<u64, Stopped> {
        let first = self.spans.len();
        let taken = self.step(here, step, now);
        let at = now + nanoseconds(limit);
        let end = taken.unwrap_or_else(|stopped| stopped.at);
        if end <= at {
            return taken;
        }
        let fault = Fault::TimedOut(limit as u32);
        if let Some(span) = self.spans.get_mut(first) {
            (span.end, span.fault, span.origin) = (at, Some(fault), true);
        }
        Err(Stopped { at, fault })
    }

    fn retried(&mut self, here: Here, times: u32, step: &Step, start: u64) -> Result<u64, Stopped> {
        let mut now = start;
        let mut before = None;
        for attempt in 0..=times {
            let first = self.spans.len();
            let taken = self.step(here, step, now);
            if let Some(span) = self.spans.get_mut(first) {
                (span.link, span.attempt) = (before, attempt);
            }
            match taken {
                Err(stopped) if attempt < times && !matches!(stopped.fault, Fault::Declined(_)) => {
                    before = Some(first);
                    now = stopped.at + self.around(15.0 * f64::from(1_u32 << attempt));
                }
                taken => return taken,
            }
        }
        Ok(now)
    }

    fn open(&mut self, parent: Option<usize>, place: Place, deed: Deed, start: u64) -> usize {
        self.spans.push(Played {
            parent,
            place,
            deed,
            start,
            end: start,
            fault: None,
            origin: false,
            link: None,
            attempt: 0,
        });
        self.spans.len() - 1
    }

    fn close(&mut self, span: usize, end: u64, fault: Option<Fault>) {
        let below = self.spans[span + 1..].iter();
        let origin = fault.is_some() && below.clone().all(|child| child.fault != fault);
        let span = &mut self.spans[span];
        (span.end, span.fault, span.origin) = (end, fault, origin);
    }

    fn offered(&self, at: (usize, usize)) -> &'a Operation {
        &self.plan.services[at.0].operations[at.1]
    }

    fn some_place(&mut self, service: usize) -> Place {
        let instances = self.plan.services[service].instances.max(1);
        Place {
            service,
            instance: self.rng.random_range(0..instances),
        }
    }

    fn quantity(&mut self, quantity: &Quantity) -> u32 {
        let known = self
            .quantities
            .iter()
            .find(|(name, _)| *name == quantity.name);
        if let Some((_, drawn)) = known {
            return *drawn;
        }
        // Geometric above the least: many carts hold one item, a few hold many.
        let over = (quantity.mean - f64::from(quantity.least)).max(1e-9);
        let drawn: f64 = Exp1.sample(self.rng);
        let more = (drawn / (1.0 + 1.0 / over).ln()) as u32;
        let drawn = (quantity.least.saturating_add(more)).min(quantity.most);
        self.quantities.push((quantity.name, drawn));
        drawn
    }

    fn happens(&mut self, probability: f64) -> bool {
        self.rng.random::<f64>() < probability
    }

    /// A time around a median of so many milliseconds: log-normal, once in a hundred much longer.
    fn around(&mut self, median: f64) -> u64 {
        let noise: f64 = StandardNormal.sample(self.rng);
        let mut drawn = median * (0.35 * noise).exp();
        if self.happens(0.01) {
            // A collection of garbage, a lost packet, a cold page: Pareto, no mean to speak of.
            drawn *= self.rng.random_range(1e-3..1.0_f64).powf(-0.7);
        }
        nanoseconds(drawn)
    }
}

fn ended(at: u64, fault: Option<Fault>) -> Result<u64, Stopped> {
    match fault {
        None => Ok(at),
        Some(fault) => Err(Stopped { at, fault }),
    }
}

fn nanoseconds(milliseconds: f64) -> u64 {
    (milliseconds * MILLISECOND) as u64
}
