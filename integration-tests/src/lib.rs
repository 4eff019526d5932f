//! Harness: the service in-process on port 0, clients and sinks.
