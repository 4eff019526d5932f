//! What stands above the spans: `ResourceSpans`, `Resource`, `ScopeSpans`, `InstrumentationScope`.
//!
//! Protobuf lets a resource come after the spans it belongs to, and lets it come in parts, so
//! these messages are stepped through once for what is said about all spans, and then again,
//! by the walk, for the spans.

use super::attribute::{Attributes, ValueView, check_attribute, check_text, read_key_value};
use super::budget::Budget;
use super::fault::{Fault, Named, Stop};
use crate::otlp::wire::{Known, Reader, VARINT, key, len};

/// `ExportTraceServiceRequest.resource_spans`.
pub(super) const RESOURCE_SPANS: u32 = len(1);
pub(super) const REQUEST: Known = Known::up_to(1);

/// Fields of `ResourceSpans`.
const RESOURCE: u32 = len(1);
pub(super) const SCOPE_SPANS: u32 = len(2);
const GROUP_SCHEMA_URL: u32 = len(3);
const GROUP: Known = Known::up_to(3);

/// Fields of `Resource`.
const RESOURCE_ATTRIBUTES: u32 = len(1);
const RESOURCE_DROPPED: u32 = key(2, VARINT);
const ENTITY_REFS: u32 = len(3);
const RESOURCE_FIELDS: Known = Known::up_to(3);

/// Fields of `EntityRef`: four of strings, two of them repeated.
const ENTITY_SCHEMA_URL: u32 = len(1);
const ENTITY_TYPE: u32 = len(2);
const ENTITY_ID_KEYS: u32 = len(3);
const ENTITY_DESCRIPTION_KEYS: u32 = len(4);
const ENTITY: Known = Known::up_to(4);

/// Fields of `ScopeSpans`.
const SCOPE: u32 = len(1);
pub(super) const SPANS: u32 = len(2);
const SCOPE_SCHEMA_URL: u32 = len(3);
const SCOPE_GROUP: Known = Known::up_to(3);

/// Fields of `InstrumentationScope`.
const SCOPE_NAME: u32 = len(1);
const SCOPE_VERSION: u32 = len(2);
const SCOPE_ATTRIBUTES: u32 = len(3);
const SCOPE_DROPPED: u32 = key(4, VARINT);
const SCOPE_FIELDS: Known = Known::up_to(4);

/// A resource, in place.
#[derive(Debug, Clone, Copy)]
pub struct ResourceView<'a> {
    /// `service.name`, the first if there are several; empty where the resource does not say.
    pub service: &'a str,
    /// The whole `ResourceSpans` message that it lies in, perhaps in several parts.
    pub raw: &'a [u8],
}

impl<'a> ResourceView<'a> {
    /// Its attributes, in the order of the bytes.
    pub fn attributes(&self) -> impl Iterator<Item = (&'a str, ValueView<'a>)> + use<'a> {
        parts(self.raw).flat_map(|part| Attributes::new(part, RESOURCE_ATTRIBUTES))
    }
}

/// The parts of the resource of a checked `ResourceSpans`: nearly always one, and first.
fn parts(group: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut reader = Reader::new(group);
    std::iter::from_fn(move || {
        loop {
            let key = reader.key().ok()??;
            if key == RESOURCE {
                return reader.bytes().ok();
            }
            reader.pass(key).ok()?;
        }
    })
}

/// A fault that costs what lies below the message, but leaves the rest of the request be.
pub(super) type Poison = Option<Fault>;

/// Bad text is the fault of one message; bytes that are no protobuf are the whole request's,
/// for nobody can say where the next field begins.
fn poison(checked: Result<(), Stop>) -> Result<Poison, Stop> {
    match checked {
        Ok(()) => Ok(None),
        Err(Stop::Fault(fault)) if !fault.is_broken() => Ok(Some(fault)),
        Err(stop) => Err(stop),
    }
}

/// Checks what a `ResourceSpans` says of all its spans. Pays for the resource.
pub(super) fn check_group<'a>(
    group: &'a [u8],
    budget: &mut Budget,
) -> Result<(ResourceView<'a>, Poison), Stop> {
    const MESSAGE: &str = "ResourceSpans";
    budget.take()?;
    let mut service = None;
    let mut found = None;
    let mut reader = Reader::new(group);
    while let Some(key) = reader.key().of(MESSAGE)? {
        let fault = match key {
            RESOURCE => {
                let resource = reader.bytes().of(MESSAGE)?;
                poison(check_resource(resource, budget, &mut service))?
            }
            SCOPE_SPANS => {
                reader.bytes().of(MESSAGE)?;
                None
            }
            GROUP_SCHEMA_URL => {
                let url = reader.bytes().of(MESSAGE)?;
                check_text(url, "ResourceSpans.schema_url").err()
            }
            _ => {
                reader.unknown(key, GROUP).of(MESSAGE)?;
                None
            }
        };
        found = found.or(fault);
    }
    let resource = ResourceView {
        service: service.unwrap_or_default(),
        raw: group,
    };
    Ok((resource, found))
}

fn check_resource<'a>(
    resource: &'a [u8],
    budget: &mut Budget,
    service: &mut Option<&'a str>,
) -> Result<(), Stop> {
    const MESSAGE: &str = "resource";
    let mut attributes = 0;
    let mut reader = Reader::new(resource);
    while let Some(key) = reader.key().of(MESSAGE)? {
        match key {
            RESOURCE_ATTRIBUTES => {
                attributes += 1;
                let attribute = reader.bytes().of(MESSAGE)?;
                check_attribute(attribute, budget)
                    .map_err(|stop| stop.within("resource attribute", attributes))?;
                if service.is_none()
                    && let ("service.name", ValueView::Str(name)) = read_key_value(attribute)
                {
                    *service = Some(name);
                }
            }
            RESOURCE_DROPPED => {
                reader.varint().of(MESSAGE)?;
            }
            ENTITY_REFS => {
                budget.take()?;
                check_entity(reader.bytes().of(MESSAGE)?, budget)?;
            }
            _ => reader.unknown(key, RESOURCE_FIELDS).of(MESSAGE)?,
        }
    }
    Ok(())
}

fn check_entity(entity: &[u8], budget: &mut Budget) -> Result<(), Stop> {
    const MESSAGE: &str = "resource entity";
    let mut reader = Reader::new(entity);
    while let Some(key) = reader.key().of(MESSAGE)? {
        match key {
            ENTITY_SCHEMA_URL | ENTITY_TYPE | ENTITY_ID_KEYS | ENTITY_DESCRIPTION_KEYS => {
                budget.take()?;
                check_text(reader.bytes().of(MESSAGE)?, MESSAGE)?;
            }
            _ => reader.unknown(key, ENTITY).of(MESSAGE)?,
        }
    }
    Ok(())
}

/// Checks what a `ScopeSpans` says of all its spans. Pays for the scope.
pub(super) fn check_scope_group(group: &[u8], budget: &mut Budget) -> Result<Poison, Stop> {
    const MESSAGE: &str = "ScopeSpans";
    budget.take()?;
    let mut found = None;
    let mut reader = Reader::new(group);
    while let Some(key) = reader.key().of(MESSAGE)? {
        let fault = match key {
            SPANS => {
                reader.bytes().of(MESSAGE)?;
                None
            }
            SCOPE => poison(check_scope(reader.bytes().of(MESSAGE)?, budget))?,
            SCOPE_SCHEMA_URL => {
                let url = reader.bytes().of(MESSAGE)?;
                check_text(url, "ScopeSpans.schema_url").err()
            }
            _ => {
                reader.unknown(key, SCOPE_GROUP).of(MESSAGE)?;
                None
            }
        };
        found = found.or(fault);
    }
    Ok(found)
}

fn check_scope(scope: &[u8], budget: &mut Budget) -> Result<(), Stop> {
    const MESSAGE: &str = "scope";
    let mut attributes = 0;
    let mut reader = Reader::new(scope);
    while let Some(key) = reader.key().of(MESSAGE)? {
        match key {
            SCOPE_NAME => {
                check_text(reader.bytes().of(MESSAGE)?, "scope name")?;
            }
            SCOPE_VERSION => {
                check_text(reader.bytes().of(MESSAGE)?, "scope version")?;
            }
            SCOPE_ATTRIBUTES => {
                attributes += 1;
                check_attribute(reader.bytes().of(MESSAGE)?, budget)
                    .map_err(|stop| stop.within("scope attribute", attributes))?;
            }
            SCOPE_DROPPED => {
                reader.varint().of(MESSAGE)?;
            }
            _ => reader.unknown(key, SCOPE_FIELDS).of(MESSAGE)?,
        }
    }
    Ok(())
}
