//! The guide for plugin authors, walked from its first block to its last in an empty folder. What it says in Rust is
//! compiled as a doctest of this crate.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use switchboard_tests::{switchboard, wait_until};
use tempfile::TempDir;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Returns the blocks of the guide in their order, each with its language.
fn blocks() -> Vec<(String, String)> {
    let guide = fs::read_to_string(root().join("docs/writing-plugins.md")).unwrap();
    let mut blocks: Vec<(String, String)> = Vec::new();
    let mut inside = false;
    for line in guide.lines() {
        match (line.strip_prefix("```"), inside) {
            (Some(_), true) => inside = false,
            (Some(language), false) => {
                inside = true;
                blocks.push((language.to_owned(), String::new()));
            }
            (None, true) => blocks.last_mut().unwrap().1.push_str(&format!("{line}\n")),
            (None, false) => {}
        }
    }
    blocks
}

/// Returns the blocks in a language.
fn of<'b>(blocks: &'b [(String, String)], language: &str) -> Vec<&'b str> {
    blocks.iter().filter(|(other, _)| other == language).map(|(_, text)| text.as_str()).collect()
}

/// An empty folder in which the guide is followed.
struct Walk {
    folder: TempDir,
    /// Commands that go on, in terminals of their own.
    terminals: Vec<Child>,
}

impl Walk {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn shell(&self, script: &str) -> Command {
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", script]).current_dir(self.folder.path());
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{path}", switchboard().parent().unwrap().display()));
        // The folder of all tests that build new crates, so that what they use is built once, and without optimising it.
        command.env("CARGO_TARGET_DIR", target()).env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0");
        command.env_remove("SWITCHBOARD_DATA").process_group(0);
        command
    }

    /// Does what a block says, to its end.
    #[track_caller]
    fn run(&self, script: &str) -> String {
        let output = self.shell(script).output().unwrap();
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{script}\n{stdout}{stderr}");
        stdout.into_owned()
    }

    /// Does what a block says in a terminal of its own, and returns its first line that contains a text.
    #[track_caller]
    fn start(&mut self, script: &str, until: &str) -> String {
        let script = format!("({script}) 2>&1");
        let mut child = self.shell(&script).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        self.terminals.push(child);
        let (mut printed, mut line) = (String::new(), String::new());
        while !line.contains(until) {
            printed.push_str(&line);
            line.clear();
            assert_ne!(stdout.read_line(&mut line).unwrap(), 0, "{script} ended: {printed}");
        }
        let log = self.path(&format!("terminal-{}", self.terminals.len()));
        std::thread::spawn(move || std::io::copy(&mut stdout, &mut fs::File::create(log).unwrap()));
        line
    }
}

impl Drop for Walk {
    fn drop(&mut self) {
        for terminal in &mut self.terminals {
            // The whole group that was started with it.
            let _ = Command::new("kill").args(["-KILL", "--", &format!("-{}", terminal.id())]).status();
            let _ = terminal.wait();
        }
    }
}

fn target() -> PathBuf {
    root().join("target").join("authoring")
}

#[test]
fn every_block_of_the_guide_does_what_it_says() {
    let mut walk = Walk { folder: TempDir::new().unwrap(), terminals: Vec::new() };
    let blocks = blocks();
    let shell = of(&blocks, "sh");
    let [new, receive, dev, deliver, by_hand, check] = shell[..] else {
        panic!("the guide has other shell blocks, walk them here: {shell:#?}")
    };

    let _ = walk.run(new);
    // At a free port.
    let receiver = walk.start(&receive.replace("receive", "receive --listen 127.0.0.1:0"), "receiving on");
    let address = receiver.split("http://").nth(1).unwrap().split(',').next().unwrap().to_owned();
    let here = |script: &str| script.replace("127.0.0.1:8000", &address);
    let _ = walk.start(dev, "active: my_webhook 0.1.0");
    assert!(walk.run(&here(deliver)).contains(": done"));
    let arrived = || fs::read_to_string(walk.path("terminal-1")).unwrap_or_default();
    wait_until("the receiver shows the event", || {
        arrived().contains("POST /hook\n") && arrived().contains("\"property_uid\":7")
    });
    assert!(arrived().contains("x-token: secret\n"), "{}", arrived());

    // A change is taken up.
    let source = walk.path("my-webhook/src/lib.rs");
    let text = fs::read_to_string(&source).unwrap();
    fs::write(&source, text.replace("x-token", "x-other")).unwrap();
    wait_until("the change is active", || {
        fs::read_to_string(walk.path("terminal-2")).unwrap_or_default().contains("active: my_webhook")
    });
    let emit = deliver.lines().find(|line| line.contains(" emit ")).unwrap();
    let _ = walk.run(emit);
    wait_until("the receiver shows the new header", || arrived().contains("x-other: secret\n"));

    // The crate that is made by hand, from the blocks that show it.
    let manifests = of(&blocks, "toml");
    let [manifest] = manifests[..] else { panic!("the guide has other TOML blocks: {manifests:#?}") };
    let source = of(&blocks, "rust")[0];
    let version = format!("\"{}\"", switchboard_plugin_api_version());
    assert!(manifest.contains(&version), "{version} is not in {manifest}");
    let path = format!("{{ path = {:?} }}", root().join("plugin-api").display().to_string());
    let crate_folder = walk.path("webhook-api-key");
    fs::create_dir_all(crate_folder.join("src")).unwrap();
    fs::write(crate_folder.join("Cargo.toml"), manifest.replacen(&version, &path, 1) + "\n[workspace]\n").unwrap();
    fs::write(crate_folder.join("src/lib.rs"), source).unwrap();
    std::os::unix::fs::symlink(target(), crate_folder.join("target")).unwrap();
    let printed = walk.run(&here(by_hand));
    assert!(printed.contains(": done") && printed.contains("Clé d'API"), "{printed}");
    wait_until("the receiver shows the key", || arrived().contains("x-api-key: secret\n"));
    let _ = walk.run(check);

    let known = ["sh", "toml", "rust", "text"];
    assert!(blocks.iter().all(|(language, _)| known.contains(&language.as_str())), "a block that nothing runs");
}

fn switchboard_plugin_api_version() -> String {
    switchboard::API_VERSION.to_owned()
}

#[test]
fn the_receiver_shows_a_request_for_programs_too() {
    let mut walk = Walk { folder: TempDir::new().unwrap(), terminals: Vec::new() };
    let receiver = walk.start("switchboard --json receive --listen 127.0.0.1:0 --status 204", "receiving on");
    let address = receiver.split("http://").nth(1).unwrap().split(',').next().unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let request =
        "POST /a?b=1 HTTP/1.1\r\nhost: h\r\nx-a: \u{1b}[2J\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi";
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
    // A control character is no header's value.
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let request = request.replace("\u{1b}[2J", "plain");
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    answer.clear();
    std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    wait_until("it is shown", || !fs::read_to_string(walk.path("terminal-1")).unwrap_or_default().is_empty());
    let shown: Value = serde_json::from_str(&fs::read_to_string(walk.path("terminal-1")).unwrap()).unwrap();
    assert_eq!((&shown["method"], &shown["path"], &shown["body"]), (&"POST".into(), &"/a?b=1".into(), &"hi".into()));
}
