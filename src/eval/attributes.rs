//! A1: what spans carry beside their names and times.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;

use super::distance::Frequencies;
use super::features::mean;
use super::figures::Figures;
use super::shape::{Label, label};
use crate::features::{Interner, Profile, Value};
use crate::trace::{Span, SpanKind, StatusCode, Symbol, Trace};

/// Observed spans that a key needs before its values are compared.
const FEW: usize = 50;
/// Name of the event that says what went wrong.
const EXCEPTION: &str = "exception";
/// What keys begin with whose values a caller and who is called share.
const SHARED: [&str; 4] = ["rpc.", "http.", "db.", "messaging."];

/// Who carries something: service, operation, kind.
type Bearer = (Label, SpanKind);
/// The values of a key and how many spans carry each; none stands for spans without the key.
type Values = BTreeMap<Option<Value>, usize>;

/// How alike the values of one key are.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KeyLikeness {
    /// The key; of an event's attribute after the event's name.
    pub key: String,
    /// Observed spans that carry it.
    pub spans: usize,
    /// 1 - sqrt(JSD) of its values (and of its absence) given service, operation and kind, the mean
    /// by observed spans of those who ever carry it.
    pub likeness: f64,
}

/// What the spans of a sample carry.
#[derive(Debug, Default)]
struct Carried {
    keys: BTreeMap<String, BTreeMap<Bearer, Values>>,
    spans: BTreeMap<Bearer, usize>,
    statuses: BTreeMap<Bearer, BTreeMap<StatusCode, usize>>,
    errors: usize,
    explained: usize,
    /// Calls of which both sides carry a shared key, and those of which all values agree.
    calls: [usize; 2],
}

impl Carried {
    fn of(traces: &[Trace], texts: &Interner) -> Self {
        let mut carried = Self::default();
        let mut profiles: BTreeMap<Symbol, Option<Arc<Profile>>> = BTreeMap::new();
        let mut bearers: BTreeMap<(Bearer, Symbol), usize> = BTreeMap::new();
        for span in traces.iter().flat_map(Trace::spans) {
            let bearer = (label(span), span.kind);
            *bearers.entry((bearer, span.profile)).or_default() += 1;
            let statuses = carried.statuses.entry(bearer).or_default();
            *statuses.entry(span.status).or_default() += 1;
            let profile = profiles.entry(span.profile);
            let profile = profile.or_insert_with(|| texts.profile_of(span.profile));
            if span.status == StatusCode::Error {
                carried.errors += 1;
                let events = profile.iter().flat_map(|profile| profile.events());
                let mut named = events.filter(|event| &*event.name == EXCEPTION);
                carried.explained += usize::from(named.next().is_some());
            }
        }
        for ((bearer, symbol), count) in bearers {
            *carried.spans.entry(bearer).or_default() += count;
            for (key, value) in profiles[&symbol].iter().flat_map(|profile| told(profile)) {
                let values = carried.keys.entry(key).or_default();
                let values = values.entry(bearer).or_default();
                *values.entry(Some(value)).or_default() += count;
            }
        }
        let of = |span: &Span| profiles.get(&span.profile)?.as_deref();
        for trace in traces {
            for span in trace.spans() {
                let Some(parent) = span.parent.map(|at| &trace.spans()[at as usize]) else {
                    continue;
                };
                if (parent.kind, span.kind) != (SpanKind::Client, SpanKind::Server) {
                    continue;
                }
                if let Some(agrees) = of(parent).zip(of(span)).and_then(agrees) {
                    carried.calls[0] += 1;
                    carried.calls[1] += usize::from(agrees);
                }
            }
        }
        carried
    }

    /// The values of a key in a bearer's spans, those without it among them.
    fn values(&self, key: &str, bearer: Bearer) -> Frequencies<Option<Value>> {
        let mut values = self
            .keys
            .get(key)
            .and_then(|bearers| bearers.get(&bearer))
            .cloned()
            .unwrap_or_default();
        let with: usize = values.values().sum();
        let all = self.spans.get(&bearer).copied().unwrap_or_default();
        values.insert(None, all.saturating_sub(with));
        Frequencies::counted(values)
    }
}

/// What a profile holds, of each key once: attributes, and those of events.
fn told(profile: &Profile) -> BTreeMap<String, Value> {
    let attributes = profile.attributes().iter();
    let own = attributes.map(|(key, value)| (key.to_string(), value.clone()));
    let of_events = profile.events().iter().flat_map(|event| {
        let attributes = event.attributes.iter();
        attributes.map(|(key, value)| (format!("{}: {key}", event.name), value.clone()))
    });
    own.chain(of_events).collect()
}

/// Whether all values of shared keys that both sides carry agree; none if there is no such key.
fn agrees((caller, called): (&Profile, &Profile)) -> Option<bool> {
    let called: BTreeMap<&str, &Value> = called
        .attributes()
        .iter()
        .map(|(key, value)| (&**key, value))
        .collect();
    let shared = caller.attributes().iter().filter_map(|(key, value)| {
        let is_shared = SHARED.iter().any(|prefix| key.starts_with(prefix));
        Some(*called.get(&**key).filter(|_| is_shared)? == value)
    });
    shared.reduce(|all, one| all && one)
}

/// What held-out spans carry, which others are compared with.
#[derive(Debug)]
pub struct Attributes<'a> {
    texts: &'a Interner,
    observed: Carried,
    keys: Vec<(String, usize)>,
}

impl<'a> Attributes<'a> {
    /// None if no key stands on fifty held-out spans: there is nothing to compare.
    pub fn of(held_out: &[Trace], texts: &'a Interner) -> Option<Self> {
        let observed = Carried::of(held_out, texts);
        let keys = observed.keys.iter().map(|(key, bearers)| {
            let spans = bearers.values().flat_map(BTreeMap::values).sum();
            (key.clone(), spans)
        });
        let keys: Vec<(String, usize)> = keys.filter(|(_, spans)| *spans >= FEW).collect();
        (!keys.is_empty()).then_some(Self {
            texts,
            observed,
            keys,
        })
    }

    /// The figures of a sample, and how alike each key's values are, the least alike first.
    pub fn compare(&self, traces: &[Trace]) -> (Figures, Vec<KeyLikeness>) {
        let carried = Carried::of(traces, self.texts);
        let mut keys: Vec<KeyLikeness> = self
            .keys
            .iter()
            .map(|(key, spans)| {
                let bearers = self.observed.keys[key].keys();
                let likeness = self.given(
                    bearers.copied(),
                    |sample, bearer| sample.values(key, bearer),
                    &carried,
                );
                KeyLikeness {
                    key: key.clone(),
                    spans: *spans,
                    likeness,
                }
            })
            .collect();
        keys.sort_by(|a, b| a.likeness.total_cmp(&b.likeness));
        let all: Vec<f64> = keys.iter().map(|key| key.likeness).collect();
        let bearers: BTreeSet<Bearer> = self.observed.spans.keys().copied().collect();
        let statuses = |sample: &Carried, bearer: Bearer| {
            Frequencies::counted(sample.statuses.get(&bearer).cloned().unwrap_or_default())
        };
        let statuses = self.given(bearers, statuses, &carried);
        let mut figures = Figures::from([
            ("attribute_values", mean(&all)),
            ("attribute_worst", all.first().copied().unwrap_or_default()),
            ("status_values", statuses),
        ]);
        let share = |part: usize, of: usize| (of > 0).then(|| part as f64 / of as f64);
        let of = |carried: &Carried| {
            let spans = carried.spans.values().sum();
            [
                share(carried.errors, spans),
                share(carried.explained, carried.errors),
                share(carried.calls[1], carried.calls[0]),
            ]
        };
        let names = [
            ["error_share", "error_share_difference"],
            ["exception_share", "exception_share_difference"],
            ["client_server", "client_server_difference"],
        ];
        for (names, (seen, drawn)) in names
            .into_iter()
            .zip(of(&self.observed).into_iter().zip(of(&carried)))
        {
            let (Some(seen), Some(drawn)) = (seen, drawn) else {
                continue;
            };
            figures.extend([(names[0], drawn), (names[1], (drawn - seen).abs())]);
        }
        (figures, keys)
    }

    /// 1 - sqrt(JSD) of something given who carries it, the mean by observed spans.
    fn given<T: Ord>(
        &self,
        bearers: impl IntoIterator<Item = Bearer>,
        of: impl Fn(&Carried, Bearer) -> Frequencies<T>,
        carried: &Carried,
    ) -> f64 {
        let (mut sum, mut weight) = (0.0, 0.0);
        for bearer in bearers {
            let spans = self.observed.spans[&bearer] as f64;
            weight += spans;
            if carried.spans.contains_key(&bearer) {
                let apart = of(&self.observed, bearer).jensen_shannon(&of(carried, bearer));
                sum += spans * (1.0 - apart);
            }
        }
        sum / f64::max(weight, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::testing::tree;
    use crate::features::{Event, Moment};

    fn profile(texts: &Interner, number: u64, method: &str, explained: bool) -> Symbol {
        let event = Event {
            name: EXCEPTION.into(),
            at: Moment::of(9, 0, 10),
            attributes: Vec::new(),
        };
        let events = if explained { vec![event] } else { Vec::new() };
        let method = ("rpc.method".into(), Value::Text(method.into()));
        texts.profile(number, || Profile::new(vec![method], events))
    }

    /// Calls of a client to a server; what both carry, and whether the server fails.
    fn sample(count: usize, carried: [Symbol; 2], fails: bool) -> Vec<Trace> {
        let trace = tree("a(b)");
        let mut spans = trace.spans().to_vec();
        spans[0].kind = SpanKind::Client;
        for (span, profile) in spans.iter_mut().zip(carried) {
            span.profile = profile;
        }
        if fails {
            spans[1].status = StatusCode::Error;
        }
        vec![Trace::new(spans, Vec::new()).unwrap(); count]
    }

    #[test]
    fn spans_that_carry_the_same_are_alike_and_others_differ_where_they_differ() {
        let texts = Interner::default();
        let [get, put, told] = [(1, "get", false), (2, "put", false), (3, "get", true)]
            .map(|(number, method, told)| profile(&texts, number, method, told));
        let observed = [sample(90, [get, get], false), sample(10, [get, told], true)].concat();
        let attributes = Attributes::of(&observed, &texts).unwrap();
        let check = |traces: &[Trace], expected: [(&'static str, f64); 4]| {
            let (figures, keys) = attributes.compare(traces);
            assert_eq!((keys.len(), &*keys[0].key), (1, "rpc.method"));
            for (key, value) in expected {
                assert!((figures[key] - value).abs() < 1e-9, "{key}: {figures:?}");
            }
        };
        check(
            &observed,
            [
                ("attribute_values", 1.0),
                ("status_values", 1.0),
                ("exception_share", 1.0),
                ("client_server", 1.0),
            ],
        );
        // The server's half of all values is wrong, no call agrees, and nothing fails.
        check(
            &sample(50, [get, put], false),
            [
                ("attribute_values", 0.5),
                ("client_server", 0.0),
                ("error_share", 0.0),
                ("error_share_difference", 0.05),
            ],
        );
        check(
            &sample(50, [get, get], true),
            [
                ("exception_share", 0.0),
                ("exception_share_difference", 1.0),
                ("error_share", 0.5),
                ("attribute_worst", 1.0),
            ],
        );
    }

    #[test]
    fn bare_spans_leave_nothing_to_compare() {
        let texts = Interner::default();
        let bare = sample(100, [Interner::OTHER; 2], true);
        assert!(Attributes::of(&bare, &texts).is_none());
    }
}
