//! The client against small servers that misbehave.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use super::resolver::Addresses;
use super::*;

struct Names(Vec<IpAddr>);

impl Lookup for Names {
    fn lookup(&self, _name: String) -> Addresses {
        let addresses = self.0.clone();
        Box::pin(async move { Ok(addresses) })
    }
}

fn options(allow: &[&str]) -> EgressOptions {
    EgressOptions {
        allow: allow.iter().map(|network| network.parse().unwrap()).collect(),
        allow_http: true,
        connect_timeout: Duration::from_secs(5),
        response_limit_bytes: 1024,
        user_agent: "Switchboard/test".into(),
    }
}

/// Answers one request with `answer` and then does what it likes.
fn server(answer: impl FnOnce(&mut TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        reader.lines().take_while(|line| line.as_ref().is_ok_and(|line| !line.is_empty())).for_each(drop);
        answer(&mut stream);
    });
    format!("http://{address}/")
}

fn send_with(egress: &Egress, url: &str, timeout: Duration) -> Result<Response, EgressError> {
    let request = Request { method: "POST".into(), url: url.into(), headers: vec![], body: vec![], timeout };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(egress.send(request))
}

fn send(url: &str, timeout: Duration) -> Result<Response, EgressError> {
    send_with(&Egress::new(options(&["127.0.0.0/8"])).unwrap(), url, timeout)
}

const LONG: Duration = Duration::from_secs(20);

#[test]
fn an_answer_arrives_whole() {
    let url =
        server(|stream| stream.write_all(b"HTTP/1.1 201 Created\r\nX-A: b\r\ncontent-length: 2\r\n\r\nok").unwrap());
    let response = send(&url, LONG).unwrap();
    assert_eq!((response.status, &response.body[..], response.truncated), (201, &b"ok"[..], false));
    assert!(response.headers.contains(&("x-a".into(), "b".into())));
}

#[test]
fn a_redirect_is_an_answer_and_is_not_followed() {
    let url = server(|stream| {
        stream.write_all(b"HTTP/1.1 307 Go\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n").unwrap();
    });
    assert_eq!(send(&url, LONG).unwrap().status, 307);
}

#[test]
fn an_endless_body_is_cut_and_its_status_kept() {
    let url = server(|stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000000\r\n\r\n").unwrap();
        while stream.write_all(&[b'x'; 4096]).is_ok() {}
    });
    let response = send(&url, LONG).unwrap();
    assert_eq!((response.status, response.body.len(), response.truncated), (200, 1024, true));
}

#[test]
fn a_receiver_that_never_answers_ends_at_the_deadline() {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let url = server(move |_| assert!(released.recv().is_err()));
    let error = send(&url, Duration::from_millis(200)).unwrap_err();
    assert_eq!((error.code(), error.is_retryable()), ("timeout_total", true));
    drop(release);
}

#[test]
fn a_body_that_never_ends_ends_at_the_deadline() {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let url = server(move |stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfive").unwrap();
        assert!(released.recv().is_err());
    });
    assert_eq!(send(&url, Duration::from_millis(200)).unwrap_err().code(), "timeout_total");
    drop(release);
}

#[test]
fn what_is_not_http_or_breaks_off_is_told_apart_from_no_connection() {
    let url = server(|stream| stream.write_all(b"SSH-2.0-OpenSSH\r\n").unwrap());
    assert_eq!(send(&url, LONG).unwrap_err().code(), "protocol");
    let url = server(|_| {});
    assert_eq!(send(&url, LONG).unwrap_err().code(), "protocol");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = send(&format!("http://{closed}/"), LONG).unwrap_err();
    assert_eq!((error.code(), error.is_retryable()), ("connect", true));
}

#[test]
fn a_receiver_without_tls_behind_https_is_a_tls_error() {
    let url = server(|stream| drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")));
    // The handshake has no empty line: the server answers when the client has said enough, or closes.
    let error = send(&url.replace("http:", "https:"), Duration::from_secs(2)).unwrap_err();
    assert!(matches!(error.code(), "tls" | "timeout_total" | "connect"), "{error:?}");
}

#[test]
fn an_address_is_refused_before_anything_is_sent_for_good() {
    let egress = Egress::new(options(&[])).unwrap();
    let error = send_with(&egress, "http://127.0.0.1:9/", LONG).unwrap_err();
    assert_eq!((error.code(), error.is_retryable()), ("blocked", false));
    let error = send_with(&egress, "ftp://example.com/", LONG).unwrap_err();
    assert_eq!((error.code(), error.is_retryable()), ("bad_url", false));
}

#[test]
fn a_name_that_leads_to_one_refused_address_is_refused_for_now() {
    let addresses = ["93.184.216.34", "10.0.0.1"].map(|address| address.parse().unwrap()).to_vec();
    let egress = Egress::with_lookup(options(&[]), Arc::new(Names(addresses))).unwrap();
    let error = send_with(&egress, "http://rebinding.example.com/", LONG).unwrap_err();
    assert_eq!((error.code(), error.is_retryable()), ("blocked", true));
    let egress = Egress::with_lookup(options(&[]), Arc::new(Names(vec![]))).unwrap();
    assert_eq!(send_with(&egress, "http://nothing.example.com/", LONG).unwrap_err().code(), "dns");
}

#[test]
fn a_name_is_connected_to_the_addresses_that_were_judged() {
    let url = server(|stream| stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap());
    let named = url.replace("127.0.0.1", "receiver.example.com");
    let names = Arc::new(Names(vec!["127.0.0.1".parse().unwrap()]));
    let egress = Egress::with_lookup(options(&["127.0.0.0/8"]), names).unwrap();
    assert_eq!(send_with(&egress, &named, LONG).unwrap().status, 204);
}

#[test]
fn headers_of_the_connection_cannot_be_set() {
    let egress = Egress::new(options(&["127.0.0.0/8"])).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let with = |name: &str, value: &str| {
        let headers = vec![(name.to_owned(), value.to_owned())];
        let url = "http://127.0.0.1:9/".into();
        runtime.block_on(egress.send(Request { method: "POST".into(), url, headers, body: vec![], timeout: LONG }))
    };
    for name in ["Host", "content-length", "Transfer-Encoding", "connection", "proxy-authorization", "Expect"] {
        assert!(matches!(with(name, "x"), Err(EgressError::OwnHeader { .. })), "{name}");
    }
    let error = with("x-key", "secret\r\nx: y").unwrap_err();
    assert!(matches!(error, EgressError::Header { .. }) && !error.to_string().contains("secret"));
    assert!(matches!(with("x key", "x"), Err(EgressError::Header { .. })));
}
