//! What the OpenAPI document says beside what comes from the code.

use aide::openapi::{SecurityScheme, Server, Tag};
use aide::transform::TransformOpenApi;

/// Name of the way in which callers say who they are.
pub(super) const SCHEME: &str = "token";

const ABOUT: &str = "Announce events, look after webhooks and their deliveries, and see how the host is doing.\n\n\
    Every call says who it is from with a bearer token, which `switchboard token create` makes. The scopes of an operation \
    name the role that the token needs (`read-only`, `operator` or `administrator`, each may do what those before it may), \
    and `whole-site` where a token that is limited to one owner is not enough.\n\n\
    What is refused or fails is answered as `application/problem+json` (RFC 9457). A status of 429 or 503 comes with \
    `Retry-After`. Lists come in pages: `next` of one is `cursor` of the following.";

/// Describes the API.
pub(super) fn describe(api: TransformOpenApi<'_>) -> TransformOpenApi<'_> {
    let tags = [
        ("events", "Announce what happened"),
        ("webhooks", "Who is told about which events"),
        ("auth methods", "How deliveries are signed and authorised"),
        ("deliveries", "What was sent and what came back, and making it again"),
        ("tasks", "Deferred tasks and their attempts"),
        ("bulk operations", "Something done with every task that matches"),
        ("schedules", "Tasks that are started again and again"),
        ("plugins", "What is in the plugin folders"),
        ("triggers", "Which handlers answer which numbers"),
        ("languages", "What plugins say, and what the administrator says in its place"),
        ("logs", "What the host has written down"),
        ("people", "Users, tokens, and the audit log of what they changed"),
        ("keys", "By which tasks take turns, and which seal the secrets"),
    ];
    let api = api
        .title("Switchboard")
        .version(env!("CARGO_PKG_VERSION"))
        .summary("Durable webhooks and numbered triggers")
        .description(ABOUT)
        .server(Server { url: super::PREFIX.into(), ..Server::default() })
        .security_scheme(
            SCHEME,
            SecurityScheme::Http {
                scheme: "bearer".into(),
                bearer_format: None,
                description: Some("A token of `switchboard token create`".into()),
                extensions: Default::default(),
            },
        );
    tags.into_iter().fold(api, |api, (name, about)| {
        api.tag(Tag { name: name.into(), description: Some(about.into()), ..Tag::default() })
    })
}
