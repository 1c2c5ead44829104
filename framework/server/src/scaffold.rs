//! `switchboard plugin new`: a complete plugin crate to start from.
//!
//! What it writes builds, passes its own tests and is accepted by a plugin folder as it is.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde_json::json;

use crate::cli::usage;
use crate::command::Reply;

/// What the new plugin does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// An auth method for webhooks: 00005, 07300 and 07320
    #[default]
    Webhook,
    /// A public task: 00005 and 06000
    Task,
    /// A handler of a trigger of one's own
    Handler,
}

/// Files that all kinds have, with their templates.
const COMMON: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("scaffold/Cargo.toml.txt")),
    (".gitignore", "/target\n/Cargo.lock\n/switchboard-data\n"),
];

impl Kind {
    fn files(self) -> [(&'static str, &'static str); 4] {
        match self {
            Self::Webhook => [
                ("src/lib.rs", include_str!("scaffold/webhook/lib.rs.txt")),
                ("languages/en-GB.ftl", include_str!("scaffold/webhook/en-GB.ftl.txt")),
                ("languages/de-DE.ftl", include_str!("scaffold/webhook/de-DE.ftl.txt")),
                ("README.md", include_str!("scaffold/webhook/README.md.txt")),
            ],
            Self::Task => [
                ("src/lib.rs", include_str!("scaffold/task/lib.rs.txt")),
                ("languages/en-GB.ftl", include_str!("scaffold/task/en-GB.ftl.txt")),
                ("languages/de-DE.ftl", include_str!("scaffold/task/de-DE.ftl.txt")),
                ("README.md", include_str!("scaffold/task/README.md.txt")),
            ],
            Self::Handler => [
                ("src/lib.rs", include_str!("scaffold/handler/lib.rs.txt")),
                ("languages/en-GB.ftl", include_str!("scaffold/handler/en-GB.ftl.txt")),
                ("languages/de-DE.ftl", include_str!("scaffold/handler/de-DE.ftl.txt")),
                ("README.md", include_str!("scaffold/handler/README.md.txt")),
            ],
        }
    }
}

/// Writes a new crate `name` into `parent`. `api` is the folder of `plugin-api` in a checkout; without it the crate is
/// looked for around here, and taken from the registry when it is not found.
pub(crate) fn new_plugin(name: &str, kind: Kind, parent: &Path, api: Option<PathBuf>) -> Result<Reply> {
    check_name(name)?;
    let folder = parent.join(name);
    if folder.exists() {
        return Err(usage(format!("`{}` exists already: choose another name or another --dir", folder.display())));
    }
    let api = match api {
        Some(api) if is_api(&api) => Some(api.canonicalize()?),
        Some(api) => return Err(usage(format!("`{}` is not the folder of switchboard-plugin-api", api.display()))),
        None => find_api(parent),
    };
    let id = name.replace('-', "_");
    let words = Words {
        name,
        id: &id,
        type_name: &type_name(name),
        api: &dependency(api.as_deref(), "", switchboard::API_VERSION),
        test_host: &dependency(api.as_deref(), "test-host", "0.1"),
        serde: if kind == Kind::Handler { "serde = { version = \"1\", features = [\"derive\"] }\n" } else { "" },
    };
    let mut written = Vec::new();
    for (file, template) in COMMON.iter().copied().chain(kind.files()) {
        let path = folder.join(file);
        let made =
            path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, words.fill(template)));
        made.with_context(|| format!("cannot write `{}`", path.display()))?;
        written.push(file);
    }
    let library = format!("{}{id}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let text = format!(
        "plugin `{name}` is in {}\n\nwhat to do next:\n  switchboard plugin dev {0}\n    builds it into the data folder, \
         again after every change\n\nor by hand:\n  cd {0}\n  cargo test\n  cargo build --release\n  \
         cp target/release/{library} <data folder>/plugins/",
        folder.display()
    );
    Reply::new(json!({ "id": id, "folder": folder, "files": written }), text)
}

fn check_name(name: &str) -> Result<()> {
    let valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let good = (1..=60).contains(&name.len())
        && name.bytes().all(valid)
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && !name.ends_with('-')
        && !name.contains("--");
    if good {
        return Ok(());
    }
    Err(usage(format!("`{}` is no name for a plugin crate: write it as webhook-api-key", name.escape_debug())))
}

/// `webhook-api-key` → `WebhookApiKey`.
fn type_name(name: &str) -> String {
    let capitalised = |word: &str| {
        let mut letters = word.chars();
        letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect::<String>()
    };
    name.split('-').map(capitalised).collect()
}

fn is_api(folder: &Path) -> bool {
    let manifest = fs::read_to_string(folder.join("Cargo.toml"));
    manifest.is_ok_and(|manifest| manifest.contains("name = \"switchboard-plugin-api\""))
}

/// Looks for a checkout around the new crate and around this program.
fn find_api(parent: &Path) -> Option<PathBuf> {
    let here = parent.canonicalize().or_else(|_| std::env::current_dir()).ok();
    let program = std::env::current_exe().ok();
    let around = [here, program];
    let candidates = around.iter().flatten().flat_map(|place| place.ancestors()).map(|place| place.join("plugin-api"));
    candidates.into_iter().find(|folder| is_api(folder))
}

fn dependency(api: Option<&Path>, below: &str, version: &str) -> String {
    match api {
        // The debug form of a text is a TOML string as well.
        Some(api) if below.is_empty() => format!("{{ path = {:?} }}", api.display().to_string()),
        Some(api) => format!("{{ path = {:?} }}", api.join(below).display().to_string()),
        None => format!("{version:?}"),
    }
}

/// What stands in the templates in place of `{{…}}`.
struct Words<'a> {
    name: &'a str,
    id: &'a str,
    type_name: &'a str,
    api: &'a str,
    test_host: &'a str,
    serde: &'a str,
}

impl Words<'_> {
    fn fill(&self, template: &str) -> String {
        template
            .replace("{{name}}", self.name)
            .replace("{{id}}", self.id)
            .replace("{{Type}}", self.type_name)
            .replace("{{api}}", self.api)
            .replace("{{test-host}}", self.test_host)
            .replace("{{serde}}", self.serde)
    }
}
