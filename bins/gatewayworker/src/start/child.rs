//! One daemon as a child process: starting it, passing its lines on with its
//! name before them, hearing that it is ready and how it goes, and its end.
//!
//! A child runs with `--supervised`: what the two say to each other over its standard
//! input and output is in the daemons' `supervised.rs`. So it needs no signal to stop,
//! never outlives its parent, and says by itself what it listens on, which neither a
//! look into its configuration (flags, environment, port 0) nor a test connection
//! (which it would log as a client that left) could tell as well.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use gatewayworker_daemon::wants_colour;
use serde_json::{Map, Value};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child as Process, ChildStdin, Command};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// A line longer than this is passed on in pieces, in bytes.
const MAX_LINE: u64 = 64 * 1024;

/// How long the last lines of a child that has ended may take; somebody else may
/// hold its standard output open.
const LAST_LINES: Duration = Duration::from_secs(1);

/// How long a child may take to read a word, or to say how it goes.
const ANSWER: Duration = Duration::from_secs(1);

/// What to run, and how it is shown.
#[derive(Debug, Clone)]
pub(crate) struct Daemon {
    pub(crate) name: &'static str,
    /// The terminal's number for its name's colour.
    pub(crate) colour: u8,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
}

/// A running daemon. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) process_id: u32,
    pub(crate) since: Instant,
    stage: watch::Receiver<Stage>,
    words: mpsc::Sender<&'static str>,
    asked: Asked,
    drain: CancellationToken,
    kill: CancellationToken,
}

/// How far it has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It does not listen yet.
    Starting,
    /// It listens, on these addresses.
    Ready(Vec<String>),
    /// It is gone, and all its lines are out.
    Ended(End),
}

/// How a child has ended, as a person reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct End {
    /// `exit status: 1`
    status: String,
    /// The last thing it said, if that was an error.
    error: Option<String>,
}

/// Who waits to hear how it goes.
type Asked = Arc<Mutex<Vec<oneshot::Sender<Map<String, Value>>>>>;

impl Daemon {
    /// Starts the daemon, in the place of one that still runs if it is a `successor`.
    /// `kill` ends it at once.
    ///
    /// # Errors
    /// When there is no such program.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub(crate) fn start(&self, successor: bool, kill: &CancellationToken) -> anyhow::Result<Child> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).arg("--supervised").kill_on_drop(true);
        if successor {
            command.arg("--successor");
        }
        // Ctrl-C in a terminal reaches the whole group; the children are told in their turn.
        #[cfg(unix)]
        command.process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if wants_colour(&io::stderr()) {
            command.env("CLICOLOR_FORCE", "1");
        }
        let process = command
            .spawn()
            .with_context(|| format!("cannot start the {} ({})", self.name, self.program.display()))?;

        let (set_stage, stage) = watch::channel(Stage::Starting);
        let (words, to_say) = mpsc::channel(8);
        let (drain, kill) = (CancellationToken::new(), kill.child_token());
        let child = Child {
            process_id: process.id().unwrap_or_default(),
            since: Instant::now(),
            stage,
            words,
            asked: Asked::default(),
            drain: drain.clone(),
            kill: kill.clone(),
        };
        let (prefix, asked) = (self.prefix(), child.asked.clone());
        tokio::spawn(async move {
            let end = follow(process, Ends { drain, kill, to_say }, prefix, asked, &set_stage).await;
            let _ = set_stage.send(Stage::Ended(end));
        });
        Ok(child)
    }

    fn prefix(&self) -> String {
        prefix(self.name, self.colour)
    }
}

impl Child {
    /// How far it has come by now.
    pub(crate) fn stage(&self) -> Stage {
        self.stage.borrow().clone()
    }

    /// Waits until it listens, and says where; or how it has ended before. Cancel safe.
    pub(crate) async fn ready(&self) -> Result<Vec<String>, End> {
        let mut stage = self.stage.clone();
        let stage = stage.wait_for(|stage| *stage != Stage::Starting).await;
        match stage.map(|stage| stage.clone()) {
            Ok(Stage::Ready(addresses)) => Ok(addresses),
            Ok(Stage::Ended(end)) => Err(end),
            Ok(Stage::Starting) | Err(_) => Err(End::unseen()),
        }
    }

    /// Waits until it is gone. Cancel safe.
    pub(crate) async fn ended(&self) -> End {
        let mut stage = self.stage.clone();
        let stage = stage.wait_for(|stage| matches!(stage, Stage::Ended(_))).await;
        match stage.map(|stage| stage.clone()) {
            Ok(Stage::Ended(end)) => end,
            _ => End::unseen(),
        }
    }

    /// Asks it to drain, and then to end.
    pub(crate) fn drain(&self) {
        self.drain.cancel();
    }

    /// Ends it at once.
    pub(crate) fn kill(&self) {
        self.kill.cancel();
    }

    pub(crate) fn drains(&self) -> bool {
        self.drain.is_cancelled()
    }

    /// Asks it to read its files again.
    pub(crate) fn reload(&self) {
        // Where eight wait to be read already, one of those does.
        let _ = self.words.try_send("reload\n");
    }

    /// How it goes, by its own account; empty if it does not say so in time.
    pub(crate) async fn figures(&self) -> Map<String, Value> {
        let (answer, answered) = oneshot::channel();
        {
            let mut asked = lock(&self.asked);
            // One that never answers shall not gather them.
            asked.retain(|one| !one.is_closed());
            asked.push(answer);
        }
        let _ = self.words.try_send("status\n");
        timeout(ANSWER, answered).await.ok().and_then(Result::ok).unwrap_or_default()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

impl End {
    /// Not by itself.
    pub(crate) fn asked() -> Self {
        Self { status: "asked to".into(), error: None }
    }

    fn unseen() -> Self {
        Self { status: "nobody saw it end".into(), error: None }
    }
}

impl fmt::Display for End {
    /// `exit status: 1; error: listen: …`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.status)?;
        self.error.iter().try_for_each(|error| write!(f, "; {error}"))
    }
}

/// The ways in which it is told to do something.
struct Ends {
    drain: CancellationToken,
    kill: CancellationToken,
    to_say: mpsc::Receiver<&'static str>,
}

/// Stays with a child until it has ended and its lines are out.
async fn follow(
    mut process: Process,
    ends: Ends,
    prefix: String,
    asked: Asked,
    stage: &watch::Sender<Stage>,
) -> End {
    let errors = pass_log_on(process.stderr.take(), prefix.clone());
    let output = pass_output_on(process.stdout.take(), prefix, asked, stage);
    let lines = async { tokio::join!(errors, output).0 };
    let mut lines = std::pin::pin!(lines);
    let mut last = None;
    let status = {
        let mut ended = std::pin::pin!(wait(&mut process, ends));
        loop {
            tokio::select! {
                status = &mut ended => break status,
                line = &mut lines, if last.is_none() => last = Some(line),
            }
        }
    };
    if last.is_none() {
        last = timeout(LAST_LINES, lines).await.ok();
    }
    let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
    End { status, error: last.flatten() }
}

/// Waits for the child to end, by itself or because it is told to.
async fn wait(process: &mut Process, mut ends: Ends) -> io::Result<std::process::ExitStatus> {
    // `wait` would close the input, which means drain.
    let mut input = process.stdin.take();
    loop {
        tokio::select! {
            status = process.wait() => return status,
            () = ends.drain.cancelled(), if input.is_some() => drop(input.take()),
            () = ends.kill.cancelled() => break process.start_kill()?,
            Some(word) = ends.to_say.recv() => say(&mut input, word).await,
        }
    }
    process.wait().await
}

async fn say(input: &mut Option<ChildStdin>, word: &str) {
    let Some(input) = input else { return };
    // One that reads nothing gets no more than its pipe holds.
    let _ = timeout(ANSWER, input.write_all(word.as_bytes())).await;
}

/// Returns the last line, if that is an error.
async fn pass_log_on(stream: Option<impl AsyncRead + Unpin>, prefix: String) -> Option<String> {
    let mut lines = Lines::new(stream?);
    let mut error = None;
    while let Some(line) = lines.next().await {
        error = line.starts_with(b"error: ").then(|| String::from_utf8_lossy(line).into_owned());
        show(io::stderr(), &prefix, line);
    }
    error
}

async fn pass_output_on(
    stream: Option<impl AsyncRead + Unpin>,
    prefix: String,
    asked: Asked,
    stage: &watch::Sender<Stage>,
) {
    let Some(stream) = stream else { return };
    let mut lines = Lines::new(stream);
    while let Some(line) = lines.next().await {
        // An application may print lines of its own that look like these, at another time.
        let is_for_us = match ready(line) {
            Some(addresses) => first_ready(stage, addresses),
            None => status(line).is_some_and(|figures| answer(&asked, &figures)),
        };
        if !is_for_us {
            show(io::stdout(), &prefix, line);
        }
    }
}

/// Whether it was the first time.
fn first_ready(stage: &watch::Sender<Stage>, addresses: Vec<String>) -> bool {
    stage.send_if_modified(|stage| {
        let first = *stage == Stage::Starting;
        if first {
            *stage = Stage::Ready(addresses);
        }
        first
    })
}

/// Whether anybody had asked.
fn answer(asked: &Asked, figures: &Map<String, Value>) -> bool {
    let waiting = std::mem::take(&mut *lock(asked));
    let any = !waiting.is_empty();
    for one in waiting {
        let _ = one.send(figures.clone());
    }
    any
}

/// The addresses, if the line says that the daemon listens.
fn ready(line: &[u8]) -> Option<Vec<String>> {
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    (words.next() == Some("ready")).then(|| words.map(str::to_owned).collect())
}

/// The figures, if the line says how it goes.
fn status(line: &[u8]) -> Option<Map<String, Value>> {
    serde_json::from_slice(line.strip_prefix(b"status ")?).ok()
}

/// Nothing can be half done in there.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lines without their ends, long ones in pieces.
struct Lines<R> {
    stream: BufReader<R>,
    line: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    fn new(stream: R) -> Self {
        Self { stream: BufReader::new(stream), line: Vec::new() }
    }

    async fn next(&mut self) -> Option<&[u8]> {
        self.line.clear();
        let read = (&mut self.stream).take(MAX_LINE).read_until(b'\n', &mut self.line).await;
        matches!(read, Ok(1..)).then_some(self.line.trim_ascii_end())
    }
}

/// What stands before each line of the one of that name.
pub(super) fn prefix(name: &str, colour: u8) -> String {
    if wants_colour(&io::stderr()) {
        format!("\x1b[{colour}m{name:>14} |\x1b[0m ")
    } else {
        format!("{name:>14} | ")
    }
}

/// In one write, so that the lines of several daemons do not mix. That nobody reads
/// them any more, or that the disk is full, ends nobody.
pub(super) fn show(mut to: impl Write, prefix: &str, line: &[u8]) {
    let whole = [prefix.as_bytes(), line, b"\n"].concat();
    let _ = to.write_all(&whole);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_is_ready_with_any_number_of_addresses() {
        assert_eq!(ready(b"ready"), Some(vec![]));
        assert_eq!(ready(b"ready a:1 b:2"), Some(vec!["a:1".to_owned(), "b:2".to_owned()]));
        assert_eq!(ready(b"already"), None);
        assert_eq!(ready(b""), None);
    }

    #[test]
    fn figures_are_an_object_and_nothing_else() {
        assert_eq!(status(br#"status {"clients":3}"#).unwrap()["clients"], 3);
        for other in [&b"status 3"[..], b"status", b"the status {}", b"status {"] {
            assert!(status(other).is_none());
        }
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_comes_in_pieces() {
        let text = [vec![b'x'; MAX_LINE as usize + 1], b"\nshort\r\nlast".to_vec()].concat();
        let mut lines = Lines::new(text.as_slice());
        assert_eq!(lines.next().await.unwrap().len() as u64, MAX_LINE);
        for expected in ["x", "short", "last"] {
            assert_eq!(lines.next().await.unwrap(), expected.as_bytes());
        }
        assert!(lines.next().await.is_none());
    }
}
