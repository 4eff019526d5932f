//! `headers`: what goes along with every request.

use std::collections::BTreeMap;
use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use crate::config::Faults;

/// Names and values. Values are often secrets and are never shown.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Headers(BTreeMap<String, String>);

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl FromIterator<(String, String)> for Headers {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(headers: I) -> Self {
        Self(headers.into_iter().collect())
    }
}

impl Headers {
    /// What serde can't say.
    pub fn check(&self, faults: &mut Faults) {
        for (name, value) in &self.0 {
            if name.parse::<HeaderName>().is_err() {
                faults.push(name, "is no name of a header");
            }
            if HeaderValue::from_str(value).is_err() {
                faults.push(name, "has a value with characters that no header may hold");
            }
        }
    }

    /// The headers as they are sent; those that `check` finds fault with are left out.
    pub(super) fn map(&self) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in &self.0 {
            if let (Ok(name), Ok(mut value)) =
                (name.parse::<HeaderName>(), HeaderValue::from_str(value))
            {
                value.set_sensitive(true);
                map.insert(name, value);
            }
        }
        map
    }
}
