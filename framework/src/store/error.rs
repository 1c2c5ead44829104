//! Why the store cannot do what it was asked for.

use std::path::PathBuf;

use thiserror::Error;

/// Why an operation of the store failed. Nothing of it is in the store then, except perhaps after [`StoreError::Unsure`].
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
    /// The database server does not answer. New work is refused until it does.
    #[error("the database `{database}` does not answer: new work is refused until it does")]
    Unreachable {
        /// The database, without its password.
        database: String,
        /// What the connection said.
        source: std::sync::Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The connection to the database broke during a commit. What was to be written may be there or not.
    #[error("the connection to the database `{database}` broke during a commit: whether it was made is not known")]
    Unsure {
        /// The database, without its password.
        database: String,
        /// What the connection said.
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
    /// The URL of the store cannot be used.
    #[error("the setting `store.url` cannot be used: {reason}")]
    Url {
        /// What is wrong with it.
        reason: String,
    },
    /// The database server cannot be used.
    #[error(
        "the database `{database}` cannot be opened: check that the server runs, and the user, password and database in `store.url`"
    )]
    Server {
        /// The database, without its password.
        database: String,
        /// What the server said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The database server is too old.
    #[error(
        "the database `{database}` is on PostgreSQL {found}, and has to be on {known} or newer; it was not changed"
    )]
    OldServer {
        /// The database, without its password.
        database: String,
        /// Its version.
        found: i32,
        /// The oldest that can be used.
        known: i32,
    },
    /// The schema is not ours.
    #[error(
        "the schema `{schema}` of the database `{database}` belongs to another program: name a schema of its own, such as `?schema=switchboard`, in `store.url`; it was not changed"
    )]
    ForeignSchema {
        /// The database, without its password.
        database: String,
        /// The schema.
        schema: String,
    },
    /// The schema was made by a newer version.
    #[error(
        "the store `{database}` has schema version {found}, this version knows up to {known}: update Switchboard; it was not changed"
    )]
    NewerSchema {
        /// The database, without its password.
        database: String,
        /// Its schema version.
        found: i64,
        /// The newest that is known.
        known: i64,
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
