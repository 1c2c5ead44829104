//! How far a request came, and the deadline of each phase.

use std::future;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::refusals::Scripted;
use super::*;

/// Long enough to be told from a deadline that is not kept.
const SHORT: Duration = Duration::from_millis(200);

fn with_deadlines(change: impl FnOnce(&mut Deadlines)) -> EgressOptions {
    let mut options = options();
    change(&mut options.deadlines);
    options
}

#[test]
fn a_trace_tells_what_happened_and_how_long_it_took() {
    let port = serve_text("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let egress = Egress::with_resolver(options(), Scripted::new(&[&["127.0.0.1"]])).unwrap();
    let url = format!("http://receiver.example:{port}/");
    let headers = vec![("Authorization".to_owned(), "SECRET".to_owned()), ("x-a".to_owned(), "1".to_owned())];
    run(async {
        let trace = egress.send(Request { headers, ..request(&url) }).await.trace;
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            trace.request_headers,
            [
                header("authorization", "***"),
                header("x-a", "1"),
                header("user-agent", concat!("switchboard/", env!("CARGO_PKG_VERSION")))
            ]
        );
        assert_eq!(trace.resolved, ["127.0.0.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(trace.remote, Some(([127, 0, 0, 1], port).into()));
        assert_eq!((trace.reused, trace.http_version, trace.tls, trace.proxy), (false, Some("HTTP/1.1"), None, None));
        let Timings { dns, connect, tls, first_byte, total } = trace.timings;
        let phases = [dns, connect, first_byte].map(Option::unwrap);
        assert_eq!(tls, None);
        assert!(phases.iter().sum::<Duration>() <= total, "{:?}", trace.timings);
    });
}

#[test]
fn a_connection_that_was_there_already_has_no_times_of_its_own() {
    let port = serve(|stream| {
        for _ in 0..2 {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n{}") && stream.read(&mut byte)? == 1 {
                head.push(byte[0]);
            }
        }
        Ok(())
    });
    let egress = Egress::with_resolver(options(), Scripted::new(&[&["127.0.0.1"]])).unwrap();
    let url = format!("http://receiver.example:{port}/");
    run(async {
        assert!(!egress.send(Request { body: Vec::new(), ..request(&url) }).await.trace.reused);
        let trace = egress.send(request(&url)).await.trace;
        assert!(trace.reused && trace.resolved.is_empty(), "{trace:?}");
        assert_eq!((trace.timings.dns, trace.timings.connect), (None, None));
        assert!(trace.timings.first_byte.is_some());
        assert_eq!(trace.remote, Some(([127, 0, 0, 1], port).into()));
    });
}

#[test]
fn requests_that_are_sent_at_once_use_the_connections_of_those_before_them() {
    const AT_ONCE: usize = 32;
    const ROUNDS: usize = 8;
    let connections = Arc::<AtomicUsize>::default();
    let made = Arc::clone(&connections);
    let port = serve(move |stream| {
        made.fetch_add(1, Ordering::Relaxed);
        let mut head = b"\r\n\r\n".to_vec();
        let mut byte = [0];
        while head.ends_with(b"\r\n\r\n") {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
            head.clear();
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte)? == 1 {
                head.push(byte[0]);
            }
        }
        Ok(())
    });
    let egress = Egress::new(options()).unwrap();
    run(async {
        for _ in 0..ROUNDS {
            let sending = (0..AT_ONCE).map(|_| {
                let egress = egress.clone();
                let request = Request { body: Vec::new(), ..request(&format!("http://127.0.0.1:{port}/")) };
                tokio::spawn(async move { egress.send(request).await.result.unwrap() })
            });
            for sent in sending.collect::<Vec<_>>() {
                assert_eq!(sent.await.unwrap().status, 200);
            }
        }
    });
    // Not exactly `AT_ONCE`: a connection may be free again only after the next request has looked for one.
    let connections = connections.load(Ordering::Relaxed);
    assert!(connections < AT_ONCE * ROUNDS / 2, "{connections} connections");
}

#[test]
fn a_failed_request_tells_how_far_it_came() {
    let egress = Egress::with_resolver(options(), Scripted::new(&[&["10.0.0.1"]])).unwrap();
    let trace = run(egress.send(request("http://receiver.example/"))).trace;
    assert!(trace.timings.connect.is_none() && trace.timings.first_byte.is_none());
    assert_eq!(trace.remote, None);
    let port = serve(wait_for_end);
    let sent = run(Egress::new(options())
        .unwrap()
        .send(Request { timeout: SHORT, ..request(&format!("http://127.0.0.1:{port}/")) }));
    check_failed(sent.result, "timeout_total", true);
    assert!(sent.trace.timings.connect.is_some() && sent.trace.timings.first_byte.is_none());
    assert!(sent.trace.remote.is_some() && sent.trace.timings.total >= SHORT);
}

#[test]
fn a_head_that_comes_too_late_is_a_class_of_its_own() {
    let port = serve(wait_for_end);
    let egress = Egress::new(with_deadlines(|deadlines| deadlines.first_byte = SHORT)).unwrap();
    let result = run(egress.send(request(&format!("http://127.0.0.1:{port}/?SECRET")))).result;
    let error = check_failed(result, "timeout_first_byte", true);
    assert_eq!(error.to_string(), "`127.0.0.1` did not begin to answer within 200ms");
    // Interim responses are no answer.
    let port = serve(|stream| {
        loop {
            stream.write_all(b"HTTP/1.1 102 Processing\r\n\r\n")?;
        }
    });
    let result = run(egress.send(request(&format!("http://127.0.0.1:{port}/?SECRET")))).result;
    check_failed(result, "timeout_first_byte", true);
}

#[test]
fn a_body_has_only_the_deadline_of_the_whole() {
    let port = serve(|stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n")?;
        // The client's deadline for the head passes meanwhile; nothing waits on this but the test's own requests.
        let mut byte = [0];
        stream.set_read_timeout(Some(2 * SHORT))?;
        let _ = stream.read(&mut byte);
        let _ = stream.read(&mut byte);
        let _ = stream.read(&mut byte);
        stream.write_all(b"body")
    });
    let egress = Egress::new(with_deadlines(|deadlines| deadlines.first_byte = 2 * SHORT)).unwrap();
    let sent = run(egress.send(request(&format!("http://127.0.0.1:{port}/"))));
    assert_eq!(sent.result.unwrap().body, b"body");
}

#[test]
fn a_request_has_deadlines_of_its_own() {
    struct Silent;
    impl Resolve for Silent {
        fn resolve(&self, _: &str) -> Resolving {
            Box::pin(future::pending())
        }
    }
    let egress = Egress::with_resolver(options(), Arc::new(Silent)).unwrap();
    let deadlines = Some(Deadlines { dns: SHORT, ..options().deadlines });
    let sent = run(egress.send(Request { deadlines, ..request("http://receiver.example/SECRET") }));
    check_failed(sent.result, "dns_timeout", true);
    // The whole is over first.
    let sent = run(egress.send(Request { timeout: SHORT, ..request("http://receiver.example/SECRET") }));
    let error = check_failed(sent.result, "timeout_total", true);
    assert!(error.to_string().ends_with("its address was not found yet"), "{error}");
}

#[test]
fn a_connection_that_nobody_takes_is_cut() {
    // The queue of this listener is full, so the system answers no more: as a host that drops packets.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, SHORT) {
        waiting.push(stream);
        assert!(waiting.len() < 10_000);
    }
    let egress = Egress::new(with_deadlines(|deadlines| deadlines.connect = SHORT)).unwrap();
    let error =
        check_failed(run(egress.send(request(&format!("http://{address}/?SECRET")))).result, "timeout_connect", true);
    assert_eq!(error.to_string(), "cannot connect to `127.0.0.1` within 200ms");
}

#[test]
fn a_proxy_is_asked_for_what_was_judged() {
    let proxy = serve(|stream| stream.write_all(b"HTTP/1.1 407 Proxy\r\ncontent-length: 0\r\n\r\n"));
    let options = || EgressOptions { proxy: Some(format!("http://user:SECRET@127.0.0.1:{proxy}")), ..options() };
    assert!(!format!("{:?}", options()).contains("SECRET"));
    // The last answer is for a name that only the proxy knows.
    let resolver = Scripted::new(&[&["93.184.216.34"], &["10.0.0.1"], &["1.1.1.1"], &[]]);
    let egress = Egress::with_resolver(options(), resolver.clone()).unwrap();
    let to = |url: &str| run(egress.send(request(url)));
    let sent = to("http://receiver.example/a");
    assert_eq!(sent.result.unwrap().status, 407);
    assert_eq!(sent.trace.proxy, Some(format!("127.0.0.1:{proxy}")));
    assert_eq!(sent.trace.remote, Some(([127, 0, 0, 1], proxy).into()));
    assert_eq!(sent.trace.resolved, ["93.184.216.34".parse::<IpAddr>().unwrap()]);
    check_failed(to("http://receiver.example/?SECRET").result, "blocked", true);
    check_failed(to("http://169.254.169.254/?SECRET").result, "blocked", false);
    // A tunnel that the proxy does not make is a failed connection, for https only.
    let error = check_failed(to("https://receiver.example/?SECRET").result, "connect", true);
    assert!(crate::error::Chain(&error).to_string().contains("prox"), "{}", crate::error::Chain(&error));
    assert_eq!(to("http://only-there.example/").result.unwrap().status, 407);
    assert_eq!(resolver.asked.load(std::sync::atomic::Ordering::SeqCst), 4);
}

#[test]
fn what_is_no_proxy_is_refused_without_its_password() {
    for proxy in
        ["", "proxy:3128", "https://proxy.example", "socks5://proxy", "http://user:SECRET@", "http://proxy/path"]
    {
        let result = Egress::new(EgressOptions { proxy: Some(proxy.to_owned()), ..options() });
        assert!(matches!(result, Err(SetupError::Proxy)), "{proxy}");
    }
}
