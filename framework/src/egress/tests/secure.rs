//! TLS: whom a request trusts, who it is, and what it tells.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use super::*;

/// 2040-01-01.
const EXPIRES_AT: i64 = 2_208_988_800;

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Returns a certificate with its key, in PEM.
fn identity(authority: &CertifiedIssuer<'_, KeyPair>, name: &str) -> String {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2040, 1, 1);
    let key = KeyPair::generate().unwrap();
    params.signed_by(&key, authority).unwrap().pem() + &key.serialize_pem()
}

/// Serves any number of requests on each connection, each with 204. Returns the port.
fn serve_tls(
    identity: &str,
    clients: Option<&CertifiedIssuer<'_, KeyPair>>,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> u16 {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions).unwrap();
    let builder = match clients {
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let chain = CertificateDer::pem_slice_iter(identity.as_bytes()).collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(identity.as_bytes()).unwrap();
    let config = Arc::new(builder.with_single_cert(chain, key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = ServerConnection::new(config.clone()).unwrap();
            thread::spawn(move || {
                let mut stream = StreamOwned::new(connection, stream?);
                let (mut head, mut byte) = (Vec::new(), [0]);
                while stream.read(&mut byte)? == 1 {
                    head.push(byte[0]);
                    if head.ends_with(b"\r\n\r\n{}") {
                        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?;
                        head.clear();
                    }
                }
                io::Result::Ok(())
            });
        }
    });
    port
}

fn tls(ca: Option<&CertifiedIssuer<'_, KeyPair>>, identity: Option<&str>) -> Option<Arc<TlsOptions>> {
    Some(Arc::new(TlsOptions { ca_pem: ca.map(|ca| ca.pem()), identity_pem: identity.map(str::to_owned) }))
}

fn send_tls(egress: &Egress, port: u16, tls: Option<Arc<TlsOptions>>) -> impl Future<Output = Sent> {
    egress.send(Request { tls, ..request(&format!("https://localhost:{port}/?SECRET")) })
}

#[test]
fn a_receiver_is_trusted_by_the_authority_that_was_given_for_it() {
    let ca = authority("theirs");
    let port = serve_tls(&identity(&ca, "localhost"), None, rustls::ALL_VERSIONS);
    let egress = Egress::new(options()).unwrap();
    run(async {
        let sent = send_tls(&egress, port, tls(Some(&ca), None)).await;
        assert_eq!(sent.result.unwrap().status, 204);
        let peer = sent.trace.tls.unwrap();
        assert_eq!((peer.version, peer.expires_at), (Some("TLSv1.3"), Some(EXPIRES_AT)));
        assert!(sent.trace.timings.connect.is_some() && sent.trace.timings.tls.is_some(), "{:?}", sent.trace);
        // Over the same connection, which TLS has told about before.
        let sent = send_tls(&egress, port, tls(Some(&ca), None)).await;
        assert_eq!((sent.result.unwrap().status, sent.trace.reused, sent.trace.tls), (204, true, Some(peer)));
        assert_eq!(sent.trace.timings.tls, None);
        // The connection of one authority carries no request of another, nor one that trusts the machine's.
        for other in [tls(Some(&authority("other")), None), None] {
            let sent = send_tls(&egress, port, other).await;
            let error = check_failed(sent.result, "tls", true);
            let reason = "cannot make a secure connection to `localhost`, its certificate is signed by nobody who is trusted here";
            assert_eq!(error.to_string(), reason);
            assert_eq!(sent.trace.tls.unwrap().expires_at, Some(EXPIRES_AT));
        }
    });
}

#[test]
fn a_receiver_with_tls_1_2_is_told_apart() {
    let ca = authority("theirs");
    let port = serve_tls(&identity(&ca, "localhost"), None, &[&rustls::version::TLS12]);
    let sent = run(send_tls(&Egress::new(options()).unwrap(), port, tls(Some(&ca), None)));
    assert_eq!(sent.result.unwrap().status, 204);
    assert_eq!(sent.trace.tls.unwrap().version, Some("TLSv1.2"));
}

#[test]
fn a_receiver_that_asks_who_we_are_is_told() {
    let (ca, clients) = (authority("theirs"), authority("ours"));
    let port = serve_tls(&identity(&ca, "localhost"), Some(&clients), rustls::ALL_VERSIONS);
    let egress = Egress::new(options()).unwrap();
    let ours = identity(&clients, "switchboard");
    run(async {
        let sent = send_tls(&egress, port, tls(Some(&ca), Some(&ours))).await;
        assert_eq!(sent.result.unwrap().status, 204);
        // Without, the receiver ends the connection, also after one that has proved it.
        let error = send_tls(&egress, port, tls(Some(&ca), None)).await.result.unwrap_err();
        assert!(matches!(error.code(), "tls" | "closed"), "{error:?}");
        let error = send_tls(&egress, port, tls(Some(&ca), Some(&identity(&ca, "switchboard")))).await.result;
        assert!(error.is_err());
    });
}

#[test]
fn certificates_that_cannot_be_used_are_found_before_anything_is_sent() {
    let ca = authority("theirs");
    let ours = identity(&ca, "switchboard");
    let key_only = &ours[ours.find("-----BEGIN PRIVATE KEY").unwrap()..];
    let certificate_only = &ours[..ours.len() - key_only.len()];
    let foreign = certificate_only.to_owned() + &KeyPair::generate().unwrap().serialize_pem();
    assert_eq!(TlsOptions { ca_pem: Some(ca.pem()), identity_pem: Some(ours.clone()) }.check(), Ok(()));
    for wrong in ["", "SECRET", key_only] {
        let options = TlsOptions { ca_pem: Some(wrong.to_owned()), identity_pem: None };
        assert_eq!(options.check(), Err(TlsOptionsError::Ca), "{wrong}");
    }
    for wrong in ["", "SECRET", key_only, certificate_only] {
        let options = TlsOptions { ca_pem: None, identity_pem: Some(wrong.to_owned()) };
        assert_eq!(options.check(), Err(TlsOptionsError::Identity), "{wrong}");
    }
    let options = TlsOptions { ca_pem: None, identity_pem: Some(foreign) };
    assert!(matches!(options.check(), Err(TlsOptionsError::Unusable { .. })));
    assert!(!format!("{options:?}").contains("KEY"));
    let sent = run(send_tls(&Egress::new(self::options()).unwrap(), 443, Some(Arc::new(options))));
    check_failed(sent.result, "bad_tls_settings", false);
}

#[test]
fn a_handshake_that_never_comes_is_cut_by_its_own_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut options = options();
    options.deadlines.tls = Duration::from_millis(200);
    let sent = run(send_tls(&Egress::new(options).unwrap(), port, None));
    let error = check_failed(sent.result, "timeout_tls", true);
    assert!(error.to_string().ends_with("the TLS handshake took longer than 200ms"), "{error}");
    assert!(sent.trace.timings.connect.is_some() && sent.trace.timings.tls.is_none(), "{:?}", sent.trace);
    drop(listener);
}

#[test]
fn a_connection_that_ends_during_the_handshake_is_one_of_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || drop(listener.accept().unwrap().0.read(&mut [0])));
    let error = check_failed(run(send_tls(&Egress::new(options()).unwrap(), port, None)).result, "tls", true);
    assert_eq!(error.to_string(), "`localhost` closed the connection during the TLS handshake");
    server.join().unwrap();
}
