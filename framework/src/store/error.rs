//! Why the store cannot do what it was asked for.

use std::path::PathBuf;

use thiserror::Error;

/// Why an operation of the store failed. Nothing of it is in the store then.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
    /// The database could not write. New work is refused until it can.
    #[error("the store cannot be written: check the free space and the rights of the data folder")]
    Write {
        /// What the database said.
        source: std::sync::Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The database could not read.
    #[error("the store cannot be read")]
    Read {
        /// What the database said.
        source: std::sync::Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The store is not in a state for it.
    #[error("{reason}")]
    Refused {
        /// Why not, and what to do.
        reason: String,
    },
    /// A row holds something that this version cannot read.
    #[error("the record {record} is damaged: {reason}")]
    Corrupt {
        /// Which record.
        record: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Why a store cannot be opened. Its file is not touched then.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreOpenError {
    /// Another host has the folder.
    #[error("the data folder `{}` is in use by the host with pid {pid}: stop that host or name another folder", folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
        /// The process that has it; 0 when it has not said so yet.
        pid: u32,
    },
    /// The lock cannot be taken.
    #[error("the lock `{}` cannot be taken: check the rights of the data folder", path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file is not ours.
    #[error("`{}` is {found}, no Switchboard store: move it away or name another data folder; it was not changed", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// The file was written by a newer version.
    #[error("the store `{}` has schema version {found}, this version knows up to {known}: update Switchboard; it was not changed", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// The newest that is known.
        known: i64,
    },
    /// There is no file.
    #[error("there is no store `{}`: name the data folder with --data", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file is damaged.
    #[error("the store `{}` is damaged ({found}): stop every host and put a backup in its place, or move it away with its log to begin anew; it was not changed", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        found: String,
    },
    /// The file cannot be read or set up.
    #[error("the store `{}` cannot be opened: check its rights and the free space, or restore it from a backup", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What the database said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
