//! Spans and resources prepared once, written by copying them and patching what differs.
//!
//! The bytes are those that prost would write: fields in the order of their numbers, what is
//! zero left out (but for times, which are always there).

use super::view::ValueView;
use super::wire::{put_varint, varint_len};
use crate::trace::{SpanId, SpanKind, StatusCode, TraceId};

/// `ExportTraceServiceRequest.resource_spans`.
const RESOURCE_SPANS: u8 = 0x0a;
/// `ResourceSpans.resource`, `.scope_spans`.
const RESOURCE: u8 = 0x0a;
const SCOPE_SPANS: u8 = 0x12;
/// `Resource.attributes`.
const RESOURCE_ATTRIBUTES: u8 = 0x0a;
/// `ScopeSpans.scope`, `.spans`; `InstrumentationScope.name`.
const SCOPE: u8 = 0x0a;
const SPANS: u8 = 0x12;
const SCOPE_NAME: u8 = 0x0a;
/// `KeyValue.key`, `.value`; `AnyValue.string_value`, `.bool_value`.
const KEY: u8 = 0x0a;
const VALUE: u8 = 0x12;
const STRING_VALUE: u8 = 0x0a;
const BOOL_VALUE: u8 = 0x10;
const INT_VALUE: u8 = 0x18;
const DOUBLE_VALUE: u8 = 0x21;

/// Fields of `Span` as they stand on the wire, with the lengths of those that have a fixed one.
const TRACE_ID: [u8; 2] = [0x0a, 16];
const SPAN_ID: [u8; 2] = [0x12, 8];
const PARENT: [u8; 2] = [0x22, 8];
const NAME: u8 = 0x2a;
const KIND: u8 = 0x30;
const START: u8 = 0x39;
const END: u8 = 0x41;
const ATTRIBUTES: u8 = 0x4a;
const EVENTS: u8 = 0x5a;
/// `Event.time_unix_nano`, `.name`, `.attributes`.
const EVENT_TIME: u8 = 0x09;
const EVENT_NAME: u8 = 0x12;
const EVENT_ATTRIBUTES: u8 = 0x1a;
/// `Span.links` with its length, then `Link.trace_id` and `Link.span_id`.
const LINK: [u8; 2] = [0x6a, 28];
/// `Span.status` with its length, and `Status.code`.
const STATUS: [u8; 3] = [0x7a, 2, 0x18];

/// A root's ids, keys and all, are so many bytes; a child's have the parent's id too.
const ROOT_IDS: usize = 18 + 10;
const CHILD_IDS: usize = ROOT_IDS + 10;
/// Start and end, keys and all; status; a link.
const TIMES: usize = 9 + 9;
const STATUS_LEN: usize = 4;
const LINK_LEN: usize = 30;

/// What all spans of one template have in common.
#[derive(Debug, Clone, Copy)]
pub struct Likeness<'a> {
    /// Span name.
    pub name: &'a str,
    /// Kind.
    pub kind: SpanKind,
    /// Attributes, in the order in which they are written. Values that are lists are left out.
    pub attributes: &'a [(&'a str, ValueView<'a>)],
    /// Events, in the order in which they are written: names and attributes.
    pub events: &'a [(&'a str, &'a [(&'a str, ValueView<'a>)])],
}

/// What differs between spans of one template.
#[derive(Debug, Clone, Copy)]
pub struct Patch<'a> {
    /// Trace id.
    pub trace_id: TraceId,
    /// Span id.
    pub span_id: SpanId,
    /// Parent; none for a root.
    pub parent: Option<SpanId>,
    /// Start, ns since the epoch.
    pub start: u64,
    /// End, ns since the epoch.
    pub end: u64,
    /// Status code; no message goes with it.
    pub status: StatusCode,
    /// Times of the events, ns since the epoch: as many as the template has events.
    pub events: &'a [u64],
}

/// Where a prepared span lies among the prepared bytes.
#[derive(Debug, Clone, Copy)]
struct Place {
    at: u32,
    len: u32,
    /// Bytes of the key and the length before the message.
    prefix: u32,
    /// Where the times stand in the message.
    times: u32,
    /// Which of the places of events are its own.
    events: (u32, u32),
}

/// A prepared span for each likeness that was [added](Self::add), numbered from 0.
///
/// Each stands there four times, for what its length depends on: root or child, status or none.
#[derive(Debug, Clone, Default)]
pub struct SpanTemplates {
    bytes: Vec<u8>,
    places: Vec<[Place; 4]>,
    /// Where times of events stand in their messages.
    events: Vec<u32>,
}

impl SpanTemplates {
    /// Prepares spans of one likeness.
    pub fn add(&mut self, likeness: &Likeness<'_>) {
        let variants = [(false, false), (false, true), (true, false), (true, true)];
        let places = variants.map(|(child, status)| self.prepare(likeness, child, status));
        self.places.push(places);
    }

    fn prepare(&mut self, likeness: &Likeness<'_>, child: bool, status: bool) -> Place {
        let Likeness { name, kind, .. } = *likeness;
        let mut message = Vec::new();
        message.extend_from_slice(&TRACE_ID);
        message.extend_from_slice(&[0; 16]);
        message.extend_from_slice(&SPAN_ID);
        message.extend_from_slice(&[0; 8]);
        if child {
            message.extend_from_slice(&PARENT);
            message.extend_from_slice(&[0; 8]);
        }
        if !name.is_empty() {
            put_len(&mut message, NAME, name.len());
            message.extend_from_slice(name.as_bytes());
        }
        if kind != SpanKind::Unspecified {
            message.extend_from_slice(&[KIND, kind as u8]);
        }
        let times = small(message.len());
        for key in [START, END] {
            message.push(key);
            message.extend_from_slice(&[0; 8]);
        }
        for (key, value) in likeness.attributes {
            put_pair(&mut message, ATTRIBUTES, key, value);
        }
        let first = small(self.events.len());
        for (name, attributes) in likeness.events {
            let mut event = vec![EVENT_TIME];
            event.extend_from_slice(&[0; 8]);
            put_len(&mut event, EVENT_NAME, name.len());
            event.extend_from_slice(name.as_bytes());
            for (key, value) in *attributes {
                put_pair(&mut event, EVENT_ATTRIBUTES, key, value);
            }
            let field = field(EVENTS, &event);
            let time = message.len() + field.len() - event.len() + 1;
            self.events.push(small(time));
            message.extend_from_slice(&field);
        }
        if status {
            message.extend_from_slice(&STATUS);
            message.push(0);
        }
        let at = self.bytes.len();
        put_len(&mut self.bytes, SPANS, message.len());
        let prefix = self.bytes.len() - at;
        self.bytes.extend_from_slice(&message);
        Place {
            at: small(at),
            len: small(self.bytes.len() - at),
            prefix: small(prefix),
            times,
            events: (first, small(self.events.len())),
        }
    }

    /// Number of likenesses.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether none was added.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Appends a span as a field of its `ScopeSpans`. One that was not added is passed over.
    #[inline]
    pub fn write(&self, out: &mut Vec<u8>, template: usize, patch: &Patch<'_>) {
        let status = patch.status != StatusCode::Unset;
        let Some(place) = self.place(template, patch.parent.is_some(), status) else {
            return;
        };
        let begin = out.len();
        out.extend_from_slice(self.prepared(place));
        if let Some(span) = out.get_mut(begin + place.prefix as usize..) {
            self.fill(span, place, patch);
        }
    }

    /// As [`write`](Self::write), with links to spans of the same trace.
    pub fn write_linked(
        &self,
        out: &mut Vec<u8>,
        template: usize,
        patch: &Patch<'_>,
        links: impl ExactSizeIterator<Item = SpanId>,
    ) {
        let Some(place) = self.place(template, patch.parent.is_some(), false) else {
            return;
        };
        let plain = self.prepared(place).get(place.prefix as usize..);
        let plain = plain.unwrap_or_default();
        let status = patch.status != StatusCode::Unset;
        let status_len = if status { STATUS_LEN } else { 0 };
        let length = plain.len() + links.len() * LINK_LEN + status_len;
        put_len(out, SPANS, length);
        let begin = out.len();
        out.extend_from_slice(plain);
        let unset = Patch {
            status: StatusCode::Unset,
            ..*patch
        };
        if let Some(span) = out.get_mut(begin..) {
            self.fill(span, place, &unset);
        }
        for link in links {
            out.extend_from_slice(&LINK);
            out.extend_from_slice(&TRACE_ID);
            out.extend_from_slice(&patch.trace_id.to_bytes());
            out.extend_from_slice(&SPAN_ID);
            out.extend_from_slice(&link.to_bytes());
        }
        if status {
            out.extend_from_slice(&STATUS);
            out.push(patch.status as u8);
        }
    }

    #[inline]
    fn place(&self, template: usize, child: bool, status: bool) -> Option<Place> {
        let variant = usize::from(child) << 1 | usize::from(status);
        self.places.get(template).map(|places| places[variant])
    }

    #[inline]
    fn prepared(&self, place: Place) -> &[u8] {
        let at = place.at as usize;
        self.bytes
            .get(at..at + place.len as usize)
            .unwrap_or_default()
    }

    /// Puts ids, times and status where the prepared message has room for them.
    #[inline]
    fn fill(&self, span: &mut [u8], place: Place, patch: &Patch<'_>) {
        let own = place.events.0 as usize..place.events.1 as usize;
        let events = self.events.get(own).unwrap_or_default();
        for (&at, time) in events.iter().zip(patch.events) {
            if let Some(room) = span.get_mut(at as usize..at as usize + 8) {
                room.copy_from_slice(&time.to_le_bytes());
            }
        }
        let times = place.times as usize;
        if let Some(room) = span.get_mut(times..times + TIMES) {
            room[1..9].copy_from_slice(&patch.start.to_le_bytes());
            room[10..18].copy_from_slice(&patch.end.to_le_bytes());
        }
        fill(span, patch);
    }
}

/// Puts ids and status where the prepared message has room for them.
#[inline]
fn fill(span: &mut [u8], patch: &Patch<'_>) {
    if let Some(parent) = patch.parent
        && let Some(ids) = span.first_chunk_mut::<CHILD_IDS>()
    {
        ids[30..38].copy_from_slice(&parent.to_bytes());
    }
    if let Some(ids) = span.first_chunk_mut::<ROOT_IDS>() {
        ids[2..18].copy_from_slice(&patch.trace_id.to_bytes());
        ids[20..28].copy_from_slice(&patch.span_id.to_bytes());
    }
    if patch.status != StatusCode::Unset
        && let Some(last) = span.last_mut()
    {
        *last = patch.status as u8;
    }
}

/// A `ResourceSpans` with one scope, prepared but for its spans.
#[derive(Debug, Clone)]
pub struct ResourceTemplate {
    /// The resource, as a field of its `ResourceSpans`.
    resource: Vec<u8>,
    /// The scope, as a field of its `ScopeSpans`.
    scope: Vec<u8>,
}

impl ResourceTemplate {
    /// A resource with `service.name` and one more attribute, `mark`, that is true; and a scope.
    pub fn new(service: &str, mark: &str, scope: &str) -> Self {
        Self::with(service, mark, scope, &[])
    }

    /// As [`new`](Self::new), with further attributes of the resource.
    pub fn with(service: &str, mark: &str, scope: &str, others: &[(&str, ValueView<'_>)]) -> Self {
        let mut name = Vec::new();
        put_len(&mut name, STRING_VALUE, service.len());
        name.extend_from_slice(service.as_bytes());
        let mut attributes = Vec::new();
        put_attribute(&mut attributes, RESOURCE_ATTRIBUTES, "service.name", &name);
        put_attribute(&mut attributes, RESOURCE_ATTRIBUTES, mark, &[BOOL_VALUE, 1]);
        for (key, value) in others {
            put_pair(&mut attributes, RESOURCE_ATTRIBUTES, key, value);
        }
        let mut scope_message = Vec::new();
        put_len(&mut scope_message, SCOPE_NAME, scope.len());
        scope_message.extend_from_slice(scope.as_bytes());
        Self {
            resource: field(RESOURCE, &attributes),
            scope: field(SCOPE, &scope_message),
        }
    }

    /// Bytes that it takes in a request with spans of so many bytes.
    pub fn len_with(&self, spans: usize) -> usize {
        field_len(self.group_len(spans))
    }

    fn group_len(&self, spans: usize) -> usize {
        self.resource.len() + field_len(self.scope.len() + spans)
    }

    /// Appends it to a request, with its spans as [`SpanTemplates::write`] wrote them.
    pub fn write(&self, out: &mut Vec<u8>, spans: &[u8]) {
        put_len(out, RESOURCE_SPANS, self.group_len(spans.len()));
        out.extend_from_slice(&self.resource);
        put_len(out, SCOPE_SPANS, self.scope.len() + spans.len());
        out.extend_from_slice(&self.scope);
        out.extend_from_slice(spans);
    }
}

/// An attribute with a value of any type but lists.
fn put_pair(out: &mut Vec<u8>, under: u8, key: &str, value: &ValueView<'_>) {
    let mut any = Vec::new();
    match value {
        ValueView::Str(text) => {
            put_len(&mut any, STRING_VALUE, text.len());
            any.extend_from_slice(text.as_bytes());
        }
        ValueView::Bool(truth) => any.extend_from_slice(&[BOOL_VALUE, u8::from(*truth)]),
        ValueView::Int(number) => {
            any.push(INT_VALUE);
            put_varint(&mut any, number.cast_unsigned());
        }
        ValueView::Double(number) => {
            any.push(DOUBLE_VALUE);
            any.extend_from_slice(&number.to_le_bytes());
        }
        ValueView::Other => return,
    }
    put_attribute(out, under, key, &any);
}

/// An attribute with an `AnyValue`, as a field of what carries it.
fn put_attribute(out: &mut Vec<u8>, under: u8, key: &str, value: &[u8]) {
    let mut pair = Vec::new();
    put_len(&mut pair, KEY, key.len());
    pair.extend_from_slice(key.as_bytes());
    pair.extend_from_slice(&field(VALUE, value));
    out.extend_from_slice(&field(under, &pair));
}

fn field(key: u8, message: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_len(&mut out, key, message.len());
    out.extend_from_slice(message);
    out
}

/// Bytes of a field with a one-byte key and a message of so many bytes.
fn field_len(message: usize) -> usize {
    1 + varint_len(message) + message
}

fn put_len(out: &mut Vec<u8>, key: u8, length: usize) {
    out.push(key);
    put_varint(out, length as u64);
}

/// Prepared bytes are a vocabulary's: a few kilobytes each at most.
fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
