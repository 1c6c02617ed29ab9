//! The protocol of the control socket, with both ends: the tool asks with [`ask`], the supervisor answers with
//! [`serve`]. A connection carries one line of JSON with a request, and one line with its answer. The socket is in
//! the run directory, which says who may open it; a process that may do so controls the cluster.

use std::fs::{self, Permissions};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener as Listener, UnixStream as Connection};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use gatewayworker_net::LineReader;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// The longest request, in bytes.
const MAX_REQUEST_BYTES: usize = 4 * 1024;

/// The longest answer, in bytes.
const MAX_ANSWER_BYTES: u64 = 1024 * 1024;

/// How long a request may take to arrive, or an answer to be sent.
const IO_TIMEOUT: Duration = Duration::from_secs(1);

/// How long to wait before the next try where no connection can be accepted.
const ACCEPT_WAIT: Duration = Duration::from_millis(100);

/// How many connections are served at a time; others wait to be accepted.
const MAX_CONNECTIONS: usize = 16;

/// A request of the tool to a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub(crate) enum Request {
    /// Answer as soon as all daemons listen.
    Ready,
    /// Answer as soon as the cluster can do its work; an error says why that takes too long.
    Able,
    /// Send a report.
    Status,
    /// Put a new worker in the place of the old one, and have the other daemons read their files again.
    Reload,
    /// End the cluster, after a drain or at once. The answer comes before the end.
    Stop {
        /// At once.
        now: bool,
    },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Ok(Value),
    Error(String),
}

/// Listens at `path`, in the place of a cluster that has ended: the caller holds the lock of the run directory. Those
/// who have `permissions` may connect.
///
/// # Errors
/// When the socket cannot be made: a path of more than about 100 bytes is too long for one.
pub(crate) fn listen(path: &Path, permissions: Permissions) -> anyhow::Result<Listener> {
    let name = path.display();
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot replace {name}"));
        }
        _ => {}
    }
    let listener = Listener::bind(path).with_context(|| format!("cannot listen on {name} (--run-dir)"))?;
    listener.set_nonblocking(true).with_context(|| format!("cannot listen on {name}"))?;
    // The directory may be one that others can look into.
    fs::set_permissions(path, permissions).with_context(|| format!("cannot protect {name}"))?;
    Ok(listener)
}

/// Answers each request with what `answer` returns for it, until it is dropped.
pub(crate) async fn serve<F>(listener: UnixListener, answer: impl Fn(Request) -> F + Send + Sync + 'static)
where
    F: Future<Output = Result<Value, String>> + Send,
{
    let answer = Arc::new(answer);
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // The process has no descriptor left; connections that end give theirs back.
            tokio::time::sleep(ACCEPT_WAIT).await;
            continue;
        };
        let answer = answer.clone();
        tokio::spawn(async move {
            let _ = serve_connection(stream, &*answer).await;
            drop(permit);
        });
    }
}

async fn serve_connection<F>(mut stream: UnixStream, answer: &impl Fn(Request) -> F) -> io::Result<()>
where
    F: Future<Output = Result<Value, String>>,
{
    let (reading, mut writing) = stream.split();
    let line = timeout(IO_TIMEOUT, LineReader::new(reading).next_line(MAX_REQUEST_BYTES)).await?;
    let request = match line {
        Ok(line) => serde_json::from_slice(&line.unwrap_or_default()).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let answered = match request {
        Ok(request) => answer(request).await,
        Err(error) => Err(format!("not a request: {error}")),
    };
    let answer = match answered {
        Ok(value) => Answer::Ok(value),
        Err(reason) => Answer::Error(reason),
    };
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    timeout(IO_TIMEOUT, writing.write_all(&line)).await?
}

/// Asks the cluster whose socket is at `path`, and waits for its answer for `limit` at most. Blocks.
///
/// # Errors
/// When no process listens there, when the answer is an error, or when there is none.
pub(crate) fn ask<T: DeserializeOwned>(path: &Path, request: Request, limit: Duration) -> anyhow::Result<T> {
    let mut connection =
        Connection::connect(path).with_context(|| format!("cannot reach {}", path.display()))?;
    connection.set_read_timeout(Some(limit)).context("the control socket")?;
    let mut line = serde_json::to_vec(&request)?;
    line.push(b'\n');
    connection.write_all(&line).context("the cluster does not read the request")?;
    let mut answer = String::new();
    // Systems differ in which error they return at the time limit.
    if BufReader::new(connection.take(MAX_ANSWER_BYTES)).read_line(&mut answer).is_err() {
        bail!("the cluster has not answered within {} s", limit.as_secs());
    }
    if answer.is_empty() {
        bail!("the cluster has ended before it answered");
    }
    match serde_json::from_str(&answer).context("the cluster's answer")? {
        Answer::Ok(value) => serde_json::from_value(value).context("the cluster's answer"),
        Answer::Error(reason) => bail!(reason),
    }
}
