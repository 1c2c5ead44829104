//! Sentences that the compiler shows when a constant is wrong.
//!
//! `panic!` in a constant formats nothing but one whole text, so a sentence that names what is wrong is put together here.

use crate::TriggerNumber;

/// Longest sentence in bytes: a name of 100 bytes and what is said about it fit.
const MAX_BYTES: usize = 320;

pub(crate) struct Message {
    bytes: [u8; MAX_BYTES],
    len: usize,
}

impl Message {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; MAX_BYTES], len: 0 }
    }

    /// Adds a text; one that is too long is shown as three dots.
    pub(crate) const fn text(mut self, text: &str) -> Self {
        let text = if text.len() > MAX_BYTES / 2 { "..." } else { text };
        let text = text.as_bytes();
        let mut index = 0;
        while index < text.len() && self.len + text.len() - index <= MAX_BYTES {
            self.bytes[self.len] = text[index];
            self.len += 1;
            index += 1;
        }
        self
    }

    /// Adds a trigger number with its five digits.
    pub(crate) const fn number(mut self, number: TriggerNumber) -> Self {
        let mut divisor = 10_000;
        while divisor > 0 && self.len < MAX_BYTES {
            self.bytes[self.len] = b"0123456789"[(number.get() / divisor % 10) as usize];
            self.len += 1;
            divisor /= 10;
        }
        self
    }

    #[track_caller]
    pub(crate) const fn panic(&self) -> ! {
        match core::str::from_utf8(self.bytes.split_at(self.len).0) {
            Ok(text) => panic!("{}", text),
            Err(_) => panic!("this constant is wrong"),
        }
    }
}
