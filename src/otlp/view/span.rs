//! One span: checked in a single pass, then handed out in place.

use super::attribute::{Attributes, Whole, check_attribute, check_text, text};
use super::budget::Budget;
use super::fault::{Fault, Named, Stop, What};
use crate::otlp::wire::{FIXED32, FIXED64, Known, Reader, VARINT, key, len};
use crate::trace::{IdError, SpanId, SpanKind, StatusCode, TraceId};

/// Fields of `opentelemetry.proto.trace.v1.Span`.
const TRACE_ID: u32 = len(1);
const SPAN_ID: u32 = len(2);
const TRACE_STATE: u32 = len(3);
const PARENT: u32 = len(4);
const NAME: u32 = len(5);
const KIND: u32 = key(6, VARINT);
const START: u32 = key(7, FIXED64);
const END: u32 = key(8, FIXED64);
const ATTRIBUTES: u32 = len(9);
const DROPPED_ATTRIBUTES: u32 = key(10, VARINT);
const EVENTS: u32 = len(11);
const DROPPED_EVENTS: u32 = key(12, VARINT);
const LINKS: u32 = len(13);
const DROPPED_LINKS: u32 = key(14, VARINT);
const STATUS: u32 = len(15);
const FLAGS: u32 = key(16, FIXED32);
const SPAN: Known = Known::up_to(16);

/// Fields of `Span.Event`.
const EVENT_TIME: u32 = key(1, FIXED64);
const EVENT_NAME: u32 = len(2);
const EVENT_ATTRIBUTES: u32 = len(3);
const EVENT_DROPPED: u32 = key(4, VARINT);
const EVENT: Known = Known::up_to(4);

/// Fields of `Span.Link`.
const LINK_TRACE_ID: u32 = len(1);
const LINK_SPAN_ID: u32 = len(2);
const LINK_TRACE_STATE: u32 = len(3);
const LINK_ATTRIBUTES: u32 = len(4);
const LINK_DROPPED: u32 = key(5, VARINT);
const LINK_FLAGS: u32 = key(6, FIXED32);
const LINK: Known = Known::up_to(6);

/// Fields of `Status`; its first is reserved and so unknown.
const STATUS_MESSAGE: u32 = len(2);
const STATUS_CODE: u32 = key(3, VARINT);
const STATUS_FIELDS: Known = Known::some(&[2, 3]);

/// A good span, in place.
#[derive(Debug, Clone, Copy)]
pub struct SpanView<'a> {
    /// Trace id.
    pub trace_id: TraceId,
    /// Span id.
    pub span_id: SpanId,
    /// Parent; none where absent, all zero or the span itself.
    pub parent: Option<SpanId>,
    /// Name.
    pub name: &'a str,
    /// Kind.
    pub kind: SpanKind,
    /// Start, ns since the epoch.
    pub start: u64,
    /// End, ns since the epoch; whatever the sender said, be it before the start.
    pub end: u64,
    /// Status code.
    pub status: StatusCode,
    /// How many links it carries.
    pub links: u32,
    /// How many attributes and events it carries.
    pub carries: u32,
    /// Where the first of them stands in the message.
    pub carries_from: u32,
    /// The whole `Span` message.
    pub raw: &'a [u8],
}

impl<'a> SpanView<'a> {
    /// Its attributes, in the order of the bytes.
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes::new(self.raw, ATTRIBUTES)
    }

    /// Its attributes and events as they stand on the wire, in the order of the bytes.
    pub fn carried(&self) -> Carried<'a> {
        let from = self.raw.get(self.carries_from as usize..);
        Carried {
            message: Reader::new(from.unwrap_or_default()),
            left: self.carries,
        }
    }

    /// Its links: trace and span id, none where the sender left one out or sent zeros.
    pub fn links(&self) -> Links<'a> {
        Links(Submessages::new(self.raw, LINKS, self.links))
    }

    /// Its events.
    pub fn events(&self) -> Events<'a> {
        Events(Submessages::new(self.raw, EVENTS, u32::MAX))
    }

    /// Whether it named itself as its parent, and so reads as a root.
    pub fn names_itself(&self) -> bool {
        self.parent.is_none()
            && Submessages::new(self.raw, PARENT, u32::MAX)
                .last()
                .is_some_and(|parent| parent == self.span_id.to_bytes())
    }

    /// `status.message`; empty where there is none.
    pub fn status_message(&self) -> &'a str {
        let mut message = "";
        for status in Submessages::new(self.raw, STATUS, u32::MAX) {
            let mut reader = Reader::new(status);
            while let Ok(Some(key)) = reader.key() {
                if key == STATUS_MESSAGE {
                    message = text(reader.bytes().unwrap_or_default());
                } else if reader.pass(key).is_err() {
                    break;
                }
            }
        }
        message
    }
}

/// An attribute or an event.
#[derive(Debug, Clone, Copy)]
pub enum Carry<'a> {
    /// An attribute.
    Attribute(Whole<'a>),
    /// An event.
    Event(EventView<'a>),
}

/// What a span carries.
#[derive(Debug, Clone)]
pub struct Carried<'a> {
    message: Reader<'a>,
    left: u32,
}

impl<'a> Iterator for Carried<'a> {
    type Item = Carry<'a>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        loop {
            // The message was checked, so an error can only mean its end.
            match self.message.key().ok()?? {
                ATTRIBUTES => return Some(Carry::Attribute(Whole(self.message.bytes().ok()?))),
                EVENTS => return Some(Carry::Event(EventView::new(self.message.bytes().ok()?))),
                key => self.message.pass(key).ok()?,
            }
        }
    }
}

/// An event, in place.
#[derive(Debug, Clone, Copy)]
pub struct EventView<'a> {
    /// When it happened, ns since the epoch.
    pub time: u64,
    /// Name.
    pub name: &'a str,
    raw: &'a [u8],
}

impl<'a> EventView<'a> {
    fn new(raw: &'a [u8]) -> Self {
        let mut event = Self {
            time: 0,
            name: "",
            raw,
        };
        let mut reader = Reader::new(raw);
        while let Ok(Some(key)) = reader.key() {
            match key {
                EVENT_TIME => event.time = reader.fixed64().unwrap_or_default(),
                EVENT_NAME => event.name = text(reader.bytes().unwrap_or_default()),
                _ => {
                    if reader.pass(key).is_err() {
                        break;
                    }
                }
            }
        }
        event
    }

    /// Its attributes, in the order of the bytes.
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes::new(self.raw, EVENT_ATTRIBUTES)
    }

    /// Its attributes as they stand on the wire, in the order of the bytes.
    pub fn whole_attributes(&self) -> impl Iterator<Item = Whole<'a>> {
        Submessages::new(self.raw, EVENT_ATTRIBUTES, u32::MAX).map(Whole)
    }
}

/// A span's links.
#[derive(Debug, Clone)]
pub struct Links<'a>(Submessages<'a>);

impl Iterator for Links<'_> {
    type Item = (Option<TraceId>, Option<SpanId>);

    fn next(&mut self) -> Option<Self::Item> {
        let mut reader = Reader::new(self.0.next()?);
        let mut link = (None, None);
        while let Ok(Some(key)) = reader.key() {
            match key {
                LINK_TRACE_ID => link.0 = TraceId::from_slice(reader.bytes().ok()?).ok(),
                LINK_SPAN_ID => link.1 = SpanId::from_slice(reader.bytes().ok()?).ok(),
                _ => reader.pass(key).ok()?,
            }
        }
        Some(link)
    }
}

/// A span's events.
#[derive(Debug, Clone)]
pub struct Events<'a>(Submessages<'a>);

impl<'a> Iterator for Events<'a> {
    type Item = EventView<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(EventView::new)
    }
}

/// The submessages of a checked message under one key; stops looking once all were met.
#[derive(Debug, Clone)]
struct Submessages<'a> {
    message: Reader<'a>,
    key: u32,
    left: u32,
}

impl<'a> Submessages<'a> {
    fn new(message: &'a [u8], key: u32, count: u32) -> Self {
        Self {
            message: Reader::new(message),
            key,
            left: count,
        }
    }
}

impl<'a> Iterator for Submessages<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        loop {
            let key = self.message.key().ok()??;
            if key == self.key {
                return self.message.bytes().ok();
            }
            self.message.pass(key).ok()?;
        }
    }
}

/// Checks a span whole; what it holds is paid for from the budget.
#[inline]
pub(super) fn check_span<'a>(raw: &'a [u8], budget: &mut Budget) -> Result<SpanView<'a>, Stop> {
    const MESSAGE: &str = "span";
    let mut reader = Reader::new(raw);
    let mut trace_id: &[u8] = &[];
    let mut span_id: &[u8] = &[];
    let mut parent: &[u8] = &[];
    let mut name = "";
    let (mut kind, mut start, mut end, mut status) = (0, 0, 0, 0);
    let (mut attributes, mut events, mut links) = (0, 0, 0);
    let (mut from, mut left) = (0, raw.len());
    while let Some(key) = reader.key().of(MESSAGE)? {
        match key {
            TRACE_ID => trace_id = reader.bytes().of(MESSAGE)?,
            SPAN_ID => span_id = reader.bytes().of(MESSAGE)?,
            TRACE_STATE => {
                check_text(reader.bytes().of(MESSAGE)?, "trace_state")?;
            }
            PARENT => parent = reader.bytes().of(MESSAGE)?,
            NAME => name = check_text(reader.bytes().of(MESSAGE)?, "name")?,
            KIND => kind = reader.varint().of(MESSAGE)?,
            START => start = reader.fixed64().of(MESSAGE)?,
            END => end = reader.fixed64().of(MESSAGE)?,
            ATTRIBUTES => {
                if attributes + events == 0 {
                    from = raw.len() - left;
                }
                attributes += 1;
                check_attribute(reader.bytes().of(MESSAGE)?, budget)
                    .map_err(|stop| stop.within("attribute", attributes))?;
            }
            EVENTS => {
                if attributes + events == 0 {
                    from = raw.len() - left;
                }
                events += 1;
                budget.take()?;
                check_event(reader.bytes().of(MESSAGE)?, budget)
                    .map_err(|stop| stop.within("event", events))?;
            }
            LINKS => {
                links += 1;
                budget.take()?;
                check_link(reader.bytes().of(MESSAGE)?, budget)
                    .map_err(|stop| stop.within("link", links))?;
            }
            STATUS => check_status(reader.bytes().of(MESSAGE)?, &mut status)?,
            FLAGS => {
                reader.fixed32().of(MESSAGE)?;
            }
            DROPPED_ATTRIBUTES | DROPPED_EVENTS | DROPPED_LINKS => {
                reader.varint().of(MESSAGE)?;
            }
            _ => reader.unknown(key, SPAN).of(MESSAGE)?,
        }
        left = reader.rest().len();
    }
    let trace_id = TraceId::from_slice(trace_id).of("trace_id")?;
    let span_id = SpanId::from_slice(span_id).of("span_id")?;
    let named = parent_id(parent)?;
    Ok(SpanView {
        trace_id,
        span_id,
        parent: named.filter(|&parent| parent != span_id),
        name,
        kind: SpanKind::from_number(enumeration(kind)),
        start,
        end,
        status: StatusCode::from_number(enumeration(status)),
        links,
        carries: attributes + events,
        // A span beyond this would be refused for its size long before.
        carries_from: u32::try_from(from).unwrap_or(u32::MAX),
        raw,
    })
}

/// Protobuf reads enums as 32 bits, whatever the varint says beyond them.
fn enumeration(number: u64) -> u64 {
    number & u64::from(u32::MAX)
}

/// Absent and all zero mean a root; a wrong length would make a Collector refuse the request.
fn parent_id(bytes: &[u8]) -> Result<Option<SpanId>, Fault> {
    if bytes.is_empty() {
        return Ok(None);
    }
    match SpanId::from_slice(bytes) {
        Ok(id) => Ok(Some(id)),
        Err(IdError::Zero) => Ok(None),
        Err(error) => Err(Fault::new("parent_span_id", What::Id(error))),
    }
}

fn check_event(raw: &[u8], budget: &mut Budget) -> Result<(), Stop> {
    const MESSAGE: &str = "event";
    let mut reader = Reader::new(raw);
    while let Some(key) = reader.key().of(MESSAGE)? {
        match key {
            EVENT_TIME => {
                reader.fixed64().of(MESSAGE)?;
            }
            EVENT_NAME => {
                check_text(reader.bytes().of(MESSAGE)?, "name")?;
            }
            EVENT_ATTRIBUTES => check_attribute(reader.bytes().of(MESSAGE)?, budget)?,
            EVENT_DROPPED => {
                reader.varint().of(MESSAGE)?;
            }
            _ => reader.unknown(key, EVENT).of(MESSAGE)?,
        }
    }
    Ok(())
}

fn check_link(raw: &[u8], budget: &mut Budget) -> Result<(), Stop> {
    const MESSAGE: &str = "link";
    let mut reader = Reader::new(raw);
    while let Some(key) = reader.key().of(MESSAGE)? {
        match key {
            LINK_TRACE_ID => {
                let bytes = reader.bytes().of(MESSAGE)?;
                check_link_id(TraceId::from_slice(bytes).map(drop)).of("trace_id")?;
            }
            LINK_SPAN_ID => {
                let bytes = reader.bytes().of(MESSAGE)?;
                check_link_id(SpanId::from_slice(bytes).map(drop)).of("span_id")?;
            }
            LINK_TRACE_STATE => {
                check_text(reader.bytes().of(MESSAGE)?, "trace_state")?;
            }
            LINK_ATTRIBUTES => check_attribute(reader.bytes().of(MESSAGE)?, budget)?,
            LINK_DROPPED => {
                reader.varint().of(MESSAGE)?;
            }
            LINK_FLAGS => {
                reader.fixed32().of(MESSAGE)?;
            }
            _ => reader.unknown(key, LINK).of(MESSAGE)?,
        }
    }
    Ok(())
}

/// A link to nothing harms nobody, but ids of a wrong length would make a Collector
/// downstream refuse the whole request.
fn check_link_id(id: Result<(), IdError>) -> Result<(), IdError> {
    match id {
        Err(IdError::Length { got, .. }) if got > 0 => id,
        _ => Ok(()),
    }
}

fn check_status(raw: &[u8], code: &mut u64) -> Result<(), Fault> {
    const MESSAGE: &str = "status";
    let mut reader = Reader::new(raw);
    while let Some(key) = reader.key().of(MESSAGE)? {
        match key {
            STATUS_MESSAGE => {
                check_text(reader.bytes().of(MESSAGE)?, "status.message")?;
            }
            STATUS_CODE => *code = reader.varint().of(MESSAGE)?,
            _ => reader.unknown(key, STATUS_FIELDS).of(MESSAGE)?,
        }
    }
    Ok(())
}
