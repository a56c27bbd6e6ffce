//! Certificates: read, checked, and exchanged while the server runs. A connection keeps those that it began with.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use crate::settings::TlsFiles;

/// Why certificates cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {why}")]
pub struct TlsError {
    file: String,
    why: String,
}

/// The certificates in use.
pub struct Tls(ArcSwap<ServerConfig>);

impl Tls {
    /// Reads `files`.
    ///
    /// # Errors
    /// One cannot be read, is not what it should be, or does not belong to the others.
    pub fn read(files: &TlsFiles) -> Result<Tls, TlsError> {
        Ok(Tls(ArcSwap::from(config(files)?)))
    }

    /// Reads `files` for connections from now on.
    ///
    /// # Errors
    /// As [`Tls::read`]; the old ones stay in use.
    pub fn reload(&self, files: &TlsFiles) -> Result<(), TlsError> {
        self.0.store(config(files)?);
        Ok(())
    }

    /// What the next connection is accepted with.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.0.load_full())
    }
}

fn config(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = certificates(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| failed(&files.key, format!("no private key in PEM form: {error}")))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&files.certificate, error.to_string()))?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(file)? {
                roots.add(certificate).map_err(|error| failed(file, error.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| failed(file, error.to_string()))?)
        }
    };
    let config = builder.with_single_cert(chain, key);
    let mismatch = |error: rustls::Error| {
        failed(&files.certificate, format!("cannot be used with {}: {error}", files.key.display()))
    };
    Ok(Arc::new(config.map_err(mismatch)?))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable =
        |error: rustls::pki_types::pem::Error| failed(file, format!("no certificate in PEM form: {error}"));
    let found = CertificateDer::pem_file_iter(file).map_err(unreadable)?;
    let found: Vec<_> = found.collect::<Result<_, _>>().map_err(unreadable)?;
    if found.is_empty() {
        return Err(failed(file, "no certificate in PEM form".to_owned()));
    }
    Ok(found)
}

fn failed(file: &Path, why: String) -> TlsError {
    TlsError { file: file.display().to_string(), why }
}
