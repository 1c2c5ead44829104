//! One request, as the function that answers it sees it.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use switchboard::Switchboard;
use switchboard::store::{Webhook, WebhookId};

use super::App;
use super::access::{Access, Principal};
use super::answer::Problem;
use super::dispatch::Secrets;
use super::form::Form;
use crate::accounts::Session;

/// One request.
pub(crate) struct Cx {
    pub(crate) app: Arc<App>,
    /// Who asks; for a route that anyone may use, perhaps nobody.
    pub(crate) who: Option<Principal>,
    /// Address that the request comes from.
    pub(crate) address: IpAddr,
    /// Path without the query.
    pub(crate) path: String,
    pub(crate) query: Form,
    /// Fields of the body.
    pub(crate) form: Form,
    /// Languages that the browser names, the best first.
    pub(super) accepted: Option<String>,
    pub(super) parameters: Vec<(String, String)>,
    pub(super) secrets: Secrets,
}

impl Cx {
    pub(crate) fn host(&self) -> &Switchboard {
        &self.app.host
    }

    /// Returns who asks. The route has made sure that there is somebody.
    pub(crate) fn principal(&self) -> Result<&Principal, Problem> {
        self.who.as_ref().ok_or_else(Problem::signed_out)
    }

    pub(crate) fn session(&self) -> Option<&Session> {
        self.who.as_ref()?.session.as_ref()
    }

    /// Returns a function that says whether whoever asks may still do so: not after signing out, when the session has ended
    /// or the token is revoked.
    pub(crate) fn remains(&self, access: Access) -> impl Fn() -> bool + Send + 'static {
        let (app, secrets) = (Arc::clone(&self.app), self.secrets.by_itself());
        move || secrets.principal(&app).is_ok_and(|who| who.is_some() && access.lets(who.as_ref()))
    }

    /// Returns a part of the path.
    pub(crate) fn parameter(&self, name: &str) -> &str {
        self.parameters.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// Returns a part of the path that is a number or the like; what is none names nothing that there is.
    pub(crate) fn id<T: FromStr>(&self, name: &str) -> Result<T, Problem> {
        self.parameter(name).parse().map_err(|_| Problem::missing("There is nothing of this name."))
    }

    /// Returns the language in which plugins speak to whoever asks: the user's own, then the browser's, then the host's.
    pub(crate) fn language(&self) -> String {
        let own = self.session().and_then(|session| session.user.language.clone());
        let accepted = || self.accepted.as_deref().and_then(first_language);
        own.or_else(accepted).unwrap_or_else(|| self.host().config().languages.default.clone())
    }

    /// Returns a webhook of the path that whoever asks may see. Another owner's looks as if there were none.
    pub(crate) fn webhook(&self, name: &str) -> Result<Webhook, Problem> {
        let id: WebhookId = self.id(name)?;
        let webhook = self.host().webhooks().get(id)?;
        let owner = self.principal()?.owner;
        if owner.is_some_and(|owner| owner != webhook.owner.0) {
            return Err(switchboard::WebhookError::Missing { id }.into());
        }
        Ok(webhook)
    }
}

/// Returns the first language of an `Accept-Language`; browsers name the best first.
fn first_language(accepted: &str) -> Option<String> {
    let first = accepted.split(',').next()?.split(';').next()?.trim();
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    ((2..=35).contains(&first.len()) && first.bytes().all(valid)).then(|| first.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_browsers_best_language_is_read_and_nothing_else() {
        assert_eq!(first_language("de-CH, de;q=0.8, en;q=0.5").as_deref(), Some("de-CH"));
        for wrong in ["*", "", "../../x", "de_DE\u{0}"] {
            assert_eq!(first_language(wrong), None, "{wrong:?}");
        }
    }
}
