//! What a plugin says about itself.

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
        Self { id, version, title: "", capabilities: &[], settings: &[], needs_api: crate::API_VERSION }
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
