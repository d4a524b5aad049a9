//! Headless Chromium, driven over WebDriver (www.w3.org/TR/webdriver2). When a step fails, a screenshot is saved and
//! its path printed.

use crate::fake_stripe::from_base64;
use crate::harness::{Address, Client, Request, until};
use crate::tools::Tool;
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use tokio::task::{LocalSet, spawn_local};

/// Runs these steps, and saves a screenshot if one of them fails.
pub async fn watched(name: &str, browser: Rc<Browser>, steps: impl Future<Output = ()> + 'static) {
    let Err(failed) = LocalSet::new().run_until(async { spawn_local(steps).await }).await else { return };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("screenshots");
    let picture = folder.join(format!("{name}.png"));
    let location = browser.ask("GET", "/url", json!({})).await;
    let shot = from_base64(browser.ask("GET", "/screenshot", json!({})).await.as_str().unwrap_or_default());
    std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::write(&picture, shot))
        .expect("a place for a picture");
    eprintln!("the browser was at {location}; screenshot: {}", picture.display());
    std::panic::resume_unwind(failed.into_panic());
}

/// One browser window.
pub struct Browser {
    driver: Address,
    session: String,
    // Dropped last: the browser ends with it.
    _tool: Tool,
}

impl Browser {
    /// Starts a driver and opens a window.
    pub async fn start() -> Self {
        let mut tool = Tool::start(Command::new("chromedriver").arg("--port=0"));
        let port = until("chromedriver's port", async || {
            tool.has_output("started successfully on port ").then(|| tool.log())
        })
        .await;
        let port = port
            .split("successfully on port ")
            .nth(1)
            .and_then(|rest| rest.split('.').next())
            .expect("a port");
        let driver = Address::Tcp((Ipv4Addr::LOCALHOST, port.parse().expect("a port")).into());
        let arguments = json!([
            "--headless=new",
            // The sandbox needs rights that a container, or root, does not have. Only our own pages are opened.
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--disable-background-networking",
            "--no-first-run",
            // No name but those of this machine is resolved.
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
        ]);
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome", "goog:chromeOptions": { "args": arguments },
        } } });
        let made = tell(&driver, "POST", "/session", wanted).await;
        let session = made["sessionId"].as_str().unwrap_or_else(|| panic!("no browser: {made}")).to_owned();
        Self { driver, session, _tool: tool }
    }

    /// Opens this address.
    pub async fn open(&self, url: &str) {
        self.ask("POST", "/url", json!({ "url": url })).await;
    }

    /// Clicks on an element.
    pub async fn click(&self, selector: &str) {
        let element = self.element(selector).await;
        self.ask("POST", &format!("/element/{element}/click"), json!({})).await;
    }

    /// Replaces the value of an input.
    pub async fn fill(&self, selector: &str, text: &str) {
        let element = self.element(selector).await;
        self.ask("POST", &format!("/element/{element}/clear"), json!({})).await;
        self.ask("POST", &format!("/element/{element}/value"), json!({ "text": text })).await;
    }

    /// Returns the text of an element.
    pub async fn text(&self, selector: &str) -> String {
        let element = self.element(selector).await;
        let text = self.ask("GET", &format!("/element/{element}/text"), json!({})).await;
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the page's address starts with this text.
    pub async fn comes_to(&self, start: &str) {
        until(format!("a page at {start}"), async || {
            let url = self.ask("GET", "/url", json!({})).await;
            url.as_str().is_some_and(|url| url.starts_with(start)).then_some(())
        })
        .await;
    }

    /// Waits until an element has exactly this text.
    pub async fn shows(&self, selector: &str, text: &str) {
        until(format!("{selector} showing {text:?}"), async || {
            (self.text(selector).await == text).then_some(())
        })
        .await;
    }

    async fn element(&self, selector: &str) -> String {
        let find = json!({ "using": "css selector", "value": selector });
        let found = self.ask("POST", "/element", find).await;
        let id = found.as_object().and_then(|found| found.values().next()).and_then(Value::as_str);
        id.unwrap_or_else(|| panic!("no {selector} on the page: {found}")).to_owned()
    }

    /// Sends one command to this window.
    async fn ask(&self, method: &str, command: &str, body: Value) -> Value {
        tell(&self.driver, method, &format!("/session/{}{command}", self.session), body).await
    }
}

/// Sends one command to the driver.
async fn tell(driver: &Address, method: &str, target: &str, body: Value) -> Value {
    let request = Request::new(method, target).with("Host", "localhost").header("Connection", "close");
    let request = match method {
        "GET" => request,
        _ => request.header("Content-Type", "application/json").body(body.to_string()),
    };
    Client::connect(driver).await.send(&request).await.json()["value"].take()
}
