//! Who calls, whether that one may, and how often.

use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use aide::OperationInput;
use aide::generate::GenContext;
use aide::openapi::Operation;
use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::StatusCode;
use axum::http::request::Parts;
use switchboard::Switchboard;

use super::answer::Failure;
use super::document::SCHEME;
use crate::accounts::NewAudit;
use crate::web::App;
use crate::web::access::{Access, Principal};
use crate::web::dispatch::{CHANNEL, Secrets};

/// What a handler asks of its caller.
pub(super) trait Needs: Send + Sync + 'static {
    const ACCESS: Access;
    /// The role that is needed, and whether the caller must not be limited to one owner.
    const SCOPES: &[&str];
}

macro_rules! needs {
    ($($name:ident: $scopes:expr),* $(,)?) => {$(
        #[doc = concat!("[`Access::", stringify!($name), "`]")]
        pub(super) struct $name;

        impl Needs for $name {
            const ACCESS: Access = Access::$name;
            const SCOPES: &[&str] = &$scopes;
        }
    )*};
}

needs! {
    Own: ["read-only"],
    OwnChange: ["operator"],
    Site: ["read-only", "whole-site"],
    Operate: ["operator", "whole-site"],
    Administrate: ["administrator", "whole-site"],
}

/// A caller that may use the route. Taking one as a parameter is what makes a handler ask.
pub(super) struct Caller<N> {
    call: Call,
    needs: PhantomData<N>,
}

/// A call that goes on.
pub(super) struct Call {
    app: Arc<App>,
    pub(super) who: Principal,
}

impl<N> Caller<N> {
    /// Does what waits for the store or for a plugin on a thread for that. A panic in it is an answer as well.
    pub(super) async fn run<V: Send + 'static>(
        self,
        work: impl FnOnce(&Call) -> Result<V, Failure> + Send + 'static,
    ) -> Result<V, Failure> {
        let call = self.call;
        let working = blocking(move || {
            let result = work(&call);
            if let Err(failure) = &result
                && failure.is_server_error()
            {
                log::error!(logger: call.host().log(), target: CHANNEL, who = call.who.name, error = failure.detail();
                    "a call cannot be answered");
            }
            result
        });
        working.await?
    }
}

/// Does something that may wait on a thread for that.
pub(super) async fn blocking<V: Send + 'static>(work: impl FnOnce() -> V + Send + 'static) -> Result<V, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|_| {
        let detail = "The server has made a mistake. What it printed to standard error says where.";
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", detail)
    })
}

impl Call {
    pub(super) fn app(&self) -> &Arc<App> {
        &self.app
    }

    pub(super) fn host(&self) -> &Switchboard {
        &self.app.host
    }

    /// Returns the owner for whom something is done: the one that is given, else the caller's own, else the whole site.
    pub(super) fn owner(&self, given: Option<i64>) -> Result<i64, Failure> {
        let owner = given.or(self.who.owner).unwrap_or(0);
        self.check_owner(owner)?;
        Ok(owner)
    }

    /// Refuses a caller that is limited to another owner.
    fn check_owner(&self, owner: i64) -> Result<(), Failure> {
        match self.who.owner {
            Some(own) if own != owner => {
                let detail = format!("You may do this for owner {own} only, and not for owner {owner}.");
                Err(Failure::forbidden(detail))
            }
            _ => Ok(()),
        }
    }

    /// Whether the caller may see what belongs to an owner.
    pub(super) fn sees(&self, owner: i64) -> bool {
        self.who.owner.is_none_or(|own| own == owner)
    }

    /// Writes a change into the audit log.
    pub(super) fn changed(&self, action: &str, object: &str, detail: &str) -> Result<(), Failure> {
        let who = self.who.name.as_str();
        log::info!(logger: self.host().log(), target: CHANNEL, who, via = "api", action, object; "changed");
        Ok(self.app.accounts.audit(&NewAudit { who, via: "api", action, object, detail })?)
    }
}

impl<N: Needs> FromRequestParts<Arc<App>> for Caller<N> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Failure> {
        let app = Arc::clone(app);
        let secrets = Secrets::of(&app, &parts.headers);
        let asked = Arc::clone(&app);
        let who = blocking(move || secrets.principal(&asked)).await??;
        let Some(who) = who else {
            let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip());
            let address = app.gate.address(&parts.headers, peer.unwrap_or(IpAddr::from([0, 0, 0, 0])));
            app.rate.take(&address.to_string())?;
            let detail =
                "Say who you are: send a token as `Authorization: Bearer ...`; `switchboard token create` makes one.";
            return Err(Failure::new(StatusCode::UNAUTHORIZED, "unauthorized", detail));
        };
        app.rate.take(&who.name)?;
        if !N::ACCESS.lets(Some(&who)) {
            return Err(Failure::forbidden(format!("Only {} may do this.", N::ACCESS)));
        }
        Ok(Self { call: Call { app, who }, needs: PhantomData })
    }
}

impl<N: Needs> OperationInput for Caller<N> {
    fn operation_input(_ctx: &mut GenContext, operation: &mut Operation) {
        let scopes = N::SCOPES.iter().map(|scope| (*scope).to_owned()).collect();
        operation.security.push([(SCHEME.to_owned(), scopes)].into_iter().collect());
    }
}
