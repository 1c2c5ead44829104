//! Event filters: names in which `*` stands for any characters.

use switchboard_plugin_api::protocol::MAX_EVENT_NAME_BYTES;

/// Whether something can be in a filter: an event name, with any number of `*` in it.
pub(super) fn is_pattern(pattern: &str) -> bool {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'*');
    (1..=MAX_EVENT_NAME_BYTES).contains(&pattern.len()) && pattern.bytes().all(valid)
}

/// Whether a filter lets an event through. An empty filter lets all through.
pub(super) fn matches(filter: &[String], event: &str) -> bool {
    filter.is_empty() || filter.iter().any(|pattern| matches_one(pattern, event))
}

fn matches_one(pattern: &str, event: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == event };
    let (middle, end) = rest.rsplit_once('*').unwrap_or(("", rest));
    let Some(inner) = event.strip_prefix(start).and_then(|event| event.strip_suffix(end)) else { return false };
    // Each part at its first place leaves the most for the others.
    let mut left = inner;
    middle.split('*').all(|part| match left.find(part) {
        Some(at) => {
            left = &left[at + part.len()..];
            true
        }
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        let cases = [
            ("booking_added", "booking_added", true),
            ("booking_added", "booking_added2", false),
            ("*", "x", true),
            ("booking_*", "booking_added", true),
            ("booking_*", "booking_", true),
            ("booking_*", "rebooking_added", false),
            ("*_added", "booking_added", true),
            ("*_added", "booking_added_late", false),
            ("*ok*ad*", "booking_added", true),
            ("b*_*d", "booking_added", true),
            ("b*added*d", "booking_added", false),
            ("a*a", "a", false),
            ("ab*ba", "aba", false),
            ("**", "x", true),
        ];
        for (pattern, event, expected) in cases {
            assert!(is_pattern(pattern));
            assert_eq!(matches(&[pattern.into()], event), expected, "{pattern} {event}");
        }
        assert!(matches(&[], "x") && !matches(&["a".into(), "b_*".into()], "c"));
        for wrong in ["", "a b", "ä*", "a?"] {
            assert!(!is_pattern(wrong), "{wrong}");
        }
    }
}
