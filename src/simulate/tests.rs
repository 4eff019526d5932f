//! What simulated systems promise, counted over traces of each.

use std::collections::{BTreeMap, BTreeSet};

use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

use super::plan::{Entry, Step, request};
use super::play::Deed;
use super::*;
use crate::otlp::view::{Limits, walk};

const START: u64 = 1_767_225_600_000_000_000;

/// What was counted over some traces of a system.
#[derive(Debug, Default)]
struct Survey {
    sizes: Vec<usize>,
    shapes: BTreeMap<String, usize>,
    services: BTreeSet<String>,
    operations: BTreeSet<(String, String)>,
    roots: BTreeMap<String, usize>,
    kinds: [usize; 6],
    /// Traces in which some span has an error, and in which the root has one.
    failing: usize,
    failing_root: usize,
    /// Traces with a second attempt, and those of them whose root is well.
    retried: usize,
    recovered: usize,
    /// Traces with a link, and with a consumer that ends after the root.
    linked: usize,
    outliving: usize,
    /// Children that leave their parent's time at either end, and all children.
    outside: usize,
    children: usize,
    early: usize,
    exceptions: usize,
}

fn traces(system: System, seed: u64, count: usize) -> Vec<ExportTraceServiceRequest> {
    let mut simulator = Simulator::new(system, seed);
    let mut now = START;
    let mut made = Vec::new();
    for _ in 0..count {
        made.push(simulator.next_trace(now));
        now += simulator.next_gap(20.0);
    }
    made
}

fn spans(trace: &ExportTraceServiceRequest) -> Vec<(String, &Span)> {
    let mut found = Vec::new();
    for group in &trace.resource_spans {
        let name = format!("{:?}", group.resource.as_ref().unwrap().attributes[0].value);
        let name = name.split('"').nth(1).unwrap().to_owned();
        let spans = group.scope_spans.iter().flat_map(|scope| &scope.spans);
        found.extend(spans.map(|span| (name.clone(), span)));
    }
    found
}

fn survey(system: System, count: usize) -> Survey {
    let mut survey = Survey::default();
    for trace in traces(system, 1, count) {
        survey.add(&spans(&trace));
    }
    survey
}

impl Survey {
    fn add(&mut self, spans: &[(String, &Span)]) {
        let by_id: BTreeMap<_, _> = spans.iter().map(|(_, s)| (&s.span_id, *s)).collect();
        assert_eq!(by_id.len(), spans.len(), "span ids are unique");
        let roots: Vec<_> = spans
            .iter()
            .filter(|(_, s)| s.parent_span_id.is_empty())
            .collect();
        assert_eq!(roots.len(), 1, "one root");
        let root = roots[0].1;
        let error = |span: &Span| span.status.as_ref().is_some_and(|s| s.code == 2);
        self.sizes.push(spans.len());
        *self.roots.entry(root.name.clone()).or_default() += 1;
        let mut below: BTreeMap<&[u8], Vec<(&str, &Span)>> = BTreeMap::new();
        let (mut retried, mut linked, mut outlives) = (false, false, false);
        for (service, span) in spans {
            self.services.insert(service.clone());
            self.operations.insert((service.clone(), span.name.clone()));
            self.kinds[usize::try_from(span.kind).unwrap()] += 1;
            self.exceptions += span.events.iter().filter(|e| e.name == "exception").count();
            outlives |= span.kind == 5 && span.end_time_unix_nano > root.end_time_unix_nano;
            for link in &span.links {
                linked = true;
                let other = by_id[&link.span_id];
                retried |= other.name == span.name && error(other);
            }
            if let Some(parent) = by_id.get(&span.parent_span_id) {
                self.children += 1;
                let early = span.start_time_unix_nano < parent.start_time_unix_nano;
                let late = span.end_time_unix_nano > parent.end_time_unix_nano;
                self.early += usize::from(early);
                self.outside += usize::from(early || late);
            }
            let siblings = below.entry(&span.parent_span_id).or_default();
            siblings.push((service, span));
        }
        let shape = shape(&below, &[]);
        *self.shapes.entry(shape).or_default() += 1;
        let failing = spans.iter().any(|(_, span)| error(span));
        self.failing += usize::from(failing);
        self.failing_root += usize::from(error(root));
        self.retried += usize::from(retried);
        self.recovered += usize::from(retried && !error(root));
        self.linked += usize::from(linked);
        self.outliving += usize::from(outlives);
    }

    fn least(&self) -> usize {
        self.sizes.iter().copied().min().unwrap_or_default()
    }

    fn most(&self) -> usize {
        self.sizes.iter().copied().max().unwrap_or_default()
    }
}

/// The labelled tree without regard to the order of siblings.
fn shape(below: &BTreeMap<&[u8], Vec<(&str, &Span)>>, parent: &[u8]) -> String {
    let children = below.get(parent).into_iter().flatten();
    let mut shapes: Vec<_> = children
        .map(|(service, span)| format!("{service}/{}{}", span.name, shape(below, &span.span_id)))
        .collect();
    shapes.sort();
    format!("({})", shapes.join(" "))
}

/// Counts over 5,000 traces, each between the two that are given.
fn check(system: System, promise: &Promise) {
    let count = 5_000;
    let survey = survey(system, count);
    let mut shapes: Vec<_> = survey.shapes.values().copied().collect();
    shapes.sort_unstable();
    let commonest: usize = shapes.iter().rev().take(10).sum();
    let mut roots: Vec<_> = survey.roots.values().copied().collect();
    roots.sort_unstable();
    let share = |part: usize| part as f64 / count as f64;
    let outside = survey.outside as f64 / survey.children as f64;
    let early = survey.early as f64 / survey.children as f64;
    let all: [(&str, f64, (f64, f64)); 16] = [
        ("services", survey.services.len() as f64, (15.0, 40.0)),
        ("operations", survey.operations.len() as f64, (60.0, 200.0)),
        ("request types", roots.len() as f64, (5.0, 12.0)),
        ("commonest type", share(roots[roots.len() - 1]), (0.2, 0.5)),
        ("rarest type", share(roots[0]), (0.0, 0.02)),
        ("shapes", shapes.len() as f64, promise.shapes),
        ("ten commonest shapes", share(commonest), (0.5, 0.9)),
        ("spans at least", survey.least() as f64, (3.0, 4.0)),
        ("spans at most", survey.most() as f64, (80.0, 170.0)),
        (
            "traces with an error",
            share(survey.failing),
            promise.failing,
        ),
        ("traces retried", share(survey.retried), promise.retried),
        (
            "recovered",
            share(survey.recovered),
            (0.001, promise.retried.1),
        ),
        ("root failed", share(survey.failing_root), (0.001, 0.03)),
        (
            "traces outliving their root",
            share(survey.outliving),
            promise.outliving,
        ),
        ("children outside their parent", outside, (0.02, 0.12)),
        ("children before their parent", early, (0.001, 0.05)),
    ];
    let wrong: Vec<_> = all
        .iter()
        .filter(|(_, is, (low, high))| is < low || is > high)
        .collect();
    assert!(wrong.is_empty(), "{system}: {wrong:?} of {all:?}");
    assert!(survey.linked >= survey.retried && survey.recovered > 0);
    let of_every_kind = survey.kinds[1..].iter().all(|&spans| spans > 100);
    assert!(of_every_kind, "{system}: {:?}", survey.kinds);
    assert!(
        survey.exceptions >= survey.failing / 3,
        "{}",
        survey.exceptions
    );
}

/// What differs between systems.
struct Promise {
    shapes: (f64, f64),
    failing: (f64, f64),
    retried: (f64, f64),
    outliving: (f64, f64),
}

#[test]
fn the_shop_fails_retries_and_goes_on_after_the_answer_as_it_promises() {
    let promise = Promise {
        shapes: (80.0, 400.0),
        failing: (0.03, 0.09),
        retried: (0.005, 0.04),
        outliving: (0.03, 0.09),
    };
    check(System::Shop, &promise);
}

#[test]
fn the_social_network_seldom_fails_and_often_goes_on_after_the_answer() {
    let promise = Promise {
        shapes: (120.0, 600.0),
        failing: (0.02, 0.08),
        retried: (0.002, 0.03),
        outliving: (0.12, 0.25),
    };
    check(System::SocialNetwork, &promise);
}

#[test]
fn the_ticket_office_waits_for_its_bank_and_prints_after_the_answer() {
    let promise = Promise {
        shapes: (80.0, 400.0),
        failing: (0.03, 0.09),
        retried: (0.004, 0.03),
        outliving: (0.03, 0.09),
    };
    check(System::TicketOffice, &promise);
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_gives_others() {
    for system in System::ALL {
        let bytes = |seed| -> Vec<u8> {
            let traces = traces(system, seed, 50);
            traces
                .iter()
                .flat_map(prost::Message::encode_to_vec)
                .collect()
        };
        assert!(bytes(7) == bytes(7), "{system}");
        assert!(bytes(7) != bytes(8), "{system}");
    }
}

#[test]
fn every_span_passes_the_wire_walk() {
    for system in System::ALL {
        for trace in traces(system, 3, 300) {
            let walked = walk(&trace.encode_to_vec(), &Limits::default(), &mut ()).unwrap();
            assert_eq!((walked.rejected, walked.needs_cut), (0, false));
            assert_eq!(walked.spans, spans(&trace).len());
        }
    }
}

#[test]
fn a_plan_names_only_what_it_declares_and_declares_only_what_it_names() {
    for system in System::ALL {
        let plan = system.plan();
        let mut named = BTreeSet::new();
        for request in &plan.requests {
            named.insert(format!("{} {}", request.service, request.operation));
        }
        for operation in plan.services.iter().flat_map(|service| &service.operations) {
            operation
                .steps
                .iter()
                .for_each(|step| names(step, &mut named));
            if let Entry::Messages(other) = operation.entry {
                named.insert(format!("topic {other}"));
            }
        }
        let mut declared = BTreeSet::new();
        for service in &plan.services {
            for operation in &service.operations {
                declared.insert(match operation.entry {
                    Entry::Call => format!("{} {}", service.name, operation.name),
                    Entry::Message | Entry::Messages(_) => format!("topic {}", operation.name),
                });
            }
        }
        declared.extend(
            plan.stores
                .iter()
                .map(|store| format!("store {}", store.name)),
        );
        assert_eq!(named, declared, "{system}");
    }
}

/// What a step names, with everything inside it.
fn names(step: &Step, found: &mut BTreeSet<String>) {
    let mut all = |steps: &[Step]| steps.iter().for_each(|step| names(step, found));
    match step {
        Step::Call(service, operation) => {
            found.insert(format!("{service} {operation}"));
        }
        Step::Query(store, _) => {
            found.insert(format!("store {store}"));
        }
        Step::Publish(topic) => {
            found.insert(format!("topic {topic}"));
        }
        Step::Cached { store, miss, .. } => {
            all(miss);
            found.insert(format!("store {store}"));
        }
        Step::Inside(_, _, steps)
        | Step::Together(steps)
        | Step::InOrder(steps)
        | Step::Each(_, steps)
        | Step::EachAtOnce(_, steps)
        | Step::Sometimes(_, steps)
        | Step::Later(_, steps) => all(steps),
        Step::OrWithout(step) | Step::Within(_, step) | Step::Retried(_, step) => {
            names(step, found);
        }
        Step::Declines(..) | Step::Breaks(..) => {}
    }
}

#[test]
fn a_store_in_a_slow_mood_is_slow_for_everybody_who_asks_it() {
    let mut by_second: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    for trace in traces(System::Shop, 1, 5_000) {
        for (_, span) in spans(&trace) {
            if span.name == "GET session" {
                let took = span.end_time_unix_nano - span.start_time_unix_nano;
                let second = span.start_time_unix_nano / 1_000_000_000;
                by_second.entry(second).or_default().push(took as f64);
            }
        }
    }
    let mut medians: Vec<f64> = by_second
        .into_values()
        .filter(|took| took.len() >= 5)
        .map(|mut took| {
            took.sort_by(f64::total_cmp);
            took[took.len() / 2]
        })
        .collect();
    medians.sort_by(f64::total_cmp);
    let usual = medians[medians.len() / 2];
    let slow = medians
        .iter()
        .filter(|median| **median > 1.8 * usual)
        .count();
    // Where every query drew its own luck, no second's median would come near that.
    let share = slow as f64 / medians.len() as f64;
    assert!((0.01..0.3).contains(&share), "{share} of the seconds");
}

#[test]
fn a_rare_path_is_taken_once_in_a_thousand_times() {
    let plan = System::TicketOffice.plan();
    let weather = Weather::new(&plan, 5);
    let mut rng = chance::stream(5, "requests");
    let order = request(1.0, "web", "POST /orders");
    let (mut orders, mut rare) = (0, 0);
    for _ in 0..20_000 {
        let played = Play::new(&plan, &weather, &mut rng).request(&order);
        let holds = |deed| usize::from(played.iter().any(|span| span.deed == deed));
        orders += holds(Deed::Publish("sold"));
        rare += holds(Deed::Inside("sold twice"));
    }
    let share = rare as f64 / orders as f64;
    assert!((3e-4..3e-3).contains(&share), "{rare} of {orders}");
}

#[test]
fn a_system_is_named_as_the_command_line_has_it() {
    for system in System::ALL {
        assert_eq!(system.to_string().parse(), Ok(system));
    }
    let fault = "market".parse::<System>().unwrap_err();
    insta::assert_snapshot!(fault, @"`market` is no system; systems are shop, social-network, ticket-office");
}
