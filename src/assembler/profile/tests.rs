use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{ArrayValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::Event as SentEvent;
use prost::Message as _;

use super::*;
use crate::features::InternerSettings;
use crate::otlp::testing::{any_attribute, attribute, request, service, span};
use crate::otlp::view::{Limits, Visit, walk};

struct Profiles<'a>(&'a Interner, Vec<Symbol>);

impl Visit for Profiles<'_> {
    fn span(&mut self, span: &SpanView<'_>) {
        self.1.push(profile(span, self.0));
    }
}

fn symbols(texts: &Interner, spans: Vec<Span>) -> Vec<Symbol> {
    let bytes = request(vec![service("shop", spans)]).encode_to_vec();
    let mut profiles = Profiles(texts, Vec::new());
    walk(&bytes, &Limits::default(), &mut profiles).unwrap();
    profiles.1
}

fn carrying(attributes: Vec<KeyValue>) -> Span {
    Span {
        attributes,
        ..span(1, 1)
    }
}

fn int(key: &str, value: i64) -> KeyValue {
    any_attribute(key, Any::IntValue(value))
}

/// What is learnt of a span, as `key=value` and `!event key=value`.
fn told(profile: &Profile) -> String {
    let pair = |(key, value): &(Arc<str>, Value)| match value {
        Value::Text(text) => format!("{key}={text}"),
        Value::Int(number) => format!("{key}={number}"),
        Value::Bool(truth) => format!("{key}={truth}"),
        Value::Double(bits) => format!("{key}={}", f64::from_bits(*bits)),
    };
    let mut words: Vec<String> = profile.attributes().iter().map(pair).collect();
    for event in profile.events() {
        words.push(format!("!{} {:?}", event.name, event.at));
        words.extend(event.attributes.iter().map(pair));
    }
    words.join(" ")
}

fn check(span: Span, expected: &str) {
    let texts = Interner::default();
    let symbol = symbols(&texts, vec![span])[0];
    let profile = texts.profile_of(symbol);
    let profile = profile.map(|profile| told(&profile)).unwrap_or_default();
    assert_eq!(profile, expected);
}

#[test]
fn allowed_attributes_keep_their_types_and_others_are_not_seen() {
    check(
        carrying(vec![
            attribute("url.full", "http://shop/cart?user=ann"),
            int("http.response.status_code", 404),
            attribute("http.request.method", "GET"),
            any_attribute("error", Any::BoolValue(true)),
            any_attribute("rpc.system", Any::DoubleValue(1.5)),
            attribute("enduser.id", "ann"),
        ]),
        "error=true http.request.method=GET http.response.status_code=404 rpc.system=1.5",
    );
    check(carrying(vec![attribute("enduser.id", "ann")]), "");
}

#[test]
fn long_values_and_lists_are_left_out() {
    let list = Any::ArrayValue(ArrayValue { values: Vec::new() });
    check(
        carrying(vec![
            attribute("http.route", &"x".repeat(129)),
            attribute("rpc.method", &"x".repeat(128)),
            any_attribute("rpc.service", list),
        ]),
        &format!("rpc.method={}", "x".repeat(128)),
    );
}

#[test]
fn events_stand_where_they_were_and_lose_their_messages() {
    let (start, end) = (
        span(1, 1).start_time_unix_nano,
        span(1, 1).end_time_unix_nano,
    );
    let event = |time_unix_nano: u64, name: &str, attributes| SentEvent {
        time_unix_nano,
        name: name.into(),
        attributes,
        ..SentEvent::default()
    };
    let thrown = vec![
        attribute("exception.type", "Timeout"),
        attribute("exception.message", "no answer to ann"),
    ];
    let sent = Span {
        events: vec![
            event(end, "exception", thrown),
            event(start + 500_000, "retry", Vec::new()),
            event(start, &"n".repeat(129), Vec::new()),
        ],
        ..span(1, 1)
    };
    check(sent, "!retry Within !exception End exception.type=Timeout");
}

#[test]
fn the_order_of_attributes_does_not_matter_and_values_do() {
    let texts = Interner::default();
    let (get, ok) = (
        attribute("http.method", "GET"),
        int("http.status_code", 200),
    );
    let symbols = symbols(
        &texts,
        vec![
            carrying(vec![get.clone(), ok.clone()]),
            carrying(vec![ok, attribute("x", "y"), get.clone()]),
            carrying(vec![get.clone(), int("http.status_code", 500)]),
            carrying(vec![get, attribute("http.status_code", "200")]),
            carrying(Vec::new()),
        ],
    );
    assert_eq!(symbols[0], symbols[1]);
    assert!(symbols[0] != symbols[2] && symbols[0] != symbols[3]);
    assert_eq!(symbols[4], Interner::OTHER);
    assert_eq!(texts.counts().profiles, 3);
}

#[test]
fn a_key_with_too_many_values_is_given_up_and_the_rest_of_its_spans_stays() {
    let texts = Interner::new(InternerSettings {
        values: 5,
        ..InternerSettings::default()
    });
    let spans = |from: i64| {
        let carried = |n| {
            let route = attribute("http.route", &format!("/users/{n}"));
            carrying(vec![route, attribute("http.method", "GET")])
        };
        (from..from + 9).map(carried).collect()
    };
    symbols(&texts, spans(0));
    let later = symbols(&texts, spans(100));
    assert_eq!(texts.counts().keys_given_up, 1);
    assert!(later.iter().all(|symbol| *symbol == later[0]));
    let profile = texts.profile_of(later[0]).unwrap();
    assert_eq!(told(&profile), "http.method=GET");
}

/// A field of a message, whatever its length.
fn field(key: u8, message: &[u8]) -> Vec<u8> {
    let mut field = vec![key];
    prost::encoding::encode_varint(message.len() as u64, &mut field);
    field.extend_from_slice(message);
    field
}

#[test]
fn what_is_not_part_of_the_hash_is_not_told_either() {
    let texts = Interner::default();
    for value in ["secret", "other"] {
        // A message with two keys, of which protobuf lets the last count.
        let both = ["not.allowed", "http.route"].map(|key| attribute(key, value).encode_to_vec());
        let mut sent = carrying(vec![attribute("http.method", "GET")]).encode_to_vec();
        sent.extend(field(0x4a, &both.concat()));
        let request = field(0x0a, &field(0x12, &field(0x12, &sent)));
        let mut profiles = Profiles(&texts, Vec::new());
        walk(&request, &Limits::default(), &mut profiles).unwrap();
        let profile = texts.profile_of(profiles.1[0]).unwrap();
        assert_eq!(told(&profile), "http.method=GET");
    }
}

#[test]
fn an_empty_allow_list_leaves_every_span_bare() {
    let texts = Interner::new(InternerSettings {
        attributes: Vec::new(),
        ..InternerSettings::default()
    });
    let span = carrying(vec![attribute("http.method", "GET")]);
    assert_eq!(symbols(&texts, vec![span]), [Interner::OTHER]);
}
