//! Protobuf's wire format, read in place: keys, varints, and slices of what follows.

/// What is wrong with bytes that are no protobuf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Broken {
    /// The message ends inside a field.
    #[error("is cut short")]
    Truncated,
    /// A length says more bytes than its message has left.
    #[error("has a length that runs past its end")]
    Length,
    /// A varint of more than ten bytes, or of more than 64 bits.
    #[error("has an overlong varint")]
    Varint,
    /// Field number zero, a number over 2^29, or a wire type that doesn't exist.
    #[error("has a key that is no field's")]
    Key,
    /// A field of this message with the wire type of another kind of field.
    #[error("has a wire type that its field does not take")]
    WireType,
    /// A group that ends without having begun, or is nested too deep.
    #[error("has a broken group")]
    Group,
}

/// Wire types by their number on the wire.
pub(crate) const VARINT: u32 = 0;
pub(crate) const FIXED64: u32 = 1;
pub(crate) const LEN: u32 = 2;
const GROUP: u32 = 3;
const END_GROUP: u32 = 4;
pub(crate) const FIXED32: u32 = 5;

/// How deep unknown groups may nest. Nobody sends groups; prost counts them against
/// the same hundred levels as messages, which `DEEPEST` of the view leaves room for.
const GROUP_DEPTH: u32 = 4;

/// The key of a field as it stands on the wire, for `match`.
pub(crate) const fn key(field: u32, wire_type: u32) -> u32 {
    field << 3 | wire_type
}

/// The key of a string, bytes or message field.
pub(crate) const fn len(field: u32) -> u32 {
    key(field, LEN)
}

/// The field numbers that a message knows, as a bit set; none is over 16 in OTLP traces.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known(u32);

impl Known {
    /// The fields `1..=last`.
    pub(crate) const fn up_to(last: u32) -> Self {
        Self((1 << (last + 1)) - 2)
    }

    /// These fields.
    pub(crate) const fn some(fields: &[u32]) -> Self {
        let mut set = 0;
        let mut rest = fields;
        while let [field, more @ ..] = rest {
            set |= 1 << *field;
            rest = more;
        }
        Self(set)
    }

    fn has(self, field: u32) -> bool {
        field < u32::BITS && self.0 >> field & 1 == 1
    }
}

/// Reads one message from front to back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Before the first field of a message.
    pub(crate) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// What has not been read.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next field's key; none at the end of the message.
    #[inline]
    pub(crate) fn key(&mut self) -> Result<Option<u32>, Broken> {
        match self.rest {
            [] => Ok(None),
            // Fields 1 to 15 take one byte; their wire type is checked where they are matched.
            [byte @ 8..=127, rest @ ..] => {
                self.rest = rest;
                Ok(Some(u32::from(*byte)))
            }
            _ => self.long_key().map(Some),
        }
    }

    #[cold]
    fn long_key(&mut self) -> Result<u32, Broken> {
        let key = u32::try_from(self.varint()?).map_err(|_| Broken::Key)?;
        if key >> 3 == 0 {
            return Err(Broken::Key);
        }
        Ok(key)
    }

    /// A varint of at most 64 bits.
    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, Broken> {
        match self.rest {
            [byte @ 0..=127, rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Broken> {
        let mut value = 0;
        for (index, &byte) in self.rest.iter().enumerate().take(10) {
            if index == 9 && byte > 1 {
                return Err(Broken::Varint);
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                self.rest = self.rest.get(index + 1..).unwrap_or_default();
                return Ok(value);
            }
        }
        Err(Broken::Truncated)
    }

    /// The bytes of a string, bytes or message field.
    #[inline]
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Broken> {
        let length = usize::try_from(self.varint()?).map_err(|_| Broken::Length)?;
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Broken::Length)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// A fixed64, sfixed64 or double's bits.
    #[inline]
    pub(crate) fn fixed64(&mut self) -> Result<u64, Broken> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Broken::Truncated)?;
        self.rest = rest;
        Ok(u64::from_le_bytes(*bytes))
    }

    /// A fixed32.
    #[inline]
    pub(crate) fn fixed32(&mut self) -> Result<u32, Broken> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Broken::Truncated)?;
        self.rest = rest;
        Ok(u32::from_le_bytes(*bytes))
    }

    /// Steps over a field that the message's `match` did not take: one that nobody knows,
    /// which is fine, or a known one with a wrong wire type, which is not.
    pub(crate) fn unknown(&mut self, key: u32, known: Known) -> Result<(), Broken> {
        if known.has(key >> 3) {
            return Err(Broken::WireType);
        }
        self.skip(key, GROUP_DEPTH)
    }

    /// Steps over the rest of a field, whatever it is.
    pub(crate) fn pass(&mut self, key: u32) -> Result<(), Broken> {
        self.skip(key, GROUP_DEPTH)
    }

    fn skip(&mut self, key: u32, depth: u32) -> Result<(), Broken> {
        match key & 7 {
            VARINT => self.varint().map(drop),
            FIXED64 => self.fixed64().map(drop),
            LEN => self.bytes().map(drop),
            FIXED32 => self.fixed32().map(drop),
            GROUP => {
                let depth = depth.checked_sub(1).ok_or(Broken::Group)?;
                loop {
                    let inner = self.key()?.ok_or(Broken::Truncated)?;
                    if inner & 7 == END_GROUP {
                        return if inner >> 3 == key >> 3 {
                            Ok(())
                        } else {
                            Err(Broken::Group)
                        };
                    }
                    self.skip(inner, depth)?;
                }
            }
            END_GROUP => Err(Broken::Group),
            _ => Err(Broken::Key),
        }
    }
}

/// How many bytes a varint takes in its shortest form.
pub(crate) fn varint_len(value: usize) -> usize {
    let bits = usize::BITS - (value | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

/// Appends a varint in its shortest form.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        // The low seven bits, with the sign that more follow.
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}
