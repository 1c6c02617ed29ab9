//! A real browser for the end-to-end tests: headless Chromium, steered over the DevTools protocol.
//!
//! It is what the tests of the chat page need and no more: pages that share nothing with each other, a mouse, a
//! keyboard, JavaScript to look with, and a record of dialogs and console errors. It is not a WebDriver, knows no
//! frames or downloads, and trusts the pages it opens (the browser's sandbox is off, so that it runs as root in a
//! container).
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! # use gatewayworker_tests::browser::Browser;
//! # use std::time::Duration;
//! let browser = Browser::launch().await?;
//! let page = browser.open("file:///chat/client.html").await?;
//! page.type_into("#username", "alice").await?;
//! page.click("#login-btn").await?;
//! page.wait_for("document.querySelector('#status').dataset.state === 'connected'", Duration::from_secs(5)).await?;
//! # Ok(())
//! # }
//! ```

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// How long the browser may take to start and say where it listens.
const LAUNCH_LIMIT: Duration = Duration::from_secs(30);
/// How long one DevTools command may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(30);
/// How long a dropped browser's profile is tried to be removed.
const CLEANUP_LIMIT: Duration = Duration::from_secs(2);
/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(20);
/// Console errors kept per page; what comes after is dropped.
const ERRORS_KEPT: usize = 200;

/// Starts the browser with these arguments beside its own.
///
/// # Panics
/// When it does not start, or none is installed: a test that needs one says so with
/// [`programs::CHROMIUM`](crate::programs::CHROMIUM).
pub async fn launch(arguments: &[&str]) -> Browser {
    Browser::launch_with(arguments).await.expect("the browser starts")
}

/// What `CHROMIUM` names, or a Chromium or Chrome on the `PATH`.
pub(crate) fn executable() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("CHROMIUM").filter(|named| !named.is_empty()) {
        return Some(PathBuf::from(named)).filter(|path| path.is_file());
    }
    let path = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let places = names.iter().flat_map(|name| std::env::split_paths(&path).map(move |dir| dir.join(name)));
    places.into_iter().find(|place| place.is_file())
}

/// A running headless browser with a profile of its own. Dropping it ends the process and removes the profile.
#[derive(Debug)]
pub struct Browser {
    devtools: DevTools,
    _process: Process,
}

impl Browser {
    /// Starts a browser and connects to it.
    ///
    /// # Errors
    ///
    /// Where there is no browser, where it ends or says nothing within 30 seconds (what it wrote to
    /// its standard error is in the message), or where its DevTools endpoint does not open.
    pub async fn launch() -> Result<Self> {
        Self::launch_with(&[]).await
    }

    /// The same with more flags for the browser.
    ///
    /// # Errors
    ///
    /// As [`Browser::launch`].
    pub async fn launch_with(flags: &[&str]) -> Result<Self> {
        let program =
            executable().ok_or_else(|| Error::other("no chromium on the PATH and none named by CHROMIUM"))?;
        let profile = tempfile::Builder::new().prefix("browser-").tempdir()?;
        let mut process = Process::start(&program, profile, flags)?;
        let (port, path) = process.devtools_address().await?;
        let devtools = DevTools::connect(port, &path).await?;
        Ok(Self { devtools, _process: process })
    }

    /// Opens a page in a browser context of its own (no cookies, cache or storage in common with another page) and
    /// waits until it has loaded. The viewport is 1200 by 800 pixels.
    ///
    /// # Errors
    ///
    /// Where the address cannot be loaded, or not within 30 seconds.
    pub async fn open(&self, url: &str) -> Result<Page> {
        let page = Page::blank(self.devtools.clone()).await?;
        page.navigate(url).await?;
        Ok(page)
    }

    /// The same for a user whose language is this one, `zh-CN` for example: the page sees it as `navigator.language`.
    ///
    /// # Errors
    ///
    /// As [`Browser::open`].
    pub async fn open_in(&self, language: &str, url: &str) -> Result<Page> {
        let page = Page::blank(self.devtools.clone()).await?;
        let agent: String = page.eval("navigator.userAgent").await?;
        let preference = json!({ "userAgent": agent, "acceptLanguage": language });
        page.command("Emulation.setUserAgentOverride", preference).await?;
        page.navigate(url).await?;
        Ok(page)
    }
}

/// The browser's process and its profile, both gone after drop.
#[derive(Debug)]
struct Process {
    child: Child,
    profile: TempDir,
}

impl Process {
    fn start(program: &Path, profile: TempDir, flags: &[&str]) -> Result<Self> {
        let mut data_dir = OsString::from("--user-data-dir=");
        data_dir.push(profile.path());
        let child = Command::new(program)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--disable-dev-shm-usage",
            ])
            .args(["--no-first-run", "--disable-background-networking", "--disable-component-update"])
            .args(["--disable-sync", "--disable-extensions", "--mute-audio", "--hide-scrollbars"])
            // A page in the background is somebody's page too: its timers must not be slowed.
            .args(["--disable-background-timer-throttling", "--disable-backgrounding-occluded-windows"])
            .args(["--disable-renderer-backgrounding", "--remote-debugging-port=0"])
            .args(flags)
            .arg(data_dir)
            .arg("about:blank")
            // What it leaves in the temporary directory is to go with the profile.
            .env("TMPDIR", profile.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(profile.path().join("stderr"))?)
            .spawn()?;
        Ok(Self { child, profile })
    }

    /// The port and path of the DevTools endpoint, which the browser writes into its profile once it listens.
    async fn devtools_address(&mut self) -> Result<(u16, String)> {
        let profile = self.profile.path();
        let deadline = Instant::now() + LAUNCH_LIMIT;
        loop {
            let written = std::fs::read_to_string(profile.join("DevToolsActivePort")).unwrap_or_default();
            let mut lines = written.lines();
            if let (Some(port), Some(path)) = (lines.next().and_then(|port| port.parse().ok()), lines.next())
            {
                return Ok((port, path.to_owned()));
            }
            let ended = self.child.try_wait()?;
            if ended.is_some() || Instant::now() > deadline {
                let stderr = std::fs::read_to_string(profile.join("stderr")).unwrap_or_default();
                return Err(Error::other(format!("the browser did not start (status {ended:?}): {stderr}")));
            }
            sleep(POLL).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Either fails only for a process that is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // The browser's own children notice its end a moment later, and may write until then.
        let end = std::time::Instant::now() + CLEANUP_LIMIT;
        while std::fs::remove_dir_all(self.profile.path()).is_err() && std::time::Instant::now() < end {
            std::thread::sleep(POLL);
        }
    }
}

/// One page (a tab in a browser context of its own). Dropping it leaves the page open until the browser ends;
/// [`Page::close`] closes it.
#[derive(Debug)]
pub struct Page {
    devtools: DevTools,
    session: String,
    context: String,
    seen: Arc<Mutex<Seen>>,
}

impl Page {
    async fn blank(devtools: DevTools) -> Result<Self> {
        let context = devtools.call("Target.createBrowserContext", json!({}), None).await?;
        let context = text(&context, "browserContextId")?;
        let target = json!({ "url": "about:blank", "browserContextId": context });
        let target = text(&devtools.call("Target.createTarget", target, None).await?, "targetId")?;
        let attach = json!({ "targetId": target, "flatten": true });
        let session = text(&devtools.call("Target.attachToTarget", attach, None).await?, "sessionId")?;
        let seen = devtools.watch(&session);
        let page = Self { devtools, session, context, seen };
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            page.command(domain, json!({})).await?;
        }
        let window = json!({ "width": 1200, "height": 800, "deviceScaleFactor": 1, "mobile": false });
        page.command("Emulation.setDeviceMetricsOverride", window).await?;
        // Of several pages only one has the system's focus; each of ours is to behave as if it had.
        page.command("Emulation.setFocusEmulationEnabled", json!({ "enabled": true })).await?;
        Ok(page)
    }

    /// Leaves for another address and waits until it has loaded.
    ///
    /// # Errors
    ///
    /// Where the address cannot be loaded, or not within 30 seconds.
    pub async fn navigate(&self, url: &str) -> Result<()> {
        let answer = self.command("Page.navigate", json!({ "url": url })).await?;
        if let Some(reason) = answer["errorText"].as_str() {
            return Err(Error::other(format!("cannot open {url}: {reason}")));
        }
        self.wait_for("location.href !== 'about:blank' && document.readyState === 'complete'", COMMAND_LIMIT)
            .await
    }

    /// The value of a JavaScript expression in the page (a promise is waited for). `undefined` reads as `null`; ask
    /// for a [`Value`] where any will do.
    ///
    /// # Errors
    ///
    /// Where the expression throws (the exception is in the message) or its value is no `T`.
    pub async fn eval<T: DeserializeOwned>(&self, js: &str) -> Result<T> {
        self.run(js, js).await
    }

    /// Evaluates `js`; errors call it `what`.
    async fn run<T: DeserializeOwned>(&self, js: &str, what: &str) -> Result<T> {
        let expression =
            json!({ "expression": js, "returnByValue": true, "awaitPromise": true, "userGesture": true });
        let mut answer = self.command("Runtime.evaluate", expression).await?;
        if let Some(exception) = answer.get("exceptionDetails") {
            let exception = described(exception);
            // The rest is where in the expression, which is short.
            let reason = exception.lines().next().unwrap_or_default();
            return Err(Error::other(format!("{what}: {reason}")));
        }
        serde_json::from_value(answer["result"]["value"].take())
            .map_err(|error| Error::other(format!("{what}: {error}")))
    }

    /// Runs `body`, which returns a value, with the first match of `selector` as `element`.
    async fn with<T: DeserializeOwned>(&self, selector: &str, body: &str) -> Result<T> {
        // A JSON string is a JavaScript string.
        let quoted = Value::from(selector);
        let js = format!(
            "(() => {{ const element = document.querySelector({quoted});
            if (!element) throw new Error('nothing matches');
            {body} }})()"
        );
        self.run(&js, selector).await
    }

    /// Waits until a JavaScript expression is truthy. One that throws counts as not yet, since the page may still
    /// be on its way.
    ///
    /// # Errors
    ///
    /// Where that is not so within `limit`: what it was last is in the message, and the page's text.
    pub async fn wait_for(&self, condition: &str, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            let last = self.eval::<bool>(&format!("Boolean({condition})")).await;
            if matches!(last, Ok(true)) {
                return Ok(());
            }
            if Instant::now() > deadline {
                let text: Value = self.eval("document.body.innerText").await.unwrap_or_default();
                return Err(Error::other(format!("not within {limit:?}: {condition} ({last:?})\n{text}")));
            }
            sleep(POLL).await;
        }
    }

    /// Clicks the middle of the first element that matches, with the mouse, after scrolling it into view.
    ///
    /// # Errors
    ///
    /// Where nothing matches, or where a click there would hit something else (hidden, disabled or covered).
    pub async fn click(&self, selector: &str) -> Result<()> {
        let (x, y): (f64, f64) = self.with(selector, CLICKABLE).await?;
        for kind in ["mouseMoved", "mousePressed", "mouseReleased"] {
            let button = if kind == "mouseMoved" { "none" } else { "left" };
            let event = json!({ "type": kind, "x": x, "y": y, "button": button, "clickCount": 1 });
            self.command("Input.dispatchMouseEvent", event).await?;
        }
        Ok(())
    }

    /// Focuses a field and types `text` in place of what it holds, as a keyboard or input method would: the page
    /// sees `beforeinput` and `input`.
    ///
    /// # Errors
    ///
    /// Where nothing matches or the element does not take the focus (hidden or disabled).
    pub async fn type_into(&self, selector: &str, text: &str) -> Result<()> {
        self.with::<()>(selector, FOCUSED).await?;
        self.command("Input.insertText", json!({ "text": text })).await?;
        Ok(())
    }

    /// Presses and releases Enter where the focus is.
    ///
    /// # Errors
    ///
    /// Where the browser is gone.
    pub async fn press_enter(&self) -> Result<()> {
        for kind in ["keyDown", "keyUp"] {
            let mut event =
                json!({ "type": kind, "key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13 });
            if kind == "keyDown" {
                event["text"] = json!("\r");
            }
            self.command("Input.dispatchKeyEvent", event).await?;
        }
        Ok(())
    }

    /// Writes what the window shows to a PNG file.
    ///
    /// # Errors
    ///
    /// Where the file cannot be written.
    pub async fn screenshot(&self, path: impl AsRef<Path>) -> Result<()> {
        let answer = self.command("Page.captureScreenshot", json!({ "format": "png" })).await?;
        std::fs::write(path, base64(&text(&answer, "data")?)?)
    }

    /// How many JavaScript dialogs (`alert`, `confirm`, `prompt`) the page has opened. Each was accepted at once.
    /// A message that opens one has run as code.
    #[must_use]
    pub fn dialogs(&self) -> usize {
        lock(&self.seen).dialogs
    }

    /// Exceptions nobody caught, `console.error`, and the browser's own complaints (a connection refused, a
    /// resource missing), in the order they came; the first 200.
    #[must_use]
    pub fn console_errors(&self) -> Vec<String> {
        lock(&self.seen).errors.clone()
    }

    /// Sends a DevTools command to this page: the way to what has no method here (a phone's viewport, the dark
    /// colour scheme, another language).
    ///
    /// # Errors
    ///
    /// Where the browser refuses it, does not answer within 30 seconds, or is gone.
    pub async fn command(&self, method: &str, params: Value) -> Result<Value> {
        self.devtools.call(method, params, Some(&self.session)).await
    }

    /// Closes the page and its browser context; its connections end as if the tab was closed.
    ///
    /// # Errors
    ///
    /// Where the browser is gone.
    pub async fn close(self) -> Result<()> {
        self.devtools.forget(&self.session);
        let context = json!({ "browserContextId": self.context });
        self.devtools.call("Target.disposeBrowserContext", context, None).await.map(drop)
    }
}

/// The point to click, or an exception that says why there is none.
const CLICKABLE: &str = "element.scrollIntoView({ block: 'nearest', behavior: 'instant' });
    const box = element.getBoundingClientRect(), x = box.x + box.width / 2, y = box.y + box.height / 2;
    const hit = document.elementFromPoint(x, y);
    if (!box.width || !element.contains(hit)) throw new Error('a click would hit ' + (hit && hit.cloneNode().outerHTML));
    if (element.disabled) throw new Error('disabled');
    return [x, y];";

/// Focuses the element and selects what it holds, so that typing replaces it.
const FOCUSED: &str = "element.focus();
    if (document.activeElement !== element) throw new Error('does not take the focus');
    if (element.select) element.select();
    return null;";

/// What happened in a page while nobody asked.
#[derive(Debug, Default)]
struct Seen {
    dialogs: usize,
    errors: Vec<String>,
}

impl Seen {
    fn note(&mut self, method: &str, params: &Value) {
        let error = match method {
            "Page.javascriptDialogOpening" => {
                self.dialogs += 1;
                return;
            }
            "Runtime.exceptionThrown" => described(&params["exceptionDetails"]),
            "Runtime.consoleAPICalled" if params["type"] == "error" => params["args"].to_string(),
            "Log.entryAdded" if params["entry"]["level"] == "error" => {
                text(&params["entry"], "text").unwrap_or_default()
            }
            _ => return,
        };
        if self.errors.len() < ERRORS_KEPT {
            self.errors.push(error);
        }
    }
}

/// A cheap handle on the one connection to the browser. The task behind it ends with the last handle.
#[derive(Clone, Debug)]
struct DevTools {
    calls: mpsc::Sender<Call>,
    pages: Pages,
}

type Pages = Arc<Mutex<HashMap<String, Arc<Mutex<Seen>>>>>;

/// A command on its way to the browser, and where its answer goes.
#[derive(Debug)]
struct Call {
    message: Value,
    answer: Option<oneshot::Sender<Result<Value>>>,
}

impl DevTools {
    async fn connect(port: u16, path: &str) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let handshake = tokio_tungstenite::client_async(format!("ws://127.0.0.1:{port}{path}"), stream);
        let (socket, _) = timeout(LAUNCH_LIMIT, handshake).await?.map_err(Error::other)?;
        let (calls, queue) = mpsc::channel(16);
        let pages = Pages::default();
        tokio::spawn(converse(socket, queue, pages.clone()));
        Ok(Self { calls, pages })
    }

    /// Starts recording what happens in a page.
    fn watch(&self, session: &str) -> Arc<Mutex<Seen>> {
        lock(&self.pages).entry(session.to_owned()).or_default().clone()
    }

    fn forget(&self, session: &str) {
        lock(&self.pages).remove(session);
    }

    async fn call(&self, method: &str, params: Value, session: Option<&str>) -> Result<Value> {
        let (answer, answered) = oneshot::channel();
        let message = message(method, params, session);
        let gone = || Error::other(format!("{method}: the browser is gone"));
        self.calls.send(Call { message, answer: Some(answer) }).await.map_err(|_| gone())?;
        timeout(COMMAND_LIMIT, answered)
            .await
            .map_err(|_| Error::other(format!("{method}: no answer within {COMMAND_LIMIT:?}")))?
            .map_err(|_| gone())?
            .map_err(|error| Error::other(format!("{method}: {error}")))
    }
}

/// Carries calls to the browser and answers back, and notes events, until either side ends. Calls that wait then
/// see their answer's sender dropped.
async fn converse(mut socket: WebSocketStream<TcpStream>, mut queue: mpsc::Receiver<Call>, pages: Pages) {
    let mut waiting = HashMap::new();
    let mut last_id = 0_u64;
    loop {
        let call = tokio::select! {
            call = queue.recv() => call,
            received = socket.next() => match received {
                Some(Ok(Message::Text(json))) => match heard(&json, &mut waiting, &pages) {
                    Some(reply) => Some(reply),
                    None => continue,
                },
                Some(Ok(_)) => continue,
                Some(Err(_)) | None => None,
            },
        };
        let Some(Call { mut message, answer }) = call else { return };
        last_id += 1;
        message["id"] = json!(last_id);
        if let Some(answer) = answer {
            waiting.insert(last_id, answer);
        }
        if socket.send(Message::text(message.to_string())).await.is_err() {
            return;
        }
    }
}

/// Delivers an answer or notes an event. A dialog has to be answered, or its page stands still: that is the reply.
fn heard(
    json: &str,
    waiting: &mut HashMap<u64, oneshot::Sender<Result<Value>>>,
    pages: &Pages,
) -> Option<Call> {
    let mut heard: Value = serde_json::from_str(json).ok()?;
    if let Some(id) = heard["id"].as_u64() {
        let answer = match heard.get("error") {
            Some(error) => Err(Error::other(error.to_string())),
            None => Ok(heard["result"].take()),
        };
        // Whoever asked may have stopped waiting.
        let _ = waiting.remove(&id)?.send(answer);
        return None;
    }
    let session = heard["sessionId"].as_str()?;
    let method = heard["method"].as_str()?;
    let seen = lock(pages).get(session)?.clone();
    lock(&seen).note(method, &heard["params"]);
    (method == "Page.javascriptDialogOpening").then(|| Call {
        message: message("Page.handleJavaScriptDialog", json!({ "accept": true }), Some(session)),
        answer: None,
    })
}

fn message(method: &str, params: Value, session: Option<&str>) -> Value {
    let mut message = json!({ "method": method, "params": params });
    if let Some(session) = session {
        message["sessionId"] = json!(session);
    }
    message
}

fn described(exception: &Value) -> String {
    let description = exception["exception"]["description"].as_str().or_else(|| exception["text"].as_str());
    description.map_or_else(|| exception.to_string(), str::to_owned)
}

fn text(value: &Value, key: &str) -> Result<String> {
    let found = value[key].as_str().map(str::to_owned);
    found.ok_or_else(|| Error::other(format!("no {key} in the browser's answer")))
}

/// Decodes base64 as the protocol writes it: the standard alphabet, padded (RFC 4648, section 4).
fn base64(encoded: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(encoded.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for letter in encoded.bytes().filter(|letter| *letter != b'=') {
        let digit = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return Err(Error::other("no base64 in the browser's answer")),
        };
        bits = bits << 6 | u32::from(digit);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    Ok(bytes)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
