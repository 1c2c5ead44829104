//! Who may use this server: users, their sessions, tokens for programs, and the audit log of what they changed.
//!
//! All of it is in `server.db` in the data folder, which is the server's own: a host that is embedded in another program
//! has none of it. Passwords are stored as argon2id hashes, tokens as SHA-256 of 256 random bits. Several processes may
//! have the file open, so that the command line works beside a running `serve`, and what it changes holds at once.

mod audit;
mod password;
mod role;
mod session;
mod token;
mod user;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use switchboard::clock::Clock;
use thiserror::Error;

pub(crate) use audit::{AuditEntry, AuditFilter, NewAudit};
pub(crate) use role::Role;
pub(crate) use session::{SESSION_IDLE, Session};
pub(crate) use token::{NewToken, SecretToken, Token};
pub(crate) use user::{NewUser, User};

/// Name of the file in the data folder.
pub(crate) const FILE_NAME: &str = "server.db";

/// How long one process waits for another's write.
const PATIENCE: Duration = Duration::from_secs(5);

/// Version of the schema below, in the file as `user_version`.
const VERSION: i64 = 1;

const SCHEMA: &str = "
CREATE TABLE users (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE COLLATE NOCASE,
    password TEXT NOT NULL,
    role TEXT NOT NULL,
    owner INTEGER,
    language TEXT,
    created_at INTEGER NOT NULL
);
CREATE TABLE sessions (
    token BLOB PRIMARY KEY,
    user INTEGER NOT NULL REFERENCES users(id) ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    seen_at INTEGER NOT NULL,
    message TEXT
) WITHOUT ROWID;
CREATE TABLE tokens (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    token BLOB NOT NULL UNIQUE,
    role TEXT NOT NULL,
    owner INTEGER,
    created_by TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    used_at INTEGER
);
CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    who TEXT NOT NULL,
    via TEXT NOT NULL,
    action TEXT NOT NULL,
    object TEXT NOT NULL,
    detail TEXT NOT NULL
);
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_is_not_removed BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
";

/// The users, sessions, tokens and audit log of one data folder.
pub(crate) struct Accounts {
    connection: Mutex<Connection>,
    /// One password is hashed at a time: each takes 19 MiB.
    hashing: Mutex<()>,
    clock: Clock,
}

/// Why users, sessions, tokens or the audit log cannot be read or changed.
#[derive(Debug, Error)]
pub(crate) enum AccountsError {
    #[error("cannot open `{}`: check its owner and rights", path.display())]
    Open { path: PathBuf, source: rusqlite::Error },
    #[error("`{}` was written by a newer Switchboard: use that one", path.display())]
    Newer { path: PathBuf },
    #[error("users and sessions cannot be read or changed")]
    Database {
        #[from]
        source: rusqlite::Error,
    },
    #[error("the system gives no random bytes: {reason}")]
    Random { reason: String },
    #[error("the password cannot be hashed: {reason}")]
    Hash { reason: String },
    /// What was given cannot be used; the message says what can.
    #[error("{0}")]
    Refused(String),
    #[error("there is no user `{0}`; `switchboard user list` shows them")]
    NoUser(String),
    #[error("there is no token {0}; `switchboard token list` shows them")]
    NoToken(i64),
}

impl Accounts {
    /// Opens the file in a data folder; it is made when it is missing.
    pub(crate) fn open(data: &Path) -> Result<Self, AccountsError> {
        let path = data.join(FILE_NAME);
        let failed = |source| AccountsError::Open { path: path.clone(), source };
        private(&path).map_err(|error| failed(rusqlite::Error::ToSqlConversionFailure(Box::new(error))))?;
        let mut connection = Connection::open(&path).map_err(failed)?;
        prepare(&mut connection).map_err(failed)?.then_some(()).ok_or(AccountsError::Newer { path })?;
        Ok(Self { connection: Mutex::new(connection), hashing: Mutex::new(()), clock: Clock::system() })
    }

    fn database(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> i64 {
        self.clock.now()
    }
}

/// Makes the file readable for its owner only before anything is written to it.
fn private(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

/// Makes the tables when there are none; false when they are of a newer version.
fn prepare(connection: &mut Connection) -> rusqlite::Result<bool> {
    connection.busy_timeout(PATIENCE)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let version: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version == 0 {
        transaction.execute_batch(SCHEMA)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
    }
    transaction.commit()?;
    Ok(version <= VERSION)
}

/// Returns 256 random bits.
fn random() -> Result<[u8; 32], AccountsError> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(|error| AccountsError::Random { reason: error.to_string() })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
