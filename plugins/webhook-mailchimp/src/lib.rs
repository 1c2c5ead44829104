//! The auth method `mailchimp`: invites guests to a mailing list of Mailchimp.
#![forbid(unsafe_code)]

mod guest;
#[cfg(test)]
mod tests;

use serde_json::{Value, json};
use switchboard_plugin_api::Response;
use switchboard_plugin_api::prelude::*;

use guest::Guest;

const KEY: &str = "mailchimp_apikey";
const LIST: &str = "mailchimp_listid";

/// Mailchimp looks at the key only; the user name may be any.
const USER: &str = "switchboard";

/// What Mailchimp calls an address to which it must not write any more.
const DECLINED: [&str; 2] = ["Member In Compliance State", "Forgotten Email Not Subscribed"];

const MAX_LIST_BYTES: usize = 64;

struct WebhookMailchimp;

impl Plugin for WebhookMailchimp {
    const INFO: PluginInfo = PluginInfo::new("webhook_mailchimp", env!("CARGO_PKG_VERSION"))
        .title("Guests to a Mailchimp list")
        .capabilities(&["http"]);
    const REGISTRY: Registry<Self> = Registry::new()
        .add::<LanguageInit>("mailchimp", Self::languages)
        .add::<WebhookRegistration>("mailchimp", Self::auth_method)
        .add::<WebhookValidation>("mailchimp", Self::validate)
        .add_async::<ImmediateDelivery>("mailchimp", Self::deliver)
        .add_async::<DeferredDelivery>("mailchimp", Self::deliver);

    fn new(_host: &Host) -> Result<Self, PluginError> {
        Ok(Self)
    }
}

impl WebhookMailchimp {
    fn languages(&self, _cx: &Context, _request: LanguageRequest) -> Result<LanguageFiles, PluginError> {
        Ok(LanguageFiles::new()
            .file("en-GB", include_str!("../languages/en-GB.ftl"))
            .file("fr-FR", include_str!("../languages/fr-FR.ftl"))
            .file("de-DE", include_str!("../languages/de-DE.ftl"))
            .file("es-ES", include_str!("../languages/es-ES.ftl"))
            .file("it-IT", include_str!("../languages/it-IT.ftl"))
            .file("nl-NL", include_str!("../languages/nl-NL.ftl")))
    }

    fn auth_method(&self, cx: &Context, _request: RegistrationRequest) -> Result<AuthMethod, PluginError> {
        let key = FormField::new(KEY, FieldFormat::Password, cx.text("mailchimp-key"))
            .description(cx.text("mailchimp-key-help"))
            .required();
        let list = FormField::new(LIST, FieldFormat::Input, cx.text("mailchimp-list"))
            .description(cx.text("mailchimp-list-help"))
            .required();
        Ok(AuthMethod::new(cx.text("method")).notes(cx.text("notes")).field(key).field(list))
    }

    fn validate(&self, cx: &Context, webhook: ValidationRequest) -> Result<Validation, PluginError> {
        let (key, list) = (cx.required_setting(KEY)?, cx.required_setting(LIST)?);
        let mut validation = Validation::new();
        match data_centre(&key) {
            None => validation = validation.setting(KEY, cx.text("mailchimp-key-format")),
            Some(centre) => {
                let host = host(&webhook.url).unwrap_or_default();
                let of_mailchimp = host == "mailchimp.com" || host.ends_with(".mailchimp.com");
                let expected = format!("{centre}.api.mailchimp.com");
                if of_mailchimp && host != expected {
                    let url = format!("https://{expected}");
                    validation = validation.url(cx.text_with("mailchimp-url", &[("url", url.into())]));
                }
            }
        }
        if !is_list(&list) {
            validation = validation.setting(LIST, cx.text("mailchimp-list-format"));
        }
        Ok(validation)
    }

    async fn deliver(&self, cx: &Context<'_>, delivery: Delivery) -> Result<Delivered, PluginError> {
        let (key, list) = (cx.required_setting(KEY)?, cx.required_setting(LIST)?);
        let Some(url) = list_url(&delivery.url, &key, &list) else {
            return Err(PluginError::permanent(format!(
                "the setting `{KEY}` or `{LIST}` is not as Mailchimp writes it: correct it and try again"
            ))
            .with_code("bad_settings"));
        };
        if !guest::is_wanted(&delivery.event) {
            return Ok(Delivered::without_http("nothing to do: the event brings no guest"));
        }
        let Some(guest) = Guest::of(&delivery.body) else {
            return Ok(Delivered::without_http("nothing to do: the event holds no e-mail address"));
        };
        // The answer is all that Mailchimp knows about the guest.
        let request = cx.http().request("PUT", format!("{url}/members/{}", guest.hash())).confidential();
        // A list may demand more about its members than an event tells.
        let request = request.query("skip_merge_validation", "true").basic_auth(USER, &key).json(&member(&guest));
        ended(request.send().await?)
    }
}

/// Returns what is asked of Mailchimp: to invite the guest, who decides, and to leave those alone who are known already.
fn member(guest: &Guest) -> Value {
    let mut member = json!({ "email_address": guest.email, "status_if_new": "pending" });
    for (field, name) in [("FNAME", &guest.first_name), ("LNAME", &guest.last_name)] {
        if let Some(name) = name {
            member["merge_fields"][field] = name.as_str().into();
        }
    }
    member
}

fn ended(response: Response) -> Result<Delivered, PluginError> {
    if response.status() != 400 {
        return response.delivered();
    }
    let answer: Value = response.json().unwrap_or_default();
    let title = answer["title"].as_str().unwrap_or_default();
    if DECLINED.contains(&title) {
        return Ok(Delivered::without_http("not invited: the guest does not want to be on the list any more"));
    }
    // The rest of the answer may repeat the address.
    let known = title.len() <= 60 && title.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b' ');
    let title = if known { title } else { "" };
    Err(PluginError::permanent(format!("Mailchimp cannot take the guest, it answered 400 {title}").trim_end())
        .with_code("http_4xx"))
}

/// Returns the address of the list. `None` when the settings cannot be used.
fn list_url(url: &str, key: &str, list: &str) -> Option<String> {
    let base = match host(url) {
        Some(_) => url.split(['?', '#']).next()?.trim_end_matches('/').trim_end_matches("/3.0").to_owned(),
        // The webhook has a name in place of a URL.
        None => format!("https://{}.api.mailchimp.com", data_centre(key)?),
    };
    is_list(list).then(|| format!("{base}/3.0/lists/{list}"))
}

/// Returns the host of a URL in lower case, without a port.
fn host(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let known = scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http");
    let host = rest.split(['/', '?', '#', ':']).next()?;
    known.then(|| host.to_ascii_lowercase())
}

/// Returns the data centre of an account, which stands behind the hyphen of its keys: `us21`.
fn data_centre(key: &str) -> Option<&str> {
    let (secret, centre) = key.rsplit_once('-')?;
    let good = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (good(secret) && good(centre)).then_some(centre)
}

/// Whether a text is the id of a list. It becomes part of a path.
fn is_list(list: &str) -> bool {
    (1..=MAX_LIST_BYTES).contains(&list.len()) && list.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

export_plugin!(WebhookMailchimp);
