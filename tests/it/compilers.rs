//! A plugin that another compiler has built.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use switchboard::{ErrorKind, PluginState, Switchboard, TriggerError, TriggerNumber};
use switchboard_tests::{Site, cargo, inner_target, say_skipped};

/// 21020 of the fixture `waits`.
const WAIT: TriggerNumber = TriggerNumber::new(21_020);

/// Names a compiler that is tried as well; for other compilers than those that the tests look for.
const ANOTHER: &str = "SWITCHBOARD_OTHER_RUSTC";

/// Oldest compiler that builds plugin-api, as its manifest says.
const OLDEST: (u32, u32) = (1, 85);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Returns what the compiler says about itself; `None` when there is none or it is too old.
fn version(rustc: &Path) -> Option<String> {
    let output = Command::new(rustc).arg("--version").output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    let mut numbers = text.strip_prefix("rustc ")?.split('.').map(|number| number.parse().ok());
    ((numbers.next()??, numbers.next()??) >= OLDEST).then_some(text)
}

/// Builds a fixture with a compiler. Cargo keeps what each compiler has built apart.
fn build(rustc: &Path, package: &str, site: &Site) -> PathBuf {
    let target = inner_target();
    let status = cargo()
        // Lints of a newer compiler are not the question.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env("RUSTC", rustc)
        .env("CARGO_PROFILE_DEV_DEBUG", "false")
        .args(["build", "--quiet", "--locked", "--ignore-rust-version", "-p", package, "--target-dir"])
        .arg(&target)
        .current_dir(root())
        .status();
    assert!(status.unwrap().success(), "{} cannot build {package}", rustc.display());
    let file = format!("{}{}{}", std::env::consts::DLL_PREFIX, package.replace('-', "_"), std::env::consts::DLL_SUFFIX);
    let library = site.plugins().join(&file);
    fs::copy(target.join("debug").join(&file), &library).unwrap();
    library
}

#[track_caller]
fn check(rustc: &Path, version: &str) {
    let site = Site::new();
    let library = fs::read(build(rustc, "fixture-waits", &site)).unwrap();
    assert!(library.windows(version.len()).any(|window| window == version.as_bytes()), "not built by {version}");
    let host = Switchboard::builder(site.path()).watch(false).open().unwrap();
    let report = &host.plugins().plugins[0];
    assert_eq!((report.state, report.reason.as_deref()), (PluginState::Active, None), "{version}");
    let run = host.run().start();
    for name in ["at_once", "timer", "blocking"] {
        assert_eq!(&*run.trigger_named(WAIT, name, b"7").unwrap().unwrap(), b"7", "{version}: {name}");
    }
    for name in ["panics", "ends_badly"] {
        match run.trigger_named(WAIT, name, b"7") {
            Err(TriggerError::Handler { source, .. }) => {
                assert_eq!(source.kind(), ErrorKind::Panic, "{version}: {name}")
            }
            other => panic!("{version}: {other:?}"),
        }
    }
}

#[test]
fn a_library_loads_whichever_compiler_has_built_it() {
    let nightly = Command::new("rustup").args(["which", "--toolchain", "nightly", "rustc"]).output();
    let nightly = nightly.ok().filter(|output| output.status.success());
    let nightly = nightly.map(|output| PathBuf::from(String::from_utf8(output.stdout).unwrap().trim()));
    let another = std::env::var_os(ANOTHER).map(PathBuf::from);
    for (what, rustc) in [
        ("a nightly toolchain (`rustup toolchain install nightly`)", nightly),
        ("a compiler of the system (Debian's `rustc-web`)", Some(PathBuf::from("/usr/bin/rustc"))),
        ("a compiler in `SWITCHBOARD_OTHER_RUSTC`", another),
    ] {
        match rustc.and_then(|rustc| version(&rustc).map(|version| (rustc, version))) {
            Some((rustc, version)) => check(&rustc, &version),
            None => say_skipped(&format!("not with {what}, of 1.85 or later: it is not there")),
        }
    }
}
