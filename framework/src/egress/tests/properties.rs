//! What holds for every text, tried with texts that are nearly URLs.

use super::*;

/// Pieces that guards have been fooled with. The fuzz target starts from the table of cases instead.
const PIECES: [&str; 72] = [
    "http",
    "https",
    "HTTP",
    "ftp",
    "file",
    ":",
    "//",
    "/",
    "\\",
    "@",
    "?",
    "#",
    "%",
    ".",
    "..",
    "[",
    "]",
    "-",
    "_",
    "*",
    " ",
    "\t",
    "\r\n",
    "\0",
    "\u{7f}",
    "\u{85}",
    "\u{200b}",
    "\u{ad}",
    "\u{3002}",
    "\u{ff0e}",
    "①",
    "ⓛ",
    "ß",
    "ä",
    "xn--",
    "xn--bcher-kva",
    "127.0.0.1",
    "127.1",
    "0",
    "0x7f",
    "0177",
    "2130706433",
    "10.0.0.1",
    "169.254.169.254",
    "1.1.1.1",
    "::1",
    "::ffff:7f00:1",
    "64:ff9b::7f00:1",
    "fe80::1",
    "2000::1",
    "%25eth0",
    "localhost",
    "local",
    "internal",
    "example",
    "com",
    "redis",
    "a",
    "user",
    "pass",
    ":80",
    ":443",
    ":22",
    ":0",
    ":65535",
    ":65536",
    ":8080",
    "%2f",
    "%40",
    "%00",
    "%0a",
    "SECRET",
];

#[test]
fn an_accepted_url_is_what_it_seems_and_stays_accepted() {
    let policies = [
        Policy::default(),
        Policy { allow_http: false, nat64: true, ..Policy::default() },
        Policy { allow: vec!["127.0.0.0/8".parse().unwrap()], only_ports: vec![443, 8080], ..Policy::default() },
    ];
    let mut random = fastrand::Rng::with_seed(7);
    let mut accepted = 0;
    for _ in 0..20_000 {
        let mut text = String::new();
        if random.u8(..) < 200 {
            text += ["http://", "https://"][random.usize(..2)];
        }
        for _ in 0..random.usize(1..9) {
            text += PIECES[random.usize(..PIECES.len())];
        }
        for policy in &policies {
            accepted += usize::from(check(&text, policy));
        }
    }
    // Of texts that are never accepted nothing would have been shown.
    assert!(accepted > 500, "{accepted}");
}

fn check(text: &str, policy: &Policy) -> bool {
    let url = match judge(text, policy) {
        Ok(url) => url,
        Err(refusal) => {
            assert!(!refusal.to_string().contains(char::is_control), "{text:?} {refusal}");
            return false;
        }
    };
    let context = format!("{text:?} {url}");
    assert!(!text.contains(|c: char| c.is_ascii_control() || c == ' ' || c == '\\'), "{context}");
    assert!(!url.as_str().contains(|c: char| c.is_control() || c == ' '), "{context}");
    assert!(url.scheme() == "https" || (url.scheme() == "http" && policy.allow_http), "{context}");
    assert!(url.username().is_empty() && url.password().is_none(), "{context}");
    match url.host() {
        Some(Host::Ipv4(address)) => assert!(judge_address(address.into(), policy).is_ok(), "{context}"),
        Some(Host::Ipv6(address)) => assert!(judge_address(address.into(), policy).is_ok(), "{context}"),
        Some(Host::Domain(name)) => {
            assert!(name.trim_end_matches('.').contains('.') || !policy.allow.is_empty(), "{context}");
            assert!(name.parse::<IpAddr>().is_err(), "{context}");
        }
        None => panic!("{context}"),
    }
    assert_eq!(judge(url.as_str(), policy).as_ref(), Ok(&url), "{context}");
    // Who sends it reads the same host out of it.
    let uri: http::Uri = url.as_str().parse().unwrap_or_else(|_| panic!("{context}"));
    assert_eq!(uri.host(), url.host_str(), "{context}");
    true
}
