//! A host application with triggers of its own: `cargo run -p switchboard --example own_triggers`.
//!
//! 1. The triggers are types in a crate that the application and its plugins share: `hotel-triggers`, beside this file.
//! 2. A plugin answers them: `hotel-long-stay`, beside this file. It knows the triggers and not the application.
//! 3. The application fires them, with their types: a broadcast to all that answer a number, or one of them by name.
#![expect(clippy::print_stdout, reason = "it shows what it does")]

use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::error::Error;
use std::path::{Path, PathBuf};

use hotel_triggers::{DiscountOffer, Greeting, Stay};
use switchboard::{Run, Switchboard, TriggerError};

fn main() -> Result<(), Box<dyn Error>> {
    // 2. What an administrator does with a file manager.
    let data = tempfile::tempdir()?;
    install(&built_plugin()?, data.path())?;
    let switchboard = Switchboard::open(data.path())?;
    for plugin in switchboard.plugins().plugins {
        println!("plugin {}: {:?}", plugin.id.as_deref().unwrap_or("?"), plugin.state);
    }

    // 3. One request of a guest who reads German.
    let run = switchboard.run().owner(62).language("de-DE").start();
    let stay = Stay { nights: 8, guests: 6, channel: None };
    println!("10 000 cents become {}", price(&run, 10_000, &stay)?);
    match run.call::<Greeting>("warm", &"Ada".to_owned()) {
        Ok(Some(greeting)) => println!("{greeting}"),
        Ok(None) => println!("no plugin greets warmly"),
        Err(error) => println!("no greeting: {error}"),
    }

    // A handler that fails is one value among the others; the application decides what that means.
    let nobody = Stay { guests: 0, ..stay };
    println!("10 000 cents become {}", price(&run, 10_000, &nobody)?);
    run.finish()?;
    Ok(())
}

/// Returns a price without the discounts that the plugins give.
fn price(run: &Run, cents: u32, stay: &Stay) -> Result<u32, TriggerError> {
    let mut price = cents;
    for offer in run.broadcast::<DiscountOffer>(stay)?.values {
        match &offer.result {
            Ok(Some(discount)) => {
                println!("  {} of {}: {} %, {}", offer.name(), offer.plugin(), discount.percent, discount.reason);
                price -= cents * discount.percent / 100;
            }
            Ok(None) => {}
            Err(error) => println!("  {} of {} failed: {error}", offer.name(), offer.plugin()),
        }
    }
    Ok(price)
}

/// Finds the library that cargo has built beside this program.
fn built_plugin() -> Result<PathBuf, Box<dyn Error>> {
    let file = format!("{DLL_PREFIX}hotel_long_stay{DLL_SUFFIX}");
    let program = std::env::current_exe()?;
    let profile = program.parent().and_then(Path::parent).ok_or("this program lies in no target folder")?;
    let places = [profile.join("deps").join(&file), profile.join(&file)];
    let found = places.into_iter().find(|place| place.exists());
    found.ok_or_else(|| format!("`{file}` is not built: run `cargo build -p hotel-long-stay` first").into())
}

fn install(library: &Path, data: &Path) -> std::io::Result<()> {
    let plugins = data.join("plugins");
    std::fs::create_dir_all(&plugins)?;
    std::fs::copy(library, plugins.join(library.file_name().unwrap_or_default())).map(drop)
}
