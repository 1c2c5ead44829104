//! How errors are shown: the whole chain, once.

use std::error::Error;
use std::fmt;

/// Shows an error and everything that caused it, as `what: why: why that`.
///
/// Errors of this crate never repeat their source in their own message, so the chain reads without echoes.
///
/// ```
/// use switchboard::error::Chain;
///
/// let error = "7320x".parse::<switchboard::TriggerNumber>().unwrap_err();
/// assert!(Chain(&error).to_string().starts_with("`7320x` is not a trigger number"));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}
