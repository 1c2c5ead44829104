//! Who asks, and what that one may do.

use std::fmt;

use switchboard::Switchboard;
use switchboard::store::{Bulk, OwnerId};

use crate::accounts::{Role, Session, Token};

/// Whoever a request comes from.
#[derive(Clone, Debug)]
pub(crate) struct Principal {
    /// Name for logs: a user's, or `token:` and a token's.
    pub(crate) name: String,
    pub(crate) role: Role,
    /// Owner whose webhooks are all that it sees; everything when `None`.
    pub(crate) owner: Option<i64>,
    /// The session, for a user; none for a token.
    pub(crate) session: Option<Session>,
}

impl Principal {
    /// Whether it sees a bulk operation: one with an owner, those over tasks of the owner's events and of one of the owner's
    /// webhooks alone.
    pub(crate) fn sees_bulk(&self, host: &Switchboard, bulk: &Bulk) -> bool {
        let Some(own) = self.owner.map(OwnerId) else { return true };
        let is_own = |webhook| host.webhooks().get(webhook).is_ok_and(|webhook| webhook.owner == own);
        bulk.filter.owner == Some(own) && bulk.filter.webhook.is_some_and(is_own)
    }
}

impl From<Session> for Principal {
    fn from(session: Session) -> Self {
        let user = &session.user;
        Self { name: user.name.clone(), role: user.role, owner: user.owner, session: Some(session) }
    }
}

impl From<Token> for Principal {
    fn from(token: Token) -> Self {
        Self { name: format!("token:{}", token.name), role: token.role, owner: token.owner, session: None }
    }
}

/// What a route needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Nothing: whoever reaches the server.
    Anyone,
    /// To be signed in. One with an owner sees that owner's only; the page looks after that.
    Own,
    /// To be signed in as operator or administrator. One with an owner changes that owner's only.
    OwnChange,
    /// To be signed in without an owner: it shows what belongs to the whole site.
    Site,
    /// To be operator or administrator, without an owner.
    Operate,
    /// To be administrator.
    Administrate,
}

impl Access {
    /// Whether somebody may use a route.
    pub(crate) fn lets(self, who: Option<&Principal>) -> bool {
        let Some(who) = who else { return self == Self::Anyone };
        let whole_site = who.owner.is_none();
        match self {
            Self::Anyone | Self::Own => true,
            Self::OwnChange => who.role >= Role::Operator,
            Self::Site => whole_site,
            Self::Operate => whole_site && who.role >= Role::Operator,
            Self::Administrate => whole_site && who.role == Role::Administrator,
        }
    }
}

impl fmt::Display for Access {
    /// Says who may, after "only … may".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anyone => "anybody",
            Self::Own => "somebody who is signed in",
            Self::OwnChange => "an operator or an administrator",
            Self::Site => "somebody who is not limited to one owner",
            Self::Operate => "an operator or an administrator who is not limited to one owner",
            Self::Administrate => "an administrator",
        })
    }
}
