//! A request as a command line that makes it again.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::store::HttpExchange;

/// Headers that `curl` makes itself.
const OWN: [&str; 3] = ["host", "content-length", "connection"];

/// Writes an exchange as a command for a POSIX shell. What is masked stays masked: whoever runs the command puts the secrets
/// in. `body` is `None` when the bytes are not known any more.
pub(super) fn curl(exchange: &HttpExchange, body: Option<&[u8]>) -> String {
    let mut command = String::new();
    if exchange.body.length > 0 && body.is_none() {
        command.push_str("# the body is not kept any more; without it the request is another one\n");
    }
    let text = body.map(std::str::from_utf8);
    if let Some(Err(_)) = text {
        let bytes = STANDARD.encode(body.unwrap_or_default());
        let _ = write!(command, "printf %s {} | base64 -d | ", quoted(&bytes));
    }
    // `--globoff`, because a URL may have brackets; no redirect is followed, as in a delivery.
    let _ = write!(command, "curl --globoff --request {} --url {}", quoted(&exchange.method), quoted(&exchange.url));
    let headers =
        exchange.request_headers.iter().filter(|(name, _)| !OWN.contains(&name.to_ascii_lowercase().as_str()));
    for (name, value) in headers {
        // This is how curl is told to send a header without a value.
        let header = if value.is_empty() { format!("{name};") } else { format!("{name}: {value}") };
        let _ = write!(command, " \\\n  --header {}", quoted(&header));
    }
    match text {
        // `--data-raw`, because a body may begin with `@`.
        Some(Ok(text)) if !text.is_empty() => {
            let _ = write!(command, " \\\n  --data-raw {}", quoted(text));
        }
        Some(Err(_)) => command.push_str(" \\\n  --data-binary @-"),
        _ => {}
    }
    command
}

/// Quotes a text so that a POSIX shell takes it as it is.
fn quoted(text: &str) -> String {
    // No argument can hold this character.
    let text = text.replace('\0', "\u{FFFD}");
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=,%+@".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::SentBody;

    fn exchange(url: &str, headers: &[(&str, &str)], body: &[u8]) -> HttpExchange {
        HttpExchange {
            method: "POST".into(),
            url: url.into(),
            request_headers: headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            body: SentBody::of(body),
            ..HttpExchange::default()
        }
    }

    #[test]
    fn a_request_is_one_command() {
        let headers = [("content-type", "application/json"), ("authorization", "***"), ("x-empty", ""), ("host", "a")];
        let command = curl(&exchange("https://a.example/x?key=***", &headers, b"{}"), Some(b"{\"a\":\"it's\"}"));
        assert_eq!(
            command,
            "curl --globoff --request POST --url 'https://a.example/x?key=***' \\\n  \
             --header 'content-type: application/json' \\\n  --header 'authorization: ***' \\\n  --header 'x-empty;' \\\n  \
             --data-raw '{\"a\":\"it'\\''s\"}'"
        );
    }

    #[test]
    fn a_body_that_is_no_text_or_gone_is_told() {
        let binary = curl(&exchange("https://a.example/", &[], &[255]), Some(&[255, 0]));
        assert!(
            binary.starts_with("printf %s /wA= | base64 -d | curl ") && binary.ends_with("--data-binary @-"),
            "{binary}"
        );
        assert!(curl(&exchange("https://a.example/", &[], b"x"), None).starts_with("# the body is not kept"));
    }

    #[cfg(unix)]
    #[test]
    fn whatever_a_text_holds_the_shell_takes_it_as_it_is() {
        for text in ["", "a b", "'", "$(touch x) `id` \"\\ !*?[]{}~#&;|<>\n\t", "-n", "@file", "\u{1F600}", "a\0b"] {
            let script = format!("printf %s {}", quoted(text));
            let printed = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8(printed.stdout).unwrap(), text.replace('\0', "\u{FFFD}"), "{script}");
        }
    }
}
