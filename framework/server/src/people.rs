//! `switchboard user`, `token` and `audit`: who may use the pages and the HTTP API, and what they changed.
//!
//! These commands work on the server's own file, beside a running `serve` or without one, and pass no login: whoever can
//! write the data folder may do everything.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde_json::json;
use switchboard::config::HumanDuration;

use crate::accounts::{
    Accounts, AccountsError, AuditFilter, NewAudit, NewToken, NewUser, Role, SecretToken, Token, User,
};
use crate::cli::usage;
use crate::command::Reply;
use crate::exit::{CommandFailed, FAILED, MISSING, USAGE};
use crate::output::table;

#[derive(Subcommand)]
pub(crate) enum UserCommand {
    /// Add a user
    Add {
        /// Name with which the user signs in
        name: String,
        #[command(flatten)]
        rights: Rights,
        #[command(flatten)]
        password: Password,
    },
    /// List the users
    List,
    /// Give a user another password; the user's sessions end
    Passwd {
        /// Name of the user
        name: String,
        #[command(flatten)]
        password: Password,
    },
    /// Remove a user; the user's sessions end
    Remove {
        /// Name of the user
        name: String,
    },
    /// Give a user another role; the user's sessions end
    Role {
        /// Name of the user
        name: String,
        #[command(flatten)]
        rights: Rights,
    },
}

/// What a user or a token may do.
#[derive(Args)]
pub(crate) struct Rights {
    /// What it may do
    #[arg(long, value_enum)]
    role: Role,
    /// Owner whose webhooks are all that it sees; everything without it
    #[arg(long, value_name = "N")]
    owner: Option<i64>,
}

/// A password that is to be set.
#[derive(Args)]
pub(crate) struct Password {
    /// Where the password comes from: @FILE reads a file, - reads standard input; one is made up and printed without it
    #[arg(long, value_name = "FROM")]
    password: Option<String>,
}

#[derive(Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token for the HTTP API, and print it: it is shown this once
    Create {
        /// What it is for
        name: String,
        #[command(flatten)]
        rights: Rights,
        /// How long it is good, such as 90d [default: for ever]
        #[arg(long, value_name = "DURATION")]
        expires: Option<HumanDuration>,
    },
    /// List the tokens, without their secrets
    List,
    /// Refuse a token from now on
    Revoke {
        /// Its id
        id: i64,
    },
}

/// Which changes to show.
#[derive(Args)]
pub(crate) struct AuditQuery {
    /// Only changes by this user or token
    #[arg(long, value_name = "NAME")]
    who: Option<String>,
    /// Only changes that contain this text
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// Only changes before this id, for paging
    #[arg(long, value_name = "ID")]
    before: Option<i64>,
    /// At most so many, the newest
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

/// Returns how the audit log names whoever uses the command line.
pub(crate) fn who() -> String {
    let name = std::env::var("USER").or_else(|_| std::env::var("USERNAME")).unwrap_or_default();
    let name: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
    if name.is_empty() { "cli".into() } else { format!("cli:{name}") }
}

/// Writes a change from the command line into the audit log of a data folder.
pub(crate) fn audit_command(data: &Path, who: &str, (action, object): &(&'static str, String)) -> Result<()> {
    let accounts = open(data)?;
    accounts.audit(&NewAudit { who, via: "cli", action, object, detail: "" }).map_err(failed)
}

fn open(data: &Path) -> Result<Accounts> {
    std::fs::create_dir_all(data).with_context(|| format!("cannot make the data folder `{}`", data.display()))?;
    Accounts::open(data).map_err(failed)
}

fn failed(error: AccountsError) -> anyhow::Error {
    let code = match error {
        AccountsError::Refused(_) => USAGE,
        AccountsError::NoUser(_) | AccountsError::NoToken(_) => MISSING,
        _ => FAILED,
    };
    CommandFailed { code, message: switchboard::error::Chain(&error).to_string() }.into()
}

/// Does a command about users.
pub(crate) fn user(data: &Path, command: UserCommand) -> Result<Reply> {
    let accounts = open(data)?;
    let audit = |action: &str, name: &str, detail: &str| {
        let object = format!("user {name}");
        accounts.audit(&NewAudit { who: &who(), via: "cli", action, object: &object, detail }).map_err(failed)
    };
    match command {
        UserCommand::Add { name, rights, password } => {
            let (password, made_up) = password.read()?;
            let new = NewUser { name, password, role: rights.role, owner: rights.owner };
            let user = accounts.add_user(&new).map_err(failed)?;
            audit("user.add", &user.name, &rights.told())?;
            let mut json = serde_json::to_value(&user)?;
            let mut text = format!("user {} added: {}", user.name, rights.told());
            if made_up {
                json["password"] = new.password.as_str().into();
                text += &format!("\npassword: {}", new.password);
            }
            Reply::new(json, text)
        }
        UserCommand::List => {
            let users = accounts.users().map_err(failed)?;
            let rows = users.iter().map(|user| {
                vec![user.name.clone(), user.role.to_string(), owner(user.owner), user.created_at.to_string()]
            });
            let empty = "no users yet: switchboard user add NAME --role administrator";
            let text = table(&["NAME", "ROLE", "OWNER", "ADDED"], rows, empty);
            Reply::new(&users, text)
        }
        UserCommand::Passwd { name, password } => {
            let (password, made_up) = password.read()?;
            accounts.set_password(&name, &password).map_err(failed)?;
            audit("user.password", &name, "")?;
            let mut json = json!({ "name": name, "changed": true });
            let mut text = format!("user {name} has another password");
            if made_up {
                json["password"] = password.as_str().into();
                text += &format!("\npassword: {password}");
            }
            Reply::new(json, text)
        }
        UserCommand::Remove { name } => {
            accounts.remove_user(&name).map_err(failed)?;
            audit("user.remove", &name, "")?;
            Reply::new(json!({ "name": name, "removed": true }), format!("user {name} removed"))
        }
        UserCommand::Role { name, rights } => {
            let user: User = accounts.set_role(&name, rights.role, rights.owner).map_err(failed)?;
            audit("user.role", &user.name, &rights.told())?;
            Reply::new(&user, format!("user {} is now {}", user.name, rights.told()))
        }
    }
}

/// Does a command about tokens.
pub(crate) fn token(data: &Path, command: TokenCommand) -> Result<Reply> {
    let accounts = open(data)?;
    let audit = |action: &str, token: &Token| {
        let (object, detail) = (format!("token {} {}", token.id, token.name), rights_told(token.role, token.owner));
        accounts.audit(&NewAudit { who: &who(), via: "cli", action, object: &object, detail: &detail }).map_err(failed)
    };
    match command {
        TokenCommand::Create { name, rights, expires } => {
            let lifetime = expires.map(|HumanDuration(duration)| duration);
            if lifetime == Some(Duration::ZERO) {
                return Err(usage("--expires 0s: the token would be good for nothing".into()));
            }
            let new = NewToken { name, role: rights.role, owner: rights.owner, lifetime, created_by: who() };
            let (token, secret) = accounts.add_token(&new).map_err(failed)?;
            audit("token.create", &token)?;
            let mut json = serde_json::to_value(&token)?;
            json["token"] = secret.reveal().into();
            let text = format!("token {}, shown this once:\n{}", token.id, secret.reveal());
            Reply::new(json, text)
        }
        TokenCommand::List => {
            let tokens = accounts.tokens().map_err(failed)?;
            let row = |token: &Token| {
                let time =
                    |time: Option<switchboard::store::Timestamp>| time.map_or("-".into(), |time| time.to_string());
                let (id, name, role) = (token.id.to_string(), token.name.clone(), token.role.to_string());
                vec![id, name, role, owner(token.owner), time(token.expires_at), time(token.used_at)]
            };
            let empty = "no tokens yet: switchboard token create NAME --role operator";
            let text = table(&["ID", "NAME", "ROLE", "OWNER", "EXPIRES", "USED"], tokens.iter().map(row), empty);
            Reply::new(&tokens, text)
        }
        TokenCommand::Revoke { id } => {
            let token = accounts.revoke_token(id).map_err(failed)?;
            audit("token.revoke", &token)?;
            Reply::new(json!({ "id": id, "revoked": true }), format!("token {id} revoked"))
        }
    }
}

/// Shows the audit log, the newest change first.
pub(crate) fn audit(data: &Path, query: AuditQuery) -> Result<Reply> {
    let AuditQuery { who, search, before, limit } = query;
    let entries = open(data)?.audited(&AuditFilter { who, text: search, before, limit }).map_err(failed)?;
    let rows = entries.iter().map(|entry| {
        let (id, at) = (entry.id.to_string(), entry.at.to_string());
        let texts = [&entry.who, &entry.via, &entry.action, &entry.object, &entry.detail].map(Clone::clone);
        [id, at].into_iter().chain(texts).collect()
    });
    let text = table(&["ID", "TIME", "WHO", "VIA", "ACTION", "OBJECT", "DETAIL"], rows, "nothing was changed yet");
    Reply::new(&entries, text)
}

fn owner(owner: Option<i64>) -> String {
    owner.map_or_else(|| "-".into(), |owner| owner.to_string())
}

/// Says what somebody may do, for the audit log.
pub(crate) fn rights_told(role: Role, owner: Option<i64>) -> String {
    match owner {
        Some(owner) => format!("{role} of owner {owner}"),
        None => role.to_string(),
    }
}

impl Rights {
    fn told(&self) -> String {
        rights_told(self.role, self.owner)
    }
}

impl Password {
    /// Returns the password, and whether it was made up here.
    fn read(&self) -> Result<(String, bool)> {
        let text = match self.password.as_deref() {
            None => return Ok((made_up()?, true)),
            Some("-") => {
                let mut text = String::new();
                std::io::stdin().read_to_string(&mut text).context("cannot read the password from standard input")?;
                text
            }
            Some(from) => match from.strip_prefix('@') {
                Some(file) => {
                    std::fs::read_to_string(file).with_context(|| format!("cannot read the password from `{file}`"))?
                }
                // Every program on the machine can read the arguments of a process.
                None => return Err(usage("--password takes @FILE or - and not the password itself".into())),
            },
        };
        Ok((text.trim_end_matches(['\r', '\n']).to_owned(), false))
    }
}

/// Makes up a password of 96 random bits, in groups that can be typed.
fn made_up() -> Result<String> {
    let secret = SecretToken::new().map_err(failed)?;
    let digits = &secret.reveal()[..24];
    Ok([&digits[..6], &digits[6..12], &digits[12..18], &digits[18..]].join("-"))
}
