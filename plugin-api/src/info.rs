//! What a plugin says about itself.

use crate::FieldFormat;
use crate::message::Message;

/// Identity of a plugin: the part of its manifest that the author writes.
///
/// Everything here is a constant, so that it can be read from the library file without running any of its code.
///
/// ```
/// use switchboard_plugin_api::PluginInfo;
///
/// const INFO: PluginInfo =
///     PluginInfo::new("webhook_api_key", env!("CARGO_PKG_VERSION")).title("API key webhook");
/// assert_eq!(INFO.id, "webhook_api_key");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PluginInfo {
    /// Id of the plugin: 1 to 63 of `a-z`, `0-9`, `_`, `-`, the same in every version.
    pub id: &'static str,
    /// Version of the plugin, as semantic versioning writes it.
    pub version: &'static str,
    /// Name for people; the id when empty.
    pub title: &'static str,
    /// Services that the plugin cannot do without, by their names in [`protocol`](crate::protocol), such as `http`. A host
    /// that lacks one refuses the plugin with that reason.
    pub capabilities: &'static [&'static str],
    /// Keys of the settings that the plugin reads as a whole. The settings of a webhook are not among them: 07300 declares
    /// those.
    pub settings: &'static [&'static str],
    /// Settings of the plugin that have a format: what `switchboard plugin set` checks values by. They need not be in
    /// [`PluginInfo::settings`] as well.
    pub formats: &'static [Setting],
    /// Plugins that this one cannot do without: their ids, and which of their versions will do.
    pub depends: &'static [(&'static str, &'static str)],
    /// Oldest plugin-api version of a host that the plugin can work with, `major.minor`.
    pub needs_api: &'static str,
}

impl PluginInfo {
    /// Returns the identity of a plugin that needs a host of at least this crate's version.
    ///
    /// # Panics
    ///
    /// When `id` is empty, longer than 63 bytes or has a character outside `a-z0-9_-`. In a `const`, which is where it
    /// belongs, that is a compile error.
    #[must_use]
    #[track_caller]
    pub const fn new(id: &'static str, version: &'static str) -> Self {
        check_id(id);
        Self {
            id,
            version,
            title: "",
            capabilities: &[],
            settings: &[],
            formats: &[],
            depends: &[],
            needs_api: crate::API_VERSION,
        }
    }

    /// Sets the name for people.
    #[must_use]
    pub const fn title(mut self, title: &'static str) -> Self {
        self.title = title;
        self
    }

    /// Names the host services without which the plugin is of no use.
    #[must_use]
    pub const fn capabilities(mut self, capabilities: &'static [&'static str]) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// Names the settings that the plugin reads.
    #[must_use]
    pub const fn settings(mut self, settings: &'static [&'static str]) -> Self {
        self.settings = settings;
        self
    }

    /// Names settings together with their formats. A host checks what an administrator sets, and never shows a
    /// [`FieldFormat::Password`]. Since 1.1; an older host does not look at it.
    ///
    /// ```
    /// use switchboard_plugin_api::{FieldFormat, PluginInfo, Setting};
    ///
    /// const INFO: PluginInfo = PluginInfo::new("mailer", "1.0.0").formats(&[
    ///     Setting::new("sender", FieldFormat::Input).required(),
    ///     Setting::new("password", FieldFormat::Password),
    ///     Setting::new("per_minute", FieldFormat::Number).default_value("60"),
    /// ]);
    /// assert_eq!(INFO.formats[2].key, "per_minute");
    /// ```
    #[must_use]
    pub const fn formats(mut self, formats: &'static [Setting]) -> Self {
        self.formats = formats;
        self
    }

    /// Names the plugins that this one cannot do without, each with the versions that will do, as Cargo writes them:
    /// `^1.2`, `>=1.0, <3`, `*`. A host opens the plugin only while each of them is active, and after them. Since 1.1; an
    /// older host does not look at it.
    ///
    /// ```
    /// use switchboard_plugin_api::PluginInfo;
    ///
    /// const INFO: PluginInfo = PluginInfo::new("invoices", "1.0.0").depends(&[("mailer", "^1.2")]);
    /// assert_eq!(INFO.depends, [("mailer", "^1.2")]);
    /// ```
    ///
    /// # Panics
    ///
    /// When an id is none. In a `const` that is a compile error.
    #[must_use]
    #[track_caller]
    pub const fn depends(mut self, depends: &'static [(&'static str, &'static str)]) -> Self {
        let mut index = 0;
        while index < depends.len() {
            check_id(depends[index].0);
            index += 1;
        }
        self.depends = depends;
        self
    }

    /// Sets the oldest plugin-api version (`major.minor`) of a host that will do. Without it, that is the version which the
    /// plugin is built with.
    ///
    /// # Panics
    ///
    /// When `version` is not two numbers with a dot between them. In a `const` that is a compile error.
    #[must_use]
    #[track_caller]
    pub const fn needs_api(mut self, version: &'static str) -> Self {
        check_version(version);
        self.needs_api = version;
        self
    }
}

/// A setting of a plugin with its format.
///
/// Its label on a page is the plugin's text `setting-KEY`, and the key where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Setting {
    /// Key under which it is read.
    pub key: &'static str,
    /// What its value has to be.
    pub format: FieldFormat,
    /// Value that the plugin takes when none is set; for people.
    pub default: &'static str,
    /// Whether the plugin cannot do without it.
    pub required: bool,
}

impl Setting {
    /// Returns an optional setting.
    ///
    /// # Panics
    ///
    /// When the format is a select, which has no choices here. In a `const` that is a compile error.
    #[must_use]
    #[track_caller]
    pub const fn new(key: &'static str, format: FieldFormat) -> Self {
        assert!(!matches!(format, FieldFormat::Select | FieldFormat::Unknown), "this format has no meaning here");
        Self { key, format, default: "", required: false }
    }

    /// Says which value the plugin takes when none is set.
    #[must_use]
    pub const fn default_value(mut self, value: &'static str) -> Self {
        self.default = value;
        self
    }

    /// Says that the plugin cannot do without it.
    #[must_use]
    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }
}

#[track_caller]
const fn check_version(version: &str) {
    let bytes = version.as_bytes();
    let (mut index, mut dots, mut digits) = (0, 0, 0);
    while index < bytes.len() {
        if bytes[index] == b'.' && digits > 0 {
            dots += 1;
            digits = 0;
        } else {
            assert!(bytes[index].is_ascii_digit(), "a plugin-api version is written as `1.0`");
            digits += 1;
        }
        index += 1;
    }
    assert!(dots == 1 && digits > 0, "a plugin-api version is written as `1.0`");
}

#[track_caller]
const fn check_id(id: &str) {
    let bytes = id.as_bytes();
    let mut good = !bytes.is_empty() && bytes.len() <= 63;
    let mut index = 0;
    while index < bytes.len() {
        good = good && matches!(bytes[index], b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
        index += 1;
    }
    if !good {
        Message::new().text("`").text(id).text("` is no plugin id: write 1 to 63 of a-z, 0-9, `_` and `-`").panic();
    }
}
