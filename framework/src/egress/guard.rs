//! Which URLs a request may have.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use url::{Host, Url};

use super::address::{is_allowed, judge_address};

/// What the administrator allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Networks that may be reached although they are not public.
    pub allow: Vec<IpNet>,
    /// Whether plain `http` is accepted besides `https`.
    pub allow_http: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self { allow: Vec::new(), allow_http: true }
    }
}

/// Why a URL or an address is not used. Holds at most the URL's host, never its other parts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub struct Refusal {
    /// The rule, a stable name: `loopback`, `rfc1918`, `scheme`.
    pub rule: &'static str,
    /// What the rule was about: an address, a host, a scheme, a character.
    pub subject: String,
    /// What an administrator can set to allow it; `None` when nothing does.
    pub allowed_by: Option<Setting>,
    /// Whether the text is no usable URL at all; otherwise it leads to a place that is refused.
    pub malformed: bool,
}

/// A setting of `switchboard.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Setting {
    /// Its key with its section: `egress.allow`.
    pub key: &'static str,
    /// The value, or the entry to add to the list.
    pub value: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = &self.subject;
        match self.rule {
            "character" => write!(f, "a URL cannot contain `{subject}`, remove it")?,
            "syntax" => write!(f, "it is no absolute URL ({subject}), write https://host/path")?,
            "credentials" => f.write_str("a URL cannot carry a user name or password, use an auth method for them")?,
            "host" if subject.is_empty() => f.write_str("it names no host, write https://host/path")?,
            "host" => write!(f, "`{subject}` is no host name")?,
            "scheme" => write!(f, "`{subject}` is no scheme for webhooks, write https://host/path")?,
            rule => write!(f, "`{subject}` is refused by rule `{rule}`")?,
        }
        if let Some(Setting { key, value }) = &self.allowed_by {
            write!(f, ", an administrator can allow it with `{value}` in `{key}`")?;
        }
        Ok(())
    }
}

/// Reads and judges a URL without asking anyone; the names it has are judged again when they are
/// resolved.
///
/// The parsed URL is what has to be used from here on. Reading the text a second time with another
/// parser is how guards are fooled.
///
/// # Errors
///
/// A [`Refusal`]: malformed for control characters, spaces, backslashes, other schemes than `https`
/// and `http`, credentials or no host; otherwise for a host that is an address or a name the policy
/// does not allow.
pub fn judge(url: &str, policy: &Policy) -> Result<Url, Refusal> {
    // The parser removes tabs and line ends and turns `\` into `/`, so it would not show them.
    if let Some(c) = url.chars().find(|c| c.is_ascii_control() || matches!(c, ' ' | '\\')) {
        return Err(malformed("character", c.escape_default().to_string()));
    }
    let parsed = Url::parse(url).map_err(|error| malformed("syntax", error.to_string()))?;
    judge_scheme(&parsed, policy)?;
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(malformed("credentials", "user:password@".to_owned()));
    }
    match parsed.host() {
        None => return Err(malformed("host", String::new())),
        Some(Host::Ipv4(address)) => judge_address(address.into(), policy)?,
        Some(Host::Ipv6(address)) => judge_address(address.into(), policy)?,
        Some(Host::Domain(name)) => judge_name(name, policy)?,
    }
    Ok(parsed)
}

fn judge_scheme(url: &Url, policy: &Policy) -> Result<(), Refusal> {
    match url.scheme() {
        "https" => Ok(()),
        "http" if policy.allow_http => Ok(()),
        "http" => Err(Refusal {
            rule: "plain_http",
            subject: "http".to_owned(),
            allowed_by: Some(Setting { key: "egress.http", value: "true".to_owned() }),
            malformed: true,
        }),
        other => Err(malformed("scheme", other.chars().take(32).collect())),
    }
}

/// Judges a name before it is resolved.
pub(super) fn judge_name(name: &str, policy: &Policy) -> Result<(), Refusal> {
    // One dot at the end makes a name complete and changes nothing else.
    let bare = name.strip_suffix('.').unwrap_or(name);
    if bare.is_empty() || bare.split('.').any(str::is_empty) {
        return Err(malformed("host", name.to_owned()));
    }
    let refused = |rule, allowed_by| Err(Refusal { rule, subject: name.to_owned(), allowed_by, malformed: false });
    let last = bare.rsplit('.').next().unwrap_or(bare);
    if last.eq_ignore_ascii_case("localhost") {
        if localhost(policy).next().is_some() {
            return Ok(());
        }
        let value = IpNet::from(IpAddr::from(Ipv4Addr::LOCALHOST)).to_string();
        return refused("localhost", Some(Setting { key: "egress.allow", value }));
    }
    if !bare.contains('.') {
        return refused("single_label", None);
    }
    if last.eq_ignore_ascii_case("local") {
        return refused("local_name", None);
    }
    if last.eq_ignore_ascii_case("internal") {
        return refused("internal_name", None);
    }
    Ok(())
}

/// Tells whether `name` is this machine by definition (RFC 6761), which no resolver is asked about.
pub(super) fn is_localhost(name: &str) -> bool {
    let bare = name.strip_suffix('.').unwrap_or(name);
    bare.rsplit('.').next().is_some_and(|last| last.eq_ignore_ascii_case("localhost"))
}

/// Returns the addresses of this machine that the policy allows.
pub(super) fn localhost(policy: &Policy) -> impl Iterator<Item = IpAddr> {
    [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)]
        .into_iter()
        .filter(|address| is_allowed(*address, policy))
}

fn malformed(rule: &'static str, subject: String) -> Refusal {
    Refusal { rule, subject, allowed_by: None, malformed: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_rule(url: &str, expected: Result<&str, &str>) {
        let judged = judge(url, &Policy::default());
        let judged = judged.as_ref().map(Url::as_str).map_err(|refusal| refusal.rule);
        assert_eq!(judged, expected, "`{url}`");
    }

    #[test]
    fn public_urls_pass_in_one_spelling() {
        check_rule("https://example.com", Ok("https://example.com/"));
        check_rule("HTTPS://EXAMPLE.com:443/a?b=c", Ok("https://example.com/a?b=c"));
        check_rule("http://example.com:8080/ä", Ok("http://example.com:8080/%C3%A4"));
        check_rule("https://bücher.example/", Ok("https://xn--bcher-kva.example/"));
        check_rule("https://example.com./", Ok("https://example.com./"));
        check_rule("https://93.184.216.34/", Ok("https://93.184.216.34/"));
        check_rule("https://[2001:4860:4860::8888]/", Ok("https://[2001:4860:4860::8888]/"));
    }

    #[test]
    fn text_that_parsers_read_differently_is_malformed() {
        for url in [
            "https://example.com/a b",
            " https://example.com",
            "https://example.com\t",
            "https://exa\nmple.com",
            "https://example.com\r\nhost: other",
            "https://example.com\\@127.0.0.1",
            "https:\\\\example.com",
            "https://example.com/\0",
            "https://example.com/\u{7f}",
        ] {
            check_rule(url, Err("character"));
        }
        for url in ["", "example.com", "//example.com", "https://", "https://[::1", "https://a:b:c/"] {
            check_rule(url, Err("syntax"));
        }
        for url in ["https://exa%00mple.com/", "https://a..b%2e%2f/", "https://example.com:99999/"] {
            check_rule(url, Err("syntax"));
        }
    }

    #[test]
    fn other_schemes_and_credentials_are_malformed() {
        for url in [
            "file:///etc/passwd",
            "ftp://example.com",
            "gopher://example.com",
            "ws://example.com",
            "data:,x",
            "unix:/run/docker.sock",
            "javascript:alert(1)",
        ] {
            check_rule(url, Err("scheme"));
        }
        for url in [
            "https://user@example.com",
            "https://:secret@example.com",
            "https://example.com:443@127.0.0.1/",
            "https://127.0.0.1%2f@example.com/",
        ] {
            check_rule(url, Err("credentials"));
        }
        let policy = Policy { allow_http: false, ..Policy::default() };
        assert!(judge("https://example.com", &policy).is_ok());
        assert_eq!(
            judge("http://example.com", &policy).unwrap_err().to_string(),
            "`http` is refused by rule `plain_http`, an administrator can allow it with `true` in \
             `egress.http`"
        );
    }

    #[test]
    fn every_spelling_of_loopback_is_loopback() {
        for url in [
            "http://127.0.0.1",
            "http://127.0.0.1.",
            "http://127.1",
            "http://127.0.1",
            "http://2130706433",
            "http://0177.0.0.1",
            "http://017700000001",
            "http://0x7f000001",
            "http://0x7f.1",
            "http://0X7F.0x0.0.0x1",
            "http://①②⑦.⓪.⓪.①",
            "http://127。0。0。1",
            "http://１２７.0.0.1",
            "http://%31%32%37.0.0.1",
            "http:127.0.0.1",
            "http:/127.0.0.1",
            "http:////127.0.0.1",
            "http://127.0.0.1:80#@example.com",
            "http://[::1]",
            "http://[0:0:0:0:0:0:0:1]",
            "http://[::ffff:127.0.0.1]",
            "http://[::ffff:7f00:1]",
            "http://[0:0:0:0:0:ffff:7f00:0001]",
        ] {
            check_rule(url, Err("loopback"));
        }
    }

    #[test]
    fn addresses_in_a_url_are_judged_by_the_address_rules() {
        for (url, rule) in [
            ("http://0", "this_network"),
            ("http://0.0.0.0:8080", "this_network"),
            ("http://10.1", "rfc1918"),
            ("http://0xa9fea9fe/latest/meta-data", "link_local"),
            ("http://169.254.169.254/latest/meta-data", "link_local"),
            ("http://168.63.129.16/", "platform"),
            ("http://100.100.100.200/", "shared"),
            ("http://4294967295", "reserved"),
            ("http://[::]", "unspecified"),
            ("http://[::127.0.0.1]", "not_global"),
            ("http://[::ffff:0:127.0.0.1]", "not_global"),
            ("http://[64:ff9b::169.254.169.254]", "nat64"),
            ("http://[2002:7f00:1::]", "6to4"),
            ("http://[2001:0:7f00:1::]", "protocol"),
            ("http://[fe80::5efe:127.0.0.1]", "link_local"),
            ("http://[fec0::1]", "site_local"),
            ("http://[fd00:ec2::254]", "unique_local"),
        ] {
            check_rule(url, Err(rule));
        }
        for url in ["http://256.0.0.1", "http://1.2.3.4.5", "http://0x100000000", "http://[fe80::1%25eth0]"] {
            check_rule(url, Err("syntax"));
        }
    }

    #[test]
    fn names_for_machines_nearby_are_refused() {
        for (url, rule) in [
            ("http://localhost", "localhost"),
            ("http://LOCALHOST.:8080", "localhost"),
            ("http://a.b.localhost", "localhost"),
            ("http://ⓛocalhost", "localhost"),
            ("http://printer.local", "local_name"),
            ("http://metadata.google.internal", "internal_name"),
            ("http://metadata.google.internal.", "internal_name"),
            ("http://host.docker.internal", "internal_name"),
            ("http://redis:6379", "single_label"),
            ("http://intranet.", "single_label"),
            ("http://local", "single_label"),
            ("http://a..example.com", "host"),
            ("http://example.com..", "host"),
        ] {
            check_rule(url, Err(rule));
        }
        check_rule("http://localhost.example.com", Ok("http://localhost.example.com/"));
        check_rule("http://notlocalhost.com", Ok("http://notlocalhost.com/"));
    }

    #[test]
    fn localhost_passes_where_the_allow_list_covers_it() {
        for network in ["127.0.0.0/8", "127.0.0.1/32", "::1/128"] {
            let policy = Policy { allow: vec![network.parse().unwrap()], allow_http: true };
            assert!(judge("http://localhost:8080/", &policy).is_ok());
            assert!(judge("http://app.localhost/", &policy).is_ok());
            assert!(judge("http://redis/", &policy).is_err());
        }
        let policy = Policy { allow: vec!["10.0.0.0/8".parse().unwrap()], allow_http: true };
        assert!(judge("http://localhost/", &policy).is_err());
        assert!(judge("http://10.20.30.40/", &policy).is_ok());
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
}
