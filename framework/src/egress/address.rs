//! Which addresses a request may go to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::guard::{Policy, Refusal, Setting};

/// IPv4 that is not global unicast, by the IANA special-purpose registry, and the address at which
/// Azure serves a machine its own secrets.
const V4: [(Ipv4Addr, u32, &str); 16] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8, "this_network"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "rfc1918"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "shared"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "loopback"),
    (Ipv4Addr::new(168, 63, 129, 16), 32, "platform"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "link_local"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "rfc1918"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "protocol"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "documentation"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "6to4_relay"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "rfc1918"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "benchmarking"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "documentation"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "documentation"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "multicast"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "reserved"),
];

/// The well-known prefix of NAT64 (RFC 6052), 96 bits long.
const NAT64: Ipv6Addr = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0);

/// The only IPv6 that is global unicast.
const V6_GLOBAL: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// IPv6 with a name of its own. What is neither here nor in [`V6_GLOBAL`] is `not_global`.
const V6: [(Ipv6Addr, u32, &str); 11] = [
    (Ipv6Addr::UNSPECIFIED, 128, "unspecified"),
    (Ipv6Addr::LOCALHOST, 128, "loopback"),
    // Leads to an IPv4 address, and only on a host behind NAT64.
    (NAT64, 96, "nat64"),
    // Teredo, ORCHID and others.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, "protocol"),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, "documentation"),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, "6to4"),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "documentation"),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, "unique_local"),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, "link_local"),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, "site_local"),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, "multicast"),
];

/// Judges one address: global unicast passes, and what the policy allows.
///
/// An IPv4 address inside an IPv6 one (`::ffff:10.0.0.1`) is judged as IPv4; so is one behind NAT64 where the policy says
/// that there is one.
///
/// # Errors
///
/// A [`Refusal`] with the rule that holds for the address.
pub fn judge_address(address: IpAddr, policy: &Policy) -> Result<(), Refusal> {
    let given = address.to_canonical();
    let address = behind_nat64(given, policy);
    let rule = match address {
        IpAddr::V4(address) => rule_v4(address),
        IpAddr::V6(address) => rule_v6(address),
    };
    match rule {
        Some(rule) if !is_allowed(address, policy) && !is_allowed(given, policy) => Err(refusal(rule, address)),
        _ => Ok(()),
    }
}

/// Returns the refusal of an address, which an entry in the allow-list would lift.
pub(super) fn refusal(rule: &'static str, address: IpAddr) -> Refusal {
    let setting = match rule {
        "nat64" => Setting { key: "egress.nat64", value: "true".to_owned() },
        _ => Setting { key: "egress.allow", value: IpNet::from(address).to_string() },
    };
    Refusal { rule, subject: address.to_string(), allowed_by: Some(setting), malformed: false }
}

/// Tells whether the allow-list covers `address`.
pub(super) fn is_allowed(address: IpAddr, policy: &Policy) -> bool {
    policy.allow.iter().any(|network| network.contains(&address))
}

/// Returns the IPv4 address that a NAT64 of this machine would connect to, or `address` itself.
fn behind_nat64(address: IpAddr, policy: &Policy) -> IpAddr {
    match address {
        IpAddr::V6(v6) if policy.nat64 && (v6.to_bits() ^ NAT64.to_bits()) >> 32 == 0 => {
            let [.., a, b, c, d] = v6.octets();
            Ipv4Addr::new(a, b, c, d).into()
        }
        other => other,
    }
}

fn rule_v4(address: Ipv4Addr) -> Option<&'static str> {
    let differs = |network: Ipv4Addr, prefix| (address.to_bits() ^ network.to_bits()) >> (32 - prefix);
    V4.iter().find(|(network, prefix, _)| differs(*network, *prefix) == 0).map(|(_, _, rule)| *rule)
}

fn rule_v6(address: Ipv6Addr) -> Option<&'static str> {
    let differs = |network: Ipv6Addr, prefix| (address.to_bits() ^ network.to_bits()) >> (128 - prefix);
    let named = V6.iter().find(|(network, prefix, _)| differs(*network, *prefix) == 0);
    let (global, prefix) = V6_GLOBAL;
    match named {
        Some((_, _, rule)) => Some(rule),
        None if differs(global, prefix) == 0 => None,
        None => Some("not_global"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_rule(address: &str, expected: Option<&str>) {
        let refusal = judge_address(address.parse().unwrap(), &Policy::default()).err();
        assert_eq!(refusal.map(|refusal| refusal.rule), expected, "`{address}`");
    }

    #[test]
    fn only_global_unicast_of_ipv4_passes() {
        // Each network by its first and last address, and the public neighbours of both.
        for (before, first, last, after, rule) in [
            ("", "0.0.0.0", "0.255.255.255", "1.0.0.0", "this_network"),
            ("9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0", "rfc1918"),
            ("100.63.255.255", "100.64.0.0", "100.127.255.255", "100.128.0.0", "shared"),
            ("126.255.255.255", "127.0.0.0", "127.255.255.255", "128.0.0.0", "loopback"),
            ("168.63.129.15", "168.63.129.16", "168.63.129.16", "168.63.129.17", "platform"),
            ("169.253.255.255", "169.254.0.0", "169.254.255.255", "169.255.0.0", "link_local"),
            ("172.15.255.255", "172.16.0.0", "172.31.255.255", "172.32.0.0", "rfc1918"),
            ("191.255.255.255", "192.0.0.0", "192.0.0.255", "192.0.1.0", "protocol"),
            ("192.0.1.255", "192.0.2.0", "192.0.2.255", "192.0.3.0", "documentation"),
            ("192.88.98.255", "192.88.99.0", "192.88.99.255", "192.88.100.0", "6to4_relay"),
            ("192.167.255.255", "192.168.0.0", "192.168.255.255", "192.169.0.0", "rfc1918"),
            ("198.17.255.255", "198.18.0.0", "198.19.255.255", "198.20.0.0", "benchmarking"),
            ("198.51.99.255", "198.51.100.0", "198.51.100.255", "198.51.101.0", "documentation"),
            ("203.0.112.255", "203.0.113.0", "203.0.113.255", "203.0.114.0", "documentation"),
            ("223.255.255.255", "224.0.0.0", "239.255.255.255", "", "multicast"),
            ("", "240.0.0.0", "255.255.255.255", "", "reserved"),
        ] {
            for public in [before, after] {
                if !public.is_empty() {
                    check_rule(public, None);
                    check_rule(&format!("::ffff:{public}"), None);
                }
            }
            for bad in [first, last] {
                check_rule(bad, Some(rule));
                check_rule(&format!("::ffff:{bad}"), Some(rule));
            }
        }
    }

    #[test]
    fn only_global_unicast_of_ipv6_passes() {
        for (address, rule) in [
            ("::", Some("unspecified")),
            ("::1", Some("loopback")),
            ("::2", Some("not_global")),
            // The forms that lists of forbidden networks tend to forget.
            ("::127.0.0.1", Some("not_global")),
            ("::ffff:0:127.0.0.1", Some("not_global")),
            ("64:ff9b::7f00:1", Some("nat64")),
            ("64:ff9b:1::1", Some("not_global")),
            ("100::1", Some("not_global")),
            ("1fff:ffff::1", Some("not_global")),
            ("2000::1", None),
            ("2000:ffff::1", None),
            ("2001::1", Some("protocol")),
            ("2001:1ff:ffff::1", Some("protocol")),
            ("2001:200::1", None),
            ("2001:db7:ffff::1", None),
            ("2001:db8::1", Some("documentation")),
            ("2001:db9::1", None),
            ("2001:4860:4860::8888", None),
            ("2002:7f00:1::", Some("6to4")),
            ("2003::1", None),
            ("2a00:1450::1", None),
            ("3ffe:ffff::1", None),
            ("3fff::1", Some("documentation")),
            ("3fff:fff:ffff::1", Some("documentation")),
            ("3fff:1000::1", None),
            ("4000::1", Some("not_global")),
            ("5f00::1", Some("not_global")),
            ("fc00::1", Some("unique_local")),
            ("fdff:ffff::1", Some("unique_local")),
            ("fe80::1", Some("link_local")),
            ("fe80::5efe:7f00:1", Some("link_local")),
            ("fec0::1", Some("site_local")),
            ("ff02::1", Some("multicast")),
        ] {
            check_rule(address, rule);
        }
    }

    #[test]
    fn the_allow_list_wins_for_exactly_its_networks() {
        let allow = ["127.0.0.0/8", "fd00::/8"].map(|network| network.parse().unwrap());
        let policy = Policy { allow: allow.to_vec(), ..Policy::default() };
        let judge = |address: &str| judge_address(address.parse().unwrap(), &policy);
        for allowed in ["127.0.0.1", "127.255.0.1", "::ffff:127.0.0.1", "fd12::1"] {
            assert_eq!(judge(allowed), Ok(()));
        }
        for refused in ["10.0.0.1", "::1", "::127.0.0.1", "fc00::1"] {
            assert!(judge(refused).is_err(), "`{refused}`");
        }
    }

    #[test]
    fn behind_nat64_the_address_inside_is_judged() {
        let policy = Policy { nat64: true, ..Policy::default() };
        let judge = |address: &str| judge_address(address.parse().unwrap(), &policy).map_err(|refusal| refusal.rule);
        assert_eq!(judge("64:ff9b::93.184.216.34"), Ok(()));
        assert_eq!(judge("64:ff9b::169.254.169.254"), Err("link_local"));
        assert_eq!(judge("64:ff9b::127.0.0.1"), Err("loopback"));
        // The prefix that each network chooses for itself is not the well-known one.
        assert_eq!(judge("64:ff9b:1::93.184.216.34"), Err("not_global"));
        let refused = judge_address("64:ff9b::1.1.1.1".parse().unwrap(), &Policy::default()).unwrap_err();
        assert_eq!(refused.allowed_by.unwrap().key, "egress.nat64");
    }

    #[test]
    fn a_refusal_names_the_setting_that_would_allow_it() {
        let refusal = judge_address(Ipv4Addr::new(10, 0, 0, 5).into(), &Policy::default());
        assert_eq!(
            refusal.unwrap_err().to_string(),
            "`10.0.0.5` is refused by rule `rfc1918`, an administrator can allow it with \
             `10.0.0.5/32` in `egress.allow`"
        );
    }
}
