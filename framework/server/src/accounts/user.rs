//! Users.

use rusqlite::{OptionalExtension, Row, params};
use serde::Serialize;
use switchboard::store::Timestamp;

use super::{Accounts, AccountsError, Role};

/// Longest name, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// A user that is to be added.
#[derive(Clone, Debug)]
pub(crate) struct NewUser {
    pub(crate) name: String,
    pub(crate) password: String,
    pub(crate) role: Role,
    /// Owner whose webhooks are all that the user sees.
    pub(crate) owner: Option<i64>,
}

/// Somebody who may sign in.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct User {
    #[serde(skip)]
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) role: Role,
    /// Owner whose webhooks are all that the user sees.
    pub(crate) owner: Option<i64>,
    /// Language of what plugins say to the user; the browser's when there is none.
    pub(crate) language: Option<String>,
    pub(crate) created_at: Timestamp,
}

impl User {
    pub(super) const COLUMNS: &str = "users.id, users.name, users.role, users.owner, users.language, users.created_at";

    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            name: row.get(1)?,
            role: row.get(2)?,
            owner: row.get(3)?,
            language: row.get(4)?,
            created_at: Timestamp(row.get(5)?),
        })
    }
}

impl Accounts {
    /// Returns the users by name.
    pub(crate) fn users(&self) -> Result<Vec<User>, AccountsError> {
        let database = self.database();
        let mut rows = database.prepare(&format!("SELECT {} FROM users ORDER BY name", User::COLUMNS))?;
        let users = rows.query_map([], User::read)?.collect::<Result<_, _>>()?;
        Ok(users)
    }

    /// Whether there is any user.
    pub(crate) fn has_users(&self) -> Result<bool, AccountsError> {
        Ok(self.database().query_row("SELECT EXISTS (SELECT 1 FROM users)", [], |row| row.get(0))?)
    }

    /// Returns a user by name, in any case.
    pub(crate) fn user(&self, name: &str) -> Result<User, AccountsError> {
        let select = format!("SELECT {} FROM users WHERE name = ?1", User::COLUMNS);
        let user = self.database().query_row(&select, [name], User::read).optional()?;
        user.ok_or_else(|| AccountsError::NoUser(name.escape_debug().to_string()))
    }

    /// Adds a user.
    pub(crate) fn add_user(&self, new: &NewUser) -> Result<User, AccountsError> {
        self.add(new, false)
    }

    /// Adds the first user; refused when there is one.
    pub(crate) fn add_first_user(&self, new: &NewUser) -> Result<User, AccountsError> {
        self.add(new, true)
    }

    fn add(&self, new: &NewUser, first: bool) -> Result<User, AccountsError> {
        check_name(&new.name)?;
        check_owner(new.role, new.owner)?;
        let hash = self.hash(&new.password)?;
        let insert = "INSERT INTO users (name, password, role, owner, created_at) SELECT ?1, ?2, ?3, ?4, ?5 \
                      WHERE NOT EXISTS (SELECT 1 FROM users WHERE name = ?1 OR ?6)";
        let added = self.database().execute(insert, params![new.name, hash, new.role, new.owner, self.now(), first])?;
        if added == 0 {
            let message = if first { "there are users already: sign in".into() } else { taken(&new.name) };
            return Err(AccountsError::Refused(message));
        }
        self.user(&new.name)
    }

    /// Changes the role and the owner of a user, and ends the user's sessions. The last administrator stays one.
    pub(crate) fn set_role(&self, name: &str, role: Role, owner: Option<i64>) -> Result<User, AccountsError> {
        check_owner(role, owner)?;
        let user = self.user(name)?;
        let update = "UPDATE users SET role = ?2, owner = ?3 WHERE id = ?1 AND (?2 = 'administrator' OR EXISTS \
                      (SELECT 1 FROM users WHERE id <> ?1 AND role = 'administrator') OR role <> 'administrator')";
        if self.database().execute(update, params![user.id, role, owner])? == 0 {
            return Err(last_administrator(&user.name));
        }
        self.end_sessions(&user)?;
        self.user(name)
    }

    /// Changes the password of a user, and ends the user's sessions.
    pub(crate) fn set_password(&self, name: &str, password: &str) -> Result<(), AccountsError> {
        let user = self.user(name)?;
        let hash = self.hash(password)?;
        self.database().execute("UPDATE users SET password = ?2 WHERE id = ?1", params![user.id, hash])?;
        self.end_sessions(&user)
    }

    /// Changes the language in which plugins speak to a user.
    pub(crate) fn set_language(&self, user: i64, language: Option<&str>) -> Result<(), AccountsError> {
        self.database().execute("UPDATE users SET language = ?2 WHERE id = ?1", params![user, language])?;
        Ok(())
    }

    /// Removes a user and the user's sessions. The last administrator stays.
    pub(crate) fn remove_user(&self, name: &str) -> Result<(), AccountsError> {
        let user = self.user(name)?;
        let delete = "DELETE FROM users WHERE id = ?1 AND (role <> 'administrator' OR EXISTS \
                      (SELECT 1 FROM users WHERE id <> ?1 AND role = 'administrator'))";
        if self.database().execute(delete, [user.id])? == 0 {
            return Err(last_administrator(&user.name));
        }
        Ok(())
    }

    /// Returns the user of a name and a password, if both are right. Takes as long when they are not.
    pub(crate) fn check_password(&self, name: &str, password: &str) -> Result<Option<User>, AccountsError> {
        let select = "SELECT password FROM users WHERE name = ?1";
        let hash: Option<String> = self.database().query_row(select, [name], |row| row.get(0)).optional()?;
        if self.matches(password, hash.as_deref()) { self.user(name).map(Some) } else { Ok(None) }
    }
}

/// Refuses a name that could not be told from another one, or that could be taken for something else in a log.
fn check_name(name: &str) -> Result<(), AccountsError> {
    let valid = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '@');
    if !name.is_empty() && name.len() <= MAX_NAME_BYTES && name.chars().all(valid) {
        return Ok(());
    }
    let name = name.escape_debug();
    Err(AccountsError::Refused(format!(
        "`{name}` is no name of a user: use letters, digits, `_`, `-`, `.` and `@`, at most {MAX_NAME_BYTES} bytes"
    )))
}

pub(super) fn check_owner(role: Role, owner: Option<i64>) -> Result<(), AccountsError> {
    match owner {
        None => Ok(()),
        Some(_) if role == Role::Administrator => {
            Err(AccountsError::Refused("an administrator sees everything and has no owner".into()))
        }
        Some(owner) if owner < 1 => {
            Err(AccountsError::Refused(format!("`{owner}` is no owner: owners are positive numbers")))
        }
        Some(_) => Ok(()),
    }
}

fn taken(name: &str) -> String {
    format!("there is a user `{name}` already")
}

fn last_administrator(name: &str) -> AccountsError {
    AccountsError::Refused(format!("`{name}` is the only administrator: make another one first"))
}
