//! TLS of clients and servers: the Collector's keys, rustls underneath.

mod client;
mod pem;
mod server;
mod unverified;

use std::sync::Arc;

use rustls::SupportedProtocolVersion;
use rustls::crypto::CryptoProvider;

pub use client::ClientTls;
pub use server::ServerTls;

/// The oldest TLS version to speak (`min_version`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
pub enum MinVersion {
    /// TLS 1.2 and 1.3.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3 only.
    #[serde(rename = "1.3")]
    Tls13,
}

impl MinVersion {
    fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        static NEW: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS13];
        static BOTH: [&SupportedProtocolVersion; 2] =
            [&rustls::version::TLS13, &rustls::version::TLS12];
        match self {
            Self::Tls12 => &BOTH,
            Self::Tls13 => &NEW,
        }
    }
}

/// Why TLS could not be set up: a sentence that says what and what to do.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read.
    #[error("tls.{key}: can't read {path}; name a PEM file that this process may read")]
    Unreadable {
        /// The key that names it.
        key: &'static str,
        /// The file.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// A file holds nothing of what it should hold.
    #[error("tls.{key}: {path} holds no {wanted} in PEM form")]
    Empty {
        /// The key that names it.
        key: &'static str,
        /// The file.
        path: String,
        /// What was looked for.
        wanted: &'static str,
    },
    /// A file holds something that can't be used.
    #[error("tls.{key}: {path} can't be used: {why}")]
    Unusable {
        /// The key that names it.
        key: &'static str,
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The settings do not fit together.
    #[error("tls: {0}")]
    Settings(String),
}

/// The one provider of cryptography, so that no process-wide default is needed.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
