//! The arrows between the crates, and where unsafe code lives.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Runs cargo in the workspace, without the network, and returns what it prints.
#[track_caller]
fn cargo(arguments: &[&str]) -> String {
    let output = switchboard_tests::cargo().args(arguments).arg("--offline").current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A crate of the workspace.
#[derive(Debug)]
struct House {
    name: String,
    /// Its folder, from the top of the repository.
    folder: PathBuf,
    /// Crates of the workspace that it depends on, also for its build.
    on: Vec<String>,
    /// Crates of the workspace that its tests depend on.
    tests_on: Vec<String>,
}

fn houses() -> Vec<House> {
    let metadata: Value = serde_json::from_str(&cargo(&["metadata", "--format-version", "1", "--no-deps"])).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let names: Vec<_> = packages.iter().map(|package| text(&package["name"])).collect();
    let on = |package: &Value, for_tests: bool| -> Vec<String> {
        let dependencies = package["dependencies"].as_array().unwrap().iter();
        let kept = dependencies.filter(|dependency| (dependency["kind"] == "dev") == for_tests);
        kept.map(|dependency| text(&dependency["name"])).filter(|name| names.contains(name)).collect()
    };
    let house = |package: &Value| House {
        name: text(&package["name"]),
        folder: Path::new(&text(&package["manifest_path"])).parent().unwrap().strip_prefix(root()).unwrap().into(),
        on: on(package, false),
        tests_on: on(package, true),
    };
    packages.iter().map(house).collect()
}

#[test]
fn every_crate_depends_only_on_what_its_place_allows() {
    let houses = houses();
    assert!(houses.len() > 5, "{houses:?}");
    for house in houses {
        let allowed: &[&str] = match house.folder.to_str().unwrap() {
            "plugin-api" => &[],
            "plugin-api/test-host" => &["switchboard-plugin-api"],
            "framework/server" => &["switchboard"],
            "tests" => &[
                "fixture-services",
                "switchboard",
                "switchboard-plugin-api",
                "switchboard-test-host",
                "switchboard-test-postgres",
            ],
            "tests/postgres" => &[],
            "framework/examples/hotel-long-stay" => &["hotel-triggers", "switchboard-plugin-api"],
            "framework/examples/hotel-triggers" => &["switchboard-plugin-api"],
            folder if folder == "framework" || folder.starts_with("plugins/") || folder.starts_with("tests/") => {
                &["switchboard-plugin-api"]
            }
            folder => panic!("`{}` in `{folder}` has no place in the house", house.name),
        };
        let for_tests: &[&str] = match house.folder.to_str().unwrap() {
            "framework" => &["hotel-long-stay", "hotel-triggers", "switchboard-test-postgres"],
            folder if folder.starts_with("plugins") => &["switchboard-test-host"],
            _ => &[],
        };
        let is_stranger = |name: &&String| !allowed.contains(&name.as_str());
        let is_stranger_in_tests = |name: &&String| is_stranger(name) && !for_tests.contains(&name.as_str());
        let strangers = house.on.iter().filter(is_stranger);
        let strangers: Vec<_> = strangers.chain(house.tests_on.iter().filter(is_stranger_in_tests)).collect();
        assert!(strangers.is_empty(), "`{}` must not depend on {strangers:?}", house.name);
    }
}

#[test]
fn a_plugin_author_gets_no_http_client_no_runtime_and_no_database() {
    let tree = cargo(&["tree", "-p", "switchboard-plugin-api", "-e", "normal", "--prefix", "none", "--format", "{p}"]);
    let crates: Vec<_> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(crates.contains(&"abi_stable"), "{tree}");
    for heavy in ["reqwest", "hyper", "tokio", "rusqlite", "libsqlite3-sys", "tokio-postgres", "rustls", "openssl"] {
        assert!(!crates.contains(&heavy), "`{heavy}` is in\n{tree}");
    }
}

/// Returns all Rust files of the repository, from its top.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let (path, name) = (entry.path(), entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            if name != "target" && !name.to_string_lossy().starts_with('.') {
                sources(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn unsafe_code_lives_at_the_boundary_and_where_libraries_are_opened() {
    let places = [
        "plugin-api/src/abi.rs",
        "plugin-api/src/abi/host.rs",
        "framework/src/plugins/library.rs",
        "tests/assets/api-1.0/host/src/library.rs",
        "tests/bench/dispatch.rs",
        "tests/fixtures/bare/src/lib.rs",
        "tests/fixtures/faulty/src/lib.rs",
        "tests/fixtures/evil/src/process.rs",
        "tests/fixtures/raw/src/lib.rs",
    ];
    // The attributes that `export_plugin!` writes into a plugin.
    let attributes = "plugin-api/src/lib.rs";
    // In two parts, so that this file is not found.
    let (word, attribute) = (concat!("un", "safe "), concat!("un", "safe("));
    let mut files = Vec::new();
    sources(root(), &mut files);
    let mut seen = Vec::new();
    for file in files {
        let name = file.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
        for line in fs::read_to_string(&file).unwrap().lines().filter(|line| !line.trim_start().starts_with("//")) {
            if line.contains(word) && !line.contains("reason =") {
                assert!(places.contains(&name.as_str()), "{name}: {line}");
                seen.push(name.clone());
            }
            if line.contains(attribute) {
                assert!(name == attributes || places.contains(&name.as_str()), "{name}: {line}");
                seen.push(name.clone());
            }
        }
    }
    for place in places.iter().chain([&attributes]) {
        assert!(seen.iter().any(|name| name == place), "{place} is listed here and has none");
    }
}

#[test]
fn plugins_forbid_unsafe_code() {
    // No plugins, but libraries that a host refuses, that a bench calls past it, or that fails a process's disk.
    let others = ["tests/fixtures/bare", "tests/fixtures/evil", "tests/fixtures/faulty", "tests/fixtures/raw"];
    for house in houses() {
        let folder = house.folder.to_str().unwrap();
        if folder.starts_with("plugins/") || (folder.starts_with("tests/fixtures/") && !others.contains(&folder)) {
            let source = fs::read_to_string(root().join(folder).join("src/lib.rs")).unwrap();
            assert!(source.contains("#![forbid(unsafe_code)]"), "{folder}");
        }
    }
}
