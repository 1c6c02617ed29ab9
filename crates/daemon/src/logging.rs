//! The log of a process: lines on standard error, as text for people or JSON for machines, written by a thread of
//! their own (`line_writer.rs`). Nothing in a daemon waits for a reader of the log. `run.rs` starts it.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::panic::{self, PanicHookInfo};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use crate::{LineWriter, Warnings};

/// At its end the process waits for the last lines until none was written for this time.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The filter without `RUST_LOG`. The client of NATS writes a line at INFO for each message that a subscription has no room for, and one at
/// ERROR for each attempt that NATS refuses; those who use the client say both in fewer lines.
const DEFAULT_FILTER: &str = "info,async_nats=warn,async_nats::connector=off";

/// How log lines are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One readable line for each event, in colour on a terminal (unless NO_COLOR is set)
    #[default]
    Text,
    /// One JSON object for each event
    Json,
}

/// Returns the current time as log lines have it: `2026-01-31T13:05:59.123456Z`. It is empty where the clock is out of
/// range.
pub fn log_time() -> String {
    let mut time = String::new();
    let _ = SystemTime.format_time(&mut Writer::new(&mut time));
    time
}

impl LogFormat {
    /// Returns its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }

    /// Makes a log line with the current time, without colour; it ends with `\n`.
    pub fn line(self, level: Level, message: &str) -> Vec<u8> {
        let time = log_time();
        match self {
            Self::Text => format!("{time} {level:>5} {message}\n").into_bytes(),
            Self::Json => {
                format!("{}\n", json!({"timestamp": time, "level": level.as_str(), "message": message}))
                    .into_bytes()
            }
        }
    }

    /// Makes the line with the reason why the process ends.
    fn last_line(self, error: &str) -> Vec<u8> {
        match self {
            Self::Text => format!("error: {error}\n").into_bytes(),
            Self::Json => {
                let mut line: serde_json::Value =
                    serde_json::from_slice(&self.line(Level::ERROR, error)).unwrap_or_default();
                line["fatal"] = true.into();
                format!("{line}\n").into_bytes()
            }
        }
    }
}

/// Why a log cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// `RUST_LOG` is no filter.
    #[error("RUST_LOG: {reason}")]
    InvalidFilter {
        /// As the filter's parser says it.
        reason: String,
    },
}

/// The log of a process. Clones are the same log.
#[derive(Clone)]
pub struct Log {
    format: LogFormat,
    lines: LineWriter,
    finish_line: Arc<FinishLine>,
}

/// Changes a line before it is written; both lines end with `\n`.
type FinishLine = dyn Fn(Vec<u8>) -> Vec<u8> + Send + Sync;

impl Log {
    /// Starts a log on standard error whose warnings are kept in `warnings`, too.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn start(format: LogFormat, warnings: Warnings) -> io::Result<Self> {
        Self::start_with(format, move |line| {
            warnings.take(None, &line);
            line
        })
    }

    /// Starts a log on standard error whose lines `finish_line` changes before they are
    /// written.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn start_with(
        format: LogFormat,
        finish_line: impl Fn(Vec<u8>) -> Vec<u8> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let finish_line: Arc<FinishLine> = Arc::new(finish_line);
        let finish = finish_line.clone();
        let notice = move |dropped| {
            let message = format!("{dropped} log lines were dropped: nobody read them, or the disk was full");
            finish(format.line(Level::WARN, &message))
        };
        Ok(Self { format, lines: LineWriter::start("log", io::stderr(), notice)?, finish_line })
    }

    /// Returns the writer of its lines.
    pub fn lines(&self) -> &LineWriter {
        &self.lines
    }

    /// Makes this the log of the process's tracing events, filtered by `RUST_LOG`, and of its panics. An application
    /// that has set a subscriber or a panic hook of its own keeps it.
    ///
    /// # Errors
    /// When `RUST_LOG` is no filter.
    pub fn set_up(&self) -> Result<(), LogError> {
        let filter = match std::env::var_os(EnvFilter::DEFAULT_ENV) {
            None => EnvFilter::new(DEFAULT_FILTER),
            Some(_) => EnvFilter::builder()
                .with_default_directive(LevelFilter::INFO.into())
                .from_env()
                .map_err(|error| LogError::InvalidFilter { reason: error.to_string() })?,
        };
        let log = self.clone();
        let builder = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(move || LogEvent(log.clone()))
            // It would report on standard error that standard error is gone, and panic.
            .log_internal_errors(false);
        // Fails only where a log is set up already.
        let _ = match self.format {
            LogFormat::Text => {
                builder.compact().with_target(false).with_ansi(wants_colour(&io::stderr())).try_init()
            }
            LogFormat::Json => builder.json().flatten_event(true).try_init(),
        };
        self.log_panics();
        Ok(())
    }

    /// Logs a line whatever `RUST_LOG` says.
    pub fn write(&self, line: Vec<u8>) {
        self.lines.write((self.finish_line)(line));
    }

    /// Logs why the process ends: `error: …`, or JSON with `"fatal": true`.
    pub fn fail(&self, error: impl Display) {
        self.write(self.format.last_line(&error.to_string().replace('\n', ", ")));
    }

    /// Waits until all lines are written, but no more once none was written for a second, and for ten seconds at
    /// most. Blocks the calling thread.
    pub fn finish(&self) {
        self.lines.flush(LAST_LINES);
    }

    /// Replaces the standard library's panic hook, which would block until somebody reads standard error.
    fn log_panics(&self) {
        let current = panic::take_hook();
        let default = panic::take_hook();
        #[allow(ambiguous_wide_pointer_comparisons, reason = "at worst a panic is reported twice")]
        let is_default = std::ptr::eq(&*current, &*default);
        if !is_default {
            panic::set_hook(current);
            return;
        }
        let log = self.clone();
        panic::set_hook(Box::new(move |panic| {
            log.write(log.format.line(Level::ERROR, &describe(panic)));
            if cfg!(panic = "abort") {
                log.finish();
            }
        }));
    }
}

/// Makes the text of the standard library's hook.
fn describe(panic: &PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("<unnamed>");
    let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    let payload = panic.payload();
    let message = payload.downcast_ref::<&str>().copied();
    let message = message.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let message = message.unwrap_or("a value that is no string");
    let backtrace = std::backtrace::Backtrace::capture();
    match backtrace.status() {
        std::backtrace::BacktraceStatus::Captured => {
            format!("thread '{name}' panicked at {place}: {message}\n{backtrace}")
        }
        _ => format!("thread '{name}' panicked at {place}: {message}"),
    }
}

/// A writer for the line of one event, which tracing writes in one piece.
struct LogEvent(Log);

impl Write for LogEvent {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.write(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether lines on a stream should have colours: on a terminal, unless `NO_COLOR` is set (<https://no-color.org>);
/// elsewhere where `CLICOLOR_FORCE` is set, by a supervisor that passes the lines on to a terminal.
pub fn wants_colour(stream: &impl IsTerminal) -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !is_set("NO_COLOR") && (stream.is_terminal() || is_set("CLICOLOR_FORCE"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process has one panic hook, so this one asks a copy of itself.
    #[test]
    fn a_panic_is_logged_whatever_rust_log_says() {
        const VARIABLE: &str = "GATEWAYWORKER_TEST_PANIC";
        const NAME: &str = "logging::tests::a_panic_is_logged_whatever_rust_log_says";
        if std::env::var_os(VARIABLE).is_some() {
            let log = Log::start(LogFormat::Json, Warnings::default()).unwrap();
            log.set_up().unwrap();
            let panicked = std::thread::Builder::new().name("handler".into()).spawn(|| panic!("oh {}", 1));
            assert!(panicked.unwrap().join().is_err());
            log.finish();
            return;
        }
        let mut copy = std::process::Command::new(std::env::current_exe().unwrap());
        copy.args(["--exact", NAME, "--nocapture"]).env(VARIABLE, "1").env("RUST_LOG", "off");
        let output = copy.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        let line = said.lines().find(|line| line.starts_with('{')).unwrap_or_else(|| panic!("{said}"));
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let message = line["message"].as_str().unwrap();
        assert!(message.starts_with("thread 'handler' panicked at ") && message.contains(": oh 1"), "{line}");
        assert_eq!(said.matches("oh 1").count(), 1, "the standard library's hook is silent: {said}");
    }

    #[test]
    fn a_line_has_a_time_and_a_level_in_either_format() {
        let text = String::from_utf8(LogFormat::Text.line(Level::WARN, "so it is")).unwrap();
        assert!(text.contains("T") && text.ends_with("Z  WARN so it is\n"), "{text}");
        let json: serde_json::Value =
            serde_json::from_slice(&LogFormat::Json.last_line("no \"such\" port")).unwrap();
        assert_eq!((&json["level"], &json["message"]), (&"ERROR".into(), &"no \"such\" port".into()));
        assert!(json["timestamp"].as_str().unwrap().ends_with('Z') && json["fatal"] == true, "{json}");
    }
}
