//! What the tool and a cluster that it has started say to each other, over a socket in
//! the run directory: one line of JSON with a request, one line with its answer. Who may
//! open the socket may do as the user who started the cluster.

use std::fs::{self, Permissions};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener as Listener, UnixStream as Connection};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// The longest request, in bytes.
const MAX_REQUEST: u64 = 4 * 1024;

/// The longest answer, in bytes.
const MAX_ANSWER: u64 = 1024 * 1024;

/// How long a request may take to come, or an answer to leave.
const PATIENCE: Duration = Duration::from_secs(1);

/// So many are served at a time; the next wait to be accepted.
const AT_ONCE: usize = 16;

/// What the tool wants of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub(crate) enum Request {
    /// Word as soon as all its daemons listen.
    Ready,
    /// Word as soon as it can do its work; an error, if that takes too long, says why.
    Able,
    /// How it goes.
    Status,
    /// New code, and files read again.
    Reload,
    /// Its end, after a drain or at once. Answered before that.
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

/// Listens in the place of a cluster that is no more: whoever calls this holds its lock.
///
/// # Errors
/// When the socket cannot be made: a path of more than about 100 bytes is too long for one.
pub(crate) fn listen(path: &Path) -> anyhow::Result<Listener> {
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
    fs::set_permissions(path, Permissions::from_mode(0o600))
        .with_context(|| format!("cannot protect {name}"))?;
    Ok(listener)
}

/// Answers requests by `answer`, until it is dropped.
pub(crate) async fn serve<F>(listener: UnixListener, answer: impl Fn(Request) -> F + Send + Sync + 'static)
where
    F: Future<Output = Result<Value, String>> + Send,
{
    let answer = Arc::new(answer);
    let places = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // No descriptor is left: somebody else will give one back.
            tokio::time::sleep(PATIENCE / 10).await;
            continue;
        };
        let answer = answer.clone();
        tokio::spawn(async move {
            let _ = converse(stream, &*answer).await;
            drop(place);
        });
    }
}

async fn converse<F>(mut stream: UnixStream, answer: &impl Fn(Request) -> F) -> io::Result<()>
where
    F: Future<Output = Result<Value, String>>,
{
    let (reading, mut writing) = stream.split();
    let mut line = Vec::new();
    let mut reading = tokio::io::BufReader::new(reading.take(MAX_REQUEST));
    timeout(PATIENCE, reading.read_until(b'\n', &mut line)).await??;
    let answered = match serde_json::from_slice(&line) {
        Ok(request) => answer(request).await,
        Err(error) => Err(format!("not a request: {error}")),
    };
    let answer = match answered {
        Ok(value) => Answer::Ok(value),
        Err(why) => Answer::Error(why),
    };
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    timeout(PATIENCE, writing.write_all(&line)).await?
}

/// Asks the cluster whose socket is at `path`, and waits for its answer for at most
/// `patience`.
///
/// # Errors
/// When nobody listens there, when the answer is an error, or when there is none.
pub(crate) fn ask<T: DeserializeOwned>(
    path: &Path,
    request: Request,
    patience: Duration,
) -> anyhow::Result<T> {
    let mut connection =
        Connection::connect(path).with_context(|| format!("cannot reach {}", path.display()))?;
    connection.set_read_timeout(Some(patience)).context("the control socket")?;
    let mut line = serde_json::to_vec(&request)?;
    line.push(b'\n');
    connection.write_all(&line).context("the cluster does not listen")?;
    let mut answer = String::new();
    // Which error a limit comes to is the system's affair.
    if BufReader::new(connection.take(MAX_ANSWER)).read_line(&mut answer).is_err() {
        bail!("the cluster has not answered within {} s", patience.as_secs());
    }
    if answer.is_empty() {
        bail!("the cluster has ended before it answered");
    }
    match serde_json::from_str(&answer).context("the cluster's answer")? {
        Answer::Ok(value) => serde_json::from_value(value).context("the cluster's answer"),
        Answer::Error(why) => bail!(why),
    }
}
