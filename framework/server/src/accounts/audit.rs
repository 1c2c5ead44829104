//! The audit log: every change, with who made it. It is append-only; the database refuses anything else.

use rusqlite::{Row, params};
use serde::Serialize;
use switchboard::store::Timestamp;

use super::{Accounts, AccountsError};

/// Longest text of one field, in bytes.
const MAX_BYTES: usize = 4 << 10;

/// A change that is to be written down.
#[derive(Clone, Debug)]
pub(crate) struct NewAudit<'a> {
    /// Who made it: a user, a token, or whoever uses the command line.
    pub(crate) who: &'a str,
    /// `page`, `api` or `cli`.
    pub(crate) via: &'a str,
    /// What was done, such as `webhook.disable`.
    pub(crate) action: &'a str,
    /// With what, such as `webhook 3`.
    pub(crate) object: &'a str,
    /// What else is to be known; no secrets.
    pub(crate) detail: &'a str,
}

/// A change that was written down.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct AuditEntry {
    pub(crate) id: i64,
    pub(crate) at: Timestamp,
    pub(crate) who: String,
    pub(crate) via: String,
    pub(crate) action: String,
    pub(crate) object: String,
    pub(crate) detail: String,
}

/// Which changes to return.
#[derive(Clone, Debug, Default)]
pub(crate) struct AuditFilter {
    /// Made by this one.
    pub(crate) who: Option<String>,
    /// Whose action, object or detail contains this text.
    pub(crate) text: Option<String>,
    /// Before this id, for paging.
    pub(crate) before: Option<i64>,
    /// At most so many.
    pub(crate) limit: u32,
}

impl AuditEntry {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            at: Timestamp(row.get(1)?),
            who: row.get(2)?,
            via: row.get(3)?,
            action: row.get(4)?,
            object: row.get(5)?,
            detail: row.get(6)?,
        })
    }
}

impl Accounts {
    /// Writes down a change.
    pub(crate) fn audit(&self, new: &NewAudit<'_>) -> Result<(), AccountsError> {
        let cut = |text: &str| text[..text.floor_char_boundary(MAX_BYTES)].to_owned();
        let insert = "INSERT INTO audit (at, who, via, action, object, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let values = params![self.now(), cut(new.who), new.via, new.action, cut(new.object), cut(new.detail)];
        self.database().execute(insert, values)?;
        Ok(())
    }

    /// Returns the changes that match, the newest first.
    pub(crate) fn audited(&self, filter: &AuditFilter) -> Result<Vec<AuditEntry>, AccountsError> {
        let select = "SELECT id, at, who, via, action, object, detail FROM audit \
                      WHERE (?1 IS NULL OR who = ?1) AND (?2 IS NULL OR id < ?2) AND (?3 IS NULL \
                      OR instr(lower(action || ' ' || object || ' ' || detail), lower(?3)) > 0) \
                      ORDER BY id DESC LIMIT ?4";
        let database = self.database();
        let mut rows = database.prepare(select)?;
        let values = params![filter.who, filter.before, filter.text, filter.limit];
        let entries = rows.query_map(values, AuditEntry::read)?.collect::<Result<_, _>>()?;
        Ok(entries)
    }
}
