//! TLS to the backend: which authorities are trusted, the handshake, and what its errors mean. The certificate is always
//! verified, and there is no switch that turns it off.

use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, Error as TlsError, RootCertStore};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::{BackendUrl, CaCertificates};

/// The protocol that is offered in the handshake (ALPN).
const HTTP1: &[u8] = b"http/1.1";

/// The TLS of a backend with an `https://` URL.
pub struct BackendTls {
    connector: TlsConnector,
    /// The name that the backend's certificate must be for: the host of the URL.
    server_name: ServerName<'static>,
    /// Where the trusted authorities come from, as an error names it.
    authorities: &'static str,
    /// The error of the last handshake; `None` if it succeeded. An outage logs each error once.
    last_error: Mutex<Option<String>>,
}

impl BackendTls {
    /// Creates the TLS of a backend's address. Returns `None` for one without TLS. `ca` are the authorities that its
    /// certificate may be from; `None` means the system's.
    ///
    /// # Errors
    /// A sentence if the system has no authorities, and the configuration names none.
    pub fn new(url: &BackendUrl, ca: Option<&CaCertificates>) -> Result<Option<Self>, String> {
        let host = match url {
            BackendUrl::Https { host, .. } => host.clone(),
            BackendUrl::Http { .. } | BackendUrl::Unix(_) => return Ok(None),
        };
        let server_name =
            ServerName::try_from(host).map_err(|e| format!("[backend] url = \"{url}\": {e}"))?;
        let (roots, authorities) = match ca {
            Some(ca) => (ca.roots(), "in [backend] ca"),
            None => (system_roots()?, "of this system"),
        };
        let mut tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        tls.alpn_protocols = vec![HTTP1.to_vec()];
        let (connector, last_error) = (TlsConnector::from(Arc::new(tls)), Mutex::default());
        Ok(Some(Self { connector, server_name, authorities, last_error }))
    }

    /// Makes the handshake on a new connection and verifies the backend's certificate. The caller limits the time.
    ///
    /// # Errors
    /// A sentence that names the cause.
    pub async fn handshake(&self, tcp: TcpStream) -> Result<TlsStream<TcpStream>, String> {
        let connected = self.connector.connect(self.server_name.clone(), tcp).await;
        connected.map_err(|error| self.explain(&error))
    }

    /// Logs the result of a handshake if it is another one than before.
    pub(super) fn log_result(&self, error: Option<&str>) {
        let mut last = self.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_deref() == error {
            return;
        }
        match error {
            Some(error) => tracing::warn!(error, "TLS handshake with the backend failed"),
            None => tracing::info!("TLS handshake with the backend succeeded again"),
        }
        *last = error.map(str::to_owned);
    }

    fn explain(&self, error: &io::Error) -> String {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>());
        match tls {
            Some(TlsError::InvalidCertificate(cause)) => self.explain_certificate(cause),
            Some(TlsError::InvalidMessage(_)) => {
                "the backend does not speak TLS on this port: write http:// in [backend] url, or correct the port"
                    .to_owned()
            }
            Some(TlsError::AlertReceived(alert)) => format!("the backend rejected the TLS handshake: {alert:?}"),
            Some(other) => format!("the TLS handshake failed: {other}"),
            None if error.kind() == io::ErrorKind::UnexpectedEof => {
                "the backend closed the connection in the TLS handshake: check that it speaks TLS on this port"
                    .to_owned()
            }
            None => format!("the TLS handshake failed: {error}"),
        }
    }

    fn explain_certificate(&self, cause: &CertificateError) -> String {
        let name = self.server_name.to_str();
        // A bad signature is that of another authority with the name of a trusted one.
        if let CertificateError::UnknownIssuer | CertificateError::BadSignature = cause {
            return format!(
                "the certificate of {name} is from an unknown authority: it is not one {}; set [backend] ca to the \
                 authority's certificate",
                self.authorities
            );
        }
        if let CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } = cause {
            return format!(
                "the backend's certificate is not for the name {name}: use a name of the certificate in [backend] url"
            );
        }
        if let CertificateError::Expired | CertificateError::ExpiredContext { .. } = cause {
            return format!(
                "the certificate of {name} has expired: renew it, or correct this system's clock"
            );
        }
        if let CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } = cause {
            return format!("the certificate of {name} is not valid yet: correct this system's clock");
        }
        format!("the certificate of {name} is not valid: {cause}")
    }
}

/// Returns the authorities that this system trusts.
fn system_roots() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let reason = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
        return Err(format!(
            "[backend] url is https://, but this system has no certificate authorities{reason}: install them \
             (ca-certificates), or set [backend] ca"
        ));
    }
    Ok(roots)
}
