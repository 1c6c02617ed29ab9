//! One page of the browser: JavaScript to look with, a mouse and a keyboard, and what the page has reported.
//!
//! Tests get a [`Page`] from [`Browser::open`](super::Browser::open). Each method sends commands through `devtools`,
//! which also records the page's dialogs and errors.

use std::io::{Error, Result};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::devtools::{DevTools, PageLog, describe, lock, text};
use super::{COMMAND_LIMIT, POLL};

/// One page (a tab in a browser context of its own). Dropping it leaves the page open until the browser ends;
/// [`Page::close`] closes it.
#[derive(Debug)]
pub struct Page {
    devtools: DevTools,
    session: String,
    context: String,
    log: Arc<Mutex<PageLog>>,
}

impl Page {
    pub(super) async fn blank(devtools: DevTools) -> Result<Self> {
        let context = devtools.call("Target.createBrowserContext", json!({}), None).await?;
        let context = text(&context, "browserContextId")?;
        let target = json!({ "url": "about:blank", "browserContextId": context });
        let target = text(&devtools.call("Target.createTarget", target, None).await?, "targetId")?;
        let attach = json!({ "targetId": target, "flatten": true });
        let session = text(&devtools.call("Target.attachToTarget", attach, None).await?, "sessionId")?;
        let log = devtools.record(&session);
        let page = Self { devtools, session, context, log };
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            page.command(domain, json!({})).await?;
        }
        let window = json!({ "width": 1200, "height": 800, "deviceScaleFactor": 1, "mobile": false });
        page.command("Emulation.setDeviceMetricsOverride", window).await?;
        // Only one page has the system's focus. Each of ours must behave as if it had.
        page.command("Emulation.setFocusEmulationEnabled", json!({ "enabled": true })).await?;
        Ok(page)
    }

    /// Opens another address, and waits until it has loaded.
    ///
    /// # Errors
    ///
    /// The page does not load within 30 seconds.
    pub async fn navigate(&self, url: &str) -> Result<()> {
        let answer = self.command("Page.navigate", json!({ "url": url })).await?;
        if let Some(reason) = answer["errorText"].as_str() {
            return Err(Error::other(format!("cannot open {url}: {reason}")));
        }
        self.wait_for("location.href !== 'about:blank' && document.readyState === 'complete'", COMMAND_LIMIT)
            .await
    }

    /// Evaluates a JavaScript expression in the page, and awaits a promise. `undefined` is returned as `null`; use a
    /// [`Value`] for any type.
    ///
    /// # Errors
    ///
    /// The expression throws (the message has the exception), or its value is no `T`.
    pub async fn eval<T: DeserializeOwned>(&self, js: &str) -> Result<T> {
        self.run(js, js).await
    }

    /// Evaluates `js`. An error names `what`.
    async fn run<T: DeserializeOwned>(&self, js: &str, what: &str) -> Result<T> {
        let expression =
            json!({ "expression": js, "returnByValue": true, "awaitPromise": true, "userGesture": true });
        let mut answer = self.command("Runtime.evaluate", expression).await?;
        if let Some(exception) = answer.get("exceptionDetails") {
            let exception = describe(exception);
            // The other lines are the position in the expression.
            let reason = exception.lines().next().unwrap_or_default();
            return Err(Error::other(format!("{what}: {reason}")));
        }
        serde_json::from_value(answer["result"]["value"].take())
            .map_err(|error| Error::other(format!("{what}: {error}")))
    }

    /// Runs `body` with the first match of `selector` as `element`, and returns its value.
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

    /// Waits until a JavaScript expression is truthy. While it throws, it counts as false: the page may still load.
    ///
    /// # Errors
    ///
    /// It is not truthy within `limit`. The message has its last value and the page's text.
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
    /// Nothing matches, or the element cannot be clicked: it is hidden, disabled or covered.
    pub async fn click(&self, selector: &str) -> Result<()> {
        let (x, y): (f64, f64) = self.with(selector, CLICKABLE).await?;
        for kind in ["mouseMoved", "mousePressed", "mouseReleased"] {
            let button = if kind == "mouseMoved" { "none" } else { "left" };
            let event = json!({ "type": kind, "x": x, "y": y, "button": button, "clickCount": 1 });
            self.command("Input.dispatchMouseEvent", event).await?;
        }
        Ok(())
    }

    /// Focuses a field and replaces its content with `text`, as a keyboard or input method does: the page gets
    /// `beforeinput` and `input`.
    ///
    /// # Errors
    ///
    /// Nothing matches, or the element does not take the focus: it is hidden or disabled.
    pub async fn type_into(&self, selector: &str, text: &str) -> Result<()> {
        self.with::<()>(selector, FOCUSED).await?;
        self.command("Input.insertText", json!({ "text": text })).await?;
        Ok(())
    }

    /// Presses and releases Enter in the focused element.
    ///
    /// # Errors
    ///
    /// The browser has ended.
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

    /// Writes a picture of the window to a PNG file.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub async fn screenshot(&self, path: impl AsRef<Path>) -> Result<()> {
        let answer = self.command("Page.captureScreenshot", json!({ "format": "png" })).await?;
        std::fs::write(path, base64(&text(&answer, "data")?)?)
    }

    /// Returns how many JavaScript dialogs (`alert`, `confirm`, `prompt`) the page has opened. Each was accepted at once.
    /// A chat message that opens one has run as code.
    #[must_use]
    pub fn dialogs(&self) -> usize {
        lock(&self.log).dialogs
    }

    /// Returns the page's first 200 errors: uncaught exceptions, `console.error`, and the browser's own errors, such as a
    /// refused connection or a missing resource.
    #[must_use]
    pub fn console_errors(&self) -> Vec<String> {
        lock(&self.log).errors.clone()
    }

    /// Sends a DevTools command to this page, for all that has no method here: a phone's viewport, the dark colour scheme.
    ///
    /// # Errors
    ///
    /// The browser refuses it, does not answer within 30 seconds, or has ended.
    pub async fn command(&self, method: &str, params: Value) -> Result<Value> {
        self.devtools.call(method, params, Some(&self.session)).await
    }

    /// Closes the page and its browser context. Its connections end as with a closed tab.
    ///
    /// # Errors
    ///
    /// The browser has ended.
    pub async fn close(self) -> Result<()> {
        self.devtools.stop_recording(&self.session);
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

/// Focuses the element and selects its content, so that typing replaces it.
const FOCUSED: &str = "element.focus();
    if (document.activeElement !== element) throw new Error('does not take the focus');
    if (element.select) element.select();
    return null;";

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
