//! Texts: what plugins say, and what the administrator says in its place.

use std::sync::Arc;

use aide::axum::ApiRouter;
use aide::axum::routing::{get_with, put_with};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use switchboard::language::{LanguageError, SetTextError, TextEntry};

use super::answer::{Answer, Failure};
use super::caller::{Administrate, Call, Caller, Site};
use super::input::{Json, Path};
use crate::web::App;

pub(super) fn routes() -> ApiRouter<Arc<App>> {
    ApiRouter::new()
        .api_route(
            "/languages",
            get_with(list, |op| {
                op.id("listLanguages").tag("languages").summary("List the plugins' languages, and what each lacks")
            }),
        )
        .api_route(
            "/languages/{plugin}/{language}",
            get_with(show, |op| {
                op.id("getTexts")
                    .tag("languages")
                    .summary("Show the texts of a plugin in a language, with the administrator's beside them")
            }),
        )
        .api_route(
            "/languages/{plugin}/{language}/{key}",
            put_with(set, |op| {
                op.id("overrideText")
                    .tag("languages")
                    .summary("Put a text of the administrator's in the place of a plugin's")
                    .description("It holds at once, and after an upgrade of the plugin as well.")
            })
            .delete_with(remove, |op| {
                op.id("removeText").tag("languages").summary("Let the plugin's own text hold again")
            }),
        )
}

/// A language of a plugin.
#[derive(Serialize, JsonSchema)]
struct Language {
    /// The plugin.
    plugin: String,
    /// The language, such as `de-DE`.
    language: String,
    /// How many texts it has.
    texts: usize,
    /// How many of them are the administrator's.
    overridden: usize,
    /// How many of the default language it lacks.
    missing: usize,
}

/// A text.
#[derive(Serialize, JsonSchema)]
struct Text {
    /// Its key.
    key: String,
    /// The plugin's text, as Fluent writes it; none when only the administrator has one.
    own: Option<String>,
    /// The administrator's.
    override_text: Option<String>,
}

impl From<TextEntry> for Text {
    fn from(entry: TextEntry) -> Self {
        Self { key: entry.key, own: entry.own, override_text: entry.override_text }
    }
}

/// The path of a plugin's language.
#[derive(Deserialize, JsonSchema)]
struct LanguagePath {
    /// Id of the plugin.
    plugin: String,
    /// The language, such as `de-DE`.
    language: String,
}

/// The path of a text.
#[derive(Deserialize, JsonSchema)]
struct TextPath {
    /// Id of the plugin.
    plugin: String,
    /// The language, such as `de-DE`.
    language: String,
    /// Key of the text.
    key: String,
}

/// A text of the administrator's.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewText {
    /// The text, as Fluent writes it: `Hello { $name }`.
    #[schemars(length(min = 1))]
    text: String,
}

fn no_language(error: &LanguageError) -> Failure {
    Failure::refused("invalid_text", error.to_string())
}

fn told(error: SetTextError) -> Failure {
    let said = switchboard::error::Chain(&error).to_string();
    match &error {
        SetTextError::Plugin { .. } => Failure::missing(said),
        SetTextError::File { .. } => Failure::unavailable(&error),
        _ => Failure::refused("invalid_text", said),
    }
}

async fn list(caller: Caller<Site>) -> Result<Answer<Vec<Language>>, Failure> {
    let listed = caller.run(|call| {
        let languages = call.host().languages();
        let mut all = Vec::new();
        for plugin in languages.plugins() {
            let missing = languages.missing(&plugin);
            for language in languages.languages(&plugin) {
                let entries = languages.entries(&plugin, &language).map_err(|error| no_language(&error))?;
                all.push(Language {
                    plugin: plugin.clone(),
                    texts: entries.len(),
                    overridden: entries.iter().filter(|entry| entry.override_text.is_some()).count(),
                    missing: missing.iter().filter(|(of, _)| *of == language).count(),
                    language,
                });
            }
        }
        Ok(all)
    });
    listed.await.map(Answer)
}

/// Refuses a plugin that has no texts.
fn check_plugin(call: &Call, plugin: &str) -> Result<(), Failure> {
    let known = call.host().languages().plugins().iter().any(|one| one == plugin);
    known.then_some(()).ok_or_else(|| Failure::missing("There is no plugin of this id that has texts."))
}

async fn show(
    caller: Caller<Site>,
    Path(LanguagePath { plugin, language }): Path<LanguagePath>,
) -> Result<Answer<Vec<Text>>, Failure> {
    let shown = caller.run(move |call| {
        check_plugin(call, &plugin)?;
        let entries = call.host().languages().entries(&plugin, &language).map_err(|error| no_language(&error))?;
        Ok(entries.into_iter().map(Text::from).collect())
    });
    shown.await.map(Answer)
}

fn change(call: &Call, path: &TextPath, text: Option<&str>) -> Result<Text, Failure> {
    let TextPath { plugin, language, key } = path;
    check_plugin(call, plugin)?;
    let entry = || {
        let entries = call.host().languages().entries(plugin, language).map_err(|error| no_language(&error))?;
        Ok::<_, Failure>(entries.into_iter().find(|entry| entry.key == *key))
    };
    if text.is_none() && entry()?.is_none_or(|entry| entry.override_text.is_none()) {
        return Err(Failure::missing(format!("There is no text of the administrator's for `{key}` in {language}.")));
    }
    call.host().override_text(plugin, language, key, text).map_err(told)?;
    let action = if text.is_some() { "text.override" } else { "text.remove" };
    call.changed(action, &format!("text {key} of plugin {plugin} in {language}"), "")?;
    let gone = Text { key: key.clone(), own: None, override_text: None };
    Ok(entry()?.map_or(gone, Text::from))
}

async fn set(
    caller: Caller<Administrate>,
    Path(path): Path<TextPath>,
    Json(NewText { text }): Json<NewText>,
) -> Result<Answer<Text>, Failure> {
    caller.run(move |call| change(call, &path, Some(&text))).await.map(Answer)
}

async fn remove(caller: Caller<Administrate>, Path(path): Path<TextPath>) -> Result<Answer<Text>, Failure> {
    caller.run(move |call| change(call, &path, None)).await.map(Answer)
}
