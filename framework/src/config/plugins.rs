//! The section `[plugins]`: a few keys of the host's own beside one table per plugin.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// Key of [`PluginsConfig::suspend_after_panics`]. No plugin of this id can have settings.
const SUSPEND_AFTER_PANICS: &str = "suspend_after_panics";

/// The section `[plugins]`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PluginsConfig {
    /// After how many panics in a row a handler is not called any more, until its plugin is replaced or it is resumed;
    /// 0 means never. Default 5.
    pub suspend_after_panics: u32,
    /// Settings of plugins, by plugin and key: `[plugins.hello] greeting = "Moin"`. Empty by default.
    pub settings: BTreeMap<String, BTreeMap<String, String>>,
}

impl Default for PluginsConfig {
    fn default() -> Self {
        Self { suspend_after_panics: 5, settings: BTreeMap::new() }
    }
}

impl<'de> Deserialize<'de> for PluginsConfig {
    // By hand: what is flattened loses its place in the file, which errors name.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Section;

        impl<'de> Visitor<'de> for Section {
            type Value = PluginsConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "`{SUSPEND_AFTER_PANICS}` and a table of settings for each plugin")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<PluginsConfig, A::Error> {
                let mut config = PluginsConfig::default();
                while let Some(key) = map.next_key::<String>()? {
                    if key == SUSPEND_AFTER_PANICS {
                        config.suspend_after_panics = map.next_value()?;
                    } else {
                        config.settings.insert(key, map.next_value::<Settings>()?.0);
                    }
                }
                Ok(config)
            }
        }

        deserializer.deserialize_map(Section)
    }
}

impl Serialize for PluginsConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1 + self.settings.len()))?;
        map.serialize_entry(SUSPEND_AFTER_PANICS, &self.suspend_after_panics)?;
        for (plugin, settings) in &self.settings {
            map.serialize_entry(plugin, settings)?;
        }
        map.end()
    }
}

/// The settings of one plugin.
struct Settings(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Settings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Table;

        impl<'de> Visitor<'de> for Table {
            type Value = Settings;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a table of settings for a plugin of this id; the host's own key is `{SUSPEND_AFTER_PANICS}`")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Settings, A::Error> {
                let mut settings = BTreeMap::new();
                while let Some((key, value)) = map.next_entry()? {
                    settings.insert(key, value);
                }
                Ok(Settings(settings))
            }
        }

        deserializer.deserialize_map(Table)
    }
}
