//! What goes to the terminal or into the log. A thread of its own writes it, so that a
//! reader who stops (a pager, Ctrl-S, a full pipe) stops nobody; lines that find no room
//! meanwhile are counted, and missed.

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use gatewayworker_daemon::wants_colour;

/// Lines that may wait to be written.
const ROOM: usize = 4096;

/// How long the last lines may take.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Where a line goes.
#[derive(Debug, Clone, Copy)]
pub(super) enum To {
    Out,
    Err,
}

enum Job {
    Write(To, Vec<u8>),
    Answer(SyncSender<()>),
}

struct Output {
    jobs: SyncSender<Job>,
    missed: AtomicU64,
}

/// Writes a line, in one piece, behind those that were to be written before.
pub(super) fn show(to: To, prefix: &str, line: &[u8]) {
    let output = output();
    if output.jobs.try_send(Job::Write(to, [prefix.as_bytes(), line, b"\n"].concat())).is_err() {
        output.missed.fetch_add(1, Ordering::Relaxed);
    }
}

/// A line of the supervisor's own among those of the daemons.
pub(super) fn tell(line: impl Display) {
    show(To::Err, &prefix("gatewayworker", 0), line.to_string().as_bytes());
}

/// What a person at a terminal reads.
pub(super) fn print(text: impl Display) {
    show(To::Out, "", text.to_string().as_bytes());
}

/// Waits until all is written, but not for long.
pub(super) fn finish() {
    let (answer, answered) = sync_channel(1);
    if output().jobs.try_send(Job::Answer(answer)).is_ok() {
        let _ = answered.recv_timeout(LAST_LINES);
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

fn output() -> &'static Output {
    static OUTPUT: OnceLock<Output> = OnceLock::new();
    OUTPUT.get_or_init(|| {
        let (jobs, to_do) = sync_channel(ROOM);
        // Without a thread there is no output, and all else goes on.
        let _ = std::thread::Builder::new().name("output".into()).spawn(move || write_all(&to_do));
        Output { jobs, missed: AtomicU64::new(0) }
    })
}

/// That nobody reads any more, or that the disk is full, ends nobody.
fn write_all(jobs: &Receiver<Job>) {
    for job in jobs {
        match job {
            Job::Write(To::Out, line) => drop(io::stdout().lock().write_all(&line)),
            Job::Write(To::Err, line) => drop(io::stderr().lock().write_all(&line)),
            Job::Answer(to) => drop(to.send(())),
        }
        let missed = output().missed.swap(0, Ordering::Relaxed);
        if missed > 0 {
            let _ = writeln!(
                io::stderr(),
                "{}{missed} lines found no reader in time",
                prefix("gatewayworker", 0)
            );
        }
    }
}
