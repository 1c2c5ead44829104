//! Which ports a request may go to.

use super::guard::{Policy, Refusal, Setting};

/// Ports of protocols that are not HTTP. A request that reaches one of them may be taken for a command of that protocol.
///
/// The "bad ports" of the WHATWG Fetch standard, and those of common databases, queues and remote shells.
#[rustfmt::skip]
const OTHER_PROTOCOLS: [u16; 109] = [
    0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109, 110,
    111, 113, 115, 117, 119, 123, 135, 137, 138, 139, 143, 161, 179, 389, 427, 445, 465, 512, 513, 514, 515, 526, 530, 531,
    532, 540, 548, 554, 556, 563, 587, 601, 636, 873, 989, 990, 993, 995, 1433, 1521, 1719, 1720, 1723, 1883, 2049, 2181,
    2375, 2376, 2379, 2380, 3306, 3389, 3659, 4045, 4190, 4369, 5060, 5061, 5432, 5672, 5900, 5985, 5986, 6000, 6379, 6566,
    6665, 6666, 6667, 6668, 6669, 6679, 6697, 8883, 9042, 9092, 10080, 10250, 11211, 27017,
];

/// Judges the port of a URL.
pub(super) fn judge_port(port: u16, policy: &Policy) -> Result<(), Refusal> {
    let refused = |rule, key| {
        let allowed_by = Some(Setting { key, value: port.to_string() });
        Err(Refusal { rule, subject: port.to_string(), allowed_by, malformed: false })
    };
    if policy.ports.contains(&port) {
        return Ok(());
    }
    if !policy.only_ports.is_empty() {
        return if policy.only_ports.contains(&port) { Ok(()) } else { refused("port", "egress.only_ports") };
    }
    if OTHER_PROTOCOLS.contains(&port) { refused("port", "egress.ports") } else { Ok(()) }
}
