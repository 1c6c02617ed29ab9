//! The one connection to the browser, with the DevTools protocol.
//!
//! [`Page`](super::Page) and [`Browser`](super::Browser) send commands through a [`DevTools`]. A task behind it
//! matches answers to commands, records dialogs and errors of each page, and accepts every dialog.

use std::collections::HashMap;
use std::io::{Error, Result};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::{COMMAND_LIMIT, LAUNCH_LIMIT};

/// Console errors kept per page; later ones are dropped.
const ERRORS_KEPT: usize = 200;

/// The dialogs and errors of a page.
#[derive(Debug, Default)]
pub(super) struct PageLog {
    pub(super) dialogs: usize,
    pub(super) errors: Vec<String>,
}

impl PageLog {
    /// Records an event of the browser, if it is a dialog or an error.
    fn record(&mut self, method: &str, params: &Value) {
        let error = match method {
            "Page.javascriptDialogOpening" => {
                self.dialogs += 1;
                return;
            }
            "Runtime.exceptionThrown" => describe(&params["exceptionDetails"]),
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
pub(super) struct DevTools {
    calls: mpsc::Sender<Call>,
    logs: PageLogs,
}

/// The log of each recorded page, by its session.
type PageLogs = Arc<Mutex<HashMap<String, Arc<Mutex<PageLog>>>>>;

/// A command to the browser, and the receiver of its answer.
#[derive(Debug)]
struct Call {
    message: Value,
    answer: Option<oneshot::Sender<Result<Value>>>,
}

impl DevTools {
    /// Connects to the browser's endpoint.
    pub(super) async fn connect(port: u16, path: &str) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let handshake = tokio_tungstenite::client_async(format!("ws://127.0.0.1:{port}{path}"), stream);
        let (socket, _) = timeout(LAUNCH_LIMIT, handshake).await?.map_err(Error::other)?;
        let (calls, queue) = mpsc::channel(16);
        let logs = PageLogs::default();
        tokio::spawn(run(socket, queue, logs.clone()));
        Ok(Self { calls, logs })
    }

    /// Starts to record the dialogs and errors of a page.
    pub(super) fn record(&self, session: &str) -> Arc<Mutex<PageLog>> {
        lock(&self.logs).entry(session.to_owned()).or_default().clone()
    }

    /// Stops recording a page.
    pub(super) fn stop_recording(&self, session: &str) {
        lock(&self.logs).remove(session);
    }

    /// Sends a command, to a page or to the browser, and returns its answer.
    ///
    /// # Errors
    /// The browser refuses it, does not answer within [`COMMAND_LIMIT`], or is gone.
    pub(super) async fn call(&self, method: &str, params: Value, session: Option<&str>) -> Result<Value> {
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

/// Sends calls, delivers their answers and records events, until either side ends. A call that still waits then
/// fails, because the sender of its answer is dropped.
async fn run(mut socket: WebSocketStream<TcpStream>, mut queue: mpsc::Receiver<Call>, logs: PageLogs) {
    let mut waiting = HashMap::new();
    let mut last_id = 0_u64;
    loop {
        let call = tokio::select! {
            call = queue.recv() => call,
            received = socket.next() => match received {
                Some(Ok(Message::Text(json))) => match handle(&json, &mut waiting, &logs) {
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

/// Delivers an answer or records an event. Returns the command that accepts a dialog: until then, its page is blocked.
fn handle(
    json: &str,
    waiting: &mut HashMap<u64, oneshot::Sender<Result<Value>>>,
    logs: &PageLogs,
) -> Option<Call> {
    let mut received: Value = serde_json::from_str(json).ok()?;
    if let Some(id) = received["id"].as_u64() {
        let answer = match received.get("error") {
            Some(error) => Err(Error::other(error.to_string())),
            None => Ok(received["result"].take()),
        };
        // The caller may have stopped waiting.
        let _ = waiting.remove(&id)?.send(answer);
        return None;
    }
    let session = received["sessionId"].as_str()?;
    let method = received["method"].as_str()?;
    let log = lock(logs).get(session)?.clone();
    lock(&log).record(method, &received["params"]);
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

/// The description of an exception.
pub(super) fn describe(exception: &Value) -> String {
    let description = exception["exception"]["description"].as_str().or_else(|| exception["text"].as_str());
    description.map_or_else(|| exception.to_string(), str::to_owned)
}

/// A text of the browser's answer.
pub(super) fn text(value: &Value, key: &str) -> Result<String> {
    let found = value[key].as_str().map(str::to_owned);
    found.ok_or_else(|| Error::other(format!("no {key} in the browser's answer")))
}

/// Locks a mutex whose data no panic leaves half-changed.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
