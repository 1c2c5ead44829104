//! Receivers on raw sockets, with and without TLS.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

/// A connection, whatever it goes over.
pub(crate) trait Stream: Read + Write {
    /// The socket below.
    fn socket(&self) -> &TcpStream;
}

impl Stream for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Stream for StreamOwned<ServerConnection, TcpStream> {
    fn socket(&self) -> &TcpStream {
        self.get_ref()
    }
}

/// One receiver, which answers each connection on a thread of its own.
pub(crate) struct Receiver {
    pub(crate) url: String,
    /// The authority that has signed its certificate.
    pub(crate) ca_pem: Option<String>,
    connections: Arc<AtomicUsize>,
}

impl Receiver {
    /// Answers before anything is read.
    pub(super) fn raw(answer: fn(&mut dyn Stream) -> io::Result<()>) -> Self {
        Self::listen("http", None, move |mut stream| answer(&mut stream))
    }

    /// Answers when the head of the request has been read. `answer` also gets the path of the request.
    pub(super) fn new(answer: fn(&mut dyn Stream, &str) -> io::Result<()>) -> Self {
        Self::listen("http", None, move |mut stream| answer_request(&mut stream, answer))
    }

    /// The same over TLS.
    pub(super) fn tls(certificate: Certificate, answer: fn(&mut dyn Stream, &str) -> io::Result<()>) -> Self {
        let (config, ca_pem) = certificate.config(None);
        Self::over_tls(config, ca_pem, answer)
    }

    /// The same over TLS, for clients with a certificate that this authority has signed.
    pub(crate) fn mutual(
        clients: &CertifiedIssuer<'_, KeyPair>,
        answer: fn(&mut dyn Stream, &str) -> io::Result<()>,
    ) -> Self {
        let (config, ca_pem) = Certificate::Good.config(Some(clients));
        Self::over_tls(config, ca_pem, answer)
    }

    fn over_tls(
        config: Arc<ServerConfig>,
        ca_pem: String,
        answer: fn(&mut dyn Stream, &str) -> io::Result<()>,
    ) -> Self {
        Self::listen("https", Some(ca_pem), move |stream| {
            let connection = ServerConnection::new(Arc::clone(&config)).map_err(io::Error::other)?;
            answer_request(&mut StreamOwned::new(connection, stream), answer)
        })
    }

    /// Answers at an `https` URL before anything is read, without TLS.
    pub(super) fn not_tls(answer: fn(&mut dyn Stream) -> io::Result<()>) -> Self {
        Self::listen("https", None, move |mut stream| answer(&mut stream))
    }

    fn listen(
        scheme: &str,
        ca_pem: Option<String>,
        answer: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("{scheme}://localhost:{}/in", listener.local_addr().unwrap().port());
        let connections = Arc::new(AtomicUsize::new(0));
        let (count, answer) = (Arc::clone(&connections), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming() {
                count.fetch_add(1, Ordering::SeqCst);
                let answer = Arc::clone(&answer);
                // An error is that the client has closed, which is what the cases are about.
                thread::spawn(move || answer(stream?));
            }
        });
        Self { url, ca_pem, connections }
    }

    /// How many connections were made.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn answer_request(stream: &mut dyn Stream, answer: fn(&mut dyn Stream, &str) -> io::Result<()>) -> io::Result<()> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte)? == 1 {
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    answer(stream, head.split(' ').nth(1).unwrap_or_default())
}

pub(crate) fn say(stream: &mut dyn Stream, text: &str) -> io::Result<()> {
    stream.write_all(text.as_bytes())?;
    stream.flush()
}

/// Keeps the connection open until the client closes it.
pub(super) fn hold(stream: &mut dyn Stream) -> io::Result<()> {
    let mut bytes = [0; 1024];
    while stream.read(&mut bytes)? > 0 {}
    Ok(())
}

/// Says `text` one byte at a time until the client closes the connection, then again from its start.
pub(super) fn drip(stream: &mut dyn Stream, text: &[u8]) -> io::Result<()> {
    stream.socket().set_read_timeout(Some(Duration::from_millis(20)))?;
    // The rest of the request comes first; an error is that nothing came in the time.
    let mut bytes = [0; 1024];
    for byte in text.iter().cycle() {
        stream.write_all(&[*byte])?;
        if matches!(stream.read(&mut bytes), Ok(0)) {
            return Ok(());
        }
    }
    Ok(())
}

/// What is wrong with a certificate.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Certificate {
    Good,
    WrongName,
    Expired,
    NotYet,
    /// Signed by an authority other than the one that is trusted.
    Stranger,
}

impl Certificate {
    /// Returns what the receiver does, and the authority to trust. `clients` is the one whose clients it lets in.
    fn config(self, clients: Option<&CertifiedIssuer<'_, KeyPair>>) -> (Arc<ServerConfig>, String) {
        let (ca, stranger) = (authority("ca"), authority("stranger"));
        let name = if self == Self::WrongName { "elsewhere.example" } else { "localhost" };
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        if self == Self::Expired {
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        }
        if self == Self::NotYet {
            params.not_before = rcgen::date_time_ymd(2090, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, if self == Self::Stranger { &stranger } else { &ca }).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
        let builder = match clients {
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.der().clone()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
                builder.with_client_cert_verifier(verifier)
            }
            None => builder.with_no_client_auth(),
        };
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        (Arc::new(config), ca.pem())
    }
}

pub(crate) fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}
