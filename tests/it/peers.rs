//! Other people's programs at the other end: the official libraries of Standard Webhooks, and a token server. They are
//! installed from their registries into a folder below `target`, once; without a network their tests are skipped.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use serde_json::{Value, json};
use switchboard_tests::{Answer, Receiver, Request, Site, inner_target, of_attempts, say_skipped};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OLD: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const PRIVATE: &str = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
const CLIENT_SECRET: &str = "s3cret-of-a-client";

/// What a receiver does with a request: it throws it away unless the library accepts it. Reads `{"secret", "body",
/// "headers"}` from standard input.
const PYTHON: &str = "import json, sys
from standardwebhooks.webhooks import Webhook
given = json.load(sys.stdin)
Webhook(given['secret']).verify(given['body'], given['headers'])";

const JAVASCRIPT: &str = "const { Webhook } = require('standardwebhooks');
const given = JSON.parse(require('fs').readFileSync(0));
new Webhook(given.secret).verify(given.body, given.headers);";

/// Returns the folder of a peer, after `install` has filled it once. `None`, and a line that says so, when it cannot be.
fn peer(name: &str, install: impl FnOnce(&Path) -> bool) -> Option<PathBuf> {
    let folder = inner_target().join("peers").join(name);
    let installed = folder.join("installed");
    if !installed.exists() {
        // What an install that was cut off has left.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        if !install(&folder) {
            say_skipped(&format!("`{name}` cannot be installed: its runtime or the network is missing"));
            return None;
        }
        fs::write(installed, "").unwrap();
    }
    Some(folder)
}

fn succeeds(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).output().is_ok_and(|output| output.status.success())
}

fn npm(folder: &Path, package: &str) -> bool {
    let arguments = ["install", "--silent", "--no-fund", "--no-audit", "--ignore-scripts", "--prefix"];
    succeeds(Command::new("npm").args(arguments).arg(folder).arg(package))
}

fn python() -> Option<Command> {
    let folder = peer("standardwebhooks-python", |folder| {
        let python = folder.join("bin").join("python");
        succeeds(Command::new("python3").args(["-m", "venv"]).arg(folder))
            && succeeds(Command::new(python).args(["-m", "pip", "install", "--quiet", "standardwebhooks==1.1.0"]))
    })?;
    let mut command = Command::new(folder.join("bin").join("python"));
    command.args(["-c", PYTHON]);
    Some(command)
}

fn javascript() -> Option<Command> {
    let folder = peer("standardwebhooks-javascript", |folder| npm(folder, "standardwebhooks@1.1.1"))?;
    let mut command = Command::new("node");
    command.args(["-e", JAVASCRIPT]).current_dir(folder);
    Some(command)
}

/// Returns whether a library accepts a request.
fn accepts(library: &mut Command, request: &Request, secret: &str, body: &[u8]) -> bool {
    let body = std::str::from_utf8(body).unwrap();
    let given = json!({ "secret": secret, "body": body, "headers": request.headers });
    let mut child = library.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(given.to_string().as_bytes()).unwrap();
    child.wait().unwrap().success()
}

#[track_caller]
fn check_signatures(library: fn() -> Option<Command>) {
    let Some(mut library) = library() else { return };
    let site = Site::with(&["webhook_signed"]);
    let receiver = Receiver::friendly();
    let (shared, old) = (format!("signed_secret={SECRET}"), format!("signed_old_secrets={OLD} {PRIVATE}"));
    let until = format!("signed_old_until={}", Timestamp::now() + std::time::Duration::from_secs(3600));
    site.add_webhook(62, &receiver.url("hook"), "signed", &["--set", &shared, "--set", &old, "--set", &until]);
    drop(site.emit_and_wait(62, "guest_added", r#"{"name":"Zoë \"Ø\" \u0000 😀","n":1.50}"#).ok());
    let request = receiver.wait_for(1).remove(0);
    // A kind that the libraries do not know is in the header as well.
    assert!(request.header("webhook-signature").contains(" v1a,"), "{request:?}");
    assert!(accepts(&mut library, &request, SECRET, &request.body), "the secret of today");
    assert!(accepts(&mut library, &request, OLD, &request.body), "that of before");
    let other = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    assert!(!accepts(&mut library, &request, other, &request.body), "that of somebody else");
    let changed = String::from_utf8(request.body.clone()).unwrap().replace("1.50", "1.5");
    assert!(!accepts(&mut library, &request, SECRET, changed.as_bytes()), "another body");
}

#[test]
fn the_python_library_of_standard_webhooks_accepts_a_delivery() {
    check_signatures(python);
}

#[test]
fn the_javascript_library_of_standard_webhooks_accepts_a_delivery() {
    check_signatures(javascript);
}

/// A running token server.
struct TokenServer {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    url: String,
}

impl TokenServer {
    fn start() -> Option<Self> {
        let folder = peer("oidc-provider", |folder| npm(folder, "oidc-provider@9.13.3"))?;
        // Where node finds the packages from.
        let script = folder.join("token-server.mjs");
        fs::write(&script, include_str!("../assets/peers/token-server.mjs")).unwrap();
        let mut command = Command::new("node");
        command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut url = String::new();
        stdout.read_line(&mut url).unwrap();
        assert!(url.starts_with("http://"), "the token server did not start: {url}");
        Some(Self { child, stdin, stdout, url: url.trim().to_owned() })
    }

    fn ask(&mut self, command: &str, token: &str) -> Value {
        writeln!(self.stdin, "{command} {token}").unwrap();
        let mut line = String::new();
        // The server's own notices come there as well.
        while !line.starts_with('{') {
            line.clear();
            assert!(self.stdout.read_line(&mut line).unwrap() > 0, "the token server has ended");
        }
        serde_json::from_str(&line).unwrap()
    }
}

impl Drop for TokenServer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn token(request: &Request) -> &str {
    request.header("authorization").strip_prefix("Bearer ").unwrap()
}

#[test]
fn a_token_server_gives_tokens_to_both_styles_and_a_withdrawn_one_is_renewed() {
    let Some(server) = TokenServer::start() else { return };
    let token_url = format!("token_url={}/token", server.url);
    let server = Arc::new(Mutex::new(server));
    let asked = Arc::clone(&server);
    let receiver = Receiver::start(move |request| {
        let worth = asked.lock().unwrap().ask("check", token(request));
        Answer::Status(if worth["active"] == true && worth["scope"] == "events" { 200 } else { 401 })
    });
    let site = Site::with(&["webhook_oauth"]);
    let secret = format!("secret={CLIENT_SECRET}");
    for (client, style) in [("with-basic", "basic"), ("with-body", "body")] {
        let (id, style) = (format!("client_id={client}"), format!("auth_style={style}"));
        let set = [&token_url, &secret, &id, &style, "scope=events"];
        let more: Vec<&str> = set.iter().flat_map(|set| ["--set", set]).collect();
        site.add_webhook(62, &receiver.url(client), "oauth", &more);
    }
    drop(site.emit_and_wait(62, "booking_added", "{}").ok());
    let requests = receiver.wait_for(2);
    for request in &requests {
        let worth = server.lock().unwrap().ask("check", token(request));
        assert_eq!(format!("/{}", worth["client"].as_str().unwrap()), request.path);
        server.lock().unwrap().ask("revoke", token(request));
    }
    let emitted = site.emit_and_wait(62, "booking_changed", "{}").ok().json();
    let (refused, renewed): (Vec<_>, Vec<_>) = receiver
        .wait_for(6)
        .into_iter()
        .skip(2)
        .partition(|request| requests.iter().any(|first| token(first) == token(request)));
    assert_eq!((refused.len(), renewed.len()), (2, 2), "each is sent again, in the same attempt, with a new token");
    for task in emitted["tasks"].as_array().unwrap() {
        let task = site.task(task["id"].as_i64().unwrap());
        assert_eq!(of_attempts(&task, "outcome"), ["ok"]);
        assert!(!task.to_string().contains(CLIENT_SECRET), "{task}");
    }
    let wrong =
        ["--set", &token_url, "--set", "client_id=with-body", "--set", "secret=another", "--set", "scope=events"];
    let add = ["webhook", "add", "--owner", "62", "--url", &receiver.url("x"), "--method", "oauth"];
    site.run(&[&add[..], &wrong].concat()).refused(2, &["secret"]);
    let listed = site.json(&["delivery", "list", "--event", "booking_changed"]);
    let shown = site.json(&["delivery", "show", &listed[0]["id"].to_string()]);
    let exchanges = shown["exchanges"].as_array().unwrap();
    let confidential: Vec<_> = exchanges.iter().map(|exchange| exchange["confidential"] == true).collect();
    assert_eq!(confidential, [false, true, false], "sent, a token asked for, sent again");
    assert!(renewed.iter().all(|request| !shown.to_string().contains(token(request))), "{shown}");
}
