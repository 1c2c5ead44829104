//! What is refused, by the URL, by the addresses of a name, and by the parts of the request.

use std::future;
use std::net::IpAddr;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// Answers each question with the next of its answers, the last one again and again.
pub(super) struct Scripted {
    answers: Vec<Vec<IpAddr>>,
    pub(super) asked: AtomicUsize,
    pub(super) names: Mutex<Vec<String>>,
}

impl Scripted {
    pub(super) fn new(answers: &[&[&str]]) -> Arc<Self> {
        let addresses = |texts: &&[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        Arc::new(Self {
            answers: answers.iter().map(addresses).collect(),
            asked: AtomicUsize::new(0),
            names: Mutex::default(),
        })
    }
}

impl Resolve for Scripted {
    fn resolve(&self, name: &str) -> Resolving {
        self.names.lock().unwrap().push(name.to_owned());
        let number = self.asked.fetch_add(1, Ordering::SeqCst).min(self.answers.len() - 1);
        let answer = self.answers[number].clone();
        Box::pin(future::ready(Ok(answer)))
    }
}

#[test]
fn a_refused_url_is_refused_for_good_before_anyone_is_asked() {
    let resolver = Scripted::new(&[&["127.0.0.1"]]);
    let egress = Egress::with_resolver(options(), resolver.clone()).unwrap();
    for (url, code) in [
        ("http://10.0.0.1/?token=SECRET", "blocked"),
        ("http://[::ffff:169.254.169.254]/?token=SECRET", "blocked"),
        ("http://metadata.google.internal/?token=SECRET", "blocked"),
        ("http://user:SECRET@example.com/", "bad_url"),
        ("http://example.com/SECRET\r\n", "bad_url"),
    ] {
        check_failed(run(egress.send(request(url))).result, code, false);
    }
    assert_eq!(resolver.asked.load(Ordering::SeqCst), 0);
}

#[test]
fn a_name_is_resolved_once_per_connection_and_each_answer_is_judged() {
    // Rebinding: the first answer is harmless, the next one leads inside.
    let port = serve_text("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let resolver = Scripted::new(&[&["127.0.0.1"], &["10.0.0.1"]]);
    let egress = Egress::with_resolver(options(), resolver.clone()).unwrap();
    let url = format!("http://receiver.example:{port}/?token=SECRET");
    run(async {
        assert_eq!(egress.send(request(&url)).await.result.unwrap().status, 200);
        assert_eq!(resolver.asked.load(Ordering::SeqCst), 1);
        let error = check_failed(egress.send(request(&url)).await.result, "blocked", true);
        assert_eq!(
            error.to_string(),
            "`receiver.example` leads to a refused address, `10.0.0.1` is refused by rule \
             `rfc1918`, an administrator can allow it with `10.0.0.1/32` in `egress.allow`"
        );
        assert_eq!(resolver.asked.load(Ordering::SeqCst), 2);
    });
}

#[test]
fn one_bad_address_refuses_the_whole_name() {
    for answer in [&["127.0.0.1", "169.254.169.254"][..], &["93.184.216.34", "::1"][..], &["::ffff:10.0.0.1"][..]] {
        let egress = Egress::with_resolver(options(), Scripted::new(&[answer])).unwrap();
        let result = run(egress.send(request("http://receiver.example/?token=SECRET"))).result;
        check_failed(result, "blocked", true);
    }
}

#[test]
fn a_name_without_an_address_is_a_failure_of_the_lookup() {
    let egress = Egress::with_resolver(options(), Scripted::new(&[&[]])).unwrap();
    check_failed(run(egress.send(request("http://receiver.example/SECRET"))).result, "dns", true);
}

#[test]
fn a_lookup_that_never_ends_is_cut() {
    struct Silent;
    impl Resolve for Silent {
        fn resolve(&self, _name: &str) -> Resolving {
            Box::pin(future::pending())
        }
    }
    let deadlines = Deadlines { dns: Duration::from_millis(200), ..options().deadlines };
    let options = EgressOptions { deadlines, ..options() };
    let egress = Egress::with_resolver(options, Arc::new(Silent)).unwrap();
    let error = check_failed(run(egress.send(request("http://receiver.example/SECRET"))).result, "dns_timeout", true);
    assert_eq!(error.to_string(), "no resolver knew the address of `receiver.example` within 200ms");
}

#[test]
fn a_name_is_complete_unless_the_administrator_has_named_it() {
    let port = serve_text("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let resolver = Scripted::new(&[&["127.0.0.1"]]);
    let mut options = options();
    options.policy.allow_hosts = vec!["receiver.lan".to_owned(), "*.corp.example".to_owned(), "redis".to_owned()];
    let egress = Egress::with_resolver(options, resolver.clone()).unwrap();
    for host in ["receiver.example", "dotted.example.", "receiver.lan", "a.b.corp.example", "redis"] {
        let sent = run(egress.send(request(&format!("http://{host}:{port}/"))));
        assert_eq!(sent.result.unwrap().status, 200);
    }
    let names = resolver.names.lock().unwrap().clone();
    assert_eq!(names, ["receiver.example.", "dotted.example.", "receiver.lan", "a.b.corp.example", "redis"]);
}

#[test]
fn a_host_the_administrator_has_named_may_lead_anywhere_but_to_this_host() {
    let port = serve_text("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let mut options = options();
    options.policy = Policy { allow_hosts: vec!["receiver.lan".to_owned()], ..Policy::default() };
    let egress = Egress::with_resolver(options, Scripted::new(&[&["127.0.0.1"]])).unwrap();
    let to = |host: &str| run(egress.send(request(&format!("http://{host}:{port}/?token=SECRET")))).result;
    assert_eq!(to("receiver.lan").unwrap().status, 200);
    check_failed(to("other.example"), "blocked", true);
    egress.listens(port);
    let error = check_failed(to("receiver.lan"), "blocked", true);
    assert!(error.to_string().contains("`own_port`"), "{error}");
}

#[test]
fn a_public_address_of_this_machine_is_refused_as_a_literal_and_as_an_answer() {
    let own = || Ok(vec!["93.184.216.34".parse().unwrap()]);
    let egress = Egress::on_machine(options(), Scripted::new(&[&["1.1.1.1", "93.184.216.34"]]), own).unwrap();
    let error = check_failed(run(egress.send(request("http://93.184.216.34/?SECRET"))).result, "blocked", false);
    assert!(error.to_string().contains("`own_address`"), "{error}");
    let error = check_failed(run(egress.send(request("http://receiver.example/?SECRET"))).result, "blocked", true);
    assert!(error.to_string().contains("`93.184.216.34/32` in `egress.allow`"), "{error}");
}

#[test]
fn what_a_url_leads_to_is_foreseen_and_refuses_nothing() {
    let foresee = |answers: &[&[&str]], url: &str| {
        let egress = Egress::with_resolver(options(), Scripted::new(answers)).unwrap();
        match run(egress.foresee(url)) {
            Ok(Outlook::Clear) => "clear",
            Ok(Outlook::Doubtful(error)) => error.code(),
            Err(_) => "refused",
        }
    };
    assert_eq!(foresee(&[&["1.1.1.1"]], "https://receiver.example/"), "clear");
    assert_eq!(foresee(&[&[]], "https://receiver.example/"), "dns");
    assert_eq!(foresee(&[&["10.0.0.1"]], "https://receiver.example/"), "blocked");
    assert_eq!(foresee(&[&["1.1.1.1"]], "https://10.0.0.1/"), "refused");
    assert_eq!(foresee(&[&[]], "https://1.1.1.1/"), "clear");
}

#[test]
fn an_allowed_localhost_is_this_machine_whatever_a_resolver_says() {
    let port = serve_text("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let resolver = Scripted::new(&[&["10.0.0.1"]]);
    let egress = Egress::with_resolver(options(), resolver.clone()).unwrap();
    let url = format!("http://app.localhost:{port}/");
    let sent = run(egress.send(request(&url)));
    assert_eq!(sent.result.unwrap().status, 200);
    assert_eq!(sent.trace.remote.unwrap().ip().to_string(), "127.0.0.1");
    assert_eq!(resolver.asked.load(Ordering::SeqCst), 0);
}

#[test]
fn a_proxy_named_by_the_environment_is_ignored() {
    // The environment of a running process cannot be changed safely, so the test runs itself.
    const TARGET: &str = "SWITCHBOARD_TEST_TARGET";
    if let Ok(port) = std::env::var(TARGET) {
        assert_eq!(send_to(port.parse().unwrap()).unwrap().status, 204);
        return;
    }
    let port = serve_text("HTTP/1.1 204 No Content\r\n\r\n");
    let proxy = serve_text("HTTP/1.1 299 Proxy\r\ncontent-length: 0\r\n\r\n");
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "egress::tests::refusals::a_proxy_named_by_the_environment_is_ignored"]);
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        child.env(name, format!("http://127.0.0.1:{proxy}"));
    }
    child.env_remove("no_proxy").env_remove("NO_PROXY").env(TARGET, port.to_string());
    let output = child.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
fn headers_of_the_connection_and_broken_ones_are_refused() {
    let egress = Egress::new(options()).unwrap();
    for (name, value, message) in [
        ("Host", "SECRET", "header `host` belongs to the connection and cannot be set"),
        ("Content-Length", "1", "header `content-length` belongs to the connection"),
        ("Transfer-Encoding", "chunked", "header `transfer-encoding` belongs to the connection"),
        ("connection", "close", "header `connection` belongs to the connection"),
        ("Upgrade", "h2c", "header `upgrade` belongs to the connection"),
        ("TE", "trailers", "header `te` belongs to the connection"),
        ("Trailer", "x", "header `trailer` belongs to the connection"),
        ("Keep-Alive", "1", "header `keep-alive` belongs to the connection"),
        ("Expect", "100-continue", "header `expect` belongs to the connection"),
        ("Proxy-Authorization", "SECRET", "header `proxy-authorization` belongs to the connection"),
        ("x y", "1", "header `x y` is not a valid header name"),
        ("", "1", "header `` is not a valid header name"),
        (":path", "1", "header `:path` is not a valid header name"),
        ("x\r\ny", "1", "header `x\\r\\ny` is not a valid header name"),
        ("x-a", "SECRET\r\nx-b: 1", "header `x-a` has a value with control characters"),
    ] {
        let headers = vec![(name.to_owned(), value.to_owned())];
        let result = run(egress.send(Request { headers, ..request("http://127.0.0.1:8080/") })).result;
        let text = check_failed(result, "bad_header", false).to_string();
        assert!(text.to_lowercase().starts_with(&message.to_lowercase()), "{text}");
    }
}

#[test]
fn methods_that_are_none_or_open_tunnels_are_refused() {
    let egress = Egress::new(options()).unwrap();
    for method in ["", "CONNECT", "TRACE", "GET /", "P\u{f6}ST"] {
        let result =
            run(egress.send(Request { method: method.to_owned(), ..request("http://127.0.0.1:8080/") })).result;
        check_failed(result, "bad_method", false);
    }
}

#[test]
fn debug_output_of_a_request_and_a_response_holds_no_secret() {
    let request = Request {
        headers: vec![("authorization".to_owned(), "SECRET".to_owned())],
        body: b"SECRET".to_vec(),
        ..request("https://user:SECRET@example.com/SECRET?SECRET")
    };
    let text = format!("{request:?}");
    assert!(text.contains("example.com") && text.contains("authorization"));
    assert!(!text.contains("SECRET"));
    let port = serve_text("HTTP/1.1 200 OK\r\nx-token: SECRET\r\ncontent-length: 6\r\n\r\nSECRET");
    let text = format!("{:?}", send_to(port).unwrap());
    // Nor the body as a list of numbers.
    assert!(text.contains("x-token") && !text.contains("SECRET") && !text.contains("83, 69"));
}

#[test]
fn a_client_can_be_shared_and_sent_between_threads() {
    fn check<T: Send + Sync + Clone>(_: &T) {}
    fn check_future<T: Send>(_: T) {}
    let egress = Egress::new(options()).unwrap();
    check(&egress);
    check_future(egress.send(request("http://127.0.0.1:8080/")));
    let user_agent = "a\nb".to_owned();
    assert!(matches!(Egress::new(EgressOptions { user_agent, ..options() }), Err(SetupError::UserAgent { .. })));
}
