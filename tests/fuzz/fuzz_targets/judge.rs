//! Whatever the text: no panic, and a URL that is accepted is harmless and stays accepted.
#![no_main]

use libfuzzer_sys::fuzz_target;
use switchboard::egress::{Policy, judge};

fuzz_target!(|data: (bool, bool, &str)| {
    let (allow_http, nat64, text) = data;
    let policy = Policy { allow_http, nat64, ..Policy::default() };
    let Ok(url) = judge(text, &policy) else { return };
    assert!(!text.contains(|c: char| c.is_ascii_control() || c == ' ' || c == '\\'));
    assert!(!url.as_str().contains(|c: char| c.is_control() || c == ' '));
    assert!(url.username().is_empty() && url.password().is_none());
    let host = url.host_str().unwrap();
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = literal.parse() {
        assert!(switchboard::egress::judge_address(address, &policy).is_ok());
    } else {
        assert!(host.trim_end_matches('.').contains('.'));
    }
    assert_eq!(judge(url.as_str(), &policy), Ok(url));
});
