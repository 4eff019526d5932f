//! Component ids: `type` or `type/name`.

use std::fmt;
use std::str::FromStr;

/// The id of a component in a config, as in the OpenTelemetry Collector.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ComponentId {
    kind: String,
    name: String,
}

impl ComponentId {
    /// The type, which says what is built: `otlp` of `otlp/edge`.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The name after the slash; empty where there is none.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl FromStr for ComponentId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, name) = match text.split_once('/') {
            Some((kind, name)) => (kind.trim(), Some(name.trim())),
            None => (text.trim(), None),
        };
        let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if kind.is_empty() || !kind.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return Err(format!("`{text}` names no type; write type or type/name"));
        }
        if !kind.chars().all(good) {
            return Err(format!(
                "the type of `{text}` may hold letters, digits and _ only"
            ));
        }
        if name.is_some_and(str::is_empty) {
            return Err(format!("`{text}` has a slash and no name after it"));
        }
        Ok(Self {
            kind: kind.to_owned(),
            name: name.unwrap_or_default().to_owned(),
        })
    }
}

impl fmt::Display for ComponentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind)?;
        if !self.name.is_empty() {
            write!(f, "/{}", self.name)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let read = text.parse::<ComponentId>();
        let shown = read.map_or_else(|fault| fault, |id| format!("{} + {}", id.kind(), id.name()));
        assert_eq!(shown, expected);
    }

    #[test]
    fn an_id_is_a_type_and_perhaps_a_name() {
        check("otlp", "otlp + ");
        check("otlp/edge", "otlp + edge");
        check("otlp/", "`otlp/` has a slash and no name after it");
        check("/x", "`/x` names no type; write type or type/name");
    }
}
