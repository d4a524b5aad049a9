//! An authority for tests, and certificates of servers that it signs.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::PrivateKeyDer;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// An authority that no system trusts.
pub struct TestAuthority(CertifiedIssuer<'static, KeyPair>);

/// The certificate of a TLS server, and its key.
pub struct ServerCertificate {
    config: Arc<ServerConfig>,
    name: String,
}

impl TestAuthority {
    /// Creates an authority with a new key.
    pub fn new() -> Self {
        Self::named("Test authority")
    }

    /// Creates an authority of this name with a new key.
    pub fn named(name: &str) -> Self {
        let mut params = CertificateParams::new([]).expect("no names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(
            CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate"),
        )
    }

    /// Returns the authority's certificate as PEM text.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Signs a certificate for a server of this name, which is valid now.
    pub fn certificate(&self, name: &str) -> ServerCertificate {
        self.sign(name, CertificateParams::new([name.to_owned()]).expect("a name"))
    }

    /// Signs a certificate that expired in the year 2000.
    pub fn expired_certificate(&self, name: &str) -> ServerCertificate {
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        (params.not_before, params.not_after) = (date_time_ymd(1999, 1, 1), date_time_ymd(2000, 1, 1));
        self.sign(name, params)
    }

    fn sign(&self, name: &str, params: CertificateParams) -> ServerCertificate {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a PKCS 8 key");
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key);
        let mut config = config.expect("the key is that of the certificate");
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        ServerCertificate { config: Arc::new(config), name: name.to_owned() }
    }
}

impl ServerCertificate {
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.config.clone().into()
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}
