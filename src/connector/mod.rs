//! The synthesizer connector: exporter of the observed pipeline, receiver of the synthetic one.
