//! Which URLs a request may have.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use url::{Host, Url};

use super::address::{is_allowed, judge_address};
use super::port::judge_port;

/// What the administrator allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Networks that may be reached although they are not public. Empty by default.
    pub allow: Vec<IpNet>,
    /// Hosts that may be reached whatever their name is and wherever it leads: `receiver.lan`, or `*.corp.example` for all
    /// names below one. Empty by default.
    pub allow_hosts: Vec<String>,
    /// Whether plain `http` is accepted besides `https`. Default true.
    pub allow_http: bool,
    /// Ports that may be reached although they belong to another protocol. Empty by default.
    pub ports: Vec<u16>,
    /// The only ports that may be reached; empty, which is the default, stands for any.
    pub only_ports: Vec<u16>,
    /// Whether this machine is behind NAT64, so that an address in `64:ff9b::/96` is judged by the IPv4 address inside it.
    /// Default false: such addresses are refused.
    pub nat64: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            allow_hosts: Vec::new(),
            allow_http: true,
            ports: Vec::new(),
            only_ports: Vec::new(),
            nat64: false,
        }
    }
}

impl Policy {
    /// Tells whether the administrator has named `host`, as a URL or a lookup has it.
    pub(super) fn allows_host(&self, host: &str) -> bool {
        let host = bare(host);
        self.allow_hosts.iter().any(|entry| match entry.strip_prefix("*.") {
            Some(parent) => ends_with(host, bare(parent)),
            None => host.eq_ignore_ascii_case(bare(entry)),
        })
    }
}

/// Tells whether an entry of [`Policy::allow_hosts`] is a host name, in the spelling a URL gives it, or `*.` before one.
pub(crate) fn is_host_entry(entry: &str) -> bool {
    let name = entry.strip_prefix("*.").unwrap_or(entry);
    matches!(Host::parse(name), Ok(Host::Domain(parsed)) if parsed.eq_ignore_ascii_case(name)) && !bare(name).is_empty()
}

/// One dot at the end makes a name complete and changes nothing else.
fn bare(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

/// Tells whether `host` is a name below `parent`.
fn ends_with(host: &str, parent: &str) -> bool {
    let below = host.len().checked_sub(parent.len() + 1).and_then(|start| host.get(start..));
    below.and_then(|below| below.strip_prefix('.')).is_some_and(|end| end.eq_ignore_ascii_case(parent))
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
            "port" => write!(f, "port `{subject}` is refused by rule `port`")?,
            "own_port" => {
                write!(f, "port `{subject}` of this machine is refused by rule `own_port`, this host answers there")?
            }
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
/// and `http`, credentials or no host; otherwise for a port, or a host that is an address or a name, that the policy does
/// not allow.
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
    judge_port(parsed.port_or_known_default().unwrap_or_default(), policy)?;
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
    let bare = bare(name);
    if bare.is_empty() || bare.split('.').any(str::is_empty) {
        return Err(malformed("host", name.to_owned()));
    }
    if policy.allows_host(name) {
        return Ok(());
    }
    let by_host = || Some(Setting { key: "egress.allow_hosts", value: bare.to_owned() });
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
        return refused("single_label", by_host());
    }
    if last.eq_ignore_ascii_case("local") {
        return refused("local_name", by_host());
    }
    if last.eq_ignore_ascii_case("internal") {
        return refused("internal_name", by_host());
    }
    Ok(())
}

/// Tells whether `name` is this machine by definition (RFC 6761), which no resolver is asked about.
pub(super) fn is_localhost(name: &str) -> bool {
    bare(name).rsplit('.').next().is_some_and(|last| last.eq_ignore_ascii_case("localhost"))
}

/// Returns the loopback addresses that the policy allows.
pub(super) fn localhost(policy: &Policy) -> impl Iterator<Item = IpAddr> {
    [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)]
        .into_iter()
        .filter(|address| is_allowed(*address, policy))
}

fn malformed(rule: &'static str, subject: String) -> Refusal {
    Refusal { rule, subject, allowed_by: None, malformed: true }
}
