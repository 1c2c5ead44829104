//! The file: what is ours, what is in it, and how it came to be.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use crate::store::StoreOpenError;
use crate::store::new_file::sync_folder;

/// Marks a file as ours: "SWBD" in the field that SQLite has for it.
const APPLICATION_ID: i32 = 0x5357_4244;

/// Wait for a lock that another process holds on the database.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

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
    "
    CREATE INDEX task_order_held ON task (key) WHERE ordered = 1 AND holder IS NOT NULL AND state IN (0, 1, 2);
",
    "
    CREATE TABLE idempotency_key (
        owner INTEGER NOT NULL, key TEXT NOT NULL, event TEXT NOT NULL, fingerprint BLOB NOT NULL,
        expires_at INTEGER NOT NULL, PRIMARY KEY (owner, key)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX idempotency_key_end ON idempotency_key (expires_at);
",
    "
    ALTER TABLE webhook ADD COLUMN name TEXT NOT NULL DEFAULT '';
    ALTER TABLE webhook ADD COLUMN options TEXT NOT NULL DEFAULT '{}';
    ALTER TABLE webhook ADD COLUMN failing_since INTEGER;
    ALTER TABLE webhook ADD COLUMN failed_at INTEGER;
    ALTER TABLE webhook ADD COLUMN failures INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE webhook ADD COLUMN warned INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE webhook RENAME COLUMN settings TO secrets;
    ALTER TABLE event ADD COLUMN channel TEXT;
    CREATE TABLE sealing_key (one INTEGER PRIMARY KEY CHECK (one = 1), id TEXT NOT NULL) STRICT;
",
    // What is large comes last in a row, so that a search reads past none of it. Triggers add up how much the attempts are,
    // so that nobody has to look at all of them.
    "
    ALTER TABLE task ADD COLUMN mode TEXT;
    ALTER TABLE task ADD COLUMN as_sent INTEGER;
    CREATE TABLE new_attempt (
        id INTEGER PRIMARY KEY, task INTEGER, lease INTEGER, event TEXT, event_name TEXT, owner INTEGER, webhook INTEGER,
        cause INTEGER, number INTEGER NOT NULL, mode TEXT NOT NULL, queued_at INTEGER, due_at INTEGER,
        started_at INTEGER NOT NULL, ended_at INTEGER, outcome TEXT, status INTEGER, next_at INTEGER, plugin TEXT,
        plugin_version TEXT, bytes INTEGER NOT NULL DEFAULT 0, url TEXT, detail TEXT, response TEXT, exchanges TEXT
    ) STRICT;
    INSERT INTO new_attempt (id, task, lease, event, event_name, owner, webhook, cause, number, mode, queued_at, started_at,
        ended_at, outcome, status, bytes, url, detail, response)
        SELECT attempt.id, attempt.task, attempt.lease, attempt.event, event.name, event.owner, attempt.webhook, event.cause,
            attempt.number, attempt.mode, event.at, attempt.started_at, attempt.ended_at, attempt.outcome, attempt.status,
            400 + coalesce(length(attempt.response), 0), attempt.url, attempt.detail, attempt.response
        FROM attempt LEFT JOIN event ON event.id = attempt.event;
    DROP TABLE attempt;
    ALTER TABLE new_attempt RENAME TO attempt;
    CREATE INDEX attempt_task ON attempt (task, id) WHERE task IS NOT NULL;
    CREATE INDEX attempt_event ON attempt (event) WHERE event IS NOT NULL;
    CREATE INDEX attempt_webhook ON attempt (webhook, id) WHERE webhook IS NOT NULL;
    CREATE INDEX attempt_owner ON attempt (owner, id) WHERE owner IS NOT NULL;
    CREATE INDEX attempt_failed ON attempt (outcome, id) WHERE outcome <> 'ok';
    CREATE TABLE attempt_bytes (bytes INTEGER NOT NULL) STRICT;
    INSERT INTO attempt_bytes SELECT coalesce(sum(bytes), 0) FROM attempt;
    CREATE TRIGGER attempt_added AFTER INSERT ON attempt WHEN new.bytes > 0
        BEGIN UPDATE attempt_bytes SET bytes = bytes + new.bytes; END;
    CREATE TRIGGER attempt_ended AFTER UPDATE OF bytes ON attempt
        BEGIN UPDATE attempt_bytes SET bytes = bytes + new.bytes - old.bytes; END;
    CREATE TRIGGER attempt_removed AFTER DELETE ON attempt
        BEGIN UPDATE attempt_bytes SET bytes = bytes - old.bytes; END;
",
    "
    ALTER TABLE webhook ADD COLUMN version INTEGER NOT NULL DEFAULT 0;
",
    // What `counts` keeps. The id of the last attempt outlives the attempt, so that none is given twice.
    "
    DROP TRIGGER attempt_added;
    DROP TRIGGER attempt_ended;
    DROP TRIGGER attempt_removed;
    CREATE TABLE key_count (
        key TEXT NOT NULL PRIMARY KEY, due INTEGER NOT NULL, waiting INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    INSERT INTO key_count SELECT key, sum(state < 2), sum(state = 2) FROM task WHERE state IN (0, 1, 2) GROUP BY key;
    CREATE TABLE total (
        one INTEGER PRIMARY KEY CHECK (one = 1), due INTEGER NOT NULL, waiting INTEGER NOT NULL, done INTEGER NOT NULL,
        dead INTEGER NOT NULL, attempt_bytes INTEGER NOT NULL, last_attempt INTEGER NOT NULL
    ) STRICT;
    INSERT INTO total SELECT 1, coalesce(sum(state IN (0, 1)), 0), coalesce(sum(state = 2), 0), coalesce(sum(state = 3), 0),
        coalesce(sum(state = 4), 0), (SELECT bytes FROM attempt_bytes), (SELECT coalesce(max(id), 0) FROM attempt)
        FROM task;
    DROP TABLE attempt_bytes;
",
];

/// Files up to this size are looked through at every start; for larger ones that takes too long, and `store check` does it.
const LOOKED_THROUGH_BYTES: u64 = 32 << 20;

/// What the first bytes of the file say.
enum Found {
    Nothing,
    Store,
}

/// Opens the file for writing, after looking at it without SQLite, which would leave files of its own beside a foreign
/// one.
pub(super) fn open(path: &Path) -> Result<Connection, StoreOpenError> {
    if let Found::Nothing = inspect(path)? {
        create(path).map_err(|source| StoreOpenError::Database { path: path.to_owned(), source })?;
    }
    let mut connection =
        connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(|error| unusable(path, error.into()))?;
    let opened = look_through(path, &connection).and_then(|()| set_up(&mut connection));
    if let Err(error) = opened {
        leave(&connection);
        return Err(unusable(path, error));
    }
    Ok(connection)
}

/// Opens the file for reading, beside a host or without one. It may be of an earlier version.
pub(super) fn open_to_read(path: &Path) -> Result<Connection, StoreOpenError> {
    if let Found::Nothing = inspect(path)? {
        return Err(StoreOpenError::Missing { path: path.to_owned() });
    }
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY);
    let connection = connection.map_err(|error| unusable(path, error.into()))?;
    // Opens the log, which shows whether it can be read at all.
    version(&connection).map_err(|error| unusable(path, error.into()))?;
    Ok(connection)
}

/// Judges the file by its first bytes.
fn inspect(path: &Path) -> Result<Found, StoreOpenError> {
    let failed = |source: std::io::Error| StoreOpenError::Database { path: path.to_owned(), source: source.into() };
    let mut header = Vec::new();
    match File::open(path) {
        Ok(file) => drop(file.take(100).read_to_end(&mut header).map_err(failed)?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    if header.is_empty() {
        // SQLite would throw a log away whose database is empty.
        let log = super::log_file::of(path);
        let found = format!("it is empty or gone, and its log `{}` is not", log.display());
        return match std::fs::metadata(log) {
            Ok(log) if log.len() > 0 => Err(StoreOpenError::Damaged { path: path.to_owned(), found }),
            _ => Ok(Found::Nothing),
        };
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
    let version = i64::from(field(60).unwrap_or(0));
    if version > known_version() {
        return Err(StoreOpenError::Newer { path: path.to_owned(), found: version, known: known_version() });
    }
    Ok(Found::Store)
}

/// The version that the migrations lead to.
pub(super) fn known_version() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// Makes a file that is marked as ours. It comes to its place whole, so that a start that is cut off leaves none that is
/// nobody's.
fn create(path: &Path) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let unfinished = path.with_extension("db.new");
    // Left by a start that was cut off.
    let _ = std::fs::remove_file(&unfinished);
    create_private(&unfinished)?;
    let connection = connect(&unfinished, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // In the file itself, before there is a log, so that `inspect` always finds it.
    connection.pragma_update(None, "journal_mode", "OFF")?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    // Here too: on the file in its place it would leave a journal behind when it is cut off, which no reader gets past.
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.close().map_err(|(_, error)| error)?;
    File::open(&unfinished)?.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    sync_folder(path);
    Ok(())
}

/// Makes a new file that only its owner can read.
fn create_private(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn connect(path: &Path, mode: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

/// Opens one more connection to a file that is open.
pub(super) fn connect_to_read(path: &Path) -> rusqlite::Result<Connection> {
    connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

/// Leaves a damaged file and its log as they are when the connection is closed.
fn leave(connection: &Connection) {
    let _ = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
}

fn unusable(path: &Path, error: SetUpError) -> StoreOpenError {
    let path = path.to_owned();
    match error {
        SetUpError::Damaged(found) => StoreOpenError::Damaged { path, found },
        SetUpError::Database(error) => match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                StoreOpenError::Damaged { path, found: error.to_string() }
            }
            _ if is_without_room(&error) => {
                let source = format!(
                    "the disk is full, and has no room for the file beside it that all processes share: {error}"
                );
                StoreOpenError::Database { path, source: source.into() }
            }
            _ => StoreOpenError::Database { path, source: error.into() },
        },
    }
}

/// SQLite has no words of its own for this.
fn is_without_room(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE)
}

enum SetUpError {
    Damaged(String),
    Database(rusqlite::Error),
}

impl From<rusqlite::Error> for SetUpError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

fn look_through(path: &Path, connection: &Connection) -> Result<(), SetUpError> {
    let bytes = std::fs::metadata(path).map_or(0, |file| file.len());
    // Reads the schema, however large the file is.
    version(connection)?;
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    if bytes > LOOKED_THROUGH_BYTES {
        return Ok(());
    }
    let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if found == "ok" { Ok(()) } else { Err(SetUpError::Damaged(found)) }
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Whether the file of a connection is of this version, or which one it has.
pub(super) fn is_of_today(connection: &Connection) -> rusqlite::Result<Result<(), i64>> {
    let version = version(connection)?;
    Ok(if version == known_version() { Ok(()) } else { Err(version) })
}

fn set_pragmas(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // The writer does it.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.set_prepared_statement_cache_capacity(128);
    Ok(())
}

fn set_up(connection: &mut Connection) -> Result<(), SetUpError> {
    set_pragmas(connection)?;
    let version = version(connection)?;
    if version >= known_version() {
        return Ok(());
    }
    // In one commit, so that a start that is killed leaves the old version or the new one and none between them, which
    // nobody could read.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for migration in MIGRATIONS.iter().skip(usize::try_from(version).unwrap_or(0)) {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "user_version", known_version())?;
    Ok(transaction.commit()?)
}
