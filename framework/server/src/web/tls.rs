//! HTTPS of the server's own, with files that may change while it runs.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use switchboard::config::HttpConfig;
use switchboard::error::Chain;
use thiserror::Error;

/// How long the files are taken to be as they were seen.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why HTTPS cannot be spoken.
#[derive(Debug, Error)]
pub(crate) enum TlsError {
    #[error("`http.tls_certificate`: no certificate can be read from `{}`, which has to be a file in PEM", path.display())]
    Certificate { path: PathBuf, source: pem::Error },
    #[error("`http.tls_key`: no private key can be read from `{}`, which has to be a file in PEM", path.display())]
    Key { path: PathBuf, source: pem::Error },
    #[error(
        "the certificate in `{}` and the key in `{}` cannot be used together", certificate.display(), key.display()
    )]
    Pair { certificate: PathBuf, key: PathBuf, source: rustls::Error },
}

/// The certificate and its key.
pub(crate) struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    held: Mutex<Held>,
}

/// What was read last.
struct Held {
    config: Arc<ServerConfig>,
    files: [Option<(SystemTime, u64)>; 2],
    looked: Instant,
}

impl Tls {
    /// Reads the files that the settings name; `None` when they name none.
    pub(crate) fn open(http: &HttpConfig, data: &Path) -> Result<Option<Self>, TlsError> {
        let (Some(certificate), Some(key)) = (&http.tls_certificate, &http.tls_key) else { return Ok(None) };
        let (certificate, key) = (data.join(certificate), data.join(key));
        let files = [&certificate, &key].map(|path| state(path));
        let config = read(&certificate, &key)?;
        Ok(Some(Self { certificate, key, held: Mutex::new(Held { config, files, looked: Instant::now() }) }))
    }

    /// Returns with what the next connection is answered. Files that cannot be used leave what there was.
    pub(super) fn config(&self, log: &switchboard::channel_log::ChannelLog) -> Arc<ServerConfig> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.looked.elapsed() >= LOOK_EVERY {
            held.looked = Instant::now();
            let files = [&self.certificate, &self.key].map(|path| state(path));
            if files != held.files {
                held.files = files;
                let certificate = self.certificate.display().to_string();
                match read(&self.certificate, &self.key) {
                    Ok(config) => {
                        held.config = config;
                        log::info!(logger: log, target: super::dispatch::CHANNEL, certificate;
                            "a changed certificate holds from now on");
                    }
                    Err(error) => log::error!(logger: log, target: super::dispatch::CHANNEL, certificate,
                        error = Chain(&error).to_string(); "a changed certificate cannot be used: the one before goes on"),
                }
            }
        }
        Arc::clone(&held.config)
    }
}

fn state(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = path.metadata().ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn read(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let unreadable = |source| TlsError::Certificate { path: certificate.to_owned(), source };
    let chain = CertificateDer::pem_file_iter(certificate).map_err(unreadable)?;
    let chain: Vec<_> = chain.collect::<Result<_, _>>().map_err(unreadable)?;
    if chain.is_empty() {
        return Err(unreadable(pem::Error::NoItemsFound));
    }
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|source| TlsError::Key { path: key.to_owned(), source })?;
    let failed = |source| TlsError::Pair { certificate: certificate.to_owned(), key: key.to_owned(), source };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(failed)?;
    let mut config = config.with_no_client_auth().with_single_cert(chain, secret).map_err(failed)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
