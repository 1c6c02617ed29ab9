//! One daemon as a child process: starting it, passing its lines on with its
//! name before them, hearing that it is ready and how it goes, and its end.
//!
//! A child runs with `--supervised`: what the two say to each other is in `words.rs`. So it
//! needs no signal to stop, never outlives its parent, and says by itself what it listens
//! on, which neither a look into its configuration (flags, environment, port 0) nor a test
//! connection (which it would log as a client that left) could tell as well.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use gatewayworker_daemon::{LogFormat, wants_colour};
use serde_json::{Map, Value};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child as Process, Command};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::child_reader::{self, ChildReader, Input, Outgoing, PendingReplies};
use super::held_listeners::{HeldListeners, ListenerKey};
use super::output::{Source, To, last_error, show};

/// A line longer than this is passed on in pieces, in bytes.
const MAX_LINE: u64 = 64 * 1024;

/// How long the last lines of a child that has ended may take; somebody else may
/// hold its standard output open.
const LAST_LINES: Duration = Duration::from_secs(1);

/// How long a child may take to read a word, or to say how it goes.
const ANSWER: Duration = Duration::from_secs(1);

/// How long it may take to read its files.
const RELOAD: Duration = Duration::from_secs(10);

/// What to run, and how it is shown.
#[derive(Debug, Clone)]
pub(crate) struct Daemon {
    pub(crate) name: &'static str,
    /// The terminal's number for its name's colour.
    pub(crate) colour: u8,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) log_format: LogFormat,
}

/// A running daemon. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) process_id: u32,
    pub(crate) since: Instant,
    stage: watch::Receiver<Stage>,
    words: mpsc::Sender<Outgoing>,
    pending: PendingReplies,
    wanted: Arc<Mutex<HashSet<ListenerKey>>>,
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

impl Daemon {
    /// Starts the daemon, with listeners from `ports`. `kill` ends it at once.
    ///
    /// # Errors
    /// When there is no such program.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub(crate) fn start(
        &self,
        ports: &Arc<HeldListeners>,
        kill: &CancellationToken,
    ) -> anyhow::Result<Child> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).arg("--supervised").kill_on_drop(true);
        command.env("GATEWAYWORKER_LOG_FORMAT", self.log_format.name());
        // Ctrl-C in a terminal reaches the whole group; the children are told in their turn.
        #[cfg(unix)]
        command.process_group(0);
        if wants_colour(&io::stderr()) {
            command.env("CLICOLOR_FORCE", "1");
        }
        let (process, ends) = spawn(command)
            .with_context(|| format!("cannot start the {} ({})", self.name, self.program.display()))?;

        let (set_stage, stage) = watch::channel(Stage::Starting);
        let (words, to_say) = mpsc::channel(8);
        let (drain, kill) = (CancellationToken::new(), kill.child_token());
        let pending = PendingReplies::default();
        let wanted = Arc::default();
        let reader = ChildReader {
            stage: set_stage.clone(),
            words: words.clone(),
            pending: pending.clone(),
            ports: ports.clone(),
            wanted: Arc::clone(&wanted),
        };
        let told = Told { drain: drain.clone(), kill: kill.clone(), to_say };
        let process_id = process.id().unwrap_or_default();
        let source = Source { daemon: self.name, colour: self.colour };
        tokio::spawn(async move {
            let end = follow(process, ends, told, reader, source).await;
            let _ = set_stage.send(Stage::Ended(end));
        });
        Ok(Child { process_id, since: Instant::now(), stage, words, pending, wanted, drain, kill })
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

    /// The listeners that it has pending for by now.
    pub(super) fn wanted(&self) -> HashSet<ListenerKey> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has it read its files again.
    ///
    /// # Errors
    /// Why what it had before stays in use, or that it does not say.
    pub(crate) async fn reload(&self) -> Result<(), String> {
        let answered = self.pending.reload();
        let _ = self.words.try_send(Outgoing::Reload);
        match timeout(RELOAD, answered).await {
            Ok(Ok(result)) => result,
            _ => Err("it does not say what came of reading its files".into()),
        }
    }

    /// How it goes, by its own account; `None` if it does not say so in time, empty if it
    /// drains: then it hears nothing any more.
    pub(crate) async fn stats(&self) -> Option<Map<String, Value>> {
        if self.drains() {
            return Some(Map::new());
        }
        let answered = self.pending.stats();
        let _ = self.words.try_send(Outgoing::Status);
        timeout(ANSWER, answered).await.ok()?.ok()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

impl End {
    fn unseen() -> Self {
        Self { status: "nobody saw it end".into(), error: None }
    }
}

impl fmt::Display for End {
    /// `exit status: 1; error: listen: …`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.status)?;
        self.error.iter().try_for_each(|error| write!(f, "; error: {error}"))
    }
}

/// The supervisor's ends of a child's standard input, and of what it says to it.
#[cfg(unix)]
type Ends = (Input, tokio::net::unix::OwnedReadHalf);
#[cfg(not(unix))]
type Ends = (Input, tokio::io::Empty);

/// On Unix standard input is a socket, for both directions.
#[cfg(unix)]
fn spawn(mut command: Command) -> io::Result<(Process, Ends)> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let (said, input) = tokio::net::UnixStream::from_std(ours)?.into_split();
    command.stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)));
    let process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    Ok((process, (input, said)))
}

/// Here the child speaks on its standard output.
#[cfg(not(unix))]
fn spawn(mut command: Command) -> io::Result<(Process, Ends)> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn()?;
    let input = process.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
    Ok((process, (input, tokio::io::empty())))
}

/// The ways in which it is told to do something.
struct Told {
    drain: CancellationToken,
    kill: CancellationToken,
    to_say: mpsc::Receiver<Outgoing>,
}

/// Stays with a child until it has ended and its lines are out.
async fn follow(
    mut process: Process,
    (input, said): Ends,
    told: Told,
    reader: ChildReader,
    source: Source,
) -> End {
    let errors = pass_log_on(process.stderr.take(), source);
    let output = pass_output_on(process.stdout.take(), source, &reader);
    let lines = async { tokio::join!(errors, output, listen(said, &reader)).0 };
    let mut lines = std::pin::pin!(lines);
    let mut last = None;
    let status = {
        let mut ended = std::pin::pin!(wait(&mut process, input, told));
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
async fn wait(process: &mut Process, input: Input, mut told: Told) -> io::Result<std::process::ExitStatus> {
    let mut input = Some(input);
    loop {
        tokio::select! {
            status = process.wait() => return status,
            () = told.drain.cancelled(), if input.is_some() => drop(input.take()),
            () = told.kill.cancelled() => break process.start_kill()?,
            Some(word) = told.to_say.recv() => if let Some(input) = &mut input {
                // One that reads nothing gets no more than there is room for.
                let _ = timeout(ANSWER, child_reader::send(input, &word)).await;
            },
        }
    }
    process.wait().await
}

/// Returns the last line, if that is an error.
async fn pass_log_on(stream: Option<impl AsyncRead + Unpin>, source: Source) -> Option<String> {
    let mut lines = Lines::new(stream?);
    let mut error = None;
    while let Some(line) = lines.next().await {
        error = last_error(line);
        show(To::Err, source, line);
    }
    error
}

async fn pass_output_on(stream: Option<impl AsyncRead + Unpin>, source: Source, reader: &ChildReader) {
    let Some(stream) = stream else { return };
    let mut lines = Lines::new(stream);
    while let Some(line) = lines.next().await {
        // Elsewhere it is the application's alone.
        if cfg!(unix) || !reader.read(line) {
            show(To::Out, source, line);
        }
    }
}

async fn listen(said: impl AsyncRead + Unpin, reader: &ChildReader) {
    let mut lines = Lines::new(said);
    while let Some(line) = lines.next().await {
        reader.read(line);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

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
