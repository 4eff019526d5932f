//! Certificates and keys from PEM files.

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsError;

fn read(key: &'static str, path: &str) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Unreadable {
        key,
        path: path.to_owned(),
        source,
    })
}

/// The certificates of a file, at least one.
pub(super) fn certificates(
    key: &'static str,
    path: &str,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(key, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|why| TlsError::Unusable {
        key,
        path: path.to_owned(),
        why: why.to_string(),
    })?;
    if found.is_empty() {
        return Err(TlsError::Empty {
            key,
            path: path.to_owned(),
            wanted: "certificate",
        });
    }
    Ok(found)
}

/// The first private key of a file.
pub(super) fn private_key(
    key: &'static str,
    path: &str,
) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = read(key, path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|_| TlsError::Empty {
        key,
        path: path.to_owned(),
        wanted: "private key",
    })
}

/// The authorities of a file.
pub(super) fn roots(key: &'static str, path: &str) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(key, path)? {
        store.add(certificate).map_err(|why| TlsError::Unusable {
            key,
            path: path.to_owned(),
            why: why.to_string(),
        })?;
    }
    Ok(store)
}
