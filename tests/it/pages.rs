//! The administrator's pages in a real browser.

mod languages;
mod looks;
mod plain;
mod rights;
mod texts;
mod webhooks;

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use switchboard_tests::{Browser, Site};

const PASSWORD: &str = "correct horse battery";

/// A running `serve` with what it printed at its start.
pub(crate) struct Started {
    child: Child,
    pub(crate) address: String,
    pub(crate) setup: Option<String>,
}

impl Started {
    pub(crate) fn on(site: &Site) -> Self {
        let mut command = site.command(&["serve", "--listen", "127.0.0.1:0"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let address = lines.next().unwrap().rsplit("http://").next().unwrap().to_owned();
        // The plugins' line comes last but for the link.
        let has_users =
            site.path().join("server.db").exists() && !site.json(&["user", "list"]).as_array().unwrap().is_empty();
        let setup = if has_users { None } else { lines.find(|line| line.contains("/setup?token=")) };
        let setup = setup.map(|line| line[line.find("http://").unwrap()..].to_owned());
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address, setup }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Adds a user, and returns a browser in which the user is signed in.
fn signed_in(site: &Site, started: &Started, name: &str, rights: &[&str], language: &str) -> Browser {
    let arguments = [&["user", "add", name, "--password", "-"], rights].concat();
    let _ = site.run_with_input(&arguments, PASSWORD).ok();
    let browser = Browser::open(&started.address, language);
    browser.sign_in(name, PASSWORD);
    browser
}
