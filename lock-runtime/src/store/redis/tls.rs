//! Encrypted connections.

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::error::SetupError;

/// Whom to trust on an encrypted connection, and how to prove who we are.
///
/// ```no_run
/// use lock_runtime::LockManager;
/// use lock_runtime::store::redis::{RedisStore, Tls};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let tls = Tls::new()
///     .root_certificates(&std::fs::read("ca.pem")?)?
///     .client_certificate(&std::fs::read("client.pem")?, &std::fs::read("client.key")?)?;
/// let locks = LockManager::builder(RedisStore::open("rediss://db.example:6380")?.tls(tls)?).build();
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Tls {
    /// `None`: those of the system.
    roots: Option<Arc<RootCertStore>>,
    client: Option<Arc<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>>,
    /// Made of the above when it is first needed.
    config: OnceLock<Arc<ClientConfig>>,
}

impl Tls {
    /// Trusts whom the system trusts, and shows no certificate.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts only who has a certificate from one of these authorities; certificates in PEM form.
    ///
    /// # Errors
    ///
    /// [`SetupError::Tls`] when there is no certificate in it, or one that cannot be read.
    pub fn root_certificates(mut self, pem: &[u8]) -> Result<Self, SetupError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(pem, "the root certificates")? {
            roots.add(certificate).map_err(|error| unusable("the root certificates", &error))?;
        }
        (self.roots, self.config) = (Some(Arc::new(roots)), OnceLock::new());
        Ok(self)
    }

    /// Shows this certificate, in PEM form and followed by those of the authorities between it and the root, and proves it
    /// with its private key, in PEM form too.
    ///
    /// # Errors
    ///
    /// [`SetupError::Tls`] when one of them cannot be read. Whether they belong together is found out by
    /// [`RedisStore::tls`](super::RedisStore::tls).
    pub fn client_certificate(mut self, chain: &[u8], key: &[u8]) -> Result<Self, SetupError> {
        let chain = certificates(chain, "the client's certificate")?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| unusable("the client's private key", &error))?;
        (self.client, self.config) = (Some(Arc::new((chain, key))), OnceLock::new());
        Ok(self)
    }

    /// What all connections have in common.
    pub(super) fn config(&self) -> Result<Arc<ClientConfig>, SetupError> {
        if let Some(config) = self.config.get() {
            return Ok(config.clone());
        }
        let roots = match &self.roots {
            Some(roots) => roots.clone(),
            None => of_the_system()?,
        };
        // Named: the choice of a whole process may never have been made, or differ.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable("the versions of TLS", &error))?
            .with_root_certificates(roots);
        let config = match self.client.as_deref() {
            Some((chain, key)) => builder
                .with_client_auth_cert(chain.clone(), key.clone_key())
                .map_err(|error| unusable("the client's certificate and key", &error))?,
            None => builder.with_no_client_auth(),
        };
        Ok(self.config.get_or_init(|| Arc::new(config)).clone())
    }

    /// Makes an encrypted connection of one to `host`, which has to prove that it is.
    pub(super) async fn wrap(&self, host: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let config = self.config().map_err(io::Error::other)?;
        let host = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        TlsConnector::from(config).connect(host, stream).await
    }
}

/// Without the key.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let roots = self.roots.as_ref().map(|roots| roots.len());
        f.debug_struct("Tls").field("roots", &roots).field("client", &self.client.is_some()).finish_non_exhaustive()
    }
}

fn certificates(pem: &[u8], what: &str) -> Result<Vec<CertificateDer<'static>>, SetupError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let read = read.map_err(|error| unusable(what, &error))?;
    if read.is_empty() {
        return Err(unusable(what, &"there is no certificate in PEM form"));
    }
    Ok(read)
}

/// Read once in a process: there are more than a hundred.
fn of_the_system() -> Result<Arc<RootCertStore>, SetupError> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    if let Some(roots) = ROOTS.get() {
        return Ok(roots.clone());
    }
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // The system's may be some that nobody can read any more: of what use they are is the system's business.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map_or_else(|| "there are none".to_owned(), ToString::to_string);
        return Err(unusable("the system's root certificates", &why));
    }
    Ok(ROOTS.get_or_init(|| Arc::new(roots)).clone())
}

fn unusable(what: &str, why: &dyn fmt::Display) -> SetupError {
    SetupError::Tls { reason: format!("{what} cannot be used: {why}") }
}
