//! A plugin author's road: a new crate, its tests, a library that a folder accepts.

use std::path::{Path, PathBuf};

use serde_json::json;
use switchboard_tests::{Receiver, Site, cargo, inner_target};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Writes a crate, and returns its folder.
fn write_crate(site: &Site, name: &str, kind: &str) -> PathBuf {
    let folder = site.path().join("authoring");
    std::fs::create_dir_all(&folder).unwrap();
    let api = root().join("plugin-api");
    let (dir, api) = (folder.to_str().unwrap(), api.to_str().unwrap());
    let made = site.json(&["plugin", "new", name, "--kind", kind, "--dir", dir, "--api", api]);
    assert_eq!(made["id"], name.replace('-', "_"));
    folder.join(name)
}

/// Writes a crate, runs its own tests, and returns its library.
fn author(site: &Site, name: &str, kind: &str) -> PathBuf {
    let folder = write_crate(site, name, kind);
    let target = inner_target();
    let run = |command: &str| {
        let status = cargo().args([command, "--quiet", "--target-dir"]).arg(&target).current_dir(&folder).status();
        assert!(status.unwrap().success(), "cargo {command} of a new {kind}");
    };
    run("test");
    run("build");
    let file = format!("{}{}{}", std::env::consts::DLL_PREFIX, name.replace('-', "_"), std::env::consts::DLL_SUFFIX);
    let library = site.plugins().join(&file);
    std::fs::copy(target.join("debug").join(&file), &library).unwrap();
    library
}

#[test]
fn a_new_plugin_of_each_kind_passes_its_tests_and_is_accepted() {
    let site = Site::new();
    author(&site, "my-hook", "webhook");
    author(&site, "my-task", "task");
    author(&site, "my-handler", "handler");

    let receiver = Receiver::friendly();
    site.add_webhook(62, &receiver.url("hook"), "my_hook", &["--set", "token=secret"]);
    assert_eq!(site.emit_and_wait(62, "booking_added", "{}").ok().json()["tasks"][0]["state"], "done");
    assert_eq!(receiver.wait_for(1)[0].header("x-token"), "secret");

    let greeting = site.json(&["trigger", "06000", "my_task", "--payload", r#"{"name":"Ada"}"#, "--lang", "de-AT"]);
    assert_eq!(greeting["last"], json!({ "text": "Hallo Ada!" }));
    let price = site.json(&["trigger", "21500", "--payload", r#"{"nights":7,"rate_cents":100}"#]);
    assert_eq!(price["last"], json!(600));
}

#[test]
fn a_plugin_in_which_a_panic_would_end_the_host_does_not_compile_and_is_told_why() {
    let site = Site::new();
    let folder = write_crate(&site, "my-abort", "task");
    // The flag is what `panic = "abort"` in a profile gives to the compiler; like this it needs no crates built anew.
    let built = cargo()
        .args(["rustc", "--quiet", "--lib", "--target-dir"])
        .arg(inner_target())
        .args(["--", "-C", "panic=abort"])
        .current_dir(folder)
        .output()
        .unwrap();
    let said = String::from_utf8(built.stderr).unwrap();
    assert!(!built.status.success(), "it compiles: {said}");
    let error = "error: a plugin cannot be built with `panic = \"abort\"`: a panic in a handler would end the host's \
                 process; remove it from the profile in Cargo.toml\n";
    assert!(said.starts_with(error), "{said}");
    assert!(said.contains("src/lib.rs") && said.contains("export_plugin!("), "{said}");
    assert_eq!(said.matches("error: ").count(), 2, "only this, and that the crate is not compiled: {said}");
}

#[test]
fn a_name_that_is_none_and_a_folder_that_is_taken_are_refused() {
    let site = Site::new();
    let dir = site.path().to_str().unwrap();
    for name in ["", "My-hook", "my_hook", "-hook", "hook-", "a--b", "9lives", "../hook"] {
        let refused = site.run(&["plugin", "new", "--dir", dir, "--", name]);
        refused.refused(2, &["is no name for a plugin crate"]);
    }
    site.run(&["plugin", "new", "plugins", "--dir", dir]).refused(2, &["exists already"]);
    site.run(&["plugin", "new", "hook", "--dir", dir, "--api", dir]).refused(2, &["is not the folder of"]);
}
