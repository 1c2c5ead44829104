//! A real headless Chromium, driven through chromedriver as W3C WebDriver describes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{inner_target, wait_until};

/// Name under which WebDriver gives an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Environment variable under which a browser must not be missing.
const REQUIRED: &str = "SWITCHBOARD_TEST_BROWSER_REQUIRED";

/// Returns whether there is a browser; says so once in a line when there is none.
#[must_use]
pub fn has_browser() -> bool {
    let found =
        ["chromium", "chromedriver"].iter().all(|program| Command::new(program).arg("--version").output().is_ok());
    assert!(found || !crate::is_required(REQUIRED), "{REQUIRED} is set, and there is no chromium or chromedriver");
    if !found {
        crate::say_skipped("there is no chromium or chromedriver (Debian: chromium chromium-driver)");
    }
    found
}

/// A browser with a profile of its own. It ends when it is dropped.
pub struct Browser {
    driver: Child,
    port: u16,
    session: String,
    /// Where the server is, without a slash at the end.
    base: String,
    _profile: TempDir,
}

/// How many drivers are tried. One that is given a free port by the system wants it for IPv6 as well, and ends when it is taken
/// there.
const DRIVERS: u32 = 5;

impl Browser {
    /// Starts a browser that prefers a language, for the server at an address.
    #[must_use]
    pub fn open(address: &str, language: &str) -> Self {
        let profile = TempDir::new().unwrap();
        let (driver, port) = (0..DRIVERS).find_map(|_| start_driver(profile.path())).unwrap();
        let data = format!("--user-data-dir={}", profile.path().join("profile").display());
        let quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"];
        let silent = ["--disable-background-networking", "--disable-component-update", "--disable-sync"];
        let language = [format!("--lang={language}"), format!("--accept-lang={language}"), data];
        let arguments: Vec<&str> = quiet
            .into_iter()
            .chain(silent)
            .chain(language.iter().map(String::as_str))
            .chain(["--window-size=1280,900"])
            .collect();
        let options = json!({ "args": arguments, "prefs": { "intl.accept_languages": language[0].trim_start_matches("--lang=") } });
        let mut browser =
            Self { driver, port, session: String::new(), base: format!("http://{address}"), _profile: profile };
        let wanted = json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": options } } });
        let session = browser.request("POST", "/session", Some(&wanted)).unwrap();
        browser.session = session["sessionId"].as_str().unwrap().to_owned();
        browser
    }

    /// Sends a command to the driver, and returns its value or what went wrong.
    fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let body = body.map(Value::to_string).unwrap_or_default();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            self.port,
            body.len()
        )
        .unwrap();
        // The driver keeps the connection, whatever it is asked.
        let (mut stream, mut length) = (BufReader::new(stream), 0);
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            match line.trim_end().split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.trim().parse().unwrap();
                }
                None if line.trim_end().is_empty() => break,
                _ => {}
            }
        }
        let mut answer = vec![0; length];
        stream.read_exact(&mut answer).unwrap();
        let value: Value = serde_json::from_slice(&answer).unwrap();
        match value["value"]["error"].as_str() {
            Some(error) => Err(format!("{error}: {}", value["value"]["message"])),
            None => Ok(value["value"].clone()),
        }
    }

    #[track_caller]
    fn command(&self, method: &str, path: &str, body: Value) -> Value {
        let body = Some(&body).filter(|_| method == "POST");
        self.request(method, &format!("/session/{}{path}", self.session), body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}\n{}", self.text()))
    }

    /// Goes to a path of the server, or to a whole address.
    #[track_caller]
    pub fn go(&self, path: &str) {
        let address = if path.starts_with('/') { format!("{}{path}", self.base) } else { path.to_owned() };
        self.command("POST", "/url", json!({ "url": address }));
    }

    /// Returns the path and the query of the page.
    #[must_use]
    #[track_caller]
    pub fn path(&self) -> String {
        let address = self.command("GET", "/url", Value::Null);
        address.as_str().unwrap().strip_prefix(&self.base).unwrap_or_default().to_owned()
    }

    /// Runs a script in the page, and returns what it returns.
    #[track_caller]
    pub fn run(&self, script: &str, arguments: Value) -> Value {
        self.command("POST", "/execute/sync", json!({ "script": script, "args": arguments }))
    }

    /// Runs a script that calls its last argument when it is done.
    #[track_caller]
    pub fn run_async(&self, script: &str) -> Value {
        self.command("POST", "/execute/async", json!({ "script": script, "args": [] }))
    }

    /// Returns the text that a person sees.
    #[must_use]
    pub fn text(&self) -> String {
        let script = json!({ "script": "return document.body?.innerText ?? ''", "args": [] });
        let text = self.request("POST", &format!("/session/{}/execute/sync", self.session), Some(&script));
        text.ok().and_then(|text| text.as_str().map(str::to_owned)).unwrap_or_default()
    }

    /// Waits until the page shows a text.
    #[track_caller]
    pub fn wait_for(&self, text: &str) {
        wait_until(&format!("the page shows `{text}`; it shows: {}", self.text()), || self.text().contains(text));
    }

    #[track_caller]
    fn element(&self, selector: &str) -> String {
        let found = self.command("POST", "/element", json!({ "using": "css selector", "value": selector }));
        found[ELEMENT].as_str().unwrap().to_owned()
    }

    /// Clicks the element of a selector.
    #[track_caller]
    pub fn click(&self, selector: &str) {
        let element = self.element(selector);
        self.command("POST", &format!("/element/{element}/click"), json!({}));
    }

    /// Clicks a link or a button by its text.
    #[track_caller]
    pub fn press(&self, text: &str) {
        let xpath = format!("//main//*[self::a or self::button][normalize-space()='{text}']");
        let found = self.command("POST", "/element", json!({ "using": "xpath", "value": xpath }));
        let element = found[ELEMENT].as_str().unwrap();
        self.command("POST", &format!("/element/{element}/click"), json!({}));
    }

    /// Types into a field, in place of what it holds.
    #[track_caller]
    pub fn fill(&self, selector: &str, text: &str) {
        let element = self.element(selector);
        self.command("POST", &format!("/element/{element}/clear"), json!({}));
        if !text.is_empty() {
            self.command("POST", &format!("/element/{element}/value"), json!({ "text": text }));
        }
    }

    /// Chooses an option of a drop-down as a person does, so that the page hears of it.
    #[track_caller]
    pub fn choose(&self, selector: &str, value: &str) {
        self.click(&format!("{selector} option[value=\"{value}\"]"));
    }

    /// Signs in.
    #[track_caller]
    pub fn sign_in(&self, name: &str, password: &str) {
        self.go("/sign-in");
        self.fill("#name", name);
        self.fill("#password", password);
        self.press("Sign in");
        wait_until(&format!("{name} is signed in"), || !self.path().starts_with("/sign-in"));
    }

    /// Keeps a picture of the whole page under the target folder, and returns where.
    #[track_caller]
    pub fn picture(&self, name: &str) -> PathBuf {
        let folder = pictures();
        std::fs::create_dir_all(&folder).unwrap();
        let size = &self.devtools("Page.getLayoutMetrics", json!({}))["cssContentSize"];
        let clip = json!({ "x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1 });
        let picture = self.devtools("Page.captureScreenshot", json!({ "captureBeyondViewport": true, "clip": clip }));
        let file = folder.join(format!("{name}.png"));
        std::fs::write(&file, BASE64_STANDARD.decode(picture["data"].as_str().unwrap()).unwrap()).unwrap();
        file
    }

    /// Lets pages believe that the window has this size, which may be smaller than a window can be.
    #[track_caller]
    pub fn size(&self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", size);
    }

    /// Presses a key so often, wherever the focus is.
    #[track_caller]
    pub fn key(&self, key: char, times: usize) {
        let press = [json!({ "type": "keyDown", "value": key }), json!({ "type": "keyUp", "value": key })];
        let presses = vec![press; times].concat();
        let actions = json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": presses }] });
        self.command("POST", "/actions", actions);
    }

    /// Tells the browser something that only it knows.
    #[track_caller]
    fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.command("POST", "/goog/cdp/execute", json!({ "cmd": command, "params": parameters }))
    }

    /// Lets pages believe that the system is light or dark.
    #[track_caller]
    pub fn scheme(&self, scheme: &str) {
        let feature = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": feature }));
    }

    /// Lets pages run scripts or not.
    #[track_caller]
    pub fn scripts(&self, run: bool) {
        self.devtools("Emulation.setScriptExecutionDisabled", json!({ "value": !run }));
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends the browser; the driver would leave it running.
        let _ = self.request("DELETE", &format!("/session/{}", self.session), None);
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// Returns the folder in which pictures of the pages are kept.
#[must_use]
pub fn pictures() -> PathBuf {
    inner_target().with_file_name("pages")
}

/// Starts a driver, and reads from its first lines at which port it listens; `None` when it has ended before it said so.
fn start_driver(home: &Path) -> Option<(Child, u16)> {
    let mut driver = Command::new("chromedriver")
        .arg("--port=0")
        .env("HOME", home)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
    let line = lines.find_map(|line| line.ok().filter(|line| line.contains("started successfully on port")));
    let Some(line) = line else {
        let _ = driver.wait();
        return None;
    };
    let port = line.rsplit(' ').next().unwrap().trim_end_matches('.').parse().unwrap();
    // Read on, so that the driver never waits for somebody who does.
    std::thread::spawn(move || lines.for_each(drop));
    Some((driver, port))
}
