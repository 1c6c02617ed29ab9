//! The task that stays with one child process: passes its lines on with the daemon's name before them, hands its
//! messages to the [`ChildReader`], writes messages to it, and ends when the process has ended and its last lines
//! are written. `child.rs` starts it; nothing is decided here.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::process::Child as Process;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::child_event::ChildEnd;
use super::child_link::{self, ChildInput, ChildOutput, Outgoing};
use super::child_reader::ChildReader;
use super::lines::Lines;
use super::output::{Source, To, last_error, show};

/// How long the last lines of a child that has ended may take: another process may hold its standard output open.
const LAST_LINES_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a child may take to read a message before it is dropped.
const WRITE_TIMEOUT: Duration = Duration::from_secs(1);

/// A child process with its streams, and the requests to it.
pub(super) struct ChildProcess {
    pub(super) process: Process,
    pub(super) input: ChildInput,
    pub(super) output: ChildOutput,
    pub(super) outgoing: mpsc::Receiver<Outgoing>,
    /// Cancelled: closes the child's input, which tells it to drain.
    pub(super) drain: CancellationToken,
    /// Cancelled: ends the process at once.
    pub(super) kill: CancellationToken,
}

/// Stays with a child until it has ended and its lines are written.
pub(super) async fn follow(child: ChildProcess, reader: ChildReader, source: Source) -> ChildEnd {
    let ChildProcess { mut process, input, output, outgoing, drain, kill } = child;
    let log = pass_log_on(process.stderr.take(), source);
    let printed = pass_output_on(process.stdout.take(), source, &reader);
    let lines = async { tokio::join!(log, printed, read_messages(output, &reader)).0 };
    let mut lines = std::pin::pin!(lines);
    let mut last_line = None;
    let status = {
        let mut ended = std::pin::pin!(wait(&mut process, input, outgoing, drain, kill));
        loop {
            tokio::select! {
                status = &mut ended => break status,
                line = &mut lines, if last_line.is_none() => last_line = Some(line),
            }
        }
    };
    if last_line.is_none() {
        last_line = timeout(LAST_LINES_TIMEOUT, lines).await.ok();
    }
    let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
    ChildEnd { status, error: last_line.flatten() }
}

/// Waits for the process to end, and writes to it until then.
async fn wait(
    process: &mut Process,
    input: ChildInput,
    mut outgoing: mpsc::Receiver<Outgoing>,
    drain: CancellationToken,
    kill: CancellationToken,
) -> io::Result<ExitStatus> {
    let mut input = Some(input);
    loop {
        tokio::select! {
            status = process.wait() => return status,
            () = drain.cancelled(), if input.is_some() => drop(input.take()),
            () = kill.cancelled() => break process.start_kill()?,
            Some(outgoing) = outgoing.recv() => if let Some(input) = &mut input {
                // A child that reads nothing gets no more than there is room for.
                let _ = timeout(WRITE_TIMEOUT, child_link::send(input, &outgoing)).await;
            },
        }
    }
    process.wait().await
}

/// Passes the log on; returns the error in its last line, if there is one.
async fn pass_log_on(stream: Option<impl AsyncRead + Unpin>, source: Source) -> Option<String> {
    let mut lines = Lines::new(stream?);
    let mut error = None;
    while let Some(line) = lines.next().await {
        error = last_error(&line);
        show(To::Err, source, &line);
    }
    error
}

/// Passes standard output on. On Unix all of it is the application's; elsewhere it has the child's messages too.
async fn pass_output_on(stream: Option<impl AsyncRead + Unpin>, source: Source, reader: &ChildReader) {
    let Some(stream) = stream else { return };
    let mut lines = Lines::new(stream);
    while let Some(line) = lines.next().await {
        if cfg!(unix) || !reader.handle(&line).await {
            show(To::Out, source, &line);
        }
    }
}

async fn read_messages(output: ChildOutput, reader: &ChildReader) {
    let mut lines = Lines::new(output);
    while let Some(line) = lines.next().await {
        reader.handle(&line).await;
    }
}
