//! Reading a file line by line from its end, so that the newest records are found without reading the old ones.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use super::line::MAX_LINE;

/// How much is read at once, in bytes.
const BLOCK: usize = 64 * 1024;

/// The lines of a file, the last first. Of a line that is longer than any this log writes only the start is kept.
pub(super) struct Backwards {
    file: File,
    /// Where the part begins that has been read.
    at: u64,
    block: Vec<u8>,
    /// The end of the part of `block` that has not been given out.
    end: usize,
    /// What follows `block[..end]` up to the next end of a line.
    carry: Vec<u8>,
    /// Whether `carry` is a line, perhaps an empty one.
    pending: bool,
}

impl Backwards {
    pub(super) fn new(mut file: File) -> io::Result<Self> {
        let at = file.seek(SeekFrom::End(0))?;
        Ok(Self { file, at, block: Vec::new(), end: 0, carry: Vec::new(), pending: false })
    }

    /// Returns the next line towards the start, without its newline; `None` at the start.
    pub(super) fn next_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let newline = memchr::memrchr(b'\n', &self.block[..self.end]);
            let start = newline.map_or(0, |at| at + 1);
            let piece = &self.block[start..self.end];
            if !piece.is_empty() {
                self.pending = true;
                let mut line = Vec::with_capacity((piece.len() + self.carry.len()).min(MAX_LINE));
                line.extend_from_slice(&piece[..piece.len().min(MAX_LINE)]);
                let room = MAX_LINE - line.len();
                line.extend_from_slice(&self.carry[..self.carry.len().min(room)]);
                self.carry = line;
            }
            match newline {
                Some(at) => {
                    self.end = at;
                    // What stands behind the last newline of the file is a line only when there is something.
                    if std::mem::replace(&mut self.pending, true) {
                        return Ok(Some(std::mem::take(&mut self.carry)));
                    }
                }
                None if self.at == 0 => {
                    self.end = 0;
                    let any = std::mem::take(&mut self.pending);
                    return Ok(any.then(|| std::mem::take(&mut self.carry)));
                }
                None => self.read_block()?,
            }
        }
    }

    fn read_block(&mut self) -> io::Result<()> {
        let size = usize::try_from(self.at).unwrap_or(BLOCK).min(BLOCK);
        self.at -= size as u64;
        self.block.resize(size, 0);
        self.file.seek(SeekFrom::Start(self.at))?;
        self.file.read_exact(&mut self.block)?;
        self.end = size;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn lines(content: &[u8]) -> Vec<Vec<u8>> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        let mut backwards = Backwards::new(file).unwrap();
        std::iter::from_fn(|| backwards.next_line().unwrap()).collect()
    }

    #[track_caller]
    fn check(content: &str) {
        let mut forwards: Vec<_> = content.lines().map(|line| line.as_bytes().to_vec()).collect();
        forwards.reverse();
        assert!(lines(content.as_bytes()) == forwards, "{} bytes", content.len());
    }

    #[test]
    fn the_lines_are_those_of_the_file_in_the_other_order() {
        for content in ["", "\n", "one", "one\n", "one\ntwo", "one\n\ntwo\n\n", "\none\n"] {
            check(content);
        }
    }

    #[test]
    fn lines_may_lie_across_blocks() {
        for length in [1, 7, 100, 4_000, MAX_LINE - 1] {
            let line = "x".repeat(length);
            let count = 3 * BLOCK / (length + 1) + 2;
            check(&(0..count).map(|at| format!("{}{}\n", at % 10, &line[1..])).collect::<String>());
        }
    }

    #[test]
    fn of_a_line_that_is_too_long_the_start_is_kept() {
        let long = format!("start{}", "y".repeat(3 * BLOCK));
        let found = lines(format!("before\n{long}\nafter\n").as_bytes());
        assert_eq!(found.len(), 3);
        assert!(found[1].starts_with(b"start") && found[1].len() == MAX_LINE);
        assert_eq!((&found[0][..], &found[2][..]), (&b"after"[..], &b"before"[..]));
    }
}
