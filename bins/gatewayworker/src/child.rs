//! One daemon as a child process: starting it, passing its lines on with its
//! name before them, hearing that it is ready, and its end.
//!
//! A child runs with `--supervised`: it says on standard output that it listens,
//! and drains when standard input ends. So it needs no signal to stop, never
//! outlives its parent, and says by itself what it listens on, which neither a
//! look into its configuration (flags, environment, port 0) nor a test connection
//! (which it would log as a client that left) could tell as well.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context;
use gatewayworker_daemon::wants_colour;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A line longer than this is passed on in pieces, in bytes.
const MAX_LINE: u64 = 64 * 1024;

/// How long the last lines of a child that has ended may take; somebody else may
/// hold its standard output open.
const LAST_LINES: Duration = Duration::from_secs(1);

/// What to run, and how it is shown.
#[derive(Debug, Clone)]
pub(crate) struct Daemon {
    pub(crate) name: &'static str,
    /// The terminal's number for its name's colour.
    pub(crate) colour: u8,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
}

/// What a child has to say to the supervisor.
#[derive(Debug)]
pub(crate) enum Event {
    /// It listens, on these addresses.
    Ready(&'static str, Vec<String>),
    /// It has ended, and all its lines are out.
    Ended(&'static str, io::Result<ExitStatus>),
}

/// How a child is stopped.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop {
    /// Asks it to drain.
    pub(crate) drain: CancellationToken,
    /// Ends it at once.
    pub(crate) kill: CancellationToken,
}

impl Daemon {
    /// Starts the daemon; the future that comes back has to be awaited to its end.
    ///
    /// # Errors
    /// When there is no such program.
    pub(crate) fn start(
        self,
        events: mpsc::Sender<Event>,
        stop: Stop,
    ) -> anyhow::Result<impl Future<Output = ()> + Send + use<>> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).arg("--supervised").kill_on_drop(true);
        // Ctrl-C in a terminal reaches the whole group; the children are told in their turn.
        #[cfg(unix)]
        command.process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if wants_colour(&io::stderr()) {
            command.env("CLICOLOR_FORCE", "1");
        }
        let mut process = command
            .spawn()
            .with_context(|| format!("cannot start the {} ({})", self.name, self.program.display()))?;

        Ok(async move {
            let prefix = self.prefix();
            let errors = tokio::spawn(pass_log_on(process.stderr.take(), prefix.clone()));
            let output =
                tokio::spawn(pass_output_on(process.stdout.take(), prefix, self.name, events.clone()));
            let status = wait(&mut process, stop).await;
            let _ = tokio::time::timeout(LAST_LINES, async { tokio::join!(errors, output) }).await;
            let _ = events.send(Event::Ended(self.name, status)).await;
        })
    }

    fn prefix(&self) -> String {
        let Self { name, colour, .. } = self;
        if wants_colour(&io::stderr()) {
            format!("\x1b[{colour}m{name:>14} |\x1b[0m ")
        } else {
            format!("{name:>14} | ")
        }
    }
}

/// Waits for the child to end, by itself or because it is told to.
async fn wait(process: &mut Child, stop: Stop) -> io::Result<ExitStatus> {
    // `wait` would close the input, which means drain.
    let input = process.stdin.take();
    tokio::select! {
        status = process.wait() => return status,
        () = stop.drain.cancelled() => drop(input),
        () = stop.kill.cancelled() => {}
    }
    tokio::select! {
        status = process.wait() => return status,
        () = stop.kill.cancelled() => process.start_kill()?,
    }
    process.wait().await
}

async fn pass_log_on(stream: Option<ChildStderr>, prefix: String) {
    let Some(stream) = stream else { return };
    let mut lines = Lines::new(stream);
    while let Some(line) = lines.next().await {
        show(io::stderr(), &prefix, line);
    }
}

async fn pass_output_on(
    stream: Option<ChildStdout>,
    prefix: String,
    name: &'static str,
    events: mpsc::Sender<Event>,
) {
    let Some(stream) = stream else { return };
    let mut lines = Lines::new(stream);
    let mut is_ready = false;
    while let Some(line) = lines.next().await {
        match ready(line) {
            // An application may print lines of its own that look like it, later.
            Some(addresses) if !is_ready => {
                is_ready = true;
                let _ = events.send(Event::Ready(name, addresses)).await;
            }
            _ => show(io::stdout(), &prefix, line),
        }
    }
}

/// The addresses, if the line says that the daemon listens.
fn ready(line: &[u8]) -> Option<Vec<String>> {
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    (words.next() == Some("ready")).then(|| words.map(str::to_owned).collect())
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

/// In one write, so that the lines of several daemons do not mix.
fn show(mut to: impl Write, prefix: &str, line: &[u8]) {
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
