//! Every route with every role.

use axum::body::Body;
use axum::extract::Request;
use axum::http::header;
use axum::response::Response;
use switchboard::WorkOn;
use tower_service::Service;

use super::routes::{Act, ROUTES};
use super::*;
use crate::accounts::{NewToken, NewUser, Role, User};

/// Who may do what: a column each for administrator, operator, read-only, operator of an owner, read-only of an owner, and
/// nobody. `x` may.
const TABLE: &str = "
GET  /livez                            x x x x x x
GET  /assets/{file}                    x x x x x x
GET  /setup                            x x x x x x
POST /setup                            x x x x x x
GET  /sign-in                          x x x x x x
POST /sign-in                          x x x x x x
POST /sign-out                         x x x x x -
GET  /                                 x x x x x -
GET  /account                          x x x x x -
POST /account/language                 x x x x x -
POST /account/password                 x x x x x -
GET  /plugins                          x x x - - -
POST /plugins/rescan                   x - - - - -
GET  /plugins/{plugin}                 x x x - - -
POST /plugins/{plugin}/resume          x x - - - -
POST /plugins/{plugin}/settings        x - - - - -
GET  /plugins/{plugin}/disable         x - - - - -
POST /plugins/{plugin}/disable         x - - - - -
POST /plugins/{plugin}/enable          x - - - - -
GET  /plugins/{plugin}/remove          x - - - - -
POST /plugins/{plugin}/remove          x - - - - -
GET  /triggers                         x x x - - -
GET  /triggers/{number}/{name}         x x x - - -
POST /triggers/{number}/{name}         x - - - - -
GET  /webhooks                         x x x x x -
GET  /webhooks/new                     x x - x - -
POST /webhooks/new                     x x - x - -
POST /webhooks                         x x - x - -
GET  /webhooks/{id}                    x x x x x -
GET  /webhooks/{id}/edit               x x - x - -
POST /webhooks/{id}/edit               x x - x - -
POST /webhooks/{id}                    x x - x - -
GET  /webhooks/{id}/rotate             x x - x - -
POST /webhooks/{id}/rotate             x x - x - -
POST /webhooks/{id}/enable             x x - x - -
POST /webhooks/{id}/test               x x - x - -
GET  /webhooks/{id}/disable            x x - x - -
POST /webhooks/{id}/disable            x x - x - -
GET  /webhooks/{id}/remove             x x - x - -
POST /webhooks/{id}/remove             x x - x - -
GET  /webhooks/{id}/recover            x x - x - -
POST /webhooks/{id}/recover            x x - x - -
GET  /deliveries                       x x x x x -
GET  /deliveries/{id}                  x x x x x -
GET  /deliveries/{id}/preview          x x x x x -
GET  /deliveries/{id}/replay           x x - x - -
POST /deliveries/{id}/replay           x x - x - -
GET  /tasks                            x x x - - -
GET  /tasks/bulk                       x x - - - -
POST /tasks/bulk                       x x - - - -
GET  /tasks/{id}                       x x x - - -
POST /tasks/{id}/retry                 x x - - - -
GET  /tasks/{id}/cancel                x x - - - -
POST /tasks/{id}/cancel                x x - - - -
GET  /tasks/{id}/replay                x x - - - -
POST /tasks/{id}/replay                x x - - - -
GET  /operations                       x x x - - -
POST /operations/{id}/pause            x x - x - -
POST /operations/{id}/resume           x x - x - -
GET  /operations/{id}/stop             x x - x - -
POST /operations/{id}/stop             x x - x - -
GET  /logs                             x x x - - -
GET  /logs/follow                      x x x - - -
GET  /logs/files/{id}                  x x x - - -
GET  /languages                        x x x - - -
GET  /languages/{plugin}               x x x - - -
GET  /languages/{plugin}/{language}/{key} x - - - - -
POST /languages/{plugin}/{language}/{key} x - - - - -
GET  /languages/{plugin}/{language}/{key}/remove x - - - - -
POST /languages/{plugin}/{language}/{key}/remove x - - - - -
GET  /settings                         x x x - - -
POST /settings/mode                    x - - - - -
GET  /people                           x - - - - -
POST /people/users                     x - - - - -
GET  /people/users/{name}/remove       x - - - - -
POST /people/users/{name}/remove       x - - - - -
POST /people/tokens                    x - - - - -
GET  /people/tokens/{id}/revoke        x - - - - -
POST /people/tokens/{id}/revoke        x - - - - -
GET  /audit                            x - - - - -
";

const ROLES: [Option<(Role, Option<i64>)>; 6] = [
    Some((Role::Administrator, None)),
    Some((Role::Operator, None)),
    Some((Role::ReadOnly, None)),
    Some((Role::Operator, Some(62))),
    Some((Role::ReadOnly, Some(62))),
    None,
];

struct Site {
    _folder: tempfile::TempDir,
    app: Arc<App>,
    router: axum::Router,
    runtime: tokio::runtime::Runtime,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let host = Switchboard::builder(folder.path()).work_on(WorkOn::Nothing).watch(false).open().unwrap();
        let mut app = App::new(&Arc::new(host), "127.0.0.1:7320".parse().unwrap(), None).unwrap();
        let of_test = Arc::get_mut(&mut app).unwrap();
        of_test.look_again = Duration::from_millis(10);
        of_test.slowest_piece = Duration::from_millis(100);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { _folder: folder, router: server::router(Arc::clone(&app)), app, runtime }
    }

    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
        let mut request = Request::builder().method(method).uri(path).header("host", "127.0.0.1:7320");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let mut router = self.router.clone();
        self.runtime.block_on(async { router.call(request).await }).unwrap()
    }

    fn text(&self, response: Response) -> String {
        let bytes = self.runtime.block_on(axum::body::to_bytes(response.into_body(), 1 << 20)).unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    fn user(&self, name: &str, role: Role, owner: Option<i64>) -> User {
        let new = NewUser { name: name.into(), password: "correct horse battery".into(), role, owner };
        self.app.accounts.add_user(&new).unwrap()
    }

    fn token(&self, role: Role, owner: Option<i64>) -> String {
        let new = NewToken { name: "test".into(), role, owner, lifetime: None, created_by: "test".into() };
        self.app.accounts.add_token(&new).unwrap().1.reveal().to_owned()
    }
}

#[test]
fn every_route_lets_in_exactly_those_roles_that_the_table_names() {
    let site = Site::new();
    let tokens: Vec<Option<String>> =
        ROLES.iter().map(|role| role.map(|(role, owner)| format!("Bearer {}", site.token(role, owner)))).collect();
    let add = |(name, role): (usize, &Option<(Role, Option<i64>)>)| {
        role.map(|(role, owner)| site.user(&format!("user{name}"), role, owner))
    };
    let users: Vec<Option<User>> = ROLES.iter().enumerate().map(add).collect();
    let mut table = String::from("\n");
    for route in ROUTES {
        let method = if matches!(route.act, Act::Show(_)) { "GET" } else { "POST" };
        let path = route.path.replace("{number}", "06000").replace("{id}", "999").replace(['{', '}'], "");
        let may = |header: Option<(&str, &str)>| {
            let headers: Vec<_> = [("sec-fetch-site", "same-origin")].into_iter().chain(header).collect();
            let answer = site.ask(method, &path, &headers, "");
            let refused = match answer.status().as_u16() {
                401 => true,
                // The set-up has no link in this test, and refuses everybody itself.
                403 => route.path != "/setup",
                303 => answer.headers()[header::LOCATION].to_str().unwrap().starts_with("/sign-in?"),
                status => {
                    assert_ne!(status, 500, "{method} {path}");
                    false
                }
            };
            if refused { "-" } else { "x" }
        };
        // Each with a session of its own: one of them ends it.
        let session = |user: &User| format!("switchboard={}", site.app.accounts.start_session(user).unwrap().reveal());
        let sessions: Vec<Option<String>> = users.iter().map(|user| user.as_ref().map(session)).collect();
        let of_users: Vec<_> = sessions.iter().map(|one| may(one.as_deref().map(|one| ("cookie", one)))).collect();
        table.push_str(&format!("{method:<4} {:<33} {}\n", route.path, of_users.join(" ")));
        let of_tokens: Vec<_> =
            tokens.iter().map(|one| may(one.as_deref().map(|one| ("authorization", one)))).collect();
        // A token has no account, and no session to end: it is let in, and told so.
        if !path.starts_with("/account") && path != "/sign-out" {
            assert_eq!(of_tokens, of_users, "{method} {path}");
        }
    }
    assert_eq!(table, TABLE, "the routes and this table differ");
}

#[test]
fn every_answer_has_the_headers_that_keep_browsers_safe() {
    let site = Site::new();
    for (method, path) in [("GET", "/sign-in"), ("GET", "/nothing"), ("GET", "/"), ("POST", "/webhooks"), ("PUT", "/")]
    {
        let answer = site.ask(method, path, &[("sec-fetch-site", "same-origin")], "");
        let headers = answer.headers();
        assert!(headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap().starts_with("default-src 'none'; "));
        assert_eq!(headers[header::CACHE_CONTROL], "no-store", "{method} {path}");
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    }
}

#[test]
fn a_request_for_another_server_or_from_another_site_is_refused_before_anything_else() {
    let site = Site::new();
    let token = format!("Bearer {}", site.token(Role::Administrator, None));
    assert_eq!(site.ask("POST", "/plugins/rescan", &[("sec-fetch-site", "cross-site")], "").status(), 403);
    assert_eq!(site.ask("POST", "/plugins/rescan", &[("authorization", &token)], "").status(), 303);
    let mut router = site.router.clone();
    let request = Request::get("/sign-in").header("host", "evil.example").body(Body::empty()).unwrap();
    assert_eq!(site.runtime.block_on(async { router.call(request).await }).unwrap().status(), 421);
}

#[test]
fn ids_that_lead_elsewhere_find_nothing_in_any_route() {
    let site = Site::new();
    let token = format!("Bearer {}", site.token(Role::Administrator, None));
    let long = "a".repeat(10 << 10);
    let tricks = [
        "..%2f..%2f..%2fetc%2fpasswd",
        "%2e%2e",
        "%2e%2e%2f",
        "..%5c..%5cwindows",
        "%2fetc%2fpasswd",
        "%00",
        "1%00",
        "%ff%fe",
        "-1",
        "9223372036854775808",
        "Webhooks.application.log",
        &long,
    ];
    let mut asked = 0;
    for route in ROUTES.iter().filter(|route| route.path.contains('{')) {
        let method = if matches!(route.act, Act::Show(_)) { "GET" } else { "POST" };
        let places = route.path.matches('{').count();
        // In each place by itself; what stands in the others could be an id.
        for (place, trick) in (0..places).flat_map(|place| tricks.map(|trick| (place, trick))) {
            let mut place_now = 0;
            let parts = route.path.split('/').map(|part| match part.starts_with('{') {
                false => part,
                true => {
                    place_now += 1;
                    if place_now == place + 1 { trick } else { "06000" }
                }
            });
            let path = parts.collect::<Vec<_>>().join("/");
            let answer = site.ask(method, &path, &[("authorization", &token)], "");
            let status = answer.status().as_u16();
            assert!(matches!(status, 400 | 404 | 422), "{method} {path:.80}: {status}");
            assert!(!site.text(answer).contains("root:"), "{method} {path:.80}");
            asked += 1;
        }
    }
    assert!(asked > 200, "{asked}");
}

#[test]
fn assets_are_kept_for_good_and_known_by_their_hash_only() {
    let site = Site::new();
    let page = site.text(site.ask("GET", "/sign-in", &[], ""));
    let style = page.split('"').find(|part| part.starts_with("/assets/style.")).unwrap();
    let answer = site.ask("GET", style, &[], "");
    assert_eq!(answer.headers()[header::CACHE_CONTROL], "public, max-age=31536000, immutable");
    assert_eq!(site.ask("GET", "/assets/style.css", &[], "").status(), 404);
}

#[test]
fn a_body_that_is_too_large_is_refused() {
    let site = Site::new();
    let body = format!("name={}", "x".repeat(2 << 20));
    assert_eq!(site.ask("POST", "/sign-in", &[("sec-fetch-site", "same-origin")], &body).status(), 413);
}

#[test]
fn signing_in_starts_a_session_and_signing_out_ends_it() {
    let site = Site::new();
    let password = "correct horse battery";
    let new = NewUser { name: "ada".into(), password: password.into(), role: Role::Operator, owner: None };
    site.app.accounts.add_user(&new).unwrap();
    let own = ("sec-fetch-site", "same-origin");
    let wrong = site.ask("POST", "/sign-in", &[own], "name=ada&password=wrong");
    assert_eq!(wrong.status(), 422);
    let right = site.ask("POST", "/sign-in", &[own], "name=ada&password=correct+horse+battery&to=//evil.example");
    assert_eq!((right.status().as_u16(), &right.headers()[header::LOCATION]), (303, &"/".parse().unwrap()));
    let cookie = right.headers()[header::SET_COOKIE].to_str().unwrap().to_owned();
    assert!(cookie.contains("; HttpOnly; SameSite=Strict"), "{cookie}");
    let cookie = ("cookie", cookie.split(';').next().unwrap());
    assert_eq!(site.ask("GET", "/webhooks", &[cookie], "").status(), 200);
    assert_eq!(site.ask("POST", "/sign-out", &[own, cookie], "").status(), 303);
    assert_eq!(site.ask("GET", "/webhooks", &[cookie], "").status(), 303);
    let done: Vec<_> =
        site.app.accounts.audited(&crate::accounts::AuditFilter { limit: 9, ..Default::default() }).unwrap();
    assert_eq!(
        done.iter().map(|entry| entry.action.as_str()).collect::<Vec<_>>(),
        ["session.end", "session.start", "session.refuse"]
    );
}

#[test]
fn guessing_passwords_is_slowed_down() {
    let site = Site::new();
    let guess = || site.ask("POST", "/sign-in", &[("sec-fetch-site", "same-origin")], "name=ada&password=x").status();
    let statuses: Vec<u16> = (0..6).map(|_| guess().as_u16()).collect();
    assert_eq!(statuses, [422, 422, 422, 422, 422, 429]);
}

#[test]
fn a_log_is_followed_no_longer_than_a_session_or_a_token_lasts() {
    let site = Site::new();
    let new =
        NewUser { name: "ada".into(), password: "correct horse battery".into(), role: Role::Operator, owner: None };
    let user = site.app.accounts.add_user(&new).unwrap();
    let secret = site.app.accounts.start_session(&user).unwrap();
    let cookie = format!("switchboard={}", secret.reveal());
    let token = format!("Bearer {}", site.token(Role::ReadOnly, None));
    let (by_session, by_token) = (("cookie", cookie.as_str()), ("authorization", token.as_str()));
    for header in [by_session, by_token] {
        let following = site.ask("GET", "/logs/follow", &[header], "");
        assert_eq!(following.headers()[header::CONTENT_TYPE], "text/event-stream");
        if header == by_session {
            assert_eq!(site.ask("POST", "/sign-out", &[("sec-fetch-site", "same-origin"), header], "").status(), 303);
        } else {
            let _ = site.app.accounts.revoke_token(1).unwrap();
        }
        // It never ends for whoever may go on.
        assert!(site.text(following).starts_with(": following"), "{header:?}");
    }
}

#[test]
fn an_answer_that_cannot_be_finished_breaks_off() {
    let site = Site::new();
    let _runtime = site.runtime.enter();
    for (ends, whole) in [(true, true), (false, false)] {
        let answer = stream::stream(&site.app, "text/plain", move |send| {
            send(b"a part".to_vec());
            if ends { Ok(()) } else { Err(std::io::Error::other("the disk cannot be read")) }
        });
        let body = answer.unwrap().into_body();
        let read = site.runtime.block_on(axum::body::to_bytes(body, 1 << 20));
        assert_eq!(read.is_ok_and(|bytes| bytes == "a part"), whole);
    }
}

#[test]
fn whoever_does_not_read_an_answer_gives_up_its_place() {
    let site = Site::new();
    let _runtime = site.runtime.enter();
    let endless = |send: &dyn Fn(Vec<u8>) -> bool| {
        while send(b"and on".to_vec()) {}
        Err(std::io::ErrorKind::TimedOut.into())
    };
    // Nobody reads them, and nobody goes away.
    let unread: Vec<_> =
        (0..stream::MOST_STREAMS).map(|_| stream::stream(&site.app, "text/plain", endless).unwrap()).collect();
    assert!(stream::stream(&site.app, "text/plain", endless).is_err(), "all places are taken");
    site.runtime.block_on(async {
        let all = u32::try_from(stream::MOST_STREAMS).unwrap();
        drop(site.app.streams.acquire_many(all).await.unwrap());
    });
    drop(unread);
    stream::stream(&site.app, "text/plain", endless).unwrap();
}

#[test]
fn the_page_of_settings_shows_each_with_its_origin_and_no_password() {
    let site = Site::new();
    let file = "[log]\nmode = \"development\"\n[egress]\nproxy = \"http://ada:geheim@127.0.0.1:9/\"\n\
                [plugins.hello]\ntoken = \"geheim\"\n# geheim\n";
    std::fs::write(site.app.host.data().join("switchboard.toml"), file).unwrap();
    let page = |role| {
        let token = format!("Bearer {}", site.token(role, None));
        site.text(site.ask("GET", "/settings", &[("authorization", &token)], ""))
    };
    let shown = page(Role::Administrator);
    for text in ["log.mode", "line 2", "egress.proxy", "plugins.hello", "egress.allow"] {
        assert!(shown.contains(text), "{text} is not in {shown}");
    }
    assert!(!shown.contains("geheim"), "{shown}");
    assert!(!page(Role::Operator).contains("egress.proxy"));
}
