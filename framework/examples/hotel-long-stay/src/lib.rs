//! A plugin for a hotel application: it answers the application's own triggers.
#![forbid(unsafe_code)]

use hotel_triggers::{Discount, DiscountOffer, Greeting, Stay};
use switchboard_plugin_api::prelude::*;

/// From how many nights on a stay is long.
const LONG: u32 = 7;

/// The plugin.
pub struct LongStay;

impl Plugin for LongStay {
    const INFO: PluginInfo = PluginInfo::new("hotel_long_stay", env!("CARGO_PKG_VERSION")).title("Long stays");
    const REGISTRY: Registry<Self> = Registry::new()
        .add::<LanguageInit>("long_stay", Self::languages)
        .add::<DiscountOffer>("long_stay", Self::discount)
        .add::<DiscountOffer>("group", Self::group_discount)
        .add::<Greeting>("warm", Self::greet);

    fn new(_host: &Host) -> Result<Self, PluginError> {
        Ok(Self)
    }
}

impl LongStay {
    fn languages(&self, _cx: &Context, _: LanguageRequest) -> Result<LanguageFiles, PluginError> {
        Ok(LanguageFiles::new()
            .file("en-GB", include_str!("../languages/en-GB.ftl"))
            .file("de-DE", include_str!("../languages/de-DE.ftl")))
    }

    fn discount(&self, cx: &Context, stay: Stay) -> Result<Option<Discount>, PluginError> {
        Ok((stay.nights >= LONG)
            .then(|| Discount { percent: 10, reason: cx.text_with("long-stay", &[("nights", stay.nights.into())]) }))
    }

    fn group_discount(&self, cx: &Context, stay: Stay) -> Result<Option<Discount>, PluginError> {
        if stay.guests == 0 {
            return Err(PluginError::permanent("a stay has at least one guest"));
        }
        Ok((stay.guests >= 6).then(|| Discount { percent: 5, reason: cx.text("group") }))
    }

    fn greet(&self, cx: &Context, guest: String) -> Result<String, PluginError> {
        Ok(cx.text_with("greeting", &[("guest", guest.into())]))
    }
}

export_plugin!(LongStay);
