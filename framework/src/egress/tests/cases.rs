//! The table of URLs and what becomes of each.

use super::*;

#[test]
fn every_url_of_the_table_is_judged_as_it_says() {
    let mut judged = 0;
    for (number, line) in include_str!("cases.tsv").lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let columns: Vec<&str> = line.split('\t').collect();
        let [settings, url, expected] = columns[..] else { panic!("line {}: {line:?}", number + 1) };
        let url = unescape(url);
        let result = judge(&url, &policy(settings));
        let found = match &result {
            Ok(parsed) => parsed.as_str().to_owned(),
            Err(refusal) => refusal.rule.to_owned(),
        };
        assert_eq!(found, expected, "line {}: `{}`", number + 1, url.escape_debug());
        judged += 1;
    }
    assert!(judged > 150, "{judged}");
}

/// Reads settings such as `allow=10.0.0.0/8 ports=22`; `-` stands for the defaults.
fn policy(settings: &str) -> Policy {
    let mut policy = Policy::default();
    for setting in settings.split(' ').filter(|setting| *setting != "-") {
        let (key, value) = setting.split_once('=').unwrap();
        match key {
            "allow" => policy.allow.push(value.parse().unwrap()),
            "allow_hosts" => policy.allow_hosts.push(value.to_owned()),
            "http" => policy.allow_http = value.parse().unwrap(),
            "ports" => policy.ports.push(value.parse().unwrap()),
            "only_ports" => policy.only_ports.push(value.parse().unwrap()),
            "nat64" => policy.nat64 = value.parse().unwrap(),
            _ => panic!("{setting}"),
        }
    }
    policy
}

/// Replaces `\xHH` by that character.
fn unescape(text: &str) -> String {
    let mut parts = text.split("\\x");
    let mut unescaped = parts.next().unwrap().to_owned();
    for part in parts {
        let (code, rest) = part.split_at(2);
        unescaped.push(char::from(u8::from_str_radix(code, 16).unwrap()));
        unescaped += rest;
    }
    unescaped
}

#[test]
fn a_refusal_says_what_would_allow_it() {
    for (settings, url, expected) in [
        (
            "http=false",
            "http://example.com",
            "`http` is refused by rule `plain_http`, an administrator can allow it with `true` in `egress.http`",
        ),
        (
            "-",
            "http://redis/",
            "`redis` is refused by rule `single_label`, an administrator can allow it with `redis` in `egress.allow_hosts`",
        ),
        (
            "-",
            "http://[64:ff9b::1.1.1.1]/",
            "`64:ff9b::101:101` is refused by rule `nat64`, an administrator can allow it with `true` in `egress.nat64`",
        ),
        (
            "-",
            "http://example.com:22/",
            "port `22` is refused by rule `port`, an administrator can allow it with `22` in `egress.ports`",
        ),
        (
            "only_ports=443",
            "http://example.com/",
            "port `80` is refused by rule `port`, an administrator can allow it with `80` in `egress.only_ports`",
        ),
        (
            "-",
            "http://localhost/",
            "`localhost` is refused by rule `localhost`, an administrator can allow it with `127.0.0.1/32` in `egress.allow`",
        ),
    ] {
        assert_eq!(judge(url, &policy(settings)).unwrap_err().to_string(), expected);
    }
}

#[test]
fn a_refusal_never_holds_a_secret_of_the_url() {
    for url in [
        "https://user:SECRET@example.com/SECRET?SECRET",
        "http://127.0.0.1/SECRET?token=SECRET#SECRET",
        "https://example.com/SECRET /",
        "https://example.com:SECRET/",
        "https://[SECRET]/",
        "gopher://SECRET/",
    ] {
        let refusal = judge(url, &Policy::default()).unwrap_err();
        assert!(!format!("{refusal} {refusal:?}").contains("SECRET"), "{refusal}");
    }
}
