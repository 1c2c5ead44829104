//! When a certificate expires. rustls checks that date and does not tell it.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// Returns `notAfter` of an X.509 certificate (RFC 5280) in seconds since the Unix epoch; `None` when it cannot be read.
///
/// Only follows the lengths of DER to that field and judges nothing: the certificate has a verifier for that.
pub(super) fn expires_at(der: &[u8]) -> Option<i64> {
    let (certificate, _) = expect(der, SEQUENCE)?;
    let (mut fields, _) = expect(certificate, SEQUENCE)?;
    if let Some((_, rest)) = expect(fields, VERSION) {
        fields = rest;
    }
    // Serial number, signature algorithm, issuer.
    for _ in 0..3 {
        fields = element(fields)?.2;
    }
    let (validity, _) = expect(fields, SEQUENCE)?;
    let (_, _, rest) = element(validity)?;
    let (tag, not_after, _) = element(rest)?;
    seconds(tag, std::str::from_utf8(not_after).ok()?)
}

/// Reads one element: its tag, its content, and what comes after it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, length], rest) = der.split_first_chunk()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        // One to three bytes of length follow; a certificate is not larger.
        0x81..=0x83 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            (bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// Reads one element of that tag: its content, and what comes after it.
fn expect(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    element(der).filter(|element| element.0 == tag).map(|(_, content, rest)| (content, rest))
}

/// Reads `YYMMDDhhmmssZ` or `YYYYMMDDhhmmssZ`, the only forms that RFC 5280 allows.
fn seconds(tag: u8, text: &str) -> Option<i64> {
    let digits = text.strip_suffix('Z').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    let number = |from: usize, to: usize| digits.get(from..to)?.parse::<i16>().ok();
    let (year, start) = match (tag, digits.len()) {
        (UTC_TIME, 12) => (number(0, 2).map(|year| if year < 50 { 2000 + year } else { 1900 + year })?, 2),
        (GENERALIZED_TIME, 14) => (number(0, 4)?, 4),
        _ => return None,
    };
    let part = |index: usize| i8::try_from(number(start + 2 * index, start + 2 * index + 2)?).ok();
    let time = DateTime::new(year, part(0)?, part(1)?, part(2)?, part(3)?, part(4)?, 0).ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_of_a_real_certificate_is_found() {
        for (year, expected) in
            [(2031, 1_940_284_800), (2049, 2_508_364_800), (2050, 2_539_900_800), (9999, 253_386_057_600)]
        {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut params = rcgen::CertificateParams::new(vec!["receiver.example".to_owned()]).unwrap();
            params.not_after = rcgen::date_time_ymd(year, 6, 27);
            let der = params.self_signed(&key).unwrap().der().to_vec();
            assert_eq!(expires_at(&der), Some(expected), "{year}");
            // Any part of it, and any damage to it, is no date or another date, and no panic.
            for end in 0..der.len() {
                expires_at(&der[..end]);
                let mut damaged = der.clone();
                damaged[end] ^= 0xff;
                expires_at(&damaged);
            }
        }
    }

    #[test]
    fn only_the_two_forms_of_the_standard_are_dates() {
        assert_eq!(seconds(UTC_TIME, "700101000000Z"), Some(0));
        assert_eq!(seconds(UTC_TIME, "491231235959Z"), Some(2_524_607_999));
        assert_eq!(seconds(GENERALIZED_TIME, "20500101000000Z"), Some(2_524_608_000));
        for text in ["", "Z", "700101000000", "7001010000Z", "701301000000Z", "700100000000Z", "7001010000\u{0660}Z"] {
            assert_eq!(seconds(UTC_TIME, text), None, "{text}");
        }
        assert_eq!(seconds(0x16, "700101000000Z"), None);
    }
}
