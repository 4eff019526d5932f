//! Spans to traces: synchronous, clock passed in.
