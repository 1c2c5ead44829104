//! Which id of the channel stands for which of the host's.

use std::collections::BTreeMap;
use std::fmt;

/// Lines such as `7 = HTL-7`: the host's id, and the channel's.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Mapping(BTreeMap<String, String>);

/// The first line that cannot be used, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadLine {
    /// It is not two ids with an equals sign between.
    Form(usize),
    /// An earlier line has the same id of the host.
    Twice(usize),
}

impl Mapping {
    /// Reads the lines of a setting; empty ones say nothing.
    pub(crate) fn read(lines: &str) -> Result<Self, BadLine> {
        let mut ids = BTreeMap::new();
        for (line, text) in (1..).zip(lines.lines()).filter(|(_, text)| !text.trim().is_empty()) {
            let (own, theirs) = text.split_once('=').ok_or(BadLine::Form(line))?;
            let (own, theirs) = (own.trim(), theirs.trim());
            if own.is_empty() || theirs.is_empty() {
                return Err(BadLine::Form(line));
            }
            if ids.insert(own.to_owned(), theirs.to_owned()).is_some() {
                return Err(BadLine::Twice(line));
            }
        }
        Ok(Self(ids))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the channel's id for one of the host's.
    pub(crate) fn of(&self, own: &str) -> Option<&str> {
        self.0.get(own).map(String::as_str)
    }
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form(line) => write!(f, "line {line} is not written as `7 = HTL-7`"),
            Self::Twice(line) => write!(f, "line {line} names an id that an earlier line has"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_ties_an_id_of_the_channel_to_one_of_the_host() {
        let mapping = Mapping::read("7 = HTL-7\r\n\n 8=HTL = 8 \n").unwrap();
        assert_eq!((mapping.of("7"), mapping.of("8"), mapping.of("9")), (Some("HTL-7"), Some("HTL = 8"), None));
        assert!(Mapping::read(" \n").unwrap().is_empty());
    }

    #[test]
    fn a_line_that_cannot_be_used_is_counted() {
        assert_eq!(Mapping::read("7 = HTL-7\n\n8"), Err(BadLine::Form(3)));
        assert_eq!(Mapping::read("= HTL-7"), Err(BadLine::Form(1)));
        assert_eq!(Mapping::read("7 ="), Err(BadLine::Form(1)));
        assert_eq!(Mapping::read("7 = A\n7 = B"), Err(BadLine::Twice(2)));
    }
}
