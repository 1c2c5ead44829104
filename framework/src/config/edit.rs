//! Changing one setting in the file, and nothing else in it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use toml_edit::{DocumentMut, Item, Table, Value};

use super::{Config, ConfigError, FILE_NAME};

/// Changes settings in `switchboard.toml`; everything else in it stays as it is, comments included.
///
/// Nothing is written unless the whole file can be used afterwards.
///
/// ```
/// use switchboard::config::{Config, Edit, Mode};
///
/// # let data = tempfile::tempdir()?;
/// # let data = data.path();
/// std::fs::write(data.join("switchboard.toml"), "# ours\n[log]\nlevel = \"warn\" # less\n")?;
/// Edit::of(data)?.set("log.mode", "development")?.save()?;
/// assert_eq!(Config::load(data)?.log.mode, Mode::Development);
/// assert!(std::fs::read_to_string(data.join("switchboard.toml"))?.contains("# less"));
/// assert!(Edit::of(data)?.set("log.mode", "developement").is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "nothing is written before `save`"]
pub struct Edit {
    path: PathBuf,
    document: DocumentMut,
}

impl Edit {
    /// Reads the file of a data folder; one that is not there is made by [`Edit::save`].
    ///
    /// # Errors
    ///
    /// As [`Config::load`].
    pub fn of(data_dir: &Path) -> Result<Self, ConfigError> {
        let path = data_dir.join(FILE_NAME);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(ConfigError::Read { path, source }),
        };
        Config::parse(&text, &path)?;
        let document = text.parse::<DocumentMut>().map_err(|error| ConfigError::Syntax {
            path: path.clone(),
            line: 1,
            reason: error.message().to_owned(),
        })?;
        Ok(Self { path, document })
    }

    /// Sets a setting by its full name, such as `log.mode`. The value is written as the setting wants it: a number, a list
    /// and a truth value as TOML has them, everything else as text.
    ///
    /// # Errors
    ///
    /// When the setting does not exist or the value is none for it; the better of the two complaints is given.
    pub fn set(mut self, key: &str, value: &str) -> Result<Self, ConfigError> {
        // As TOML first: text that looks like a number is a number where one is wanted.
        let as_text = || self.with(key, Value::from(value));
        let document = match value.parse::<Value>() {
            Ok(literal) => self.with(key, literal).or_else(|complaint| as_text().map_err(|_| complaint)),
            Err(_) => as_text(),
        };
        self.document = document?;
        Ok(self)
    }

    /// Returns the file with a value, when it can be used.
    fn with(&self, key: &str, value: Value) -> Result<DocumentMut, ConfigError> {
        let mut tried = self.document.clone();
        put(&mut tried, &split(key), Some(value));
        Config::parse(&tried.to_string(), &self.path).map(|_| tried)
    }

    /// Sets a setting of a plugin.
    pub fn set_plugin(mut self, plugin: &str, key: &str, value: &str) -> Self {
        put(&mut self.document, &["plugins", plugin, key], Some(Value::from(value)));
        self
    }

    /// Takes a setting out of the file, so that its default holds.
    pub fn unset(mut self, key: &str) -> Self {
        put(&mut self.document, &split(key), None);
        self
    }

    /// Takes a setting of a plugin out of the file.
    pub fn unset_plugin(mut self, plugin: &str, key: &str) -> Self {
        put(&mut self.document, &["plugins", plugin, key], None);
        self
    }

    /// Returns the configuration as the file would have it.
    ///
    /// # Errors
    ///
    /// When it could not be used.
    pub fn config(&self) -> Result<Config, ConfigError> {
        Config::parse(&self.document.to_string(), &self.path)
    }

    /// Writes the file, whole or not at all. A new one can be read by its owner only.
    ///
    /// # Errors
    ///
    /// When the file could not be used, or cannot be written.
    pub fn save(self) -> Result<Config, ConfigError> {
        let text = self.document.to_string();
        let config = Config::parse(&text, &self.path)?;
        let failed = |source| ConfigError::Write { path: self.path.clone(), source };
        let unfinished = self.path.with_extension("toml.part");
        let _ = fs::remove_file(&unfinished);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        // It may hold passwords.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&unfinished).map_err(failed)?;
        let written = file.write_all(text.as_bytes()).and_then(|()| {
            if let Ok(before) = fs::metadata(&self.path) {
                file.set_permissions(before.permissions())?;
                // Only root may give a file to somebody else, and only root needs to.
                #[cfg(unix)]
                let _ = {
                    use std::os::unix::fs::MetadataExt;
                    std::os::unix::fs::fchown(&file, Some(before.uid()), Some(before.gid()))
                };
            }
            file.sync_all()?;
            fs::rename(&unfinished, &self.path)
        });
        written.map_err(failed)?;
        Ok(config)
    }
}

/// Splits the name of a setting: a section and a key, or the three parts of a plugin's.
fn split(key: &str) -> Vec<&str> {
    let mut parts: Vec<&str> = key.splitn(2, '.').collect();
    if let ["plugins", rest] = parts[..]
        && let Some((plugin, key)) = rest.split_once('.')
    {
        parts = vec!["plugins", plugin, key];
    }
    parts
}

fn put(document: &mut DocumentMut, key: &[&str], value: Option<Value>) {
    let Some((last, sections)) = key.split_last() else { return };
    let mut table: &mut Table = document.as_table_mut();
    for section in sections {
        if value.is_none() && !table.contains_key(section) {
            return;
        }
        let mut fresh = Table::new();
        // A section of plugins has no header of its own unless it needs one.
        fresh.set_implicit(true);
        let item = table.entry(section).or_insert(Item::Table(fresh));
        if let Item::Value(Value::InlineTable(inline)) = item {
            let mut unfolded = inline.clone().into_table();
            unfolded.set_implicit(true);
            *item = Item::Table(unfolded);
        }
        // What is no table has been refused when the file was read; a new name cannot be one.
        let Some(inner) = item.as_table_mut() else { return };
        table = inner;
    }
    match (value, table.get_mut(last)) {
        (None, _) => drop(table.remove(last)),
        (Some(mut value), Some(Item::Value(old))) => {
            *value.decor_mut() = old.decor().clone();
            *old = value;
        }
        (Some(value), _) => {
            table.set_implicit(false);
            table.insert(last, Item::Value(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(before: &str, change: impl FnOnce(Edit) -> Edit, after: &str) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        fs::write(&path, before).unwrap();
        change(Edit::of(folder.path()).unwrap()).save().unwrap();
        assert_eq!(fs::read_to_string(path).unwrap(), after);
    }

    #[test]
    fn only_the_setting_changes_and_comments_stay() {
        let before = "# top\n[log] # logs\nlevel = \"warn\" # less\n\n[deferred]\nthreads = 3\n";
        let after = "# top\n[log] # logs\nlevel = \"debug\" # less\n\n[deferred]\nthreads = 3\n";
        check(before, |edit| edit.set("log.level", "debug").unwrap(), after);
    }

    #[test]
    fn a_value_is_written_as_its_setting_wants_it() {
        check("", |edit| edit.set("deferred.threads", "7").unwrap(), "[deferred]\nthreads = 7\n");
        check("", |edit| edit.set("deferred.timeout", "7s").unwrap(), "[deferred]\ntimeout = \"7s\"\n");
        check("", |edit| edit.set("egress.allow", "[\"::1\"]").unwrap(), "[egress]\nallow = [\"::1\"]\n");
        let plugin = |edit: Edit| edit.set("plugins.hello.greeting", "12").unwrap();
        check("", plugin, "[plugins.hello]\ngreeting = \"12\"\n");
        check("plugins = { hello = { greeting = \"a\" } }\n", plugin, "[plugins.hello]\ngreeting = \"12\"\n");
    }

    #[test]
    fn what_is_taken_out_leaves_the_rest() {
        let before = "[plugins.hello]\na = \"1\"\nb = \"2\"\n";
        check(before, |edit| edit.unset_plugin("hello", "a").unset("log.mode"), "[plugins.hello]\nb = \"2\"\n");
    }

    #[test]
    fn a_setting_that_does_not_exist_is_refused_with_the_one_that_was_meant() {
        let folder = tempfile::tempdir().unwrap();
        let error = Edit::of(folder.path()).unwrap().set("log.levl", "warn").err().unwrap();
        assert!(error.to_string().contains("did you mean `log.level`?"), "{error}");
        let error = Edit::of(folder.path()).unwrap().set("deferred.threads", "many").err().unwrap();
        assert!(error.to_string().contains("deferred.threads"), "{error}");
        assert!(!folder.path().join(FILE_NAME).exists());
    }

    #[test]
    #[cfg(unix)]
    fn a_new_file_is_its_owners_and_an_old_one_keeps_its_rights() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        Edit::of(folder.path()).unwrap().set_plugin("p", "token", "x").save().unwrap();
        assert_eq!(mode(&path), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        Edit::of(folder.path()).unwrap().set_plugin("p", "token", "y").save().unwrap();
        assert_eq!(mode(&path), 0o640);
    }
}
