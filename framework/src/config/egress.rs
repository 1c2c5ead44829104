//! The section about what requests may reach.

use std::fmt;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{check, duration};
use crate::egress::{Deadlines, EgressOptions, Policy, is_host_entry, is_proxy};

/// The section `[egress]`. Its `Debug` does not show the proxy, which may have a password.
#[derive(Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct EgressConfig {
    /// Networks that may be reached although they are not public, as CIDRs such as `127.0.0.0/8`
    /// or single addresses. Empty by default.
    #[serde(deserialize_with = "check::networks", serialize_with = "check::write_networks")]
    pub allow: Vec<IpNet>,
    /// Hosts that may be reached whatever their name is and wherever it leads: `receiver.lan`, or `*.corp.example` for all
    /// names below one. Empty by default.
    pub allow_hosts: Vec<String>,
    /// Whether plain `http` URLs are accepted besides `https`. Default true.
    pub http: bool,
    /// Ports that may be reached although they belong to another protocol. Empty by default.
    pub ports: Vec<u16>,
    /// The only ports that may be reached, besides `ports`. Empty by default, which stands for any.
    pub only_ports: Vec<u16>,
    /// Whether this machine is behind NAT64. Default false.
    pub nat64: bool,
    /// The proxy all requests go through, as `http://host:port`; a user name and a password may stand before the host.
    pub proxy: Option<String>,
    /// The time for a name lookup; `100ms` to `60s`, default `5s`.
    #[serde(deserialize_with = "duration::one", serialize_with = "duration::write_one")]
    pub dns_timeout: Duration,
    /// The time for a connection; `100ms` to `60s`, default `5s`.
    #[serde(deserialize_with = "duration::one", serialize_with = "duration::write_one")]
    pub connect_timeout: Duration,
    /// The time for a TLS handshake; `100ms` to `60s`, default `5s`.
    #[serde(deserialize_with = "duration::one", serialize_with = "duration::write_one")]
    pub tls_timeout: Duration,
    /// The time from the connection to the head of the response; `100ms` to `60s`, default `60s`.
    #[serde(deserialize_with = "duration::one", serialize_with = "duration::write_one")]
    pub first_byte_timeout: Duration,
    /// How many bytes of a response body are kept; 0 to 16 MiB, default 65536.
    pub response_limit_bytes: usize,
}

impl Default for EgressConfig {
    fn default() -> Self {
        let EgressOptions { policy, deadlines, proxy, response_limit_bytes, .. } = EgressOptions::default();
        Self {
            allow: policy.allow,
            allow_hosts: policy.allow_hosts,
            http: policy.allow_http,
            ports: policy.ports,
            only_ports: policy.only_ports,
            nat64: policy.nat64,
            proxy,
            dns_timeout: deadlines.dns,
            connect_timeout: deadlines.connect,
            tls_timeout: deadlines.tls,
            first_byte_timeout: deadlines.first_byte,
            response_limit_bytes,
        }
    }
}

impl EgressConfig {
    /// Returns the options of the client these settings ask for.
    #[must_use]
    pub fn options(&self) -> EgressOptions {
        EgressOptions {
            policy: Policy {
                allow: self.allow.clone(),
                allow_hosts: self.allow_hosts.clone(),
                allow_http: self.http,
                ports: self.ports.clone(),
                only_ports: self.only_ports.clone(),
                nat64: self.nat64,
            },
            deadlines: Deadlines {
                dns: self.dns_timeout,
                connect: self.connect_timeout,
                tls: self.tls_timeout,
                first_byte: self.first_byte_timeout,
            },
            proxy: self.proxy.clone(),
            response_limit_bytes: self.response_limit_bytes,
            ..EgressOptions::default()
        }
    }

    pub(super) fn host_problem(&self) -> Option<String> {
        let wrong = self.allow_hosts.iter().find(|entry| !is_host_entry(entry))?;
        Some(format!(
            "has an entry that is no host name: `{}`, write for example `receiver.lan` or `*.corp.example`; addresses \
             belong into `egress.allow`",
            wrong.escape_debug()
        ))
    }

    pub(super) fn proxy_problem(&self) -> Option<String> {
        // Without its text, which may hold a password.
        let wrong = self.proxy.as_ref().is_some_and(|proxy| !is_proxy(proxy));
        wrong.then(|| "is not the URL of a proxy, write for example `http://proxy.example:3128`".to_owned())
    }
}

impl fmt::Debug for EgressConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EgressConfig").field(&self.options()).finish()
    }
}
