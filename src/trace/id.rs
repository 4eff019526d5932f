//! Identifiers that can't be wrong: the right length and never all zero.

use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};

/// Why sixteen or eight bytes are no identifier (OTLP `Span.trace_id`, `Span.span_id`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The field has another length than the protocol gives it.
    #[error("has {got} bytes, expected {expected}")]
    Length {
        /// Bytes that the protocol asks for.
        expected: usize,
        /// Bytes that were there.
        got: usize,
    },
    /// All bytes are zero, which the protocol calls invalid.
    #[error("is all zeros")]
    Zero,
}

/// A trace id: 16 bytes, not all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceId(NonZeroU128);

/// A span id: 8 bytes, not all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanId(NonZeroU64);

impl TraceId {
    /// Checks the bytes of `Span.trace_id`.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, IdError> {
        let array = bytes.try_into().map_err(|_| IdError::Length {
            expected: 16,
            got: bytes.len(),
        })?;
        NonZeroU128::new(u128::from_be_bytes(array))
            .map(Self)
            .ok_or(IdError::Zero)
    }

    /// The id whose big-endian bytes are this number.
    pub fn from_number(number: NonZeroU128) -> Self {
        Self(number)
    }

    /// The id as a number, for hashing to shards.
    pub fn number(self) -> u128 {
        self.0.get()
    }

    /// The bytes as they stand on the wire.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.get().to_be_bytes()
    }
}

impl SpanId {
    /// Checks the bytes of `Span.span_id` or `Span.parent_span_id`.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, IdError> {
        let array = bytes.try_into().map_err(|_| IdError::Length {
            expected: 8,
            got: bytes.len(),
        })?;
        NonZeroU64::new(u64::from_be_bytes(array))
            .map(Self)
            .ok_or(IdError::Zero)
    }

    /// The id whose big-endian bytes are this number.
    pub fn from_number(number: NonZeroU64) -> Self {
        Self(number)
    }

    /// The id as a number.
    pub fn number(self) -> u64 {
        self.0.get()
    }

    /// The bytes as they stand on the wire.
    pub fn to_bytes(self) -> [u8; 8] {
        self.0.get().to_be_bytes()
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sixteen_bytes_that_are_not_all_zero_make_a_trace_id() {
        assert_eq!(TraceId::from_slice(&[0; 16]), Err(IdError::Zero));
        assert_eq!(
            TraceId::from_slice(&[1; 8]),
            Err(IdError::Length {
                expected: 16,
                got: 8
            })
        );
        assert_eq!(
            TraceId::from_slice(&[7; 16]).unwrap().to_bytes(),
            [7_u8; 16]
        );
    }
}
