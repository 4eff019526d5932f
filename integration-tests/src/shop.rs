//! A small shop that fills a board as a synthesizer would: for the page's test and for looking at it.

use std::sync::Arc;
use std::time::Duration;

use doppelspan::chance::{self, Rng};
use doppelspan::connector::{Board, ShownSpan, ShownTrace};
use doppelspan::learner::{Loss, Serving, Status};
use rand::RngExt as _;
use rand_distr::{Distribution as _, LogNormal};

/// A call: what it is, how long it works by itself, how often it fails, and whom it calls.
struct Call {
    service: &'static str,
    operation: &'static str,
    kind: &'static str,
    own_ms: f64,
    fails: f64,
    calls: &'static [(f64, u32, Call)],
}

const fn call(
    service: &'static str,
    operation: &'static str,
    kind: &'static str,
    own_ms: f64,
    fails: f64,
    calls: &'static [(f64, u32, Call)],
) -> Call {
    Call {
        service,
        operation,
        kind,
        own_ms,
        fails,
        calls,
    }
}

const REDIS: Call = call("redis", "HGET", "server", 0.4, 0.0, &[]);
const CART_GET: Call = call(
    "cart",
    "GetCart",
    "server",
    1.2,
    0.002,
    &[(1.0, 1, REDIS), (0.1, 2, REDIS)],
);
const POSTGRES: Call = call("postgres", "SELECT products", "client", 3.0, 0.001, &[]);
const PRODUCT: Call = call(
    "catalogue",
    "GetProduct",
    "server",
    1.5,
    0.004,
    &[(0.7, 1, POSTGRES)],
);
const CURRENCY: Call = call("currency", "Convert", "server", 0.6, 0.0, &[]);
const ADS: Call = call("ads", "GetAds", "server", 4.0, 0.03, &[]);
const RECOMMEND: Call = call(
    "recommendation",
    "List",
    "server",
    6.0,
    0.006,
    &[(1.0, 4, PRODUCT)],
);
const QUOTE: Call = call("quote", "POST /quote", "server", 5.0, 0.0, &[]);
const SHIPPING: Call = call(
    "shipping",
    "GetQuote",
    "server",
    2.0,
    0.003,
    &[(1.0, 1, QUOTE)],
);
const FRAUD: Call = call("fraud", "score", "internal", 22.0, 0.0, &[]);
const BANK: Call = call("bank-gateway", "POST /authorise", "client", 90.0, 0.05, &[]);
const PAYMENT: Call = call(
    "payment",
    "Charge",
    "server",
    4.0,
    0.02,
    &[(1.0, 1, FRAUD), (1.0, 1, BANK), (0.06, 1, BANK)],
);
const MAIL: Call = call("email", "orders process", "consumer", 40.0, 0.01, &[]);
const ACCOUNT: Call = call("accounting", "orders process", "consumer", 12.0, 0.0, &[]);
const PUBLISH: Call = call(
    "kafka",
    "orders publish",
    "producer",
    1.0,
    0.0,
    &[(1.0, 1, MAIL), (1.0, 1, ACCOUNT)],
);
const PLACE: Call = call(
    "checkout",
    "PlaceOrder",
    "server",
    7.0,
    0.01,
    &[
        (1.0, 1, CART_GET),
        (1.0, 3, PRODUCT),
        (1.0, 3, CURRENCY),
        (1.0, 1, SHIPPING),
        (1.0, 1, PAYMENT),
        (0.97, 1, PUBLISH),
    ],
);

/// Requests, with their shares of the traffic.
const REQUESTS: &[(f64, u32, Call)] = &[
    (
        0.42,
        1,
        call(
            "frontend",
            "GET /product/{id}",
            "server",
            5.0,
            0.002,
            &[
                (1.0, 1, PRODUCT),
                (1.0, 1, CURRENCY),
                (0.9, 1, RECOMMEND),
                (0.8, 1, ADS),
            ],
        ),
    ),
    (
        0.24,
        1,
        call(
            "frontend",
            "GET /",
            "server",
            4.0,
            0.001,
            &[(1.0, 6, PRODUCT), (1.0, 1, CURRENCY), (0.8, 1, ADS)],
        ),
    ),
    (
        0.22,
        1,
        call(
            "frontend",
            "GET /cart",
            "server",
            4.0,
            0.002,
            &[
                (1.0, 1, CART_GET),
                (0.9, 3, PRODUCT),
                (0.9, 3, CURRENCY),
                (0.7, 1, SHIPPING),
            ],
        ),
    ),
    (
        0.12,
        1,
        call(
            "frontend",
            "POST /cart/checkout",
            "server",
            6.0,
            0.004,
            &[(1.0, 1, PLACE)],
        ),
    ),
];

/// The shop, its likeness and its learner.
#[derive(Debug)]
pub struct Shop {
    observed: Rng,
    likeness: Rng,
    second: u64,
    status: Status,
}

impl Shop {
    /// The same seed gives the same traffic.
    pub fn new(seed: u64) -> Self {
        Self {
            observed: chance::stream(seed, "observed"),
            likeness: chance::stream(seed, "likeness"),
            second: 0,
            status: Status::default(),
        }
    }

    /// One second of traffic and learning.
    pub fn second(&mut self, board: &Board) {
        let now = Duration::from_secs(self.second);
        self.second += 1;
        let swing = (self.second as f64 / 15.0).sin();
        for _ in 0..(60.0 + 12.0 * swing) as u32 {
            let trace = trace(&mut self.observed, false);
            board
                .observed
                .offer(now, trace.spans.len(), || trace.clone());
            self.status.traces_seen += 1;
        }
        if self.status.serving != Serving::Nothing {
            for _ in 0..(60.0 + 12.0 * swing) as u32 {
                let trace = trace(&mut self.likeness, true);
                board
                    .synthetic
                    .offer(now, trace.spans.len(), || trace.clone());
            }
        }
        self.learn();
        board.tell_learner(self.status.clone());
        board.tell_assembler(180 + self.second % 23, 1.0);
        board.tick(now + Duration::from_secs(1));
    }

    fn learn(&mut self) {
        let status = &mut self.status;
        let noise = self.likeness.random_range(-1.0..1.0);
        status.steps += 11;
        status.cpu_seconds += 0.24;
        status.tokens = 41.min(self.second * 4);
        status.traces_held_out = status.traces_seen / 20;
        status.traces_waiting = 9_u64.saturating_sub(self.second / 10);
        let learnt = (-(status.steps as f64) / 420.0).exp();
        let total = 38.6 + 130.0 * learnt + noise * 1.4;
        status.loss = Loss {
            total,
            node: total * 0.55,
            edge: total * 0.08,
            kl_graph: 2.1,
            kl_node: total * 0.37 - 2.1,
        };
        if self.second >= 3 && status.serving == Serving::Nothing {
            status.serving = Serving::Grammar;
        }
        if self.second.is_multiple_of(4) {
            let vae = 37.1 + 96.0 * learnt + noise * 0.3;
            let grammar = 44.2 + 60.0 * (-(self.second as f64) / 12.0).exp() + noise * 0.2;
            (status.held_out_vae, status.held_out_grammar) = (Some(vae), Some(grammar));
            status.curve.push((status.steps, total, vae, grammar));
            status.snapshots += 1;
            if vae < grammar {
                status.serving = Serving::Vae;
            }
        }
    }
}

/// A trace of the shop, or one as a model would tell it: a little slower in the tail, a little less
/// often what is rare.
fn trace(rng: &mut Rng, like: bool) -> ShownTrace {
    let mut at = rng.random_range(0.0..1.0);
    let request = REQUESTS.iter().find(|(share, ..)| {
        at -= share;
        at < 0.0
    });
    let (_, _, request) = request.unwrap_or(&REQUESTS[0]);
    let mut spans = Vec::new();
    let mut links = Vec::new();
    told(request, None, 0, rng, like, &mut spans);
    for at in 0..spans.len() {
        if spans[at].kind == "consumer"
            && let Some(from) = spans.iter().position(|span| span.kind == "producer")
        {
            links.push((at as u32, from as u32));
        }
    }
    ShownTrace { spans, links }
}

/// Appends the spans of a call that begins at `start`, and gives its end, both in nanoseconds.
fn told(
    call: &Call,
    parent: Option<u32>,
    start: i64,
    rng: &mut Rng,
    like: bool,
    spans: &mut Vec<ShownSpan>,
) -> i64 {
    let position = spans.len() as u32;
    let spread = if like { 0.47 } else { 0.42 };
    let own = LogNormal::new(call.own_ms.ln(), spread).map_or(1.0, |law| law.sample(rng));
    let own = (own * 1e6) as i64;
    spans.push(ShownSpan {
        parent,
        service: Arc::from(call.service),
        operation: Arc::from(call.operation),
        kind: call.kind,
        error: rng.random_bool(call.fails),
        start_ns: start,
        duration_ns: 0,
    });
    let mut now = start + own / 3;
    let mut end = now;
    for (chance, most, child) in call.calls {
        let chance = if like { chance.powf(1.06) } else { *chance };
        if !rng.random_bool(chance) {
            continue;
        }
        let times = rng.random_range(1..=*most);
        for _ in 0..times {
            let late = if child.kind == "consumer" {
                8_000_000
            } else {
                150_000
            };
            let done = told(child, Some(position), now + late, rng, like, spans);
            // Calls of the same kind run beside each other half of the time.
            if rng.random_bool(0.5) {
                now = done;
            }
            if child.kind != "consumer" {
                end = end.max(done);
            }
        }
    }
    let end = end.max(now.min(start + own)) + own - own / 3;
    let failed = spans
        .iter()
        .skip(position as usize + 1)
        .any(|span| span.error && span.parent == Some(position));
    let span = &mut spans[position as usize];
    span.duration_ns = (end - start).unsigned_abs();
    span.error |= failed && call.kind == "server" && call.service != "frontend";
    end
}
