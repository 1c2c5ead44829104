//! The write-ahead log as a file: how it is made certain after a failure.
//!
//! When a sync fails, the operating system may have dropped what it could not write and yet call it written, so that a
//! later sync succeeds for nothing. What it still has in memory is written once more, which it has to write for real; each
//! part is checked before, because what it has dropped from memory as well would come back from the disk as something old.
//! The format is that of <https://www.sqlite.org/walformat.html>.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;

/// Why a log could not be made certain.
#[derive(Debug, thiserror::Error)]
pub(super) enum RewriteError {
    #[error("`{}` cannot be read, written or synced", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("`{}` has lost part {frame} of what was written to it: start the host anew, which reads what is whole", path.display())]
    Lost { path: PathBuf, frame: u64 },
}

/// Returns the log of a database.
pub(super) fn of(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

/// Writes the first `frames` frames of a log anew, makes sure that nothing behind them counts, and syncs.
pub(super) fn rewrite(log: &Path, frames: u64) -> Result<(), RewriteError> {
    let failed = |source| RewriteError::File { path: log.to_owned(), source };
    let mut writer = match OpenOptions::new().write(true).open(log) {
        Ok(file) => file,
        // Nothing has been written since the last one was moved.
        Err(error) if error.kind() == io::ErrorKind::NotFound && frames == 0 => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    let reader = File::open(log).map_err(failed)?;
    let length = reader.metadata().map_err(failed)?.len();
    let mut reader = BufReader::new(reader);
    let mut end = HEADER_BYTES as u64;
    if frames > 0 {
        let lost = |frame| RewriteError::Lost { path: log.to_owned(), frame };
        let mut header = [0; HEADER_BYTES];
        reader.read_exact(&mut header).map_err(failed)?;
        let mut chain = Chain::begin(&header).ok_or_else(|| lost(0))?;
        writer.write_all(&header).map_err(failed)?;
        let mut frame = vec![0; FRAME_HEADER_BYTES + chain.page_bytes];
        for number in 1..=frames {
            reader.read_exact(&mut frame).map_err(failed)?;
            if !chain.goes_on_with(&frame) {
                return Err(lost(number));
            }
            writer.write_all(&frame).map_err(failed)?;
            end += frame.len() as u64;
        }
    }
    if length > end {
        // A frame without a checksum ends the log for every reader.
        let rest = usize::try_from(length - end).unwrap_or(usize::MAX).min(FRAME_HEADER_BYTES);
        writer.seek(SeekFrom::Start(end)).map_err(failed)?;
        writer.write_all(&[0; FRAME_HEADER_BYTES][..rest]).map_err(failed)?;
    }
    writer.sync_all().map_err(failed)
}

/// The checksums of a log, each of which goes on from the one before it.
struct Chain {
    page_bytes: usize,
    big_endian: bool,
    salt: [u8; 8],
    sum: (u32, u32),
}

impl Chain {
    /// `None` when it is no header of a log.
    fn begin(header: &[u8; HEADER_BYTES]) -> Option<Self> {
        let magic = word(header, 0, true);
        let page_bytes = usize::try_from(word(header, 8, true)).ok()?;
        if magic & !1 != 0x377f_0682 || !page_bytes.is_power_of_two() || !(512..=65_536).contains(&page_bytes) {
            return None;
        }
        let mut salt = [0; 8];
        salt.copy_from_slice(&header[16..24]);
        let mut chain = Self { page_bytes, big_endian: magic & 1 == 1, salt, sum: (0, 0) };
        chain.add(&header[..24]);
        (chain.sum == (word(header, 24, true), word(header, 28, true))).then_some(chain)
    }

    fn goes_on_with(&mut self, frame: &[u8]) -> bool {
        self.add(&frame[..8]);
        self.add(&frame[FRAME_HEADER_BYTES..]);
        frame[8..16] == self.salt && self.sum == (word(frame, 16, true), word(frame, 20, true))
    }

    fn add(&mut self, bytes: &[u8]) {
        for at in (0..bytes.len()).step_by(8) {
            let (first, second) = (word(bytes, at, self.big_endian), word(bytes, at + 4, self.big_endian));
            self.sum.0 = self.sum.0.wrapping_add(first).wrapping_add(self.sum.1);
            self.sum.1 = self.sum.1.wrapping_add(second).wrapping_add(self.sum.0);
        }
    }
}

/// Reads four bytes; what is not there counts as zeros.
fn word(bytes: &[u8], at: usize, big_endian: bool) -> u32 {
    let word = bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).unwrap_or([0; 4]);
    if big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rusqlite::Connection;

    use super::*;

    /// A database whose log has some frames, and their number.
    fn database(folder: &Path) -> (Connection, PathBuf, u64) {
        let path = folder.join("switchboard.db");
        let connection = Connection::open(&path).unwrap();
        connection
            .execute_batch("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (a);")
            .unwrap();
        for value in 0..20 {
            connection.execute("INSERT INTO t VALUES (zeroblob(3000) || ?)", [value]).unwrap();
        }
        let frames: i64 = connection.query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| row.get(1)).unwrap();
        (connection, of(&path), u64::try_from(frames).unwrap())
    }

    fn count(connection: &Connection) -> i64 {
        connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
    }

    /// What a host would find that starts on a copy of the files.
    fn count_after_the_end_of_the_process(folder: &Path) -> i64 {
        let copy = tempfile::tempdir().unwrap();
        for name in ["switchboard.db", "switchboard.db-wal"] {
            fs::copy(folder.join(name), copy.path().join(name)).unwrap();
        }
        count(&Connection::open(copy.path().join("switchboard.db")).unwrap())
    }

    #[test]
    fn a_log_that_is_written_anew_is_the_same_log() {
        let folder = tempfile::tempdir().unwrap();
        let (connection, log, frames) = database(folder.path());
        let before = fs::read(&log).unwrap();
        rewrite(&log, frames).unwrap();
        assert_eq!(fs::read(&log).unwrap(), before);
        connection.execute("INSERT INTO t VALUES (1)", []).unwrap();
        assert_eq!((count(&connection), count_after_the_end_of_the_process(folder.path())), (21, 21));
    }

    #[test]
    fn a_commit_that_was_called_a_failure_does_not_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let (_connection, log, frames) = database(folder.path());
        assert_eq!(count_after_the_end_of_the_process(folder.path()), 20);
        // The frames of the last commit count as those of a failed one: one page of the table, or two.
        let length_of_frame = 24 + 4096;
        let last_commit = (1..=frames).rev().skip(1).find(|number| {
            let at = usize::try_from(32 + (number - 1) * length_of_frame).unwrap();
            word(&fs::read(&log).unwrap(), at + 4, true) > 0
        });
        rewrite(&log, last_commit.unwrap()).unwrap();
        assert_eq!(count_after_the_end_of_the_process(folder.path()), 19);
        rewrite(&log, 0).unwrap();
    }

    #[test]
    fn a_log_that_has_lost_something_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let (_connection, log, frames) = database(folder.path());
        let whole = fs::read(&log).unwrap();
        for at in [3, 28, 40, 2_000, whole.len() - 1] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(&log, damaged).unwrap();
            assert!(matches!(rewrite(&log, frames), Err(RewriteError::Lost { .. })), "byte {at}");
        }
        fs::write(&log, &whole[..whole.len() - 5]).unwrap();
        assert!(matches!(rewrite(&log, frames), Err(RewriteError::File { .. })));
    }
}
