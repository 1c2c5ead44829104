//! The table of routes, with what each needs.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};

use super::access::Access::{self, Administrate, Anyone, Operate, Own, OwnChange, Site};
use super::answer::{self, Posted, Problem};
use super::cx::Cx;
use super::pages::{
    account, bulks, deliveries, health, languages, logs, overview, people, plugins, problem, settings, setup, sign_in,
    tasks, triggers, webhooks,
};
use super::{App, api, assets, dispatch};

/// What answers the requests of a route.
#[derive(Clone, Copy)]
pub(crate) enum Act {
    /// Shows something; GET.
    Show(fn(&Cx) -> Result<Response, Problem>),
    /// May change something; POST.
    Post(fn(&Cx) -> Result<Posted, Problem>),
}

/// One route.
pub(crate) struct Route {
    pub(crate) path: &'static str,
    pub(crate) access: Access,
    pub(crate) act: Act,
}

const fn show(path: &'static str, access: Access, show: fn(&Cx) -> Result<Response, Problem>) -> Route {
    Route { path, access, act: Act::Show(show) }
}

const fn change(path: &'static str, access: Access, post: fn(&Cx) -> Result<Posted, Problem>) -> Route {
    Route { path, access, act: Act::Post(post) }
}

/// All routes.
pub(crate) static ROUTES: &[Route] = &[
    show("/livez", Anyone, health::alive),
    show("/assets/{file}", Anyone, assets::show),
    show("/setup", Anyone, setup::show),
    change("/setup", Anyone, setup::make),
    show("/sign-in", Anyone, sign_in::show),
    change("/sign-in", Anyone, sign_in::sign_in),
    change("/sign-out", Own, sign_in::sign_out),
    show("/", Own, overview::show),
    show("/account", Own, account::show),
    change("/account/language", Own, account::set_language),
    change("/account/password", Own, account::set_password),
    show("/plugins", Site, plugins::list),
    change("/plugins/rescan", Administrate, plugins::rescan),
    show("/plugins/{plugin}", Site, plugins::show),
    change("/plugins/{plugin}/resume", Operate, plugins::resume),
    change("/plugins/{plugin}/settings", Administrate, plugins::set),
    show("/plugins/{plugin}/disable", Administrate, plugins::ask_to_disable),
    change("/plugins/{plugin}/disable", Administrate, plugins::disable),
    change("/plugins/{plugin}/enable", Administrate, plugins::enable),
    show("/plugins/{plugin}/remove", Administrate, plugins::ask_to_remove),
    change("/plugins/{plugin}/remove", Administrate, plugins::remove),
    show("/triggers", Site, triggers::list),
    show("/triggers/{number}/{name}", Site, triggers::show),
    change("/triggers/{number}/{name}", Administrate, triggers::fire),
    show("/webhooks", Own, webhooks::list),
    show("/webhooks/new", OwnChange, webhooks::new),
    change("/webhooks/new", OwnChange, webhooks::choose),
    change("/webhooks", OwnChange, webhooks::add),
    show("/webhooks/{id}", Own, webhooks::show),
    show("/webhooks/{id}/edit", OwnChange, webhooks::edit),
    change("/webhooks/{id}/edit", OwnChange, webhooks::choose_again),
    change("/webhooks/{id}", OwnChange, webhooks::change),
    show("/webhooks/{id}/rotate", OwnChange, webhooks::ask_to_rotate),
    change("/webhooks/{id}/rotate", OwnChange, webhooks::rotate),
    change("/webhooks/{id}/enable", OwnChange, webhooks::enable),
    change("/webhooks/{id}/test", OwnChange, webhooks::send_test),
    show("/webhooks/{id}/disable", OwnChange, webhooks::ask_to_disable),
    change("/webhooks/{id}/disable", OwnChange, webhooks::disable),
    show("/webhooks/{id}/remove", OwnChange, webhooks::ask_to_remove),
    change("/webhooks/{id}/remove", OwnChange, webhooks::remove),
    show("/webhooks/{id}/recover", OwnChange, webhooks::ask_to_recover),
    change("/webhooks/{id}/recover", OwnChange, webhooks::recover),
    show("/deliveries", Own, deliveries::list),
    show("/deliveries/{id}", Own, deliveries::show),
    show("/deliveries/{id}/preview", Own, deliveries::preview),
    show("/deliveries/{id}/replay", OwnChange, deliveries::ask_to_replay),
    change("/deliveries/{id}/replay", OwnChange, deliveries::replay),
    show("/tasks", Site, tasks::list),
    show("/tasks/bulk", Operate, tasks::ask_for_many),
    change("/tasks/bulk", Operate, tasks::many),
    show("/tasks/{id}", Site, tasks::show),
    change("/tasks/{id}/retry", Operate, tasks::retry),
    show("/tasks/{id}/cancel", Operate, tasks::ask_to_cancel),
    change("/tasks/{id}/cancel", Operate, tasks::cancel),
    show("/tasks/{id}/replay", Operate, tasks::ask_to_replay),
    change("/tasks/{id}/replay", Operate, tasks::replay),
    show("/operations", Site, bulks::list),
    change("/operations/{id}/pause", OwnChange, bulks::pause),
    change("/operations/{id}/resume", OwnChange, bulks::resume),
    show("/operations/{id}/stop", OwnChange, bulks::ask_to_stop),
    change("/operations/{id}/stop", OwnChange, bulks::stop),
    show("/logs", Site, logs::list),
    show("/logs/follow", Site, logs::follow),
    show("/logs/files/{id}", Site, logs::download),
    show("/languages", Site, languages::list),
    show("/languages/{plugin}", Site, languages::show),
    show("/languages/{plugin}/{language}/{key}", Administrate, languages::edit),
    change("/languages/{plugin}/{language}/{key}", Administrate, languages::save),
    show("/languages/{plugin}/{language}/{key}/remove", Administrate, languages::ask_to_remove),
    change("/languages/{plugin}/{language}/{key}/remove", Administrate, languages::remove),
    show("/settings", Site, settings::show),
    change("/settings/mode", Administrate, settings::set_mode),
    show("/people", Administrate, people::list),
    change("/people/users", Administrate, people::add_user),
    show("/people/users/{name}/remove", Administrate, people::ask_to_remove_user),
    change("/people/users/{name}/remove", Administrate, people::remove_user),
    change("/people/tokens", Administrate, people::add_token),
    show("/people/tokens/{id}/revoke", Administrate, people::ask_to_revoke),
    change("/people/tokens/{id}/revoke", Administrate, people::revoke),
    show("/audit", Administrate, people::audit),
];

/// Returns what looking at a path needs.
pub(crate) fn access(path: &str) -> Option<Access> {
    ROUTES.iter().find(|route| route.path == path && matches!(route.act, Act::Show(_))).map(|route| route.access)
}

/// Makes the router of the table.
pub(super) fn router() -> Router<Arc<App>> {
    let router = ROUTES.iter().fold(Router::new(), |router, route| {
        let answer = move |State(app): State<Arc<App>>, request: Request| dispatch::answer(app, route, request);
        router.route(route.path, if matches!(route.act, Act::Show(_)) { get(answer) } else { post(answer) })
    });
    let wrong_method = || async {
        answer::plain(StatusCode::METHOD_NOT_ALLOWED, "This address is not used like this: go back and use the page.\n")
    };
    router
        .merge(api::router())
        .method_not_allowed_fallback(wrong_method)
        .fallback(|State(app): State<Arc<App>>, request: Request| dispatch::answer(app, &NOTHING, request))
}

/// Answers addresses of no route.
static NOTHING: Route = show("", Anyone, problem::nothing);
