//! TLS: whom to trust, who we are, and what the handshake tells.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue, WebPkiServerVerifier,
};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, NamedGroup, RootCertStore, SignatureScheme};

use super::certificate::expires_at;
use super::trace::{self, Phase};

/// What TLS does differently for one receiver.
///
/// Its `Debug` shows no key.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct TlsOptions {
    /// Certificate authorities in PEM that are trusted instead of the machine's. `None` for the machine's.
    pub ca_pem: Option<String>,
    /// The certificate, followed by those that lead to its authority, and the private key in PEM with which we prove who
    /// we are (mTLS). `None` where the receiver does not ask.
    pub identity_pem: Option<String>,
}

impl fmt::Debug for TlsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsOptions")
            .field("own_ca", &self.ca_pem.is_some())
            .field("own_identity", &self.identity_pem.is_some())
            .finish_non_exhaustive()
    }
}

impl TlsOptions {
    /// Checks that certificates and key can be read and belong together, for whoever stores them.
    ///
    /// # Errors
    ///
    /// [`TlsOptionsError`], which says what is wrong with which of them.
    pub fn check(&self) -> Result<(), TlsOptionsError> {
        config(self).map(drop)
    }
}

/// Why [`TlsOptions`] cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsOptionsError {
    /// There is no certificate authority in the text.
    #[error("the certificate authority cannot be read, give one or more certificates in PEM")]
    Ca,
    /// The text has no certificate or no private key.
    #[error("the client certificate cannot be read, give the certificate and its private key in PEM")]
    Identity,
    /// rustls does not accept them.
    #[error("the certificates cannot be used")]
    Unusable {
        /// What rustls said.
        source: rustls::Error,
    },
}

impl From<rustls::Error> for TlsOptionsError {
    fn from(source: rustls::Error) -> Self {
        Self::Unusable { source }
    }
}

/// Returns the configuration. The crypto provider is named and not installed for the process, which may have its own.
pub(super) fn config(options: &TlsOptions) -> Result<ClientConfig, TlsOptionsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let trusted: Trusted = match &options.ca_pem {
        Some(pem) => Ok(authorities(pem, &provider)?),
        // A machine that trusts nobody can still be a host: its https requests fail one by one, with that reason.
        None => rustls_platform_verifier::Verifier::new(provider.clone()).map(|verifier| Arc::new(verifier) as _),
    };
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Noting { trusted, provider }));
    let mut config = match &options.identity_pem {
        Some(pem) => {
            let chain = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
            let key = PrivateKeyDer::from_pem_slice(pem.as_bytes());
            let (Ok(chain), Ok(key)) = (chain, key) else { return Err(TlsOptionsError::Identity) };
            if chain.is_empty() {
                return Err(TlsOptionsError::Identity);
            }
            builder.with_client_auth_cert(chain, key)?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.resumption = Resumption::store(Arc::new(NoSessions));
    Ok(config)
}

fn authorities(pem: &str, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, TlsOptionsError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate.map_err(|_| TlsOptionsError::Ca)?)?;
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build();
    Ok(verifier.map_err(|_| TlsOptionsError::Ca)?)
}

type Trusted = Result<Arc<dyn ServerCertVerifier>, rustls::Error>;

/// Verifies with `trusted`, and notes what the handshake shows.
#[derive(Debug)]
struct Noting {
    trusted: Trusted,
    provider: Arc<CryptoProvider>,
}

impl Noting {
    fn trusted(&self) -> Result<&dyn ServerCertVerifier, rustls::Error> {
        self.trusted.as_deref().map_err(Clone::clone)
    }
}

impl ServerCertVerifier for Noting {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // Before the verdict: an expired certificate is worth its date.
        trace::note_tls(|peer| peer.expires_at = expires_at(end_entity));
        self.trusted()?.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        trace::note_tls(|peer| peer.version = Some("TLSv1.2"));
        self.trusted()?.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        trace::note_tls(|peer| peer.version = Some("TLSv1.3"));
        self.trusted()?.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Keeps no session, so that each connection shows the receiver's certificate; and notes when a handshake begins, which is
/// when a session is asked for.
#[derive(Debug)]
struct NoSessions;

impl ClientSessionStore for NoSessions {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        trace::enter(Phase::Tls);
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, _: Tls13ClientSessionValue) {}

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        None
    }
}
