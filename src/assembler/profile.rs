//! A span's attributes and events as one symbol.
//!
//! What is known already is told by a hash of the bytes on the wire: nothing is decoded, copied or
//! allocated. The order of attributes does not matter, that of events does.

use std::sync::Arc;

use crate::features::{Event, Interner, LONGEST_VALUE, MOST_EVENTS, Moment, Profile, Value};
use crate::otlp::view::{Carry, EventView, RawAttribute, SpanView, ValueView, Whole};
use crate::trace::Symbol;

/// The tags of the `AnyValue`s that profiles hold: text, bool, int and double.
const TAGS: [u8; 4] = [0x0a, 0x10, 0x18, 0x21];

/// Bytes of a text's `AnyValue` beyond its own.
const AROUND: usize = 3;

/// The symbol of what the span carries, as far as profiles hold it.
pub(super) fn profile(span: &SpanView<'_>, texts: &Interner) -> Symbol {
    if span.carries == 0 || !texts.has_keys() {
        return Interner::OTHER;
    }
    let mut hash = 0_u64;
    let mut events = 0;
    for carry in span.carried() {
        match carry {
            Carry::Attribute(attribute) => hash = hash.wrapping_add(pair(texts, attribute)),
            Carry::Event(event) => {
                let Some(key) = texts.event_key().filter(|_| fits(&event, events)) else {
                    continue;
                };
                events += 1;
                let pairs = event.whole_attributes().map(|whole| pair(texts, whole));
                let sum = pairs.fold(0, u64::wrapping_add);
                let moment = Moment::of(event.time, span.start, span.end) as u64;
                let number = key.wrapping_add(sum).wrapping_add(
                    (moment << 8 | events as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15),
                );
                hash = hash.wrapping_add(texts.mix(number, event.name.as_bytes()));
            }
        }
    }
    texts.profile(hash, || made(span, texts))
}

/// Whether an event is told, of which so many come before it.
fn fits(event: &EventView<'_>, before: usize) -> bool {
    before < MOST_EVENTS && event.name.len() <= LONGEST_VALUE
}

/// What an attribute adds to a hash: nothing if profiles don't hold it.
#[inline]
fn pair(texts: &Interner, attribute: Whole<'_>) -> u64 {
    if attribute.key().is_some_and(|key| !texts.may_hold(key)) {
        return 0;
    }
    texts.pair(attribute.0, || {
        let raw = attribute.raw();
        held(texts, &raw).map_or(0, |key| texts.mix(key, raw.value))
    })
}

#[inline]
fn held(texts: &Interner, attribute: &RawAttribute<'_>) -> Option<u64> {
    let tag = attribute.value.first()?;
    if !TAGS.contains(tag) || attribute.value.len() > LONGEST_VALUE + AROUND {
        return None;
    }
    texts.key(attribute.key)
}

#[cold]
fn made(span: &SpanView<'_>, texts: &Interner) -> Profile {
    let (mut attributes, mut events) = (Vec::new(), Vec::new());
    for carry in span.carried() {
        match carry {
            Carry::Attribute(whole) => attributes.extend(told(texts, whole)),
            Carry::Event(event) => {
                if texts.event_key().is_some() && fits(&event, events.len()) {
                    let pairs = event.whole_attributes();
                    let told = Event {
                        name: event.name.into(),
                        at: Moment::of(event.time, span.start, span.end),
                        attributes: pairs.filter_map(|whole| told(texts, whole)).collect(),
                    };
                    events.push((event.time, told));
                }
            }
        }
    }
    events.sort_by_key(|(time, _)| *time);
    Profile::new(
        attributes,
        events.into_iter().map(|(_, event)| event).collect(),
    )
}

/// An attribute that is part of the hash. No other may be told: the first of equal hashes speaks for
/// all, and the floor counts it for all.
fn told(texts: &Interner, attribute: Whole<'_>) -> Option<(Arc<str>, Value)> {
    if pair(texts, attribute) == 0 {
        return None;
    }
    let raw = attribute.raw();
    let value = match raw.view() {
        ValueView::Str(text) if text.len() <= LONGEST_VALUE => Value::Text(text.into()),
        ValueView::Int(number) => Value::Int(number),
        ValueView::Bool(truth) => Value::Bool(truth),
        ValueView::Double(number) => Value::Double(number.to_bits()),
        _ => return None,
    };
    Some((raw.name().into(), value))
}

#[cfg(test)]
mod tests;
