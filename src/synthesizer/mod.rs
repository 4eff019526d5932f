//! Synthetic traces: drawn, paced, given fresh ids and times, written as OTLP bytes.
