//! The domain: ids, spans, and a trace as a checked DAG.
//!
//! Imports nothing of the rest of the program and does no I/O.

mod dag;
mod id;
mod span;

pub use dag::{Invalid, Link, Span, Trace};
pub use id::{IdError, SpanId, TraceId};
pub use span::{SpanKind, SpanRecord, StatusCode, Symbol};
