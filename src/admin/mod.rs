//! The admin page and its API.
