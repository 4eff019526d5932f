//! TLS of a listener.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;

use super::{MinVersion, TlsError, pem, provider};
use crate::config::Faults;

/// TLS of a listener (`tls`), with the Collector's keys: plain text where the key is absent.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerTls {
    /// PEM file of the certificate to show, followed by those that lead to its authority.
    pub cert_file: String,
    /// PEM file of the certificate's private key.
    pub key_file: String,
    /// PEM file of the authorities whose clients are let in; written, it asks each client for one.
    pub client_ca_file: Option<String>,
    /// The oldest version to speak: `1.2` or `1.3`.
    pub min_version: MinVersion,
}

impl ServerTls {
    /// What serde can't say.
    pub fn check(&self, faults: &mut Faults) {
        if self.cert_file.is_empty() {
            faults.push("cert_file", "is missing; name the certificate's PEM file");
        }
        if self.key_file.is_empty() {
            faults.push("key_file", "is missing; name the private key's PEM file");
        }
    }

    /// What rustls needs.
    ///
    /// `alpn` names the protocols to speak, best first: `h2`, `http/1.1`.
    pub fn server_config(&self, alpn: &[&[u8]]) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = provider();
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(self.min_version.versions())
            .map_err(|why| TlsError::Settings(why.to_string()))?;
        let builder = match &self.client_ca_file {
            Some(path) => {
                let roots = Arc::new(pem::roots("client_ca_file", path)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
                    .build()
                    .map_err(|why| TlsError::Unusable {
                        key: "client_ca_file",
                        path: path.clone(),
                        why: why.to_string(),
                    })?;
                builder.with_client_cert_verifier(verifier)
            }
            None => builder.with_no_client_auth(),
        };
        let mut config = builder
            .with_single_cert(
                pem::certificates("cert_file", &self.cert_file)?,
                pem::private_key("key_file", &self.key_file)?,
            )
            .map_err(|why| TlsError::Unusable {
                key: "key_file",
                path: self.key_file.clone(),
                why: why.to_string(),
            })?;
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Ok(Arc::new(config))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_needs_a_certificate_and_its_key() {
        let mut faults = Faults::default();
        ServerTls::default().check(&mut faults);
        let told: Vec<String> = faults.into_vec().iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "cert_file: is missing; name the certificate's PEM file",
                "key_file: is missing; name the private key's PEM file",
            ]
        );
    }

    #[test]
    fn a_file_without_a_certificate_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("empty.pem").display().to_string();
        std::fs::write(&path, "").unwrap();
        let tls = ServerTls {
            cert_file: path.clone(),
            key_file: path.clone(),
            ..ServerTls::default()
        };
        assert_eq!(
            tls.server_config(&[]).unwrap_err().to_string(),
            format!("tls.cert_file: {path} holds no certificate in PEM form")
        );
    }
}
