//! A request without its bad spans: lengths are rewritten, everything else is copied.

use bytes::Bytes;

use super::budget::Budget;
use super::fault::{Named, Stop};
use super::group::{REQUEST, RESOURCE_SPANS, SCOPE_SPANS, SPANS, check_group, check_scope_group};
use super::span::check_span;
use super::{Limits, WalkError, turned_away};
use crate::otlp::wire::{Known, Reader, put_varint, varint_len};

/// The same request without its bad spans; everything else stays as it was, byte for byte.
///
/// A resource or scope that is bad itself goes with all its spans. One that is good stays,
/// even if all its spans go.
pub fn cut(bytes: &[u8], limits: &Limits) -> Result<Bytes, WalkError> {
    let mut cut = Cut {
        budget: Budget::new(limits),
        out: Vec::with_capacity(bytes.len()),
    };
    cut.request(bytes)
        .map_err(|stop| turned_away(stop, limits))?;
    Ok(cut.out.into())
}

/// Wire types were checked by `check_group` or `check_scope_group` already.
const CHECKED: Known = Known::some(&[]);

struct Cut {
    budget: Budget,
    out: Vec<u8>,
}

/// A field as it stands in its message: key, length and all.
struct Field<'a> {
    key: u32,
    whole: &'a [u8],
    message: &'a [u8],
}

/// A container under construction.
struct Open {
    start: usize,
    body: usize,
}

impl Cut {
    fn request(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let mut reader = Reader::new(bytes);
        while let Some(field) = next(&mut reader, RESOURCE_SPANS, REQUEST, "request")? {
            if field.key == RESOURCE_SPANS {
                self.group(&field)?;
            } else {
                self.out.extend_from_slice(field.whole);
            }
        }
        Ok(())
    }

    fn group(&mut self, group: &Field<'_>) -> Result<(), Stop> {
        let (_, fault) = check_group(group.message, &mut self.budget)?;
        let open = self.open(group);
        let mut changed = fault.is_some();
        let mut reader = Reader::new(group.message);
        while let Some(field) = next(&mut reader, SCOPE_SPANS, CHECKED, "ResourceSpans")? {
            if field.key == SCOPE_SPANS {
                changed |= self.scope_group(&field, fault.is_some())?;
            } else {
                self.out.extend_from_slice(field.whole);
            }
        }
        if fault.is_some() {
            self.out.truncate(open.start);
        } else {
            self.close(&open, group, changed);
        }
        Ok(())
    }

    /// Whether anything was left out.
    fn scope_group(&mut self, group: &Field<'_>, bad_resource: bool) -> Result<bool, Stop> {
        let fault = check_scope_group(group.message, &mut self.budget)?;
        let bad = bad_resource || fault.is_some();
        let open = self.open(group);
        let mut changed = bad;
        let mut reader = Reader::new(group.message);
        while let Some(field) = next(&mut reader, SPANS, CHECKED, "ScopeSpans")? {
            if field.key == SPANS {
                self.budget.take()?;
                if bad || self.is_bad(field.message)? {
                    changed = true;
                    continue;
                }
            }
            self.out.extend_from_slice(field.whole);
        }
        if bad {
            self.out.truncate(open.start);
        } else {
            self.close(&open, group, changed);
        }
        Ok(changed)
    }

    fn is_bad(&mut self, span: &[u8]) -> Result<bool, Stop> {
        match check_span(span, &mut self.budget) {
            Ok(_) => Ok(false),
            Err(Stop::Fault(_)) => Ok(true),
            Err(stop) => Err(stop),
        }
    }

    /// Writes the key, and room for the longest length that the container can come to have.
    fn open(&mut self, container: &Field<'_>) -> Open {
        let start = self.out.len();
        put_varint(&mut self.out, u64::from(container.key));
        let width = varint_len(container.message.len());
        self.out.resize(self.out.len() + width, 0);
        Open {
            start,
            body: self.out.len(),
        }
    }

    /// Writes the length, or puts the container back as it was if nothing of it was left out.
    fn close(&mut self, open: &Open, container: &Field<'_>, changed: bool) {
        if !changed {
            self.out.truncate(open.start);
            self.out.extend_from_slice(container.whole);
            return;
        }
        let length = self.out.len() - open.body;
        let room = varint_len(container.message.len());
        let width = varint_len(length);
        // A shorter length than the room: the body moves up against it.
        self.out
            .copy_within(open.body.., open.body - (room - width));
        self.out.truncate(self.out.len() - (room - width));
        let mut rest = length;
        for (index, byte) in self.out[open.body - room..][..width].iter_mut().enumerate() {
            let more = if index + 1 < width { 0x80 } else { 0 };
            *byte = rest.to_le_bytes()[0] & 0x7f | more;
            rest >>= 7;
        }
    }
}

/// The next field, with its message if it is the `container` that the caller looks into.
fn next<'a>(
    reader: &mut Reader<'a>,
    container: u32,
    known: Known,
    name: &'static str,
) -> Result<Option<Field<'a>>, Stop> {
    let before = reader.rest();
    let Some(key) = reader.key().of(name)? else {
        return Ok(None);
    };
    let message = if key == container {
        reader.bytes().of(name)?
    } else {
        reader.unknown(key, known).of(name)?;
        &[]
    };
    let whole = &before[..before.len() - reader.rest().len()];
    Ok(Some(Field {
        key,
        whole,
        message,
    }))
}
