//! `switchboard plugin dev`: from a change in a source to a handler that answers, and to what it logs.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use switchboard_tests::{Site, wait_until};

/// A running `plugin dev` and what it has printed. It is killed when dropped.
struct Developing {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Developing {
    fn start(site: &Site, folder: &Path, more: &[&str]) -> Self {
        let arguments: Vec<&str> = [more, &["plugin", "dev", folder.to_str().unwrap()]].concat();
        let mut command = site.command(&arguments);
        command.env("CARGO_TARGET_DIR", target()).env("CARGO", env!("CARGO"));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let streams: [Box<dyn std::io::Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for stream in streams {
            let lines = Arc::clone(&lines);
            std::thread::spawn(move || {
                let printed = BufReader::new(stream).lines().map_while(Result::ok);
                printed.for_each(|line| lines.lock().unwrap().push(line));
            });
        }
        Self { child, lines }
    }

    /// Waits until `count` lines contain a text.
    #[track_caller]
    fn wait_for(&self, text: &str, count: usize) {
        let has = || self.lines.lock().unwrap().iter().filter(|line| line.contains(text)).count() >= count;
        wait_until(&format!("it prints `{text}`: {:?}", self.lines), has);
    }

    fn interrupt(mut self) -> ExitStatus {
        let pid = self.child.id().to_string();
        assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        self.child.wait().unwrap()
    }
}

impl Drop for Developing {
    fn drop(&mut self) {
        // Already ended in the tests that end it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Where new crates are built in all tests, so that what they use is built once.
fn target() -> PathBuf {
    root().join("target").join("authoring")
}

/// Writes a new crate with a public task, and returns its folder.
fn new_task(site: &Site, name: &str) -> PathBuf {
    let (dir, api) = (site.path().to_str().unwrap(), root().join("plugin-api"));
    let _ = site.json(&["plugin", "new", name, "--kind", "task", "--dir", dir, "--api", api.to_str().unwrap()]);
    site.path().join(name)
}

fn edit(file: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "`{from}` is not in {text}");
    fs::write(file, text.replace(from, to)).unwrap();
}

fn greeting(site: &Site, name: &str) -> Value {
    site.run(&["--json", "trigger", "06000", name, "--payload", r#"{"name":"Ada"}"#]).json()["last"]["text"].clone()
}

#[test]
fn a_change_is_built_and_answers_and_what_does_not_compile_leaves_the_old_version() {
    let site = Site::new();
    let folder = new_task(&site, "dev-alone");
    let (source, texts) = (folder.join("src/lib.rs"), folder.join("languages/en-GB.ftl"));
    let developing = Developing::start(&site, &folder, &[]);
    developing.wait_for("no host runs on", 1);
    developing.wait_for("active: dev_alone 0.1.0 with 2 handlers", 1);
    // Other commands reach the host that it is.
    assert_eq!(greeting(&site, "dev_alone"), "Hello Ada!");

    edit(&texts, "Hello", "Good day");
    developing.wait_for("active: dev_alone", 2);
    assert_eq!(greeting(&site, "dev_alone"), "Good day Ada!");

    edit(&source, "let name =", "let name: u8 =");
    developing.wait_for("mismatched types", 1);
    developing.wait_for("cannot be built; the version before it goes on", 1);
    assert_eq!(greeting(&site, "dev_alone"), "Good day Ada!");

    edit(&source, "let name: u8 =", "log::info!(target: \"Greetings\", \"asked\");\n        let name =");
    developing.wait_for("active: dev_alone", 3);
    assert_eq!(greeting(&site, "dev_alone"), "Good day Ada!");
    developing.wait_for("Greetings | ", 1);
    developing.wait_for("asked plugin=dev_alone", 1);

    // It builds, and cannot be activated.
    edit(
        &source,
        "Ok(LanguageFiles::new()",
        "panic!(\"not now\");\n        #[allow(unreachable_code)]\n        Ok(LanguageFiles::new()",
    );
    developing.wait_for("refused, the version before it goes on: plugin `dev_alone` cannot be activated", 1);
    developing.wait_for("not now", 1);
    assert_eq!(greeting(&site, "dev_alone"), "Good day Ada!");

    assert!(developing.interrupt().success());
    // The library stays, and the folder is free.
    assert!(site.json(&["plugin", "list"])["plugins"].as_array().unwrap().len() == 1);
}

#[test]
fn beside_a_running_host_that_one_takes_the_plugin_up() {
    let site = Site::new();
    let folder = new_task(&site, "dev-beside");
    let serving = site.serve();
    let developing = Developing::start(&site, &folder, &["--json"]);
    developing.wait_for(r#""event":"active""#, 1);
    assert!(developing.lines.lock().unwrap().iter().any(|line| line.contains(r#""own":false"#)));
    assert_eq!(greeting(&site, "dev_beside"), "Hello Ada!");
    // When that host ends, this command takes its place.
    assert!(serving.terminate().success());
    developing.wait_for(r#""own":true"#, 1);
    wait_until("it answers in the host's place", || greeting(&site, "dev_beside") == json!("Hello Ada!"));
    assert!(developing.interrupt().success());
}

#[test]
fn what_is_no_crate_and_a_crate_without_a_library_for_hosts_are_refused() {
    let site = Site::new();
    site.run(&["plugin", "dev", site.path().to_str().unwrap()]).refused(2, &["is no folder of a crate", "plugin new"]);
    let folder = new_task(&site, "dev-rlib");
    edit(&folder.join("Cargo.toml"), "\"cdylib\"", "\"rlib\"");
    let developing = Developing::start(&site, &folder, &[]);
    developing.wait_for("write `crate-type = [\"cdylib\"]`", 1);
}
