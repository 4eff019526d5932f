//! Faults of a config, all told at once.

use std::fmt;

/// One fault: where, and what would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Key path, as `receivers.otlp/edge.protocols.grpc.endpoint`.
    pub path: String,
    /// What was read and what would do.
    pub message: String,
    /// Where it stands: file and line, filled in by whoever knows the document.
    pub place: Option<String>,
}

/// The faults found so far, with the path at which the next one stands.
#[derive(Debug, Default)]
pub struct Faults {
    path: Vec<String>,
    found: Vec<Fault>,
}

impl Faults {
    /// Checks what stands below `key`.
    pub fn below(&mut self, key: &str, check: impl FnOnce(&mut Self)) {
        self.path.push(key.to_owned());
        check(self);
        self.path.pop();
    }

    /// A fault of `key` below the present path.
    pub fn push(&mut self, key: &str, message: impl Into<String>) {
        let mut path = self.path.join(".");
        if !key.is_empty() {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(key);
        }
        self.found.push(Fault {
            path,
            message: message.into(),
            place: None,
        });
    }

    /// All that was found.
    pub fn into_vec(self) -> Vec<Fault> {
        self.found
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)?;
        match &self.place {
            Some(place) => write!(f, " ({place})"),
            None => Ok(()),
        }
    }
}
