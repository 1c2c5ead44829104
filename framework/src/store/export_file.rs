//! The file of an export: one JSON document a line, the first about the file itself, the last about its end.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::new_file::NewFile;
use super::{Care, Record, StoreError, Timestamp};

/// Version of the format. A change that an older version would misread makes it grow.
const FORMAT: u32 = 1;

/// Why an export cannot be written, or not be imported. Nothing of it is left then.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The file cannot be written.
    #[error("the export `{}` cannot be written", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file cannot be read.
    #[error("the export `{}` cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file is no export.
    #[error("`{}` is no export of a Switchboard store", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a newer version.
    #[error("the export `{}` has format {found}, this version reads up to {FORMAT}: update Switchboard", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The store failed, or the file does while it is imported.
    #[error("nothing was moved")]
    Store {
        /// Why.
        source: StoreError,
    },
}

#[derive(Serialize, Deserialize)]
struct Head {
    switchboard_export: u32,
    version: String,
    exported_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    End {
        records: u64,
    },
    #[serde(untagged)]
    Record(Box<Record>),
}

/// Writes everything that a store holds to a new file that only its owner can read. Its secrets are sealed.
/// Returns the number of records.
///
/// # Errors
///
/// When there is such a file already or it cannot be written, or the store cannot be read.
pub fn export(store: &dyn Care, file: &Path, now: Timestamp) -> Result<u64, TransferError> {
    let failed = |source| TransferError::Write { path: file.to_owned(), source };
    let new = NewFile::create(file).map_err(failed)?;
    let mut writer = BufWriter::new(new.open().map_err(failed)?);
    let version = env!("CARGO_PKG_VERSION").to_owned();
    write(&mut writer, &Head { switchboard_export: FORMAT, version, exported_at: now }).map_err(failed)?;
    let mut records = 0;
    let mut refused = None;
    let exported = store.export(&mut |record| {
        records += 1;
        write(&mut writer, &Line::Record(Box::new(record))).map_err(|error| {
            refused = Some(error);
            StoreError::Closed
        })
    });
    if let Some(error) = refused {
        return Err(failed(error));
    }
    exported.map_err(|source| TransferError::Store { source })?;
    write(&mut writer, &Line::End { records }).and_then(|()| writer.flush()).map_err(failed)?;
    drop(writer);
    new.keep().map_err(failed)?;
    Ok(records)
}

fn write(writer: &mut impl Write, line: &impl Serialize) -> std::io::Result<()> {
    serde_json::to_writer(&mut *writer, line)?;
    writer.write_all(b"\n")
}

/// Takes everything from an export into an empty store, or nothing. Returns the number of records.
///
/// # Errors
///
/// When the file is none, is cut off or damaged, when the store has records already, or cannot be written.
pub fn import(store: &dyn Care, file: &Path) -> Result<u64, TransferError> {
    let failed = |source| TransferError::Read { path: file.to_owned(), source };
    let mut lines = BufReader::new(File::open(file).map_err(failed)?).lines();
    let head: Option<Head> = match lines.next() {
        Some(Ok(line)) => serde_json::from_str(&line).ok(),
        Some(Err(error)) if error.kind() != std::io::ErrorKind::InvalidData => return Err(failed(error)),
        _ => None,
    };
    match head {
        Some(head) if head.switchboard_export == FORMAT => {}
        Some(head) => return Err(TransferError::Newer { path: file.to_owned(), found: head.switchboard_export }),
        None => return Err(TransferError::Foreign { path: file.to_owned() }),
    }
    let records = Reading { path: file.to_owned(), lines, number: 1, records: 0, ended: false };
    store.import(Box::new(records)).wait().map_err(|source| TransferError::Store { source })
}

/// The records of a file, and an error at the end unless it is whole.
struct Reading<L> {
    path: PathBuf,
    lines: L,
    number: u64,
    records: u64,
    ended: bool,
}

impl<L: Iterator<Item = std::io::Result<String>>> Iterator for Reading<L> {
    type Item = Result<Record, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let Some(line) = self.lines.next() else {
            return (!std::mem::replace(&mut self.ended, true)).then(|| Err(self.refused("the file is cut off")));
        };
        self.number += 1;
        if self.ended {
            return Some(Err(self.refused("something comes after the end")));
        }
        let line = line.map_err(|error| error.to_string());
        match line.and_then(|line| serde_json::from_str(&line).map_err(|error| error.to_string())) {
            Ok(Line::Record(record)) => {
                self.records += 1;
                Some(Ok(*record))
            }
            Ok(Line::End { records }) if records == self.records => {
                self.ended = true;
                self.next()
            }
            Ok(Line::End { records }) => {
                Some(Err(self.refused(&format!("it should have {records} records and has {}", self.records))))
            }
            Err(error) => Some(Err(self.refused(&error))),
        }
    }
}

impl<L> Reading<L> {
    fn refused(&self, reason: &str) -> StoreError {
        let reason = format!("the export `{}` is damaged in line {}: {reason}", self.path.display(), self.number);
        StoreError::Refused { reason }
    }
}
