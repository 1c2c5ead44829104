//! Which minicomponent answers which number under which name.
//!
//! A [`Registry`] is an immutable snapshot; loading or removing a plugin makes a new one, which is swapped in whole. A
//! run sees one snapshot from start to end. Nothing here calls a handler.

mod counts;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use switchboard_plugin_api::host::{CallHost, Payload};
use switchboard_plugin_api::{HandlerKind, PluginError, TriggerNumber};

use crate::plugins::Generation;
use crate::suspension::{PanicStreak, Suspension};

pub use counts::{CallCounts, CallFailure, CallTimes};

/// Where a minicomponent comes from. A higher tier replaces the same number and name of a lower one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Tier {
    /// Part of the framework or of the host application.
    BuiltIn,
    /// From the plugin folder.
    Plugin,
    /// From the site's override folder.
    Site,
}

impl std::fmt::Display for Tier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::BuiltIn => "built-in",
            Self::Plugin => "plugin",
            Self::Site => "site",
        })
    }
}

/// A handler that is part of the host program.
///
/// It sees its call through the same services as a plugin does, so that a plugin can take its place.
pub trait BuiltIn: Send + Sync {
    /// Answers one call.
    ///
    /// # Errors
    ///
    /// As a plugin's handler: the message is reported, the next handler still runs.
    fn call(&self, host: &dyn CallHost, input: &[u8]) -> Result<Payload, PluginError>;
}

#[derive(Clone)]
pub(crate) enum Target {
    BuiltIn(Arc<dyn BuiltIn>),
    Plugin { generation: Arc<Generation>, handler: u32 },
}

/// One handler of one trigger number under one event name.
pub struct Minicomponent {
    /// The trigger number.
    pub number: TriggerNumber,
    /// The event name.
    pub name: String,
    /// Where it comes from.
    pub tier: Tier,
    /// Id of its plugin; `switchboard` for what is built in.
    pub plugin: Arc<str>,
    /// How it is called.
    pub kind: HandlerKind,
    /// Its counts.
    pub counts: CallCounts,
    pub(crate) panics: PanicStreak,
    pub(crate) target: Target,
}

impl Minicomponent {
    /// Returns why it is not called any more; `None` as long as it is.
    #[must_use]
    pub fn suspension(&self) -> Option<Arc<Suspension>> {
        self.panics.suspension()
    }
}

impl Minicomponent {
    /// Returns the version of its plugin; `None` for what is built in.
    #[must_use]
    pub fn version(&self) -> Option<String> {
        match &self.target {
            Target::Plugin { generation, .. } => Some(generation.manifest().version.clone()),
            Target::BuiltIn(_) => None,
        }
    }
}

impl std::fmt::Debug for Minicomponent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} `{}` of {} ({})", self.number, self.name, self.plugin, self.tier)
    }
}

/// The same number and name twice inside one tier. The plugin whose id comes first in byte order stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Collision {
    /// The trigger number.
    pub number: TriggerNumber,
    /// The event name.
    pub name: String,
    /// Plugin whose handler stays.
    pub kept: String,
    /// Plugin whose handler is left out.
    pub left_out: String,
}

impl std::fmt::Display for Collision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { number, name, kept, left_out } = self;
        write!(
            f,
            "{number} `{name}` is in plugin `{kept}` and in plugin `{left_out}`: `{kept}` stays, remove one of the two \
             or move the wanted one into the override folder"
        )
    }
}

/// An immutable snapshot of all minicomponents.
#[derive(Debug, Default)]
pub struct Registry {
    numbers: BTreeMap<TriggerNumber, Vec<Arc<Minicomponent>>>,
    collisions: Vec<Collision>,
}

impl Registry {
    /// Builds a snapshot. The order of `all` does not matter.
    pub(crate) fn new(mut all: Vec<Arc<Minicomponent>>) -> Self {
        let mut registry = Self::default();
        // Higher tiers first and plugin ids in byte order, so that whoever comes first stays.
        all.sort_by(|a, b| b.tier.cmp(&a.tier).then_with(|| a.plugin.cmp(&b.plugin)));
        for minicomponent in all {
            let handlers = registry.numbers.entry(minicomponent.number).or_default();
            match handlers.iter().find(|other| other.name == minicomponent.name) {
                None => handlers.push(minicomponent),
                Some(kept) if kept.tier == minicomponent.tier => registry.collisions.push(Collision {
                    number: kept.number,
                    name: kept.name.clone(),
                    kept: kept.plugin.to_string(),
                    left_out: minicomponent.plugin.to_string(),
                }),
                Some(_) => {}
            }
        }
        for handlers in registry.numbers.values_mut() {
            handlers.sort_by(|a, b| a.name.as_bytes().cmp(b.name.as_bytes()));
        }
        registry
    }

    /// Returns the handlers of `number` in firing order: byte order of their names, wherever they come from.
    #[must_use]
    pub fn handlers(&self, number: TriggerNumber) -> &[Arc<Minicomponent>] {
        self.numbers.get(&number).map_or(&[], Vec::as_slice)
    }

    /// Returns one handler.
    #[must_use]
    pub fn handler(&self, number: TriggerNumber, name: &str) -> Option<&Arc<Minicomponent>> {
        let handlers = self.handlers(number);
        let found = handlers.binary_search_by(|other| other.name.as_bytes().cmp(name.as_bytes()));
        found.ok().map(|index| &handlers[index])
    }

    /// Returns whether anything answers `number`.
    #[must_use]
    pub fn exists(&self, number: TriggerNumber) -> bool {
        !self.handlers(number).is_empty()
    }

    /// Returns whether `name` answers `number`.
    #[must_use]
    pub fn exists_named(&self, number: TriggerNumber, name: &str) -> bool {
        self.handler(number, name).is_some()
    }

    /// Returns everything, by number and then in firing order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Minicomponent>> {
        self.numbers.values().flatten()
    }

    /// Returns the pairs that more than one plugin of a tier claims.
    #[must_use]
    pub fn collisions(&self) -> &[Collision] {
        &self.collisions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nothing;

    impl BuiltIn for Nothing {
        fn call(&self, _host: &dyn CallHost, _input: &[u8]) -> Result<Payload, PluginError> {
            Ok(Payload::default())
        }
    }

    fn minicomponent(name: &str, tier: Tier, plugin: &str) -> Arc<Minicomponent> {
        Arc::new(Minicomponent {
            number: TriggerNumber::new(6_000),
            name: name.into(),
            tier,
            plugin: plugin.into(),
            kind: HandlerKind::Sync,
            counts: CallCounts::default(),
            panics: PanicStreak::default(),
            target: Target::BuiltIn(Arc::new(Nothing)),
        })
    }

    #[track_caller]
    fn check_order(given: &[(&str, Tier, &str)], expected: &[(&str, &str)]) -> Registry {
        let registry =
            Registry::new(given.iter().map(|(name, tier, plugin)| minicomponent(name, *tier, plugin)).collect());
        let order: Vec<_> = registry.iter().map(|one| (one.name.as_str(), &*one.plugin)).collect();
        assert_eq!(order, expected);
        registry
    }

    #[test]
    fn handlers_fire_in_byte_order_of_their_names_whatever_their_origin() {
        use Tier::{BuiltIn, Plugin, Site};
        check_order(
            &[
                ("x_b", Plugin, "p"),
                ("alpha", Site, "s"),
                ("B", Plugin, "q"),
                ("a_c", BuiltIn, "b"),
                ("01_z", Plugin, "p"),
            ],
            &[("01_z", "p"), ("B", "q"), ("a_c", "b"), ("alpha", "s"), ("x_b", "p")],
        );
    }

    #[test]
    fn a_higher_tier_replaces_a_lower_one_without_a_collision() {
        use Tier::{BuiltIn, Plugin, Site};
        let registry = check_order(&[("a", Plugin, "p"), ("a", Site, "s"), ("a", BuiltIn, "b")], &[("a", "s")]);
        assert!(registry.collisions().is_empty());
        check_order(&[("a", BuiltIn, "b"), ("a", Plugin, "p")], &[("a", "p")]);
    }

    #[test]
    fn of_two_plugins_in_one_tier_the_first_by_id_stays_and_the_collision_is_reported() {
        use Tier::Plugin;
        let registry = check_order(&[("a", Plugin, "z"), ("a", Plugin, "b")], &[("a", "b")]);
        assert_eq!(registry.collisions()[0].kept, "b");
        assert_eq!(registry.collisions()[0].left_out, "z");
    }
}
