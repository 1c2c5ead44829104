//! The preflight record: a plugin's manifest as bytes in its library file.
//!
//! `export_plugin!` evaluates it at compile time and puts it into a section of its own, so a host reads it from the
//! file and judges the plugin before any of its code runs. Layout: the eight bytes of [`MAGIC`], the length of what
//! follows as a 32-bit little-endian number, then a [`Manifest`] in JSON.

use serde::{Deserialize, Serialize};

use crate::registry::HandlerKind;
use crate::{API_VERSION, FieldFormat, Plugin, Setting};

/// First bytes of a record.
pub const MAGIC: [u8; 8] = *b"SWBPLUG1";

/// Section of the library file that holds the record.
#[cfg(not(any(target_os = "macos", target_os = "windows")))]
pub const SECTION: &str = ".switchboard";
/// Section of the library file that holds the record.
#[cfg(target_os = "macos")]
pub const SECTION: &str = "__switchboard";
/// Section of the library file that holds the record.
#[cfg(target_os = "windows")]
pub const SECTION: &str = ".swbplug";

const RUSTC: &str = env!("SWITCHBOARD_RUSTC");
const TARGET: &str = env!("SWITCHBOARD_TARGET");
const PANIC: &str = if cfg!(panic = "unwind") { "unwind" } else { "abort" };

/// What a plugin says about itself before any of its code runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Manifest {
    /// Id of the plugin.
    pub id: String,
    /// Version of the plugin.
    pub version: String,
    /// Name for people; the id when the author gave none.
    pub title: String,
    /// plugin-api version that it was built with, `major.minor`.
    pub api: String,
    /// Oldest plugin-api version of a host that it works with, `major.minor`.
    pub needs_api: String,
    /// Compiler that built it, as `rustc --version` prints it.
    pub rustc: String,
    /// Target triple that it was built for.
    pub target: String,
    /// Panic strategy; only `unwind` keeps a panic inside the plugin.
    pub panic: String,
    /// Host services that it cannot do without.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// Keys of the settings that it reads.
    #[serde(default)]
    pub settings: Vec<String>,
    /// Settings with their formats. Since 1.1.
    #[serde(default)]
    pub formats: Vec<ManifestSetting>,
    /// Plugins that it cannot do without. Since 1.1.
    #[serde(default)]
    pub depends: Vec<ManifestDependency>,
    /// Its minicomponents; the position is the index under which the host calls them.
    pub triggers: Vec<ManifestTrigger>,
}

/// One minicomponent in a [`Manifest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ManifestTrigger {
    /// The trigger number; a host refuses one outside 1 to 99999.
    pub number: u32,
    /// The event name.
    pub name: String,
    /// How it is called.
    pub kind: HandlerKind,
}

/// One setting in a [`Manifest`] that has a format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ManifestSetting {
    /// Key under which it is read.
    pub key: String,
    /// What its value has to be.
    pub format: FieldFormat,
    /// Value that the plugin takes when none is set; empty when it does not say.
    #[serde(default)]
    pub default: String,
    /// Whether the plugin cannot do without it.
    #[serde(default)]
    pub required: bool,
}

/// One plugin in a [`Manifest`] that another one cannot do without.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ManifestDependency {
    /// Its id.
    pub id: String,
    /// Which of its versions will do, as Cargo writes it.
    pub version: String,
}

/// A record that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordError {
    /// The bytes do not start with [`MAGIC`].
    NotARecord,
    /// The bytes end before the record does.
    Truncated,
    /// The JSON is not a manifest; the text says what is wrong with it.
    Malformed(String),
}

impl core::fmt::Display for RecordError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NotARecord => f.write_str("the manifest section does not start with a manifest"),
            Self::Truncated => f.write_str("the manifest is cut off"),
            Self::Malformed(why) => write!(f, "the manifest cannot be read: {why}"),
        }
    }
}

impl std::error::Error for RecordError {}

impl ManifestSetting {
    fn of(setting: &Setting) -> Self {
        Self {
            key: setting.key.to_owned(),
            format: setting.format,
            default: setting.default.to_owned(),
            required: setting.required,
        }
    }
}

impl ManifestDependency {
    fn of((id, version): &(&str, &str)) -> Self {
        Self { id: (*id).to_owned(), version: (*version).to_owned() }
    }
}

impl Manifest {
    /// Returns all settings that the plugin reads; one without a format is a line of text.
    pub fn all_settings(&self) -> impl Iterator<Item = ManifestSetting> {
        let plain = self.settings.iter().filter(|key| !self.formats.iter().any(|setting| setting.key == **key));
        let plain = plain.map(|key| ManifestSetting {
            key: key.clone(),
            format: FieldFormat::Input,
            default: String::new(),
            required: false,
        });
        self.formats.iter().cloned().chain(plain)
    }

    /// Returns the manifest of a plugin that is linked into this program, as the record of its library would hold it.
    #[must_use]
    pub fn linked<P: Plugin>() -> Self {
        let info = P::INFO;
        let registry = const { &P::REGISTRY };
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let trigger = |entry: &crate::registry::Entry<P>| ManifestTrigger {
            number: entry.number.get(),
            name: entry.name.to_owned(),
            kind: entry.kind(),
        };
        Self {
            id: info.id.to_owned(),
            version: info.version.to_owned(),
            title: if info.title.is_empty() { info.id } else { info.title }.to_owned(),
            api: API_VERSION.to_owned(),
            needs_api: info.needs_api.to_owned(),
            rustc: RUSTC.to_owned(),
            target: TARGET.to_owned(),
            panic: PANIC.to_owned(),
            capabilities: texts(info.capabilities),
            settings: texts(info.settings),
            formats: info.formats.iter().map(ManifestSetting::of).collect(),
            depends: info.depends.iter().map(ManifestDependency::of).collect(),
            triggers: (0..).map_while(|index| registry.entry(index)).map(trigger).collect(),
        }
    }

    /// Reads the manifest from the bytes of the record's section, which may be padded at the end.
    ///
    /// # Errors
    ///
    /// When the bytes are no record, are cut off, or hold something else than a manifest.
    pub fn from_record(section: &[u8]) -> Result<Self, RecordError> {
        let rest = section.strip_prefix(&MAGIC).ok_or(RecordError::NotARecord)?;
        let (length, rest) = rest.split_first_chunk::<4>().ok_or(RecordError::Truncated)?;
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| RecordError::Truncated)?;
        let json = rest.get(..length).ok_or(RecordError::Truncated)?;
        serde_json::from_slice(json).map_err(|error| RecordError::Malformed(error.to_string()))
    }
}

/// Returns the length of the record of `P` in bytes.
#[must_use]
pub const fn record_len<P: Plugin>() -> usize {
    write_record::<P, 0>().1
}

/// Returns the record of `P`; `N` is [`record_len`].
#[must_use]
pub const fn record<P: Plugin, const N: usize>() -> [u8; N] {
    write_record::<P, N>().0
}

/// Writes into `N` bytes, or only counts when `N` is zero.
const fn write_record<P: Plugin, const N: usize>() -> ([u8; N], usize) {
    let mut out = Writer { bytes: [0; N], at: 0 };
    out.raw(&MAGIC);
    let json_len = if N == 0 { 0 } else { N - MAGIC.len() - 4 };
    assert!(json_len <= u32::MAX as usize, "a manifest is shorter than 4 GiB");
    #[expect(clippy::cast_possible_truncation, reason = "asserted just above")]
    out.raw(&(json_len as u32).to_le_bytes());
    out.json::<P>();
    (out.bytes, out.at)
}

struct Writer<const N: usize> {
    bytes: [u8; N],
    at: usize,
}

impl<const N: usize> Writer<N> {
    const fn byte(&mut self, byte: u8) {
        if N > 0 {
            self.bytes[self.at] = byte;
        }
        self.at += 1;
    }

    const fn raw(&mut self, bytes: &[u8]) {
        let mut index = 0;
        while index < bytes.len() {
            self.byte(bytes[index]);
            index += 1;
        }
    }

    /// A JSON string. UTF-8 passes as it is; only what JSON forbids inside a string is escaped.
    const fn string(&mut self, text: &str) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let bytes = text.as_bytes();
        self.byte(b'"');
        let mut index = 0;
        while index < bytes.len() {
            let byte = bytes[index];
            if byte < 0x20 {
                self.raw(b"\\u00");
                self.byte(HEX[(byte >> 4) as usize]);
                self.byte(HEX[(byte & 15) as usize]);
            } else {
                if byte == b'"' || byte == b'\\' {
                    self.byte(b'\\');
                }
                self.byte(byte);
            }
            index += 1;
        }
        self.byte(b'"');
    }

    const fn field(&mut self, name: &str, value: &str) {
        self.string(name);
        self.byte(b':');
        self.string(value);
        self.byte(b',');
    }

    const fn strings(&mut self, name: &str, values: &[&str]) {
        self.string(name);
        self.raw(b":[");
        let mut index = 0;
        while index < values.len() {
            if index > 0 {
                self.byte(b',');
            }
            self.string(values[index]);
            index += 1;
        }
        self.raw(b"],");
    }

    const fn number(&mut self, number: u32) {
        let mut divisor = 10_000;
        let mut started = false;
        while divisor > 0 {
            let digit = number / divisor % 10;
            started = started || digit > 0 || divisor == 1;
            if started {
                self.byte(b"0123456789"[digit as usize]);
            }
            divisor /= 10;
        }
    }

    const fn settings(&mut self, settings: &[Setting]) {
        self.raw(b"\"formats\":[");
        let mut index = 0;
        while index < settings.len() {
            let setting = &settings[index];
            self.raw(if index > 0 { b",{" } else { b"{" });
            self.field("key", setting.key);
            self.field("format", setting.format.as_str());
            self.field("default", setting.default);
            self.raw(if setting.required { b"\"required\":true}" } else { b"\"required\":false}" });
            index += 1;
        }
        self.raw(b"],");
    }

    const fn depends(&mut self, depends: &[(&str, &str)]) {
        self.raw(b"\"depends\":[");
        let mut index = 0;
        while index < depends.len() {
            self.raw(if index > 0 { b",{" } else { b"{" });
            self.field("id", depends[index].0);
            self.string("version");
            self.byte(b':');
            self.string(depends[index].1);
            self.byte(b'}');
            index += 1;
        }
        self.raw(b"],");
    }

    const fn json<P: Plugin>(&mut self) {
        let info = &P::INFO;
        self.byte(b'{');
        self.field("id", info.id);
        self.field("version", info.version);
        self.field("title", if info.title.is_empty() { info.id } else { info.title });
        self.field("api", API_VERSION);
        self.field("needs_api", info.needs_api);
        self.field("rustc", RUSTC);
        self.field("target", TARGET);
        self.field("panic", PANIC);
        self.strings("capabilities", info.capabilities);
        self.strings("settings", info.settings);
        self.settings(info.formats);
        self.depends(info.depends);
        self.raw(b"\"triggers\":[");
        let registry = const { &P::REGISTRY };
        let mut index = 0;
        while let Some(entry) = registry.entry(index) {
            if index > 0 {
                self.byte(b',');
            }
            self.raw(b"{\"number\":");
            self.number(entry.number.get());
            self.byte(b',');
            self.field("name", entry.name);
            self.string("kind");
            self.byte(b':');
            self.string(entry.kind().as_str());
            self.byte(b'}');
            index += 1;
        }
        self.raw(b"]}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prelude::*;

    struct Quoted;

    impl Exported for Quoted {}

    impl Plugin for Quoted {
        const INFO: PluginInfo = PluginInfo::new("quoted", "1.2.3")
            .title("A \"quoted\\\" title\nin é")
            .settings(&["a", "b"])
            .formats(&[
                Setting::new("b", FieldFormat::Password).required(),
                Setting::new("c", FieldFormat::Number).default_value("6"),
            ])
            .depends(&[("first", "^1.2"), ("second", "*")]);
        const REGISTRY: Registry<Self> = Registry::new().add_raw(TriggerNumber::new(5), "x", Self::nothing).add_raw(
            TriggerNumber::new(99_999),
            "y-Z_9",
            Self::nothing,
        );

        fn new(_host: &Host) -> Result<Self, PluginError> {
            Ok(Self)
        }
    }

    impl Quoted {
        fn nothing(&self, _cx: &Context, _input: &[u8]) -> Result<Vec<u8>, PluginError> {
            Ok(Vec::new())
        }
    }

    static RECORD: [u8; record_len::<Quoted>()] = record::<Quoted, { record_len::<Quoted>() }>();

    #[test]
    fn the_record_that_the_compiler_writes_is_the_manifest_that_a_host_reads() {
        let mut padded = RECORD.to_vec();
        padded.extend([0; 7]);
        let manifest = Manifest::from_record(&padded).unwrap();
        assert_eq!((manifest.id.as_str(), manifest.version.as_str()), ("quoted", "1.2.3"));
        assert_eq!(manifest.title, "A \"quoted\\\" title\nin é");
        assert_eq!(manifest.settings, ["a", "b"]);
        let all: Vec<_> = manifest.all_settings().map(|one| (one.key, one.format, one.default, one.required)).collect();
        let setting =
            |key: &str, format, default: &str, required| (key.to_owned(), format, default.to_owned(), required);
        let expected = [
            setting("b", FieldFormat::Password, "", true),
            setting("c", FieldFormat::Number, "6", false),
            setting("a", FieldFormat::Input, "", false),
        ];
        assert_eq!(all, expected);
        let needed: Vec<_> = manifest.depends.iter().map(|one| (one.id.as_str(), one.version.as_str())).collect();
        assert_eq!(needed, [("first", "^1.2"), ("second", "*")]);
        let triggers: Vec<_> = manifest.triggers.iter().map(|row| (row.number, row.name.as_str())).collect();
        assert_eq!(triggers, [(5, "x"), (99_999, "y-Z_9")]);
    }

    #[test]
    fn a_linked_plugin_has_the_manifest_of_its_record() {
        assert_eq!(Manifest::linked::<Quoted>(), Manifest::from_record(&RECORD).unwrap());
    }

    #[test]
    fn a_damaged_record_is_told_apart() {
        assert_eq!(Manifest::from_record(b"SWB"), Err(RecordError::NotARecord));
        assert_eq!(Manifest::from_record(&RECORD[..40]), Err(RecordError::Truncated));
        let mut garbled = RECORD;
        garbled[12] = b'x';
        assert!(matches!(Manifest::from_record(&garbled), Err(RecordError::Malformed(_))));
    }
}
