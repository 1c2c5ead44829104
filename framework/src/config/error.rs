//! What can be wrong with the file.

use std::io;
use std::path::PathBuf;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file exists and cannot be read, or is not UTF-8.
    #[error("cannot read configuration file `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A variable of the environment has a value that its setting cannot have.
    #[error("the variable `{variable}` cannot be used: {reason}")]
    Variable {
        /// The variable.
        variable: String,
        /// What is wrong.
        reason: String,
    },
    /// The file cannot be written.
    #[error("cannot write configuration file `{path}`: check the rights of its folder and the free space")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not TOML.
    #[error("`{path}` line {line}: {reason}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What the parser expected.
        reason: String,
    },
    /// A section or setting does not exist.
    #[error("`{path}` line {line}: unknown key `{key}`{}", suggest(.suggestion))]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The key with its section: `deferred.treads`.
        key: String,
        /// The existing key that was probably meant.
        suggestion: Option<String>,
    },
    /// A value is of the wrong kind or out of its range.
    #[error("`{path}` line {line}: `{key}` {reason}")]
    Value {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The key with its section: `deferred.threads`.
        key: String,
        /// What is wrong, and what would be right.
        reason: String,
    },
}

fn suggest(suggestion: &Option<String>) -> String {
    match suggestion {
        Some(key) => format!(", did you mean `{key}`?"),
        None => String::new(),
    }
}
