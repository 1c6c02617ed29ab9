//! The child's end of what a supervising parent process and a daemon say to each other,
//! in lines over the child's standard input and output. It works alike on all systems,
//! and needs no signal and no port.
//!
//! | parent | child | |
//! |---|---|---|
//! | | `ready ADDRESS…` | once everything listens |
//! | `reload` | | read your files again |
//! | `status` | `status {"clients":3,…}` | how it goes |
//! | end of input | | drain and end; the system says it for a parent that is gone, however it went |

use std::fmt::Display;
use std::io::{self, BufRead, Read, Write};

use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::operator::{AskReload, Figures};

/// A parent's lines are words; this many bytes of one are read.
const MAX_LINE: u64 = 1024;

/// Says that everything listens, on `addresses`.
pub(crate) fn ready<A: Display>(addresses: impl IntoIterator<Item = A>) {
    say(addresses.into_iter().fold("ready".to_owned(), |line, address| format!("{line} {address}")));
}

/// Does what the parent says, on a thread of its own; at the end of its words it cancels
/// `shutdown`.
///
/// # Errors
/// When there is no thread to be had.
pub(crate) fn obey(shutdown: CancellationToken, reload: AskReload, figures: Figures) -> io::Result<()> {
    let obey = move || {
        each_line(io::stdin().lock(), |line| match line {
            "reload" => reload.ask("the parent process"),
            "status" => say(format!("status {}", figures.to_json())),
            other => debug!(other, "the parent process says what this daemon does not know"),
        });
        if !shutdown.is_cancelled() {
            shutdown.cancel();
            info!("draining, as the parent process asks");
        }
    };
    std::thread::Builder::new().name("parent".into()).spawn(obey).map(drop)
}

/// Calls `f` for each line until there are no more.
fn each_line(mut input: impl BufRead, mut f: impl FnMut(&str)) {
    let mut line = String::new();
    while let Ok(1..) = (&mut input).take(MAX_LINE).read_line(&mut line) {
        f(line.trim_end());
        line.clear();
    }
}

/// A parent that no longer listens has its own end to deal with.
fn say(line: String) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_heard_one_by_one_and_long_ones_in_pieces() {
        let mut heard = Vec::new();
        let long = "x".repeat(MAX_LINE as usize);
        each_line(format!("reload\nstatus\r\n{long}y\nlast").as_bytes(), |line| heard.push(line.to_owned()));
        assert_eq!(heard, ["reload", "status", &long, "y", "last"]);
    }
}
