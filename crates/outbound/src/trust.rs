//! Whom TLS trusts: this machine's certificates, or the built-in ones where it has none.
//!
//! `SSL_CERT_FILE` and `SSL_CERT_DIR` replace the machine's certificates. If they are set and give nothing, that is
//! an error: falling back would trust those whom the user meant not to.

use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::crypto::ring;
use std::sync::Arc;

/// Why there is nobody to trust.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TrustError {
    #[error("SSL_CERT_FILE or SSL_CERT_DIR is set, but no certificate was read from there: {reason}")]
    NoneReadable { reason: String },
    #[error("TLS cannot be set up")]
    Protocol(#[from] rustls::Error),
}

/// Reads files: slow, so once a process and away from the event loop.
pub(crate) fn load() -> Result<Arc<ClientConfig>, TrustError> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots()?)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn roots() -> Result<RootCertStore, TrustError> {
    let native = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    let (added, ignored) = store.add_parsable_certificates(native.certs);
    if added > 0 {
        tracing::debug!(added, ignored, "trust roots of this machine");
        return Ok(store);
    }
    let reason = native
        .errors
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ");
    if ["SSL_CERT_FILE", "SSL_CERT_DIR"]
        .iter()
        .any(|name| std::env::var_os(name).is_some())
    {
        return Err(TrustError::NoneReadable { reason });
    }
    tracing::debug!(%reason, "this machine has no trust roots, using the built-in ones");
    store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    Ok(store)
}
