//! The file: what is ours, what is in it, and how it came to be.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::store::StoreOpenError;

/// Marks a file as ours: "SWBD" in the field that SQLite has for it.
const APPLICATION_ID: i32 = 0x5357_4244;

/// Wait for a lock that another process holds on the database.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Each brings a file from the version before it to its own. They are never changed, only added to.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE event (
        id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, owner INTEGER NOT NULL, task TEXT, cause INTEGER,
        depth INTEGER NOT NULL, body BLOB NOT NULL, at INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE task (
        id INTEGER PRIMARY KEY AUTOINCREMENT, event TEXT, webhook INTEGER, number INTEGER NOT NULL,
        name TEXT NOT NULL, key TEXT NOT NULL, host TEXT, payload BLOB, state INTEGER NOT NULL, reason TEXT,
        attempts INTEGER NOT NULL, crashes INTEGER NOT NULL, run_at INTEGER NOT NULL, lease INTEGER NOT NULL,
        created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX task_pending ON task (run_at, id) WHERE state IN (0, 2);
    CREATE INDEX task_running ON task (id) WHERE state = 1;
    CREATE INDEX task_state ON task (state, id);
    CREATE INDEX task_webhook ON task (webhook, id) WHERE webhook IS NOT NULL;
    CREATE INDEX task_event ON task (event) WHERE event IS NOT NULL;
    CREATE TABLE attempt (
        id INTEGER PRIMARY KEY, task INTEGER, lease INTEGER, event TEXT, webhook INTEGER, number INTEGER NOT NULL,
        mode TEXT NOT NULL, started_at INTEGER NOT NULL, ended_at INTEGER, outcome TEXT, status INTEGER, detail TEXT,
        url TEXT, response TEXT
    ) STRICT;
    CREATE INDEX attempt_task ON attempt (task, id) WHERE task IS NOT NULL;
    CREATE TABLE webhook (
        id INTEGER PRIMARY KEY AUTOINCREMENT, owner INTEGER NOT NULL, url TEXT NOT NULL, method TEXT NOT NULL,
        settings TEXT NOT NULL, events TEXT NOT NULL, enabled INTEGER NOT NULL, disabled_reason TEXT,
        created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX webhook_owner ON webhook (owner, id);
",
    "
    CREATE TABLE plugin_value (
        plugin TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, expires_at INTEGER, PRIMARY KEY (plugin, key)
    ) STRICT, WITHOUT ROWID;
",
    "
    ALTER TABLE task ADD COLUMN holder INTEGER;
    ALTER TABLE task ADD COLUMN priority INTEGER NOT NULL DEFAULT 1;
    ALTER TABLE task ADD COLUMN ordered INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE task ADD COLUMN attempts_before INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE task ADD COLUMN unique_key TEXT;
    ALTER TABLE task ADD COLUMN schedule TEXT;
    ALTER TABLE task ADD COLUMN timeout_ms INTEGER;
    ALTER TABLE task ADD COLUMN replay_of INTEGER;
    UPDATE task SET state = 2 WHERE state = 0 AND run_at > unixepoch() * 1000;
    DROP INDEX task_pending;
    DROP INDEX task_running;
    CREATE INDEX task_lane ON task (number, name, key, ordered, priority DESC, run_at, id)
        WHERE state = 0 AND holder IS NULL;
    CREATE INDEX task_due ON task (run_at) WHERE state = 2 AND holder IS NULL;
    CREATE INDEX task_held ON task (id) WHERE holder IS NOT NULL;
    CREATE INDEX task_unique ON task (unique_key, id) WHERE unique_key IS NOT NULL;
    CREATE INDEX task_order ON task (key, id) WHERE ordered = 1 AND state IN (0, 1, 2);
",
    "
    CREATE TABLE schedule (
        name TEXT PRIMARY KEY, spec TEXT NOT NULL, zone TEXT NOT NULL, template TEXT NOT NULL, payload BLOB,
        next_at INTEGER NOT NULL, paused INTEGER NOT NULL, last_at INTEGER, last_task INTEGER,
        created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE bulk (
        id INTEGER PRIMARY KEY AUTOINCREMENT, action TEXT NOT NULL, filter TEXT NOT NULL, per_second INTEGER NOT NULL,
        state TEXT NOT NULL, total INTEGER NOT NULL, seen INTEGER NOT NULL, changed INTEGER NOT NULL,
        cursor INTEGER NOT NULL, last INTEGER NOT NULL, by TEXT, created_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX task_ended ON task (state, updated_at) WHERE state >= 3;
    CREATE INDEX event_at ON event (at);
    CREATE INDEX attempt_immediate ON attempt (started_at) WHERE task IS NULL;
",
    "
    CREATE TABLE key_policy (
        key TEXT NOT NULL PRIMARY KEY, cap INTEGER, starts INTEGER, per_ms INTEGER, paused INTEGER NOT NULL,
        updated_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
",
];

/// Opens the file for writing, after looking at it without SQLite, which would leave files of its own beside a foreign
/// one.
pub(super) fn open(path: &Path) -> Result<Connection, StoreOpenError> {
    let failed =
        |source: Box<dyn std::error::Error + Send + Sync>| StoreOpenError::Database { path: path.to_owned(), source };
    let is_new = inspect(path)?;
    if is_new {
        create_private(path).map_err(|error| failed(error.into()))?;
    }
    let mut connection = connect(path).map_err(|error| failed(error.into()))?;
    if is_new {
        // In the file itself before the first write goes to the WAL, so that `inspect` always finds it.
        connection.pragma_update(None, "application_id", APPLICATION_ID).map_err(|error| failed(error.into()))?;
    }
    set_up(&mut connection).map_err(|error| failed(error.into()))?;
    Ok(connection)
}

/// Judges the file by its first bytes; true when there is nothing in it.
fn inspect(path: &Path) -> Result<bool, StoreOpenError> {
    let failed = |source: std::io::Error| StoreOpenError::Database { path: path.to_owned(), source: source.into() };
    let mut header = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(100).read_to_end(&mut header).map_err(failed)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(failed(error)),
    };
    if header.is_empty() {
        return Ok(true);
    }
    let foreign = |found| Err(StoreOpenError::Foreign { path: path.to_owned(), found });
    // https://www.sqlite.org/fileformat.html: 16 bytes of magic, user version at 60, application id at 68, big-endian.
    let field = |at: usize| header.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(i32::from_be_bytes);
    if !header.starts_with(b"SQLite format 3\0") {
        return foreign("no SQLite database");
    }
    if field(68) != Some(APPLICATION_ID) {
        return foreign("a SQLite database of another program");
    }
    let found = i64::from(field(60).unwrap_or(0));
    if found > known_version() {
        return Err(StoreOpenError::Newer { path: path.to_owned(), found, known: known_version() });
    }
    Ok(false)
}

fn known_version() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

fn create_private(path: &Path) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

/// Opens a file that was open before.
pub(super) fn reopen(path: &Path) -> rusqlite::Result<Connection> {
    let connection = connect(path)?;
    set_pragmas(&connection)?;
    Ok(connection)
}

fn set_pragmas(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", 1000)?;
    connection.set_prepared_statement_cache_capacity(128);
    Ok(())
}

fn set_up(connection: &mut Connection) -> rusqlite::Result<()> {
    set_pragmas(connection)?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    for (migration, version) in MIGRATIONS.iter().zip(1_i64..).skip(usize::try_from(version).unwrap_or(0)) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    Ok(())
}

/// Makes a file as an earlier version left it.
#[cfg(test)]
pub(super) fn file_of_version(path: &Path, version: i64) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
    for migration in MIGRATIONS.iter().take(usize::try_from(version).unwrap()) {
        connection.execute_batch(migration).unwrap();
    }
    connection.pragma_update(None, "user_version", version).unwrap();
    connection
}
