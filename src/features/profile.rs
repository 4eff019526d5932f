//! What a span carries besides its label: attributes of allowed keys, and events.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Bytes of a value or of an event's name at most; a longer one is left out.
pub const LONGEST_VALUE: usize = 128;
/// Events of a span that are told; what comes after them is left out.
pub const MOST_EVENTS: usize = 8;

/// An attribute's value, in the type that it was sent with.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Value {
    /// `string_value`.
    Text(Arc<str>),
    /// `int_value`.
    Int(i64),
    /// `bool_value`.
    Bool(bool),
    /// The bits of `double_value`.
    Double(u64),
}

/// Where in its span an event stands.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default,
)]
#[serde(rename_all = "lowercase")]
pub enum Moment {
    /// In the first tenth.
    Begin,
    /// In between.
    #[default]
    Within,
    /// In the last tenth.
    End,
}

impl Moment {
    /// The moment of a time in a span; all three ns since the epoch.
    pub fn of(time: u64, start: u64, end: u64) -> Self {
        let whole = u128::from(end.saturating_sub(start));
        let left = u128::from(end.saturating_sub(time)) * 10;
        if left <= whole {
            Self::End
        } else if left >= whole * 9 {
            Self::Begin
        } else {
            Self::Within
        }
    }

    /// The share of the span that has gone by, from a number in [0, 1).
    pub fn share(self, number: f64) -> f64 {
        match self {
            Self::Begin => number * 0.02,
            Self::Within => 0.11 + number * 0.78,
            // Most events at the end are what ended the span.
            Self::End => 1.0 - number * 0.01,
        }
    }
}

/// An event of a span.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// Its name.
    pub name: Arc<str>,
    /// Where it stands.
    pub at: Moment,
    /// Its attributes of allowed keys, in the order of the keys.
    pub attributes: Vec<(Arc<str>, Value)>,
}

/// The attributes of allowed keys and the events of a span. The bare one holds nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    attributes: Vec<(Arc<str>, Value)>,
    events: Vec<Event>,
}

/// One thing that a profile holds, and that it may lose.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Item {
    Attribute(Arc<str>, Value),
    Event(Arc<str>, Moment),
    /// An attribute of an event of this name.
    OfEvent(Arc<str>, Arc<str>, Value),
}

impl Profile {
    /// Attributes in any order, of which the last of equal keys stays, and events in the order of
    /// their times.
    pub fn new(attributes: Vec<(Arc<str>, Value)>, mut events: Vec<Event>) -> Self {
        for event in &mut events {
            event.attributes = in_order(std::mem::take(&mut event.attributes));
        }
        Self {
            attributes: in_order(attributes),
            events,
        }
    }

    /// Attributes, in the order of their keys.
    pub fn attributes(&self) -> &[(Arc<str>, Value)] {
        &self.attributes
    }

    /// Events, in the order of their times.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Whether it holds nothing.
    pub fn is_bare(&self) -> bool {
        self.attributes.is_empty() && self.events.is_empty()
    }

    /// What was asked, and how it ended: the attributes that tell of neither status nor error, and
    /// those that do, with the events.
    pub(super) fn halves(&self) -> (Self, Self) {
        let attributes = self.attributes.iter().cloned();
        let (ended, asked): (Vec<_>, Vec<_>) = attributes.partition(|(key, _)| tells_end(key));
        let asked = Self {
            attributes: asked,
            events: Vec::new(),
        };
        let ended = Self {
            attributes: ended,
            events: self.events.clone(),
        };
        (asked, ended)
    }

    /// Both halves together.
    pub(super) fn join(asked: &Self, ended: &Self) -> Self {
        let attributes = [&*asked.attributes, &*ended.attributes].concat();
        Self::new(attributes, ended.events.clone())
    }

    /// How many things it holds.
    pub(super) fn size(&self) -> usize {
        let events = self.events.iter().map(|event| 1 + event.attributes.len());
        self.attributes.len() + events.sum::<usize>()
    }

    /// All that it holds, equal things as often as they occur.
    pub(super) fn items(&self) -> Vec<Item> {
        let attributes = self.attributes.iter().cloned();
        let mut items: Vec<Item> = attributes
            .map(|(key, value)| Item::Attribute(key, value))
            .collect();
        for event in &self.events {
            items.push(Item::Event(event.name.clone(), event.at));
            let attributes = event.attributes.iter().cloned();
            items.extend(
                attributes.map(|(key, value)| Item::OfEvent(event.name.clone(), key, value)),
            );
        }
        items
    }

    /// What is left of it with these things only; an event takes its attributes along.
    pub(super) fn only(&self, keep: impl Fn(&Item) -> bool) -> Self {
        let attributes = self
            .attributes
            .iter()
            .filter(|(key, value)| keep(&Item::Attribute(key.clone(), value.clone())));
        let events = self.events.iter().filter_map(|event| {
            let name = &event.name;
            keep(&Item::Event(name.clone(), event.at)).then(|| Event {
                attributes: event
                    .attributes
                    .iter()
                    .filter(|(key, value)| {
                        keep(&Item::OfEvent(name.clone(), key.clone(), value.clone()))
                    })
                    .cloned()
                    .collect(),
                ..event.clone()
            })
        });
        Self {
            attributes: attributes.cloned().collect(),
            events: events.collect(),
        }
    }

    /// Whether another one holds all that it holds, events in the same order.
    pub(super) fn is_part_of(&self, other: &Self) -> bool {
        let within = |few: &[(Arc<str>, Value)], many: &[(Arc<str>, Value)]| {
            few.iter().all(|pair| many.binary_search(pair).is_ok())
        };
        let mut events = other.events.iter();
        within(&self.attributes, &other.attributes)
            && self.events.iter().all(|event| {
                events.any(|of| {
                    (&of.name, of.at) == (&event.name, event.at)
                        && within(&event.attributes, &of.attributes)
                })
            })
    }
}

/// Whether an attribute of this key says how a call ended, not what it was.
fn tells_end(key: &str) -> bool {
    let mut parts = key.split('.');
    key.contains("status_code")
        || key.contains("error")
        || key.contains("resend_count")
        || parts.next() == Some("exception")
}

/// By key; of equal keys the last stays.
fn in_order(mut attributes: Vec<(Arc<str>, Value)>) -> Vec<(Arc<str>, Value)> {
    attributes.reverse();
    attributes.sort_by(|(a, _), (b, _)| a.cmp(b));
    attributes.dedup_by(|(a, _), (b, _)| a == b);
    attributes
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A profile from words: `key=value` for an attribute, `!name` for an event at the end, and
    /// `!name:key=value` for one with an attribute. Numbers are numbers.
    pub(in crate::features) fn profile(words: &str) -> Profile {
        let value = |text: &str| match text.parse() {
            Ok(number) => Value::Int(number),
            Err(_) => Value::Text(text.into()),
        };
        let pair = |text: &str| {
            let (key, text) = text.split_once('=').unwrap();
            (Arc::from(key), value(text))
        };
        let (mut attributes, mut events) = (Vec::new(), Vec::new());
        for word in words.split_whitespace() {
            match word.strip_prefix('!') {
                None => attributes.push(pair(word)),
                Some(event) => {
                    let (name, rest) = event.split_once(':').unwrap_or((event, ""));
                    let rest = (!rest.is_empty()).then(|| pair(rest));
                    events.push(Event {
                        name: name.into(),
                        at: Moment::End,
                        attributes: rest.into_iter().collect(),
                    });
                }
            }
        }
        Profile::new(attributes, events)
    }

    #[test]
    fn attributes_come_in_order_and_the_last_of_equal_keys_stays() {
        assert_eq!(profile("b=1 a=x b=2"), profile("a=x b=2"));
        assert_ne!(profile("a=1"), profile("a=x"));
    }

    #[test]
    fn a_part_holds_less_in_the_same_order() {
        let check = |part: &str, whole: &str, expected: bool| {
            let (part, whole) = (profile(part), profile(whole));
            assert_eq!(part.is_part_of(&whole), expected, "{part:?} of {whole:?}");
        };
        check("", "a=1 !e", true);
        check("a=1", "a=1 b=2", true);
        check("a=2", "a=1 b=2", false);
        check("!e !f", "!e !g !f:k=1", true);
        check("!f !e", "!e !f", false);
        check("!e:k=1", "!e", false);
    }

    #[test]
    fn what_is_dropped_takes_its_own_along() {
        let whole = profile("a=1 b=2 !e:k=1 !f");
        let without = |gone: &[Item]| whole.only(|item| !gone.contains(item));
        let event = Item::Event("e".into(), Moment::End);
        assert_eq!(without(&[event]), profile("a=1 b=2 !f"));
        let of_event = Item::OfEvent("e".into(), "k".into(), Value::Int(1));
        assert_eq!(without(&[of_event]), profile("a=1 b=2 !e !f"));
        assert_eq!(whole.items().len(), whole.size());
    }

    #[test]
    fn what_was_asked_and_how_it_ended_make_the_whole() {
        let whole = "http.method=GET http.route=/ http.status_code=500 error.type=T !exception:k=1";
        let (asked, ended) = profile(whole).halves();
        assert_eq!(asked, profile("http.method=GET http.route=/"));
        assert_eq!(
            ended,
            profile("http.status_code=500 error.type=T !exception:k=1")
        );
        assert_eq!(Profile::join(&asked, &ended), profile(whole));
    }

    #[test]
    fn an_event_is_put_where_it_was_seen() {
        let check = |time: u64, expected: Moment| {
            let moment = Moment::of(time, 1_000, 2_000);
            assert_eq!(moment, expected, "{time}");
            for number in [0.0, 0.5, 0.999] {
                let time = 1_000 + (moment.share(number) * 1_000.0) as u64;
                assert_eq!(Moment::of(time, 1_000, 2_000), expected);
            }
        };
        check(0, Moment::Begin);
        check(1_000, Moment::Begin);
        check(1_500, Moment::Within);
        check(1_999, Moment::End);
        check(5_000, Moment::End);
        assert_eq!(Moment::of(7, 7, 7), Moment::End);
    }
}
