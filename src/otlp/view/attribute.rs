//! Attributes: checked once with what holds them, then read in place.

use super::budget::Budget;
use super::fault::{Fault, Named, Stop, What};
use crate::otlp::wire::{FIXED64, Known, Reader, VARINT, key, len};

/// `KeyValue.key`, `KeyValue.value`.
const KEY: u32 = len(1);
const VALUE: u32 = len(2);
/// `KeyValue.key_strindex`, used by profiles only.
const KEY_STRINDEX: u32 = key(3, VARINT);
const KEY_VALUE: Known = Known::up_to(3);

/// `AnyValue`'s one-of.
const STRING: u32 = len(1);
const BOOL: u32 = key(2, VARINT);
const INT: u32 = key(3, VARINT);
const DOUBLE: u32 = key(4, FIXED64);
const ARRAY: u32 = len(5);
const KVLIST: u32 = len(6);
const BYTES: u32 = len(7);
const STRINDEX: u32 = key(8, VARINT);
const ANY_VALUE: Known = Known::up_to(8);

/// `ArrayValue.values`, `KeyValueList.values`.
const VALUES: u32 = len(1);
const LIST: Known = Known::up_to(1);

/// An attribute's value, in place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ValueView<'a> {
    /// `string_value`.
    Str(&'a str),
    /// `bool_value`.
    Bool(bool),
    /// `int_value`.
    Int(i64),
    /// `double_value`.
    Double(f64),
    /// An array, a key-value list, bytes, or nothing at all.
    Other,
}

/// The attributes of a checked span, resource, event or link, in the order of the bytes.
#[derive(Debug, Clone)]
pub struct Attributes<'a> {
    /// The message that holds them.
    message: Reader<'a>,
    /// The key of its `attributes` field.
    key: u32,
}

impl<'a> Attributes<'a> {
    pub(super) fn new(message: &'a [u8], key: u32) -> Self {
        Self {
            message: Reader::new(message),
            key,
        }
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (&'a str, ValueView<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            // The message was checked, so an error can only mean its end.
            let key = self.message.key().ok()??;
            if key == self.key {
                return Some(read_key_value(self.message.bytes().ok()?));
            }
            self.message.pass(key).ok()?;
        }
    }
}

/// An attribute as it stands on the wire: for whoever compares bytes and decodes only what is new.
#[derive(Debug, Clone, Copy)]
pub struct RawAttribute<'a> {
    /// The bytes of its key.
    pub key: &'a [u8],
    /// Its `AnyValue` message.
    pub value: &'a [u8],
}

/// A checked `KeyValue` that was not taken apart.
#[derive(Debug, Clone, Copy)]
pub struct Whole<'a>(pub &'a [u8]);

impl<'a> Whole<'a> {
    /// Its key, where that is the first thing and short, as in nearly all.
    #[inline]
    pub fn key(self) -> Option<&'a [u8]> {
        match self.0 {
            [0x0a, length @ 0..=127, rest @ ..] => rest.get(..usize::from(*length)),
            _ => None,
        }
    }

    /// Takes it apart.
    #[inline]
    pub fn raw(self) -> RawAttribute<'a> {
        RawAttribute::new(self.0)
    }
}

impl<'a> RawAttribute<'a> {
    /// Takes a checked `KeyValue` apart; of several keys or values the last one counts.
    #[inline]
    fn new(message: &'a [u8]) -> Self {
        if let [0x0a, key_len, rest @ ..] = message
            && let Some((key, [0x12, value_len, value @ ..])) =
                rest.split_at_checked(usize::from(*key_len))
            && *key_len < 0x80
            && *value_len < 0x80
            && usize::from(*value_len) == value.len()
        {
            return Self { key, value };
        }
        Self::long(message)
    }

    #[cold]
    fn long(message: &'a [u8]) -> Self {
        let mut reader = Reader::new(message);
        let (mut name, mut value): (&[u8], &[u8]) = (&[], &[]);
        while let Ok(Some(key)) = reader.key() {
            match key {
                KEY => name = reader.bytes().unwrap_or_default(),
                VALUE => value = reader.bytes().unwrap_or_default(),
                _ => {
                    if reader.pass(key).is_err() {
                        break;
                    }
                }
            }
        }
        Self { key: name, value }
    }

    /// The key as text.
    pub fn name(&self) -> &'a str {
        text(self.key)
    }

    /// The value.
    pub fn view(&self) -> ValueView<'a> {
        let mut view = ValueView::Other;
        read_value(self.value, &mut view);
        view
    }
}

/// The text of a checked string field. A second check costs little and keeps `unsafe` out.
#[inline]
pub(super) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// Reads a checked `KeyValue`.
pub(super) fn read_key_value(message: &[u8]) -> (&str, ValueView<'_>) {
    let mut reader = Reader::new(message);
    let mut name = "";
    let mut value = ValueView::Other;
    while let Ok(Some(key)) = reader.key() {
        match key {
            KEY => name = text(reader.bytes().unwrap_or_default()),
            VALUE => read_value(reader.bytes().unwrap_or_default(), &mut value),
            _ => {
                if reader.pass(key).is_err() {
                    break;
                }
            }
        }
    }
    (name, value)
}

/// Reads a checked `AnyValue`; the last of several values wins, and one that sets nothing
/// leaves the earlier one standing, as protobuf merges.
fn read_value<'a>(message: &'a [u8], value: &mut ValueView<'a>) {
    let mut reader = Reader::new(message);
    while let Ok(Some(key)) = reader.key() {
        *value = match key {
            STRING => ValueView::Str(text(reader.bytes().unwrap_or_default())),
            BOOL => ValueView::Bool(reader.varint().unwrap_or_default() != 0),
            INT => ValueView::Int(reader.varint().unwrap_or_default().cast_signed()),
            DOUBLE => ValueView::Double(f64::from_bits(reader.fixed64().unwrap_or_default())),
            _ => {
                if reader.pass(key).is_err() {
                    break;
                }
                match key {
                    ARRAY | KVLIST | BYTES | STRINDEX => ValueView::Other,
                    _ => *value,
                }
            }
        };
    }
}

/// Checks that a string field is UTF-8.
#[inline]
pub(super) fn check_text<'a>(bytes: &'a [u8], field: &'static str) -> Result<&'a str, Fault> {
    // Names and keys are short: below this length the plain check beats the vectorised one.
    const SHORT: usize = 64;
    let text = if bytes.len() < SHORT {
        std::str::from_utf8(bytes).ok()
    } else {
        simdutf8::basic::from_utf8(bytes).ok()
    };
    text.ok_or_else(|| Fault::new(field, What::Utf8))
}

/// Checks one attribute, which costs one element, and what its value holds.
#[inline]
pub(super) fn check_attribute(message: &[u8], budget: &mut Budget) -> Result<(), Stop> {
    budget.take()?;
    if is_plain(message) {
        return Ok(());
    }
    check_key_value(message, budget, 1)
}

/// Whether this is what nearly every attribute is: a key of under 128 bytes, then a string
/// value of under 124, all ASCII. Tags and lengths are then ASCII too, so that one look at
/// the whole message settles both strings.
#[inline]
fn is_plain(message: &[u8]) -> bool {
    let [0x0a, key_len, rest @ ..] = message else {
        return false;
    };
    let Some((_, value)) = rest.split_at_checked(usize::from(*key_len)) else {
        return false;
    };
    let [0x12, value_len, 0x0a, string_len, string @ ..] = value else {
        return false;
    };
    usize::from(*string_len) == string.len()
        && usize::from(*value_len) == string.len() + 2
        && message.is_ascii()
}

fn check_key_value(message: &[u8], budget: &mut Budget, depth: usize) -> Result<(), Stop> {
    const NAME: &str = "attribute";
    let mut reader = Reader::new(message);
    while let Some(key) = reader.key().of(NAME)? {
        match key {
            KEY => {
                check_text(reader.bytes().of(NAME)?, "attribute key")?;
            }
            VALUE => check_value(reader.bytes().of(NAME)?, budget, depth)?,
            KEY_STRINDEX => {
                reader.varint().of(NAME)?;
            }
            _ => reader.unknown(key, KEY_VALUE).of(NAME)?,
        }
    }
    Ok(())
}

/// Recursion is as deep as [`super::budget::DEEPEST`] at most.
fn check_value(message: &[u8], budget: &mut Budget, depth: usize) -> Result<(), Stop> {
    const NAME: &str = "attribute value";
    if depth > budget.depth() {
        return Err(Fault::new(NAME, What::TooDeep).into());
    }
    let mut reader = Reader::new(message);
    while let Some(key) = reader.key().of(NAME)? {
        match key {
            STRING => {
                check_text(reader.bytes().of(NAME)?, NAME)?;
            }
            BOOL | INT | STRINDEX => {
                reader.varint().of(NAME)?;
            }
            DOUBLE => {
                reader.fixed64().of(NAME)?;
            }
            ARRAY | KVLIST => {
                let mut list = Reader::new(reader.bytes().of(NAME)?);
                while let Some(inner) = list.key().of(NAME)? {
                    if inner != VALUES {
                        list.unknown(inner, LIST).of(NAME)?;
                        continue;
                    }
                    budget.take()?;
                    let element = list.bytes().of(NAME)?;
                    if key == ARRAY {
                        check_value(element, budget, depth + 1)?;
                    } else {
                        check_key_value(element, budget, depth + 1)?;
                    }
                }
            }
            BYTES => {
                reader.bytes().of(NAME)?;
            }
            _ => reader.unknown(key, ANY_VALUE).of(NAME)?,
        }
    }
    Ok(())
}
