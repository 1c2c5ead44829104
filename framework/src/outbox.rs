//! The transactional outbox: events that a host application announces inside a transaction of its own.
//!
//! An application that first commits a booking and then announces it can be killed in between; one that announces first
//! can be rolled back after it. With an outbox the event is a row of the application's own database, written in the
//! transaction of the booking by whatever driver the application uses. The host takes such rows in the order of their
//! commits: it announces each as a [`Run`](crate::Run) would, on disk, and only then removes it. A row whose event is on
//! disk already, because the host ended in between, is removed and not announced again.
//!
//! * The table is made once with [`SQLITE_TABLE`]; a row needs `event`, and may have `owner`, `task` and `data`.
//! * [`Outbox::sqlite`] names the database to the host, with [`SwitchboardBuilder::outbox`](crate::SwitchboardBuilder::outbox).
//! * The host looks for rows when [`Switchboard::wake_outbox`](crate::Switchboard::wake_outbox) is called, and otherwise
//!   once a second.
//! * A row that cannot be announced, because its data is no JSON object for example, stays with the reason in `refused`;
//!   set that to NULL after mending it.
//!
//! ```
//! # use switchboard::outbox::SQLITE_TABLE;
//! # fn main() -> Result<(), rusqlite::Error> {
//! # let mut database = rusqlite::Connection::open_in_memory()?;
//! # database.execute_batch("CREATE TABLE booking (property INTEGER)")?;
//! database.execute_batch(SQLITE_TABLE)?;
//! let transaction = database.transaction()?;
//! transaction.execute("INSERT INTO booking (property) VALUES (7)", [])?;
//! transaction.execute(
//!     "INSERT INTO switchboard_outbox (event, owner, data) VALUES (?, ?, ?)",
//!     ("booking_added", 62, r#"{"property_uid":7}"#),
//! )?;
//! transaction.commit()?; // both, or neither
//! # Ok(())
//! # }
//! ```

mod relay;
mod sqlite;

use std::path::PathBuf;

pub(crate) use relay::Relay;
pub use sqlite::SQLITE_TABLE;

/// Where an application writes the events of its own transactions.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outbox {
    /// The table in a SQLite database.
    Sqlite {
        /// The database's file.
        path: PathBuf,
    },
}

impl Outbox {
    /// Names an outbox in a SQLite database.
    pub fn sqlite(path: impl Into<PathBuf>) -> Self {
        Self::Sqlite { path: path.into() }
    }
}

/// A row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    id: i64,
    event_id: String,
    event: String,
    owner: i64,
    task: Option<String>,
    data: String,
}

/// What became of a row.
enum Taken {
    /// Its event is on disk.
    Announced(i64),
    /// It cannot be announced; the reason.
    Refused(i64, String),
}

/// An outbox that is open.
trait Source: Send {
    /// Returns the next rows that are not refused, in the order of their ids.
    fn next(&mut self, limit: u32) -> Result<Vec<Row>, SourceError>;
    /// Removes what is announced, and notes why the others are not.
    fn settle(&mut self, taken: &[Taken]) -> Result<(), SourceError>;
}

/// Why an outbox cannot be used.
type SourceError = Box<dyn std::error::Error + Send + Sync>;
