//! The texts of plugins, with the administrator's beside them.

use std::collections::BTreeMap;

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;
use switchboard::language::{SetTextError, TextEntry};

use super::answer::{self, Change, Posted, Problem};
use super::form::query;
use super::show::{State, counted};
use super::{Ask, Cx, Page};
use crate::web::access::Access;

#[derive(Template)]
#[template(path = "languages.html")]
struct List {
    page: Page,
    folder: String,
    plugins: String,
    default: String,
    rows: Vec<LanguageRow>,
}

/// A language of a plugin.
struct LanguageRow {
    plugin: String,
    language: String,
    link: String,
    texts: usize,
    overridden: usize,
    missing: State,
}

/// Lists the languages of all plugins.
pub(crate) fn list(cx: &Cx) -> Result<Response, Problem> {
    let languages = cx.host().languages();
    let mut rows = Vec::new();
    for plugin in languages.plugins() {
        let missing = languages.missing(&plugin);
        for language in languages.languages(&plugin) {
            let entries = languages.entries(&plugin, &language).map_err(SetTextError::from)?;
            let missing = missing.iter().filter(|(of, _)| *of == language).count() as u64;
            rows.push(LanguageRow {
                link: path(&plugin, &language),
                texts: entries.len(),
                overridden: entries.iter().filter(|entry| entry.override_text.is_some()).count(),
                missing: match missing {
                    0 => State::good("complete"),
                    missing => State::waits(format!("{} missing", counted(missing, "text"))),
                },
                plugin: plugin.clone(),
                language,
            });
        }
    }
    answer::html(&List {
        page: Page::new(cx, "Languages")?,
        folder: cx.host().data().join("languages").display().to_string(),
        plugins: cx.host().data().join("plugins").display().to_string(),
        default: cx.host().config().languages.default.clone(),
        rows,
    })
}

fn path(plugin: &str, language: &str) -> String {
    format!("/languages/{plugin}?{}", query(&[("language", language)]))
}

#[derive(Template)]
#[template(path = "texts.html")]
struct Texts {
    page: Page,
    plugin: String,
    language: String,
    languages: Vec<Tab>,
    file: String,
    count: String,
    may_change: bool,
    rows: Vec<TextRow>,
}

struct Tab {
    language: String,
    link: String,
    current: bool,
}

/// A text in a language.
struct TextRow {
    key: String,
    own: Option<String>,
    /// The default language's, where this one has none.
    instead: Option<String>,
    yours: Option<String>,
    missing: bool,
    arguments: Vec<String>,
}

/// A plugin of the path, in a language; only what there is.
struct Subject {
    plugin: String,
    language: String,
}

impl Subject {
    fn of(cx: &Cx, language: &str) -> Result<Self, Problem> {
        let plugin = cx.parameter("plugin");
        if !cx.host().languages().plugins().iter().any(|known| known == plugin) {
            return Err(Problem::missing(format!("There is no plugin `{plugin}` with texts.")));
        }
        let unknown = || Problem::missing(format!("`{language}` is no language: write a code such as de-DE."));
        let language = switchboard::language::canonical(language).map_err(|_| unknown())?;
        Ok(Self { plugin: plugin.to_owned(), language })
    }

    fn entries(&self, cx: &Cx, language: &str) -> Result<BTreeMap<String, TextEntry>, Problem> {
        let entries = cx.host().languages().entries(&self.plugin, language).map_err(SetTextError::from)?;
        Ok(entries.into_iter().map(|entry| (entry.key.clone(), entry)).collect())
    }

    /// Returns the texts of this language and those that it should have.
    fn rows(&self, cx: &Cx) -> Result<Vec<TextRow>, Problem> {
        let lacks = cx.host().languages().missing(&self.plugin);
        let row = |entry: TextEntry, instead: Option<String>| TextRow {
            missing: lacks.iter().any(|(language, key)| *language == self.language && *key == entry.key),
            arguments: entry.arguments.iter().map(|name| format!("{{ ${name} }}")).collect(),
            own: entry.own,
            yours: entry.override_text,
            key: entry.key,
            instead,
        };
        let mut rows = BTreeMap::new();
        for (key, mut entry) in self.entries(cx, &cx.host().config().languages.default)? {
            let instead = entry.override_text.take().or(entry.own.take());
            rows.insert(key, row(entry, instead));
        }
        rows.extend(self.entries(cx, &self.language)?.into_iter().map(|(key, entry)| (key, row(entry, None))));
        Ok(rows.into_values().collect())
    }

    /// Returns one text that a language has or should have.
    fn row(&self, cx: &Cx) -> Result<TextRow, Problem> {
        let key = cx.parameter("key");
        let row = self.rows(cx)?.into_iter().find(|row| row.key == key);
        row.ok_or_else(|| Problem::missing(format!("Plugin `{}` has no text `{key}`.", self.plugin)))
    }

    fn object(&self, key: &str) -> String {
        format!("text {} {} {key}", self.plugin, self.language)
    }

    fn file(&self, cx: &Cx) -> String {
        let folder = cx.host().data().join("languages").join(&self.plugin);
        folder.join(format!("{}.ftl", self.language)).display().to_string()
    }
}

/// Shows the texts of a plugin in one language.
pub(crate) fn show(cx: &Cx) -> Result<Response, Problem> {
    let default = &cx.host().config().languages.default;
    let subject = Subject::of(cx, cx.query.text("language").unwrap_or(default))?;
    let known = cx.host().languages().languages(&subject.plugin);
    let tab = |language: String| Tab {
        link: path(&subject.plugin, &language),
        current: language == subject.language,
        language,
    };
    let rows = subject.rows(cx)?;
    answer::html(&Texts {
        page: Page::new(cx, format!("Texts of {}", subject.plugin))?,
        languages: known.into_iter().map(tab).collect(),
        file: subject.file(cx),
        count: counted(rows.len() as u64, "text"),
        may_change: Access::Administrate.lets(cx.who.as_ref()),
        rows,
        plugin: subject.plugin,
        language: subject.language,
    })
}

#[derive(Template)]
#[template(path = "text.html")]
struct Edit {
    page: Page,
    plugin: String,
    language: String,
    row: TextRow,
    typed: String,
    wrong: Option<String>,
    back: String,
}

/// Shows the form of one text.
pub(crate) fn edit(cx: &Cx) -> Result<Response, Problem> {
    let subject = Subject::of(cx, cx.parameter("language"))?;
    let row = subject.row(cx)?;
    let typed = row.yours.clone().or_else(|| row.own.clone()).unwrap_or_default();
    form(cx, StatusCode::OK, subject, row, typed, None)
}

fn form(
    cx: &Cx,
    status: StatusCode,
    subject: Subject,
    row: TextRow,
    typed: String,
    wrong: Option<String>,
) -> Result<Response, Problem> {
    let page = Page::new(cx, format!("Text {}", row.key))?;
    let back = path(&subject.plugin, &subject.language);
    let Subject { plugin, language } = subject;
    answer::html_with(status, &Edit { page, plugin, language, row, typed, wrong, back })
}

/// Puts a text in the place of the plugin's.
pub(crate) fn save(cx: &Cx) -> Result<Posted, Problem> {
    let subject = Subject::of(cx, cx.parameter("language"))?;
    let row = subject.row(cx)?;
    // Browsers end lines as in mails.
    let text = cx.form.raw("text").unwrap_or_default().replace("\r\n", "\n");
    let saved = cx.host().override_text(&subject.plugin, &subject.language, &row.key, Some(&text));
    if let Err(error) = saved {
        let problem = Problem::from(error);
        if problem.status.is_server_error() {
            return Err(problem);
        }
        return Ok(Posted::Shown(form(cx, problem.status, subject, row, text, Some(problem.message))?));
    }
    let to = path(&subject.plugin, &subject.language);
    let change = Change::new("text.override", subject.object(&row.key), to).detail(shortened(&text));
    Ok(change.message(format!("Your text of {} holds from now on.", row.key)).into())
}

/// Asks whether to take a text of the administrator's away.
pub(crate) fn ask_to_remove(cx: &Cx) -> Result<Response, Problem> {
    let subject = Subject::of(cx, cx.parameter("language"))?;
    let row = subject.row(cx)?;
    let Some(yours) = row.yours else {
        return Err(Problem::missing(format!("There is no text of yours for `{}`.", row.key)));
    };
    answer::html(&Ask {
        page: Page::new(cx, format!("Remove your text of {}?", row.key))?,
        question: format!(
            "Plugin {} says in {}: “{yours}”, in {}.",
            subject.plugin,
            subject.language,
            subject.file(cx)
        ),
        lines: vec![match row.own {
            Some(own) => format!("Then it says again: “{own}”."),
            None => "The plugin has no text of its own in this language: another language is shown.".into(),
        }],
        action: format!("/languages/{}/{}/{}/remove", subject.plugin, subject.language, row.key),
        fields: Vec::new(),
        button: "Remove 1 text".into(),
        back: path(&subject.plugin, &subject.language),
    })
}

/// Takes a text of the administrator's away.
pub(crate) fn remove(cx: &Cx) -> Result<Posted, Problem> {
    let subject = Subject::of(cx, cx.parameter("language"))?;
    let row = subject.row(cx)?;
    cx.host().override_text(&subject.plugin, &subject.language, &row.key, None)?;
    let to = path(&subject.plugin, &subject.language);
    let change = Change::new("text.remove", subject.object(&row.key), to);
    let change = change.detail(shortened(&row.yours.unwrap_or_default()));
    Ok(change.message(format!("Your text of {} is removed.", row.key)).into())
}

/// The audit log tells texts apart and does not keep them.
fn shortened(text: &str) -> String {
    text.chars().take(200).collect()
}
