//! All formats.
