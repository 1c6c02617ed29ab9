//! Writes lines to the terminal or into the log: those of the daemons, which `child_process.rs` passes on, and the
//! supervisor's own, each with its daemon's name. Nothing waits for a reader: lines that nobody reads in time are
//! dropped and counted.

use std::fmt::Display;
use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Context;
use gatewayworker_daemon::{LineWriter, Log, LogFormat, Warnings, wants_colour};
use serde_json::{Map, Value};
use tracing::Level;

/// At the end, how long to wait for a reader to take the next line of standard output.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The mark of the supervisor's own lines.
const SUPERVISOR: Source = Source { daemon: "gatewayworker", colour: 0 };

static OUTPUT: OnceLock<Output> = OnceLock::new();

struct Output {
    format: LogFormat,
    out: LineWriter,
    log: Log,
    warnings: Warnings,
}

/// The daemon that a line comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source {
    pub(super) daemon: &'static str,
    /// The terminal's number for its name's colour.
    pub(super) colour: u8,
}

/// The stream that a line goes to.
#[derive(Debug, Clone, Copy)]
pub(super) enum To {
    Out,
    Err,
}

/// Starts the threads that write, and sends the supervisor's own log events there.
///
/// # Errors
/// When the system has no thread left, or `RUST_LOG` is no filter.
pub(super) fn start(format: LogFormat) -> anyhow::Result<()> {
    let warnings = Warnings::default();
    let own = warnings.clone();
    let finish_line = move |line: Vec<u8>| {
        own.take(None, &line);
        SUPERVISOR.mark(format, Level::INFO, &line)
    };
    let log = Log::start_with(format, finish_line).context("cannot start a thread")?;
    let errors = log.clone();
    let notice = move |dropped| {
        let message =
            format!("{dropped} lines were dropped: nobody read standard output, or the disk was full");
        errors.write(format.line(Level::WARN, &message));
        Vec::new()
    };
    let out = LineWriter::start("output", io::stdout(), notice).context("cannot start a thread")?;
    log.set_up()?;
    let _ = OUTPUT.set(Output { format, out, log, warnings });
    Ok(())
}

/// Queues a daemon's line, which comes without its end.
pub(super) fn show(to: To, source: Source, line: &[u8]) {
    let Some(Output { format, out, log, warnings }) = OUTPUT.get() else { return };
    if let To::Err = to {
        warnings.take(Some(source.daemon), line);
    }
    let level = if is_error(line) { Level::ERROR } else { Level::INFO };
    let line = source.mark(*format, level, line);
    match to {
        To::Out => out.write(line),
        To::Err => log.lines().write(line),
    }
}

/// Queues a message for the person at the terminal.
pub(super) fn print(text: impl Display) {
    if let Some(output) = OUTPUT.get() {
        output.out.write(format!("{text}\n").into_bytes());
    }
}

/// Writes why the supervisor ends, and waits until all lines are written; a reader who has taken none for a second
/// is not waited for.
pub(super) fn finish(error: Option<&anyhow::Error>) {
    let Some(Output { format, out, log, .. }) = OUTPUT.get() else { return };
    match (error, format) {
        (None, _) => {}
        // It has no name before it: it is no daemon's line.
        (Some(error), LogFormat::Text) => log.lines().write(format!("error: {error:#}\n").into_bytes()),
        (Some(error), LogFormat::Json) => log.fail(format_args!("{error:#}")),
    }
    out.flush(LAST_LINES);
    log.finish();
}

/// Returns the warnings of the supervisor's log and of its daemons'.
pub(super) fn warnings() -> Option<Warnings> {
    OUTPUT.get().map(|output| output.warnings.clone())
}

/// Returns how many lines were dropped.
pub(super) fn dropped() -> u64 {
    OUTPUT.get().map_or(0, |output| output.out.dropped() + output.log.lines().dropped())
}

/// Returns the error in a line, if it is the one with which a daemon ends.
pub(crate) fn last_error(line: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(line);
    if let Some(error) = text.strip_prefix("error: ") {
        return Some(error.to_owned());
    }
    let json: Value = serde_json::from_str(&text).ok()?;
    (json["fatal"] == true).then(|| json["message"].as_str().map(str::to_owned)).flatten()
}

fn is_error(line: &[u8]) -> bool {
    line.starts_with(b"error: ")
}

impl Source {
    /// Adds the source's name to a line, which may end with `\n`. In JSON, a line that is no JSON object becomes the
    /// message of one, of this `level`.
    fn mark(self, format: LogFormat, level: Level, line: &[u8]) -> Vec<u8> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        match format {
            LogFormat::Text => [self.prefix().as_bytes(), line, b"\n"].concat(),
            LogFormat::Json => self.json(level, line).into_bytes(),
        }
    }

    /// Returns the text before each of its lines.
    fn prefix(self) -> String {
        let Self { daemon, colour } = self;
        if wants_colour(&io::stderr()) {
            format!("\x1b[{colour}m{daemon:>14} |\x1b[0m ")
        } else {
            format!("{daemon:>14} | ")
        }
    }

    fn json(self, level: Level, line: &[u8]) -> String {
        let object = |text: &[u8]| serde_json::from_slice::<Map<String, Value>>(text).ok();
        let plain = |message: &str| object(&LogFormat::Json.line(level, message)).unwrap_or_default();
        let fields = object(line);
        let message = fields.is_none().then(|| String::from_utf8_lossy(line));
        let mut marked = plain(message.as_deref().unwrap_or_default());
        if let Some(mut fields) = fields {
            marked.remove("message");
            for key in ["timestamp", "level"] {
                if let Some(value) = fields.shift_remove(key) {
                    marked.insert(key.into(), value);
                }
            }
            marked.insert("daemon".into(), self.daemon.into());
            fields.shift_remove("daemon");
            marked.extend(fields);
        } else {
            marked.insert("daemon".into(), self.daemon.into());
        }
        format!("{}\n", Value::Object(marked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_json_every_line_is_an_object_with_a_time_a_level_and_a_daemon() {
        let gateway = Source { daemon: "gateway", colour: 0 };
        let marked = |line: &str| {
            let marked = gateway.mark(LogFormat::Json, Level::INFO, line.as_bytes());
            assert_eq!(marked.iter().filter(|byte| **byte == b'\n').count(), 1);
            let marked: Value = serde_json::from_slice(&marked).unwrap();
            assert!(marked["timestamp"].is_string() && marked["level"].is_string(), "{marked}");
            assert_eq!(marked["daemon"], "gateway");
            marked
        };
        let event = marked(r#"{"timestamp":"then","level":"WARN","message":"m","clients":3}"#);
        assert_eq!((&event["timestamp"], &event["level"]), (&"then".into(), &"WARN".into()));
        assert_eq!((&event["message"], &event["clients"]), (&"m".into(), &3.into()));
        assert_eq!(marked(r#"{"of":"an application"}"#)["of"], "an application");
        for text in ["what an application prints", "", "[1]", "7", r#"{"half":"#, "\u{1b}[31mred"] {
            assert_eq!(marked(text)["message"], text);
        }
    }

    #[test]
    fn the_last_words_of_a_daemon_are_found_in_either_format() {
        assert_eq!(last_error(b"error: port in use").as_deref(), Some("port in use"));
        let json = br#"{"level":"ERROR","message":"port in use","fatal":true}"#;
        assert_eq!(last_error(json).as_deref(), Some("port in use"));
        for other in [&b"no error: none"[..], br#"{"level":"ERROR","message":"one client's"}"#, b"{"] {
            assert_eq!(last_error(other), None);
        }
    }
}
