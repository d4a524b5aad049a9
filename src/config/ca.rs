//! Certificates of authorities, as PEM text in the configuration.

use super::reader::InvalidValue;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::fmt;

/// The certificates of at least one authority. Each can be trusted as it is.
#[derive(Clone, PartialEq, Eq)]
pub struct CaCertificates(Vec<CertificateDer<'static>>);

impl CaCertificates {
    /// Parses PEM text with one or more certificates. Returns `None` for a blank text.
    pub(super) fn parse(text: &str) -> Result<Option<Self>, InvalidValue> {
        if text.trim().is_empty() {
            return Ok(None);
        }
        let expected = || InvalidValue::expected("the certificates of authorities as PEM text");
        if !text.contains("-----BEGIN") {
            return Err(expected().help("name the file in a placeholder: {file./path/ca.pem}"));
        }
        // The text is never shown: it may be a private key.
        let invalid = |found: &str, help: &str| Err(expected().found(found).help(help));
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
        let Ok(certificates) = certificates else {
            return invalid("damaged PEM text", "copy the whole file");
        };
        if certificates.is_empty() {
            return invalid(
                "PEM text without a certificate",
                "the file of a certificate says BEGIN CERTIFICATE",
            );
        }
        let mut roots = RootCertStore::empty();
        if certificates.iter().any(|certificate| roots.add(certificate.clone()).is_err()) {
            return invalid("a certificate that cannot be read", "copy the whole file");
        }
        Ok(Some(Self(certificates)))
    }

    /// Returns a store that trusts these authorities and no others.
    pub fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(self.0.iter().cloned());
        roots
    }
}

/// Shows how many certificates there are.
impl fmt::Debug for CaCertificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CaCertificates({})", self.0.len())
    }
}
