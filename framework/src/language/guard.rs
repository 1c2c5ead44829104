//! Sources that would bring the process down are refused before they are parsed.
//!
//! The parser recurses for each nested placeable without a limit, and a stack that overflows ends
//! the process. The plural rules panic on numbers of more than 19 digits.

/// How deep placeables and arguments may nest; people need three. Without optimisation 500 levels
/// overflow the two megabytes of a thread.
const MAX_DEPTH: usize = 20;

/// How many digits a number may have, as many as stay exact.
const MAX_DIGITS: usize = 15;

/// Returns the line, counted from 1, and what is wrong with it.
pub(super) fn refuse(ftl: &str) -> Option<(usize, &'static str)> {
    let mut depth = 0_usize;
    for (number, line) in ftl.lines().enumerate() {
        let checked = check_line(line, &mut depth);
        if let Err(reason) = checked {
            return Some((number + 1, reason));
        }
    }
    None
}

/// Follows the nesting through one line. After a malformed entry `depth` may be too large, never
/// too small by more than what one line may hide in a string.
fn check_line(line: &str, depth: &mut usize) -> Result<(), &'static str> {
    if line.starts_with('#') {
        return Ok(());
    }
    // A string ends on its line, or the parser gives the entry up.
    let mut in_string = false;
    let mut escaped = false;
    let mut openers_in_string = 0;
    let mut digits = 0;
    let mut in_name = false;
    for byte in line.bytes() {
        let is_digit = byte.is_ascii_digit() || byte == b'.';
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                b'{' | b'(' => openers_in_string += 1,
                _ => {}
            }
        } else if *depth > 0 {
            match byte {
                b'"' => in_string = true,
                b'{' | b'(' => *depth += 1,
                b'}' | b')' => *depth -= 1,
                _ if is_digit && !in_name => digits += 1,
                _ => {}
            }
        } else if byte == b'{' {
            *depth = 1;
        }
        if !is_digit {
            digits = 0;
            in_name = byte.is_ascii_alphabetic() || byte == b'_';
        }
        if *depth > MAX_DEPTH || openers_in_string > MAX_DEPTH {
            return Err("nests too deep");
        }
        if digits > MAX_DIGITS {
            return Err("has a number with too many digits");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deep_nesting_is_refused_with_its_line() {
        for opener in ["{", "{ A(", "{\n", "{A(\n"] {
            let ftl = format!("good = text\nbad = {}", opener.repeat(100_000));
            assert!(refuse(&ftl).is_some_and(|(line, _)| line >= 2));
        }
        let hidden = format!("a = {{ \nb = \"{}", "{".repeat(100_000));
        assert_eq!(refuse(&hidden), Some((2, "nests too deep")));
    }

    #[test]
    fn long_numbers_are_refused_with_their_line() {
        for number in ["12345678901234567890", "-1.000000000000000000000"] {
            let ftl = format!("a = b\nc = {{ {number} ->\n [one] x\n *[other] y\n}}\n");
            assert_eq!(refuse(&ftl), Some((2, "has a number with too many digits")));
        }
    }

    #[test]
    fn what_is_just_allowed_can_be_parsed() {
        let nested = format!("a = {}1{}", "{".repeat(MAX_DEPTH), "}".repeat(MAX_DEPTH));
        assert_eq!(refuse(&nested), None);
        assert!(fluent_bundle::FluentResource::try_new(nested).is_ok());
    }

    #[test]
    fn what_people_write_passes() {
        let many = "css = { \"{\" } color: red { \"}\" } 12345678901234567890 (((\n".repeat(1000);
        assert_eq!(refuse(&many), None);
        assert_eq!(refuse("# {{{{{ 12345678901234567890\na = { $x12345678901234567890 }"), None);
    }
}
