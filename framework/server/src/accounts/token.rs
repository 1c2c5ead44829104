//! Tokens with which programs use the HTTP API.

use std::fmt;
use std::time::Duration;

use rusqlite::{OptionalExtension, Row, params};
use serde::Serialize;
use switchboard::store::Timestamp;

use super::session::hash_of;
use super::user::check_owner;
use super::{Accounts, AccountsError, Role, random};

/// Begins every token for programs, so that one that leaked is recognised.
const PREFIX: &str = "swb_";
/// Longest name, in bytes.
const MAX_NAME_BYTES: usize = 100;

/// A secret of 256 random bits. It is shown once and stored as its hash only.
pub(crate) struct SecretToken(String);

impl SecretToken {
    pub(crate) fn new() -> Result<Self, AccountsError> {
        Ok(Self(random()?.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    fn for_programs() -> Result<Self, AccountsError> {
        Ok(Self(format!("{PREFIX}{}", Self::new()?.0)))
    }

    pub(super) fn hash(&self) -> [u8; 32] {
        hash_of(&self.0)
    }

    /// Returns the secret itself, to be handed over.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretToken")
    }
}

/// A token that is to be made.
#[derive(Clone, Debug)]
pub(crate) struct NewToken {
    /// What it is for, in the words of whoever makes it.
    pub(crate) name: String,
    pub(crate) role: Role,
    /// Owner whose webhooks and events are all that it reaches.
    pub(crate) owner: Option<i64>,
    /// How long it is good; for ever when `None`.
    pub(crate) lifetime: Option<Duration>,
    pub(crate) created_by: String,
}

/// A token without its secret.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Token {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) owner: Option<i64>,
    pub(crate) created_by: String,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Option<Timestamp>,
    /// When it was last used, within a minute.
    pub(crate) used_at: Option<Timestamp>,
}

impl Token {
    const COLUMNS: &str = "id, name, role, owner, created_by, created_at, expires_at, used_at";

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            name: row.get(1)?,
            role: row.get(2)?,
            owner: row.get(3)?,
            created_by: row.get(4)?,
            created_at: Timestamp(row.get(5)?),
            expires_at: row.get::<_, Option<i64>>(6)?.map(Timestamp),
            used_at: row.get::<_, Option<i64>>(7)?.map(Timestamp),
        })
    }

    /// Whether it is still good.
    pub(crate) fn is_good(&self, now: i64) -> bool {
        self.expires_at.is_none_or(|end| now < end.0)
    }
}

impl Accounts {
    /// Makes a token, and returns it with its secret, which is stored nowhere.
    pub(crate) fn add_token(&self, new: &NewToken) -> Result<(Token, SecretToken), AccountsError> {
        let name = new.name.trim();
        if name.is_empty() || name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
            let message = format!("a token needs a name of 1 to {MAX_NAME_BYTES} bytes that says what it is for");
            return Err(AccountsError::Refused(message));
        }
        check_owner(new.role, new.owner)?;
        let (secret, now) = (SecretToken::for_programs()?, self.now());
        let end = new.lifetime.map(|life| now.saturating_add(i64::try_from(life.as_millis()).unwrap_or(i64::MAX)));
        let insert = format!(
            "INSERT INTO tokens (name, token, role, owner, created_by, created_at, expires_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) RETURNING {}",
            Token::COLUMNS
        );
        let values = params![name, secret.hash(), new.role, new.owner, new.created_by, now, end];
        let token = self.database().query_row(&insert, values, Token::read)?;
        Ok((token, secret))
    }

    /// Returns the tokens, also those that are no longer good, the newest first.
    pub(crate) fn tokens(&self) -> Result<Vec<Token>, AccountsError> {
        let database = self.database();
        let mut rows = database.prepare(&format!("SELECT {} FROM tokens ORDER BY id DESC", Token::COLUMNS))?;
        let tokens = rows.query_map([], Token::read)?.collect::<Result<_, _>>()?;
        Ok(tokens)
    }

    /// Returns the token of a secret, when it is good.
    pub(crate) fn token(&self, secret: &str) -> Result<Option<Token>, AccountsError> {
        const MINUTE: i64 = 60_000;
        let now = self.now();
        let select = format!("SELECT {} FROM tokens WHERE token = ?1", Token::COLUMNS);
        let database = self.database();
        let token = database.query_row(&select, [hash_of(secret)], Token::read).optional()?;
        let Some(token) = token.filter(|token| token.is_good(now)) else { return Ok(None) };
        if token.used_at.is_none_or(|used| now - used.0 >= MINUTE) {
            database.execute("UPDATE tokens SET used_at = ?2 WHERE id = ?1", params![token.id, now])?;
        }
        Ok(Some(token))
    }

    /// Removes a token: it is refused from now on. Returns what it was.
    pub(crate) fn revoke_token(&self, id: i64) -> Result<Token, AccountsError> {
        let delete = format!("DELETE FROM tokens WHERE id = ?1 RETURNING {}", Token::COLUMNS);
        let token = self.database().query_row(&delete, [id], Token::read).optional()?;
        token.ok_or(AccountsError::NoToken(id))
    }
}
