//! Channel names that are safe as file names.

use std::borrow::Cow;

use super::OVERFLOW_CHANNEL;

/// Longer names are cut, in bytes.
const MAX_NAME: usize = 64;

/// Names Windows keeps for devices, with any extension and in any case.
const DEVICES: [&str; 4] = ["CON", "PRN", "AUX", "NUL"];

/// Returns `channel` as the first part of a file name: letters, digits, `_` and `-` of ASCII are
/// kept, every other character becomes `_`.
pub(super) fn for_file(channel: &str) -> Cow<'_, str> {
    if channel.is_empty() {
        return Cow::Borrowed(OVERFLOW_CHANNEL);
    }
    let mut name = if channel.len() <= MAX_NAME && channel.bytes().all(is_kept) {
        Cow::Borrowed(channel)
    } else {
        let replaced = channel.chars().take(MAX_NAME).map(|c| match u8::try_from(c) {
            Ok(byte) if is_kept(byte) => c,
            _ => '_',
        });
        Cow::Owned(replaced.collect())
    };
    if is_device(&name) {
        name.to_mut().push('_');
    }
    name
}

fn is_kept(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

fn is_device(name: &str) -> bool {
    let numbered = |port: &str| {
        name.len() == 4
            && name.get(..3).is_some_and(|start| start.eq_ignore_ascii_case(port))
            && name.ends_with(|last: char| last.is_ascii_digit())
    };
    DEVICES.iter().any(|device| name.eq_ignore_ascii_case(device)) || numbered("COM") || numbered("LPT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_never_leaves_its_folder_or_names_a_device() {
        for (channel, name) in [
            ("Webhooks", "Webhooks"),
            ("switchboard::egress", "switchboard__egress"),
            ("../../etc/passwd", "______etc_passwd"),
            ("a\0b\\c.d", "a_b_c_d"),
            ("Türen", "T_ren"),
            ("", "Other"),
            ("con", "con_"),
            ("LPT1", "LPT1_"),
            ("COMM", "COMM"),
        ] {
            assert_eq!(for_file(channel), name);
        }
        assert_eq!(for_file(&"x".repeat(65)).len(), MAX_NAME);
        assert_eq!(for_file(&"ü".repeat(65)).len(), MAX_NAME);
    }
}
