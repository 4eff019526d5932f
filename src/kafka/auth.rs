//! `auth`: who we say we are, in the Collector's keys.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::{Faults, Present};

/// How a client proves who it is; nobody asks unless one of these is written.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// SASL: a name and a password.
    pub sasl: Present<Sasl>,
    /// The deprecated form of `sasl` with the mechanism PLAIN.
    pub plain_text: Present<PlainText>,
}

/// A name, a password, and how they are told.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sasl {
    /// The name.
    pub username: String,
    /// The password.
    pub password: Secret,
    /// `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.
    pub mechanism: Option<Mechanism>,
    /// Accepted as the Collector accepts it; the client and the broker agree on a version.
    pub version: u8,
}

/// A name and a password.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PlainText {
    /// The name.
    pub username: String,
    /// The password.
    pub password: Secret,
}

/// How name and password are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mechanism {
    /// As they are.
    #[serde(rename = "PLAIN")]
    Plain,
    /// Proven without telling them, over SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// Proven without telling them, over SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text, for whoever must tell it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl Mechanism {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

impl Auth {
    /// What serde can't say.
    pub fn check(&self, faults: &mut Faults) {
        if let Some(sasl) = self.sasl.as_ref() {
            faults.below("sasl", |faults| {
                named(faults, &sasl.username, &sasl.password);
                if sasl.mechanism.is_none() {
                    faults.push(
                        "mechanism",
                        "is missing; write PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512",
                    );
                }
                if sasl.version > 1 {
                    faults.push("version", format!("must be 0 or 1, got {}", sasl.version));
                }
            });
        }
        if let Some(plain) = self.plain_text.as_ref() {
            faults.below("plain_text", |faults| {
                named(faults, &plain.username, &plain.password);
                if self.sasl.is_on() {
                    faults.push("", "can't stand beside `sasl`; keep `sasl`");
                }
            });
        }
    }

    /// Name, password and mechanism, if a client is to say who it is.
    pub(super) fn told(&self) -> Option<(&str, &str, Mechanism)> {
        if let Some(sasl) = self.sasl.as_ref() {
            let mechanism = sasl.mechanism.unwrap_or(Mechanism::Plain);
            return Some((&sasl.username, sasl.password.reveal(), mechanism));
        }
        let plain = self.plain_text.as_ref()?;
        Some((&plain.username, plain.password.reveal(), Mechanism::Plain))
    }
}

fn named(faults: &mut Faults, username: &str, password: &Secret) {
    if username.is_empty() {
        faults.push("username", "is missing");
    }
    if password.reveal().is_empty() {
        faults.push(
            "password",
            "is missing; write `${env:NAME}` to keep it out of the file",
        );
    }
}
