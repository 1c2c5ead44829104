//! Which URLs and addresses may be reached. Pure: nothing is resolved here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use thiserror::Error;
use url::{Host, Url};

/// What the administrator allows.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Networks that may be reached although they are not public.
    pub allow: Vec<IpNet>,
    /// Whether `http` URLs may be used.
    pub allow_http: bool,
}

/// The rule that refuses a URL or an address.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rule {
    /// Control characters, spaces and backslashes, which parsers disagree about.
    Characters,
    /// The text is no absolute URL.
    Syntax,
    /// Neither `https` nor an allowed `http`.
    Scheme,
    /// A user name or password in the URL.
    UserInfo,
    /// A name that never is a public one.
    Name,
    /// An address that is not public; the name of its network.
    Address(&'static str),
}

/// A URL or an address that may not be reached.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}", self.text())]
pub struct Refusal {
    rule: Rule,
    about: String,
    resolved: bool,
}

impl Refusal {
    fn new(rule: Rule, about: impl Into<String>) -> Self {
        Self { rule, about: about.into(), resolved: false }
    }

    /// Returns the rule.
    #[must_use]
    pub fn rule(&self) -> &Rule {
        &self.rule
    }

    /// Returns whether the text alone was enough; otherwise an address did it that a name led to.
    #[must_use]
    pub fn is_static(&self) -> bool {
        !self.resolved
    }

    fn text(&self) -> String {
        let about = &self.about;
        match &self.rule {
            Rule::Characters => "a URL has no control characters, spaces or backslashes: remove them".into(),
            Rule::Syntax => format!("it is no absolute URL ({about}): write https://host/path"),
            Rule::Scheme => format!("`{about}` URLs cannot be used: write https:// (`egress.http = true` allows http)"),
            Rule::UserInfo => "a URL carries no user name or password: use the settings of the auth method".into(),
            Rule::Name => {
                format!("`{about}` is no public name; an administrator can allow its address in `egress.allow`")
            }
            Rule::Address(network) => format!(
                "the address {about} is not public ({network}); an administrator can allow it in `egress.allow`"
            ),
        }
    }
}

/// Judges a URL by its text, and returns it parsed when nothing speaks against it. The raw text is looked at first,
/// because the parser silently removes and replaces characters; then it is parsed once.
///
/// # Errors
///
/// The rule that refuses it.
///
/// # Examples
///
/// ```
/// use switchboard::egress::{Policy, Rule, judge};
///
/// let policy = Policy { allow: vec![], allow_http: true };
/// assert!(judge("https://example.com/hook", &policy).is_ok());
/// let refusal = judge("http://0x7f000001/", &policy).unwrap_err();
/// assert_eq!(refusal.rule(), &Rule::Address("loopback"));
/// ```
pub fn judge(url: &str, policy: &Policy) -> Result<Url, Refusal> {
    if url.chars().any(|character| character.is_control() || character == ' ' || character == '\\') {
        return Err(Refusal::new(Rule::Characters, ""));
    }
    let parsed = Url::parse(url).map_err(|error| Refusal::new(Rule::Syntax, error.to_string()))?;
    match parsed.scheme() {
        "https" => {}
        "http" if policy.allow_http => {}
        scheme => return Err(Refusal::new(Rule::Scheme, scheme)),
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(Refusal::new(Rule::UserInfo, ""));
    }
    match parsed.host() {
        None => return Err(Refusal::new(Rule::Syntax, "it has no host")),
        Some(Host::Ipv4(address)) => judge_address(address.into(), policy)?,
        Some(Host::Ipv6(address)) => judge_address(address.into(), policy)?,
        Some(Host::Domain(name)) => judge_name(name, policy)?,
    }
    Ok(parsed)
}

/// Judges the addresses that a name led to. One that is refused refuses the name.
pub(super) fn judge_resolved(addresses: impl IntoIterator<Item = IpAddr>, policy: &Policy) -> Result<(), Refusal> {
    for address in addresses {
        judge_address(address, policy).map_err(|refusal| Refusal { resolved: true, ..refusal })?;
    }
    Ok(())
}

fn judge_name(name: &str, policy: &Policy) -> Result<(), Refusal> {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    if (name == "localhost" || name.ends_with(".localhost")) && loopback.iter().any(|address| allowed(*address, policy))
    {
        return Ok(());
    }
    let reserved = ["localhost", "local", "internal", "home.arpa", "onion", "test", "invalid"];
    let is_reserved =
        |suffix: &&str| name == **suffix || name.strip_suffix(*suffix).is_some_and(|rest| rest.ends_with('.'));
    if name.is_empty() || !name.contains('.') || reserved.iter().any(is_reserved) {
        return Err(Refusal::new(Rule::Name, name));
    }
    Ok(())
}

fn judge_address(address: IpAddr, policy: &Policy) -> Result<(), Refusal> {
    if allowed(address, policy) {
        return Ok(());
    }
    let network = match address {
        IpAddr::V4(address) => refused_v4(address),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(mapped) => refused_v4(mapped),
            None => refused_v6(address),
        },
    };
    network.map_or(Ok(()), |network| Err(Refusal::new(Rule::Address(network), address.to_string())))
}

fn allowed(address: IpAddr, policy: &Policy) -> bool {
    let canonical = address.to_canonical();
    policy.allow.iter().any(|network| network.contains(&address) || network.contains(&canonical))
}

/// Networks that are not globally reachable, after the IANA special-purpose registries, and the metadata address of one
/// large cloud that lies outside them.
const REFUSED_V4: &[(Ipv4Addr, u8, &str)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8, "this network"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "private"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "shared by providers"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "loopback"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "link-local"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "private"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "protocol assignments"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "documentation"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "6to4 relay"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "private"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "benchmarking"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "documentation"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "documentation"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "multicast"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "reserved"),
    (Ipv4Addr::new(168, 63, 129, 16), 32, "cloud metadata"),
];

fn refused_v4(address: Ipv4Addr) -> Option<&'static str> {
    let address = address.to_bits();
    let inside = |network: &Ipv4Addr, prefix: u8| (address ^ network.to_bits()).leading_zeros() >= u32::from(prefix);
    REFUSED_V4.iter().find(|(network, prefix, _)| inside(network, *prefix)).map(|(_, _, name)| *name)
}

/// Parts of the global range that are not globally reachable.
const REFUSED_V6: &[(Ipv6Addr, u8, &str)] = &[
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, "protocol assignments"),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, "documentation"),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, "6to4"),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "documentation"),
];

/// Only `2000::/3` is global; everything outside it (loopback, mapped, translated, local) is refused as a whole.
fn refused_v6(address: Ipv6Addr) -> Option<&'static str> {
    let bits = address.to_bits();
    if bits >> 125 != 1 {
        return Some(if address.is_loopback() { "loopback" } else { "not global" });
    }
    let inside = |network: &Ipv6Addr, prefix: u8| (bits ^ network.to_bits()).leading_zeros() >= u32::from(prefix);
    REFUSED_V6.iter().find(|(network, prefix, _)| inside(network, *prefix)).map(|(_, _, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(allow: &[&str]) -> Policy {
        Policy { allow: allow.iter().map(|network| network.parse().unwrap()).collect(), allow_http: true }
    }

    #[track_caller]
    fn check(url: &str, expected: Result<(), Rule>) {
        assert_eq!(judge(url, &policy(&[])).map(drop).map_err(|refusal| refusal.rule), expected, "{url}");
    }

    #[test]
    fn a_url_is_judged_by_its_text() {
        for url in
            ["https://example.com/hook?a=b", "http://example.com:8080/", "https://8.8.8.8/", "https://[2606:4700::1]/"]
        {
            check(url, Ok(()));
        }
        check("https://exa mple.com/", Err(Rule::Characters));
        check("https://example.com/\thook", Err(Rule::Characters));
        check("https:\\\\example.com", Err(Rule::Characters));
        check("example.com/hook", Err(Rule::Syntax));
        check("https://", Err(Rule::Syntax));
        check("", Err(Rule::Syntax));
        check("ftp://example.com/", Err(Rule::Scheme));
        check("file:///etc/passwd", Err(Rule::Scheme));
        check("https://user:secret@example.com/", Err(Rule::UserInfo));
        check("https://user@example.com/", Err(Rule::UserInfo));
        for url in [
            "https://localhost/",
            "https://LOCALHOST./",
            "https://a.localhost/",
            "https://intranet/",
            "https://printer.local/",
            "https://metadata.google.internal/",
        ] {
            assert!(matches!(judge(url, &policy(&[])).unwrap_err().rule, Rule::Name), "{url}");
        }
        assert!(judge("http://example.com", &Policy::default()).is_err());
    }

    #[test]
    fn odd_spellings_of_an_address_are_the_address() {
        for url in [
            "http://2130706433/",
            "http://0177.0.0.1/",
            "http://0x7f000001/",
            "http://127.1/",
            "http://①②⑦.⓪.⓪.①/",
            "http://127。0。0。1/",
            "http://%31%32%37.0.0.1/",
            "http://127.0.0.1./",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:7f00:1]/",
        ] {
            check(url, Err(Rule::Address("loopback")));
        }
    }

    #[test]
    fn only_global_addresses_may_be_reached() {
        for address in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "255.255.255.255",
            "168.63.129.16",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:0:127.0.0.1",
            "64:ff9b::7f00:1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "fe80::5efe:7f00:1",
            "4000::1",
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert!(judge_address(address, &policy(&[])).is_err(), "{address}");
        }
        for address in [
            "1.1.1.1",
            "172.15.0.1",
            "172.32.0.1",
            "100.63.0.1",
            "100.128.0.1",
            "198.20.0.1",
            "168.63.129.17",
            "2606:4700::1",
            "2a00:1450::1",
            "2001:200::1",
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert!(judge_address(address, &policy(&[])).is_ok(), "{address}");
        }
    }

    #[test]
    fn an_administrator_can_allow_a_network() {
        let allowed = policy(&["127.0.0.0/8", "10.20.0.0/16"]);
        for url in ["http://127.0.0.1:8080/", "http://10.20.3.4/", "http://localhost/", "http://[::ffff:127.0.0.1]/"] {
            assert!(judge(url, &allowed).is_ok(), "{url}");
        }
        for url in ["http://10.21.0.1/", "http://192.168.1.1/", "http://[::1]/"] {
            assert!(judge(url, &allowed).is_err(), "{url}");
        }
        let text = judge("http://10.21.0.1/", &allowed).unwrap_err().to_string();
        assert!(text.contains("10.21.0.1") && text.contains("private") && text.contains("egress.allow"), "{text}");
    }
}
