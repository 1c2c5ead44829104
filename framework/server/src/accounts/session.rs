//! Sessions: who is signed in in which browser.

use std::time::Duration;

use rusqlite::{OptionalExtension, params};
use sha2::{Digest, Sha256};

use super::token::SecretToken;
use super::{Accounts, AccountsError, User};

/// A session ends when nothing was asked for in this time.
pub(crate) const SESSION_IDLE: Duration = Duration::from_secs(30 * 60);
/// A session ends after this time in any case.
const SESSION_LONGEST: Duration = Duration::from_secs(12 * 60 * 60);
/// How often it is written down that a session is in use.
const SEEN_EVERY: Duration = Duration::from_secs(60);
/// Most sessions of one user; the oldest one ends when there are more.
const MOST_SESSIONS: i64 = 20;

/// A session that goes on.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) user: User,
    pub(super) hash: [u8; 32],
}

/// What is stored of a secret of 256 random bits: nothing slow is needed, since it cannot be guessed.
pub(super) fn hash_of(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl Accounts {
    /// Starts a session of a user, and returns its secret, which is stored nowhere.
    pub(crate) fn start_session(&self, user: &User) -> Result<SecretToken, AccountsError> {
        let secret = SecretToken::new()?;
        let now = self.now();
        let database = self.database();
        database.execute(
            "DELETE FROM sessions WHERE seen_at < ?1 OR created_at < ?2 OR token IN \
             (SELECT token FROM sessions WHERE user = ?3 ORDER BY created_at DESC LIMIT -1 OFFSET ?4)",
            params![now - ms(SESSION_IDLE), now - ms(SESSION_LONGEST), user.id, MOST_SESSIONS - 1],
        )?;
        let insert = "INSERT INTO sessions (token, user, created_at, seen_at) VALUES (?1, ?2, ?3, ?3)";
        database.execute(insert, params![secret.hash(), user.id, now])?;
        Ok(secret)
    }

    /// Returns the session of a secret, when it goes on. `used` says whether a person asks, and not a page by itself.
    pub(crate) fn session(&self, secret: &str, used: bool) -> Result<Option<Session>, AccountsError> {
        let (hash, now) = (hash_of(secret), self.now());
        let select = format!(
            "SELECT {}, sessions.seen_at FROM sessions JOIN users ON users.id = sessions.user \
             WHERE sessions.token = ?1 AND sessions.seen_at >= ?2 AND sessions.created_at >= ?3",
            User::COLUMNS
        );
        let database = self.database();
        let found = database
            .query_row(&select, params![hash, now - ms(SESSION_IDLE), now - ms(SESSION_LONGEST)], |row| {
                Ok((User::read(row)?, row.get::<_, i64>(6)?))
            })
            .optional()?;
        let Some((user, seen_at)) = found else { return Ok(None) };
        if used && now - seen_at >= ms(SEEN_EVERY) {
            database.execute("UPDATE sessions SET seen_at = ?2 WHERE token = ?1", params![hash, now])?;
        }
        Ok(Some(Session { user, hash }))
    }

    /// Ends a session.
    pub(crate) fn end_session(&self, session: &Session) -> Result<(), AccountsError> {
        self.database().execute("DELETE FROM sessions WHERE token = ?1", [session.hash])?;
        Ok(())
    }

    pub(super) fn end_sessions(&self, user: &User) -> Result<(), AccountsError> {
        self.database().execute("DELETE FROM sessions WHERE user = ?1", [user.id])?;
        Ok(())
    }

    /// Leaves a message for the next page of a session.
    pub(crate) fn leave_message(&self, session: &Session, message: &str) -> Result<(), AccountsError> {
        let update = "UPDATE sessions SET message = ?2 WHERE token = ?1";
        self.database().execute(update, params![session.hash, message])?;
        Ok(())
    }

    /// Takes the message that was left for the next page.
    pub(crate) fn take_message(&self, session: &Session) -> Result<Option<String>, AccountsError> {
        let database = self.database();
        let select = "SELECT message FROM sessions WHERE token = ?1";
        let message: Option<Option<String>> =
            database.query_row(select, [session.hash], |row| row.get(0)).optional()?;
        let message = message.flatten();
        if message.is_some() {
            database.execute("UPDATE sessions SET message = NULL WHERE token = ?1", [session.hash])?;
        }
        Ok(message)
    }
}
