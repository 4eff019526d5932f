//! TLS towards a backend.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

use super::unverified::AnyCertificate;
use super::{MinVersion, TlsError, pem, provider};
use crate::config::Faults;

/// TLS towards a backend (`tls`), with the Collector's keys: on unless `insecure: true`.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientTls {
    /// Speak plain text instead of TLS.
    pub insecure: bool,
    /// Take any certificate of the backend. For tests: anybody can then stand in for it.
    pub insecure_skip_verify: bool,
    /// The name that the backend's certificate must hold, where it is not the endpoint's host.
    pub server_name_override: Option<String>,
    /// PEM file of the authorities to trust; without it, the ones that browsers trust.
    pub ca_file: Option<String>,
    /// PEM file of this client's certificate, for mutual TLS; needs `key_file`.
    pub cert_file: Option<String>,
    /// PEM file of this client's private key; needs `cert_file`.
    pub key_file: Option<String>,
    /// The oldest version to speak: `1.2` or `1.3`.
    pub min_version: MinVersion,
}

impl ClientTls {
    /// What serde can't say.
    pub fn check(&self, faults: &mut Faults) {
        match (&self.cert_file, &self.key_file) {
            (Some(_), None) => faults.push("cert_file", "needs key_file beside it"),
            (None, Some(_)) => faults.push("key_file", "needs cert_file beside it"),
            _ => {}
        }
    }

    /// What rustls needs, or none where plain text is asked for.
    ///
    /// `alpn` names the protocols to offer, best first: `h2`, `http/1.1`.
    pub fn client_config(&self, alpn: &[&[u8]]) -> Result<Option<Arc<ClientConfig>>, TlsError> {
        if self.insecure {
            return Ok(None);
        }
        let provider = provider();
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(self.min_version.versions())
            .map_err(|why| TlsError::Settings(why.to_string()))?;
        let builder = if self.insecure_skip_verify {
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        } else {
            let roots = match &self.ca_file {
                Some(path) => pem::roots("ca_file", path)?,
                None => RootCertStore {
                    roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
                },
            };
            builder.with_root_certificates(roots)
        };
        let mut config = match (&self.cert_file, &self.key_file) {
            (Some(cert), Some(key)) => builder
                .with_client_auth_cert(
                    pem::certificates("cert_file", cert)?,
                    pem::private_key("key_file", key)?,
                )
                .map_err(|why| TlsError::Unusable {
                    key: "key_file",
                    path: key.clone(),
                    why: why.to_string(),
                })?,
            _ => builder.with_no_client_auth(),
        };
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Ok(Some(Arc::new(config)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_only_spoken_when_written() {
        assert!(ClientTls::default().client_config(&[]).unwrap().is_some());
        let plain = ClientTls {
            insecure: true,
            ..ClientTls::default()
        };
        assert!(plain.client_config(&[]).unwrap().is_none());
    }

    #[test]
    fn a_file_that_is_not_there_is_named_with_its_key() {
        let tls = ClientTls {
            ca_file: Some("/nowhere/ca.pem".to_owned()),
            ..ClientTls::default()
        };
        assert_eq!(
            tls.client_config(&[]).unwrap_err().to_string(),
            "tls.ca_file: can't read /nowhere/ca.pem; name a PEM file that this process may read"
        );
    }

    #[test]
    fn a_certificate_needs_its_key() {
        let tls = ClientTls {
            cert_file: Some("c.pem".to_owned()),
            ..ClientTls::default()
        };
        let mut faults = Faults::default();
        tls.check(&mut faults);
        assert_eq!(
            faults.into_vec()[0].to_string(),
            "cert_file: needs key_file beside it"
        );
    }
}
