//! An outbox in a SQLite database.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, params};

use super::{Row, Source, SourceError, Taken};

/// Makes the table of an outbox in the application's SQLite database; does nothing where it is.
///
/// `event` is the event's name, `owner` the owner of the subject that it is about (0 is the whole site), `task` the
/// application's task, and `data` the event's properties as a JSON object. The other columns are the host's.
pub const SQLITE_TABLE: &str = "
CREATE TABLE IF NOT EXISTS switchboard_outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    event TEXT NOT NULL,
    owner INTEGER NOT NULL DEFAULT 0,
    task TEXT,
    data TEXT NOT NULL DEFAULT '{}',
    event_id TEXT NOT NULL DEFAULT ('msg_' || hex(randomblob(16))),
    refused TEXT
);";

/// Wait for a lock that the application holds on its database.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) struct SqliteOutbox {
    connection: Connection,
}

impl SqliteOutbox {
    pub(super) fn open(path: &Path) -> Result<Self, SourceError> {
        // Never made here: a database that is not there is a mistake in the path.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        Ok(Self { connection })
    }
}

impl Source for SqliteOutbox {
    fn next(&mut self, limit: u32) -> Result<Vec<Row>, SourceError> {
        let sql = "SELECT id, event_id, event, owner, task, data FROM switchboard_outbox WHERE refused IS NULL
                   ORDER BY id LIMIT ?";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map(params![limit], |row| {
            Ok(Row {
                id: row.get(0)?,
                event_id: row.get(1)?,
                event: row.get(2)?,
                owner: row.get(3)?,
                task: row.get(4)?,
                data: row.get(5)?,
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    fn settle(&mut self, taken: &[Taken]) -> Result<(), SourceError> {
        let transaction = self.connection.transaction()?;
        for one in taken {
            match one {
                Taken::Announced(id) => {
                    transaction.prepare_cached("DELETE FROM switchboard_outbox WHERE id = ?")?.execute(params![id])?;
                }
                Taken::Refused(id, reason) => {
                    let sql = "UPDATE switchboard_outbox SET refused = ? WHERE id = ?";
                    transaction.prepare_cached(sql)?.execute(params![reason, id])?;
                }
            }
        }
        Ok(transaction.commit()?)
    }
}
