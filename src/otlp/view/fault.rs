//! What is wrong with a span, a resource or a request, told without any of its text.

use std::fmt;

use super::WalkError;
use crate::otlp::wire::Broken;
use crate::trace::IdError;

/// Why a check stops.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stop {
    /// This message is bad; what else the request holds may be good.
    Fault(Fault),
    /// The request holds more than [`super::Limits::elements`].
    TooMany,
}

/// One message's fault: the field, and the repeated element that it lies in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fault {
    element: Option<(&'static str, u32)>,
    field: &'static str,
    what: What,
}

/// What is wrong with the field.
#[derive(Debug, Clone, Copy)]
pub(super) enum What {
    /// Not protobuf.
    Broken(Broken),
    /// No UTF-8.
    Utf8,
    /// Values nested deeper than [`super::Limits::depth`].
    TooDeep,
    /// No identifier.
    Id(IdError),
}

impl Fault {
    /// A fault of a field.
    #[cold]
    pub(super) fn new(field: &'static str, what: What) -> Self {
        Self {
            element: None,
            field,
            what,
        }
    }

    /// Whether the bytes are no protobuf at all.
    pub(super) fn is_broken(&self) -> bool {
        matches!(self.what, What::Broken(_))
    }
}

impl Stop {
    /// Says which repeated element the fault lies in; the outermost is told last and wins.
    #[cold]
    pub(super) fn within(self, element: &'static str, index: u32) -> Self {
        match self {
            Self::Fault(fault) => Self::Fault(Fault {
                element: Some((element, index)),
                ..fault
            }),
            Self::TooMany => Self::TooMany,
        }
    }
}

impl From<Fault> for Stop {
    #[cold]
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// A message that is no protobuf is named by what it should have been.
pub(super) trait Named<T> {
    /// Turns a wire fault into the fault of a field or message.
    fn of(self, field: &'static str) -> Result<T, Fault>;
}

impl<T> Named<T> for Result<T, Broken> {
    #[inline]
    fn of(self, field: &'static str) -> Result<T, Fault> {
        match self {
            Ok(value) => Ok(value),
            Err(broken) => Err(Fault::new(field, What::Broken(broken))),
        }
    }
}

impl<T> Named<T> for Result<T, IdError> {
    #[inline]
    fn of(self, field: &'static str) -> Result<T, Fault> {
        match self {
            Ok(value) => Ok(value),
            Err(error) => Err(Fault::new(field, What::Id(error))),
        }
    }
}

impl From<Fault> for WalkError {
    #[cold]
    fn from(fault: Fault) -> Self {
        Self::Malformed(fault.to_string())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((element, index)) = self.element {
            write!(f, "{element} {index}: ")?;
        }
        write!(f, "{} {}", self.field, self.what)
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(broken) => broken.fmt(f),
            Self::Utf8 => f.write_str("is not UTF-8"),
            Self::TooDeep => f.write_str("is nested too deep"),
            Self::Id(IdError::Length { got: 0, .. }) => f.write_str("is missing"),
            Self::Id(error) => error.fmt(f),
        }
    }
}
