//! Keys that mean "on with defaults" when nothing stands after them.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserialize, Deserializer};
use serde::{Serialize, Serializer};

/// A part that is on when its key is written: `grpc:` with nothing after it is on with defaults,
/// `grpc: {endpoint: …}` is on with these keys, and without the key it is off.
///
/// serde's `Option` reads an empty key as "off", which is not what users of the Collector mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Present<T>(pub Option<T>);

impl<T> Present<T> {
    /// The part, if it is on.
    pub fn as_ref(&self) -> Option<&T> {
        self.0.as_ref()
    }

    /// The part, if it is on.
    pub fn into_option(self) -> Option<T> {
        self.0
    }

    /// Whether it is on.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }
}

impl<T: Default> Present<T> {
    /// On with defaults.
    pub fn on() -> Self {
        Self(Some(T::default()))
    }
}

impl<T> Default for Present<T> {
    /// Off.
    fn default() -> Self {
        Self(None)
    }
}

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Present<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de> + Default> de::Visitor<'de> for Visitor<T> {
            type Value = Present<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("nothing, or keys and values")
            }

            fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
                Ok(Present::on())
            }

            fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
                Ok(Present::on())
            }

            fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Self::Value, D::Error> {
                T::deserialize(inner).map(|value| Present(Some(value)))
            }
        }
        deserializer.deserialize_option(Visitor(PhantomData))
    }
}

impl<T: Serialize> Serialize for Present<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Default, serde::Deserialize)]
    #[serde(default)]
    struct Protocols {
        grpc: Present<u32>,
    }

    fn check(yaml: &str, expected: Option<u32>) {
        let read: Protocols = serde_yaml_ng::from_str(yaml).unwrap();
        assert_eq!(read.grpc.into_option(), expected);
    }

    #[test]
    fn an_empty_key_is_on_and_an_absent_one_is_off() {
        check("grpc:", Some(0));
        check("grpc: 5", Some(5));
        check("{}", None);
    }
}
