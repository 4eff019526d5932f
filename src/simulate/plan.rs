//! The words that a system is declared in: `shop.rs` reads as what the shop does.
//!
//! A service offers operations; an operation is a list of steps; a step calls, asks a store, waits
//! for several things at once, publishes, or goes wrong now and then. All times are medians in
//! milliseconds; what is drawn around them, and what slows a whole service or store down for a
//! while, is `weather`'s affair.

use std::collections::BTreeMap;

/// A whole system.
#[derive(Debug)]
pub(super) struct Plan {
    /// `service.namespace`.
    pub(super) name: &'static str,
    /// What it is asked for, and how often.
    pub(super) requests: Vec<Request>,
    pub(super) services: Vec<Service>,
    pub(super) stores: Vec<Store>,
    /// `messaging.system` of its broker.
    pub(super) broker: &'static str,
    operations: BTreeMap<(&'static str, &'static str), (usize, usize)>,
    store_of: BTreeMap<&'static str, usize>,
    subscribers: BTreeMap<&'static str, Vec<(usize, usize)>>,
}

/// A request type: its share of the traffic and the operation that takes it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    pub(super) share: f64,
    pub(super) service: &'static str,
    pub(super) operation: &'static str,
}

/// What a service speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http,
    Grpc,
}

#[derive(Debug)]
pub(super) struct Service {
    pub(super) name: &'static str,
    pub(super) protocol: Protocol,
    pub(super) language: &'static str,
    pub(super) instances: usize,
    pub(super) operations: Vec<Operation>,
}

#[derive(Debug)]
pub(super) struct Operation {
    /// `GET /cart` over HTTP, `Cart/Get` over gRPC, a topic's name where it takes messages.
    pub(super) name: &'static str,
    /// What it is asked by.
    pub(super) entry: Entry,
    /// Work of its own.
    pub(super) takes: f64,
    pub(super) steps: Vec<Step>,
}

/// What an operation is asked by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// A call.
    Call,
    /// A message of the topic it is named after.
    Message,
    /// Such a message, once one of this other topic is there as well.
    Messages(&'static str),
}

/// A database, a cache, or a system that nobody instrumented: only its callers' spans are seen.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) name: &'static str,
    pub(super) kind: StoreKind,
    /// A query's median.
    pub(super) takes: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StoreKind {
    /// `db.system`.
    Database(&'static str),
    /// HTTP to somebody else.
    Outside,
}

/// A number that a trace has once, wherever it is used: how many items lie in this cart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quantity {
    pub(super) name: &'static str,
    pub(super) least: u32,
    pub(super) mean: f64,
    pub(super) most: u32,
}

#[derive(Debug)]
pub(super) enum Step {
    Call(&'static str, &'static str),
    Query(&'static str, &'static str),
    Inside(&'static str, f64, Vec<Step>),
    Cached {
        store: &'static str,
        key: &'static str,
        hit: f64,
        miss: Vec<Step>,
    },
    Together(Vec<Step>),
    InOrder(Vec<Step>),
    Each(Quantity, Vec<Step>),
    EachAtOnce(Quantity, Vec<Step>),
    Sometimes(f64, Vec<Step>),
    Publish(&'static str),
    Later(&'static str, Vec<Step>),
    Declines(f64, u16),
    Breaks(f64, &'static str),
    OrWithout(Box<Step>),
    Within(f64, Box<Step>),
    Retried(u32, Box<Step>),
}

/// A request type with its share; shares need not sum to one.
pub(super) fn request(share: f64, service: &'static str, operation: &'static str) -> Request {
    Request {
        share,
        service,
        operation,
    }
}

/// A service that speaks HTTP.
pub(super) fn http(name: &'static str) -> Service {
    Service::new(name, Protocol::Http, "nodejs")
}

/// A service that speaks gRPC.
pub(super) fn grpc(name: &'static str) -> Service {
    Service::new(name, Protocol::Grpc, "go")
}

/// A database or cache: its name, `db.system`, and a query's median.
pub(super) fn store(name: &'static str, system: &'static str, takes: f64) -> Store {
    Store {
        name,
        kind: StoreKind::Database(system),
        takes,
    }
}

/// Somebody else's HTTP service.
pub(super) fn outside(name: &'static str, takes: f64) -> Store {
    Store {
        name,
        kind: StoreKind::Outside,
        takes,
    }
}

/// Calls an operation of another service and waits for it.
pub(super) fn call(service: &'static str, operation: &'static str) -> Step {
    Step::Call(service, operation)
}

/// Asks a store: `query("orders-db", "SELECT orders")`.
pub(super) fn query(store: &'static str, text: &'static str) -> Step {
    Step::Query(store, text)
}

/// A span inside the service.
pub(super) fn inside(name: &'static str, takes: f64, steps: impl Into<Vec<Step>>) -> Step {
    Step::Inside(name, takes, steps.into())
}

/// Looks a key up; where it is not there, takes these steps and puts it there.
pub(super) fn cached(
    store: &'static str,
    key: &'static str,
    hit: f64,
    miss: impl Into<Vec<Step>>,
) -> Step {
    Step::Cached {
        store,
        key,
        hit,
        miss: miss.into(),
    }
}

/// Begins all of these and waits for the last.
pub(super) fn together(steps: impl Into<Vec<Step>>) -> Step {
    Step::Together(steps.into())
}

/// Several steps as one, one after the other.
pub(super) fn in_order(steps: impl Into<Vec<Step>>) -> Step {
    Step::InOrder(steps.into())
}

/// These steps so many times, one after the other.
pub(super) fn each(quantity: Quantity, steps: impl Into<Vec<Step>>) -> Step {
    Step::Each(quantity, steps.into())
}

/// These steps so many times, all at once.
pub(super) fn each_at_once(quantity: Quantity, steps: impl Into<Vec<Step>>) -> Step {
    Step::EachAtOnce(quantity, steps.into())
}

/// These steps with this probability.
pub(super) fn sometimes(probability: f64, steps: impl Into<Vec<Step>>) -> Step {
    Step::Sometimes(probability, steps.into())
}

/// Hands a message to the broker; whoever takes it may still be at it when the request is over.
pub(super) fn publish(topic: &'static str) -> Step {
    Step::Publish(topic)
}

/// Begins these steps and does not wait for them.
pub(super) fn later(name: &'static str, steps: impl Into<Vec<Step>>) -> Step {
    Step::Later(name, steps.into())
}

/// With this probability, answers with this status (4xx), which is nobody's error.
pub(super) fn declines(probability: f64, status: u16) -> Step {
    Step::Declines(probability, status)
}

/// With this probability, fails with an exception of this type.
pub(super) fn breaks(probability: f64, exception: &'static str) -> Step {
    Step::Breaks(probability, exception)
}

impl Step {
    /// Goes on where the step fails.
    pub(super) fn or_without(self) -> Self {
        Self::OrWithout(Box::new(self))
    }

    /// Gives the step up after so many milliseconds; what it asked for goes on unheard.
    pub(super) fn within(self, limit: f64) -> Self {
        Self::Within(limit, Box::new(self))
    }

    /// Takes a step that broke (not one that was declined) again, so many times at most.
    pub(super) fn retried(self, times: u32) -> Self {
        Self::Retried(times, Box::new(self))
    }
}

impl Service {
    fn new(name: &'static str, protocol: Protocol, language: &'static str) -> Self {
        Self {
            name,
            protocol,
            language,
            instances: 2,
            operations: Vec::new(),
        }
    }

    /// How many processes it runs as; 2 unless said.
    pub(super) fn instances(mut self, instances: usize) -> Self {
        self.instances = instances;
        self
    }

    /// `telemetry.sdk.language`.
    pub(super) fn written_in(mut self, language: &'static str) -> Self {
        self.language = language;
        self
    }

    /// Offers an operation.
    pub(super) fn op(self, name: &'static str, takes: f64, steps: impl Into<Vec<Step>>) -> Self {
        self.offer(name, Entry::Call, takes, steps.into())
    }

    /// Takes messages of a topic.
    pub(super) fn on(self, topic: &'static str, takes: f64, steps: impl Into<Vec<Step>>) -> Self {
        self.offer(topic, Entry::Message, takes, steps.into())
    }

    /// Takes a message of a topic once one of `other` is there as well, which it links to.
    pub(super) fn on_both(
        self,
        topic: &'static str,
        other: &'static str,
        takes: f64,
        steps: impl Into<Vec<Step>>,
    ) -> Self {
        self.offer(topic, Entry::Messages(other), takes, steps.into())
    }

    fn offer(mut self, name: &'static str, entry: Entry, takes: f64, steps: Vec<Step>) -> Self {
        self.operations.push(Operation {
            name,
            entry,
            takes,
            steps,
        });
        self
    }
}

impl Plan {
    /// A plan, its names looked up once.
    pub(super) fn new(
        name: &'static str,
        broker: &'static str,
        requests: Vec<Request>,
        services: Vec<Service>,
        stores: Vec<Store>,
    ) -> Self {
        let mut operations = BTreeMap::new();
        let mut subscribers: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (at, service) in services.iter().enumerate() {
            for (number, operation) in service.operations.iter().enumerate() {
                match operation.entry {
                    Entry::Call => {
                        operations.insert((service.name, operation.name), (at, number));
                    }
                    Entry::Message | Entry::Messages(_) => {
                        let takers = subscribers.entry(operation.name).or_default();
                        takers.push((at, number));
                    }
                }
            }
        }
        let store_of = stores.iter().enumerate();
        Self {
            name,
            broker,
            operations,
            store_of: store_of.map(|(at, store)| (store.name, at)).collect(),
            subscribers,
            requests,
            services,
            stores,
        }
    }

    /// Positions of a service and of its operation.
    pub(super) fn operation(
        &self,
        service: &'static str,
        operation: &'static str,
    ) -> Option<(usize, usize)> {
        self.operations.get(&(service, operation)).copied()
    }

    /// Position of a store.
    pub(super) fn store(&self, name: &'static str) -> Option<usize> {
        self.store_of.get(name).copied()
    }

    /// Who takes the messages of a topic.
    pub(super) fn subscribers(&self, topic: &'static str) -> &[(usize, usize)] {
        self.subscribers.get(topic).map_or(&[], Vec::as_slice)
    }
}
