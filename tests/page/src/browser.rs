//! A browser without a window, driven as the `WebDriver` standard has it.

use std::env;
use std::io::Write;
use std::process::Command;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use lock_tests::Process;
use lock_tests::http::send;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Duration, Instant, sleep};

use crate::PATIENCE;

/// The pause between two looks at the page.
const PAUSE: Duration = Duration::from_millis(20);

/// Chromium with a profile of its own. It ends with its driver, and that with this.
#[derive(Debug)]
pub struct Browser {
    address: String,
    session: String,
    /// Above the directory in which they work: ends first.
    _driver: Process,
    _directory: TempDir,
}

impl Browser {
    /// Starts one; `None`, and a word about it, where there is none and none is required.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub async fn start() -> Option<Self> {
        if let Err(missing) = installed() {
            let required = ["CI", "LOCK_REQUIRE_BROWSER"].iter().any(|variable| env::var_os(variable).is_some());
            assert!(!required, "{missing}");
            writeln!(std::io::stderr(), "*** NOT TESTED: {missing} ***").expect("standard error");
            return None;
        }
        let directory = tempfile::Builder::new().prefix("lock-page-").tempdir().expect("a temporary directory");
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").current_dir(directory.path());
        let mut driver = Process::spawn(&command);
        let port = loop {
            let line = driver.line(PATIENCE);
            if let Some((_, port)) = line.split_once("successfully on port ") {
                break port.trim_end_matches('.').to_owned();
            }
        };
        let address = format!("127.0.0.1:{port}");
        let profile = format!("--user-data-dir={}", directory.path().join("profile").display());
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            // Over a pipe: a browser whose driver is gone, however that came, ends.
            "--remote-debugging-pipe",
            "--window-size=1280,1000",
            &profile,
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": { "args": arguments } } } });
        let session = call(&address, "POST", "/session", &wanted).await;
        let session = session["sessionId"].as_str().expect("the session's id").to_owned();
        Some(Self { address, session, _driver: driver, _directory: directory })
    }

    async fn command(&self, command: &str, arguments: &Value) -> Value {
        call(&self.address, "POST", &format!("/session/{}/{command}", self.session), arguments).await
    }

    /// Opens a page and waits until it has loaded.
    ///
    /// # Panics
    ///
    /// When it does not load, as below.
    pub async fn go(&self, url: &str) {
        self.command("url", &json!({ "url": url })).await;
    }

    /// Runs the body of a function in the page, and returns what it returns.
    ///
    /// # Panics
    ///
    /// When it throws.
    pub async fn run(&self, script: &str) -> Value {
        self.command("execute/sync", &json!({ "script": script, "args": [] })).await
    }

    /// Waits until an expression in the page is true.
    ///
    /// # Panics
    ///
    /// When it is not within the time; says what the page shows instead.
    pub async fn until(&self, what: &str, condition: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.run(&format!("return Boolean({condition})")).await != json!(true) {
            if Instant::now() > deadline {
                let shown = self.run("return document.body.innerText").await;
                panic!("not within {PATIENCE:?}: {what}; the page says:\n{}", shown.as_str().unwrap_or_default());
            }
            sleep(PAUSE).await;
        }
    }

    /// The text of the element with this id.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub async fn text(&self, id: &str) -> String {
        let text = self.run(&format!("return document.getElementById('{id}').textContent")).await;
        text.as_str().expect("a text").to_owned()
    }

    /// Clicks in the middle of the element with this id, where a hand would: what lies above it is clicked instead.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub async fn click(&self, id: &str) {
        let found = self.command("element", &json!({ "using": "css selector", "value": format!("#{id}") })).await;
        let element = found.as_object().and_then(|found| found.values().next()).and_then(Value::as_str);
        self.command(&format!("element/{}/click", element.expect("an element")), &json!({})).await;
    }

    /// Presses keys, one after the other, wherever the focus is.
    ///
    /// # Panics
    ///
    /// When the driver refuses.
    pub async fn press(&self, keys: &[Key]) {
        let press =
            |key: &Key| [json!({ "type": "keyDown", "value": key.0 }), json!({ "type": "keyUp", "value": key.0 })];
        let actions: Vec<_> = keys.iter().flat_map(press).collect();
        self.command("actions", &json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": actions }] })).await;
    }

    /// As if on a screen of this size, on a phone if it is a narrow one.
    ///
    /// # Panics
    ///
    /// When the driver refuses.
    pub async fn screen(&self, width: u32, height: u32) {
        let mobile = width < 500;
        let screen = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile });
        self.tool("Emulation.setDeviceMetricsOverride", &screen).await;
    }

    /// As if the user had asked the system for this: `("prefers-color-scheme", "dark")`.
    ///
    /// # Panics
    ///
    /// When the driver refuses.
    pub async fn prefer(&self, feature: &str, value: &str) {
        let features = json!({ "features": [{ "name": feature, "value": value }] });
        self.tool("Emulation.setEmulatedMedia", &features).await;
    }

    async fn tool(&self, name: &str, parameters: &Value) {
        self.command("goog/cdp/execute", &json!({ "cmd": name, "params": parameters })).await;
    }

    /// What is on the screen, as a PNG.
    ///
    /// # Panics
    ///
    /// When the driver does not send any.
    pub async fn picture(&self) -> Vec<u8> {
        let path = format!("/session/{}/screenshot", self.session);
        let encoded = call(&self.address, "GET", &path, &Value::Null).await;
        BASE64_STANDARD.decode(encoded.as_str().expect("a text")).expect("base64")
    }
}

/// A key of the keyboard, by the character that stands for it in `WebDriver`.
#[derive(Debug, Clone, Copy)]
pub struct Key(char);

impl Key {
    /// Goes to the next thing that takes keys.
    pub const TAB: Self = Self('\u{e004}');
    /// Presses the button that has the focus.
    pub const ENTER: Self = Self('\u{e007}');
    /// One row down.
    pub const DOWN: Self = Self('\u{e015}');
}

async fn call(address: &str, method: &str, path: &str, arguments: &Value) -> Value {
    let body = if arguments.is_null() { String::new() } else { arguments.to_string() };
    let response = send(address, method, path, &body).await.expect("an answer of the driver");
    let mut answer: Value = serde_json::from_str(&response.body).expect("JSON");
    assert_eq!(response.status, 200, "{method} {path}: {}", answer["value"]["message"]);
    answer["value"].take()
}

/// Looks for both programs.
fn installed() -> Result<(), String> {
    for program in ["chromedriver", "chromium"] {
        if let Err(error) = Command::new(program).arg("--version").output() {
            return Err(format!("the live page of the web example: {program}: {error}"));
        }
    }
    Ok(())
}
