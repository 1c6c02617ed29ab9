//! Printing what a command sees, once or again and again (`--watch`). `connections`, `groups` and `status` use it.
//!
//! On a terminal each look takes the place of the one before, and lines are cut to its width. Into a pipe they are
//! appended, whole.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use gatewayworker_daemon::wants_colour;

use crate::console::print_error;
use crate::table::cut;

/// The flag of commands that can be repeated.
#[derive(Debug, Clone, Copy, clap::Args)]
#[group(skip)]
pub(crate) struct WatchFlag {
    /// Look again every SECONDS, until Ctrl-C [default: 2]
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86_400))]
    watch: Option<u64>,
}

/// What a command has seen.
#[derive(Debug, Default)]
pub(crate) struct Look {
    /// For standard output, cut to the width of a terminal. The first may be a heading.
    pub(crate) lines: Vec<String>,
    /// For standard output behind the lines, never cut.
    pub(crate) notes: Vec<String>,
    /// The first line is a heading.
    pub(crate) has_head: bool,
    /// What went wrong, each a sentence.
    pub(crate) errors: Vec<String>,
    /// The exit status.
    pub(crate) status: u8,
}

impl Look {
    /// A look that has failed, with status 1.
    pub(crate) fn failed(error: impl std::fmt::Display) -> Self {
        Self { errors: vec![error.to_string()], status: 1, ..Self::default() }
    }
}

/// Returns the width of the terminal that standard output is; `None` where it is none.
pub(crate) fn width() -> Option<usize> {
    if !io::stdout().is_terminal() {
        return None;
    }
    #[cfg(unix)]
    if let Ok(size) = rustix::termios::tcgetwinsize(io::stdout())
        && size.ws_col > 0
    {
        return Some(size.ws_col.into());
    }
    Some(80)
}

/// Looks once, or as `--watch` says, and prints what was seen. The status is that of the look, or 0 when a watch is
/// ended.
pub(crate) fn show(watch: WatchFlag, look: impl AsyncFnMut() -> Look) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            print_error(error);
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(async {
        match watch.watch {
            None => show_once(look).await,
            Some(seconds) => show_again(look, Duration::from_secs(seconds)).await,
        }
    })
}

async fn show_once(mut look: impl AsyncFnMut() -> Look) -> ExitCode {
    let seen = look().await;
    // A pager that is closed early is no failure.
    let _ = io::stdout().write_all(page(&seen, width()).as_bytes());
    seen.errors.iter().for_each(print_error);
    ExitCode::from(seen.status)
}

async fn show_again(mut look: impl AsyncFnMut() -> Look, every: Duration) -> ExitCode {
    let watch = async {
        loop {
            let seen = look().await;
            let mut out = String::new();
            let width = width();
            if width.is_some() {
                // To the first corner; what is left of the look before is erased behind.
                out.push_str("\x1b[H\x1b[2J");
            }
            out.push_str(&page(&seen, width));
            if width.is_some() {
                seen.errors.iter().for_each(|error| out.push_str(&format!("\nerror: {error}\n")));
            } else {
                seen.errors.iter().for_each(print_error);
                out.push('\n');
            }
            let mut stdout = io::stdout().lock();
            if stdout.write_all(out.as_bytes()).and_then(|()| stdout.flush()).is_err() {
                // Nobody reads any more.
                return;
            }
            drop(stdout);
            tokio::time::sleep(every).await;
        }
    };
    tokio::select! {
        () = watch => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    ExitCode::SUCCESS
}

/// Returns the lines of a look for standard output.
fn page(seen: &Look, width: Option<usize>) -> String {
    let mut page = String::new();
    for (n, line) in seen.lines.iter().enumerate() {
        let line = width.map_or_else(|| line.clone(), |width| cut(line, width));
        if n == 0 && seen.has_head && wants_colour(&io::stdout()) {
            page.push_str(&format!("\x1b[1m{line}\x1b[0m\n"));
        } else {
            page.push_str(&line);
            page.push('\n');
        }
    }
    seen.notes.iter().for_each(|note| page.push_str(&format!("{note}\n")));
    page
}
