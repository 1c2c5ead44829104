use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;
use std::thread;

use super::*;

mod cases;
mod phases;
mod properties;
mod refusals;
mod secure;

/// Longer than any test takes; where a deadline is what the test is about, it gives its own.
const LONG: Duration = Duration::from_secs(60);

/// Answers each connection on its own thread with what `answer` does, after the head of a request
/// has been read. Returns the port.
fn serve(answer: impl Fn(&mut TcpStream) -> io::Result<()> + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let answer = Arc::clone(&answer);
            thread::spawn(move || {
                let mut stream = stream?;
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte)? == 1 {
                    head.push(byte[0]);
                }
                answer(&mut stream)
            });
        }
    });
    port
}

fn serve_text(text: &'static str) -> u16 {
    serve(move |stream| stream.write_all(text.as_bytes()))
}

/// Waits until the client has closed the connection.
fn wait_for_end(stream: &mut TcpStream) -> io::Result<()> {
    io::copy(stream, &mut io::sink()).map(drop)
}

fn options() -> EgressOptions {
    let policy = Policy { allow: vec!["127.0.0.0/8".parse().unwrap()], ..Policy::default() };
    let deadlines = Deadlines { dns: LONG, connect: LONG, tls: LONG, first_byte: LONG };
    EgressOptions { policy, deadlines, response_limit_bytes: 1000, ..EgressOptions::default() }
}

fn request(url: &str) -> Request {
    Request { body: b"{}".to_vec(), ..Request::new("POST", url, LONG) }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(future)
}

fn send(request: Request) -> Result<Response, EgressError> {
    run(Egress::new(options()).unwrap().send(request)).result
}

fn send_to(port: u16) -> Result<Response, EgressError> {
    send(request(&format!("http://127.0.0.1:{port}/path?token=SECRET")))
}

#[track_caller]
fn check_failed(result: Result<Response, EgressError>, code: &str, retryable: bool) -> EgressError {
    let error = result.unwrap_err();
    assert_eq!((error.code(), error.is_retryable()), (code, retryable), "{error:?}");
    let mut chain = format!("{error:?}");
    let mut next: Option<&dyn std::error::Error> = Some(&error);
    while let Some(error) = next {
        chain += &error.to_string();
        next = error.source();
    }
    assert!(!chain.contains("SECRET"), "{chain}");
    error
}

#[test]
fn a_request_is_sent_as_it_was_given_and_the_response_comes_back() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&seen);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = [0; 4096];
        while !kept.lock().unwrap().ends_with(b"{\"a\":1}") {
            let read = stream.read(&mut bytes).unwrap();
            kept.lock().unwrap().extend_from_slice(&bytes[..read]);
        }
        let answer = b"HTTP/1.1 202 Accepted\r\nX-A: 1\r\nx-a: \xff\r\ncontent-length: 2\r\n\r\nok";
        stream.write_all(answer).unwrap();
    });
    let sent = run(Egress::new(options()).unwrap().send(Request {
        headers: vec![
            ("Content-Type".to_owned(), "application/json".to_owned()),
            ("webhook-id".to_owned(), "msg_1".to_owned()),
        ],
        body: b"{\"a\":1}".to_vec(),
        ..request(&format!("http://{address}/in?x=1"))
    }));
    let response = sent.result.unwrap();
    server.join().unwrap();
    let seen = String::from_utf8(seen.lock().unwrap().clone()).unwrap();
    assert_eq!(
        seen.split("\r\n").collect::<Vec<_>>(),
        [
            "POST /in?x=1 HTTP/1.1",
            "content-type: application/json",
            "webhook-id: msg_1",
            "accept: */*",
            concat!("user-agent: switchboard/", env!("CARGO_PKG_VERSION")),
            &format!("host: {address}"),
            "content-length: 7",
            "",
            "{\"a\":1}",
        ]
    );
    assert_eq!((response.status, &*response.body, response.truncated), (202, &b"ok"[..], false));
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(response.headers, [header("x-a", "1"), header("x-a", "\u{fffd}"), header("content-length", "2")]);
    assert_eq!(sent.trace.remote, Some(address));
}

#[test]
fn a_redirect_is_returned_and_not_followed() {
    let port = serve_text(
        "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:1/\r\n\
         content-length: 0\r\n\r\n",
    );
    let response = send_to(port).unwrap();
    assert_eq!(response.status, 307);
    assert_eq!(response.headers[0].1, "http://127.0.0.1:1/");
}

#[test]
fn an_endless_body_is_cut_and_the_status_kept() {
    let port = serve(|stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
        loop {
            stream.write_all(b"a\r\n0123456789\r\n")?;
        }
    });
    let response = send_to(port).unwrap();
    assert_eq!((response.status, response.body.len(), response.truncated), (200, 1000, true));
}

#[test]
fn an_announced_length_of_100_gigabytes_takes_no_memory() {
    let port = serve(|stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000000\r\n\r\n")?;
        stream.write_all(&[b'x'; 2000])?;
        wait_for_end(stream)
    });
    let response = send_to(port).unwrap();
    assert_eq!((response.status, response.truncated), (200, true));
    assert!(response.body.capacity() < 1024 * 1024);
}

#[test]
fn a_body_of_exactly_the_limit_is_whole() {
    let port = serve(|stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")?;
        stream.write_all(&[b'x'; 1000])
    });
    let response = send_to(port).unwrap();
    assert_eq!((response.body.len(), response.truncated), (1000, false));
}

#[test]
fn a_compressed_body_stays_compressed() {
    let port = serve(|stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\n")?;
        stream.write_all(&[0x1f, 0x8b, 0x08])
    });
    assert_eq!(send_to(port).unwrap().body, [0x1f, 0x8b, 0x08]);
}

#[test]
fn a_receiver_that_never_answers_costs_the_given_time() {
    let port = serve(wait_for_end);
    let timeout = Duration::from_millis(200);
    let started = Instant::now();
    let url = format!("http://127.0.0.1:{port}/?token=SECRET");
    let error = check_failed(send(Request { timeout, ..request(&url) }), "timeout_total", true);
    assert!(matches!(error, EgressError::Timeout { status: None, .. }));
    assert_eq!(error.to_string(), "`127.0.0.1` did not finish within 200ms, no answer had begun");
    assert!(started.elapsed() >= timeout);
    assert!(started.elapsed() < LONG / 2);
}

#[test]
fn a_body_that_stops_costs_the_given_time_and_keeps_the_status() {
    let port = serve(|stream| {
        stream.write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 10\r\n\r\nhalf")?;
        wait_for_end(stream)
    });
    let timeout = Duration::from_millis(500);
    let url = format!("http://127.0.0.1:{port}/?token=SECRET");
    let error = check_failed(send(Request { timeout, ..request(&url) }), "timeout_total", true);
    assert!(matches!(error, EgressError::Timeout { status: Some(201), .. }));
}

#[test]
fn interim_responses_do_not_extend_the_deadline() {
    let port = serve(|stream| {
        loop {
            stream.write_all(b"HTTP/1.1 103 Early Hints\r\n\r\n")?;
        }
    });
    let timeout = Duration::from_millis(200);
    let url = format!("http://127.0.0.1:{port}/?token=SECRET");
    check_failed(send(Request { timeout, ..request(&url) }), "timeout_total", true);
}

#[test]
fn broken_answers_have_a_class_of_their_own() {
    check_failed(send_to(serve_text("SSH-2.0-OpenSSH_9.6\r\n")), "protocol", true);
    check_failed(send_to(serve_text("HTTP/1.1 200 OK\r\nbad\0header: 1\r\n\r\n")), "protocol", true);
    check_failed(send_to(serve_text("")), "closed", true);
    check_failed(send_to(serve_text("HTTP/1.1 200 OK\r\ncontent-le")), "closed", true);
    let half = serve_text("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf");
    let error = check_failed(send_to(half), "closed", true);
    assert_eq!(error.to_string(), "`127.0.0.1` closed the connection, after status 200");
    let chunks = serve_text("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n");
    check_failed(send_to(chunks), "protocol", true);
    let head = serve(|stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
        loop {
            stream.write_all(b"x-filler: 0123456789012345678901234567890123456789\r\n")?;
        }
    });
    check_failed(send_to(head), "protocol", true);
}

#[test]
fn a_closed_port_cannot_be_connected_to() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let error = check_failed(send_to(port), "connect", true);
    let EgressError::Connect { source, .. } = error else { panic!("{error:?}") };
    assert_eq!(source.kind(), io::ErrorKind::ConnectionRefused);
}

#[test]
fn a_receiver_without_tls_fails_with_what_tls_said() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")?;
        wait_for_end(&mut stream)
    });
    let url = format!("https://127.0.0.1:{port}/?token=SECRET");
    check_failed(send(request(&url)), "tls", true);
}
