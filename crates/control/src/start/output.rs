//! What goes to the terminal or into the log: the lines of the daemons and the supervisor's
//! own, each with the name of the one that said it. Nobody waits for whoever reads them: lines
//! that find no reader are dropped and counted.

use std::fmt::Display;
use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Context;
use gatewayworker_daemon::{LineWriter, Log, LogFormat, wants_colour};
use serde_json::{Map, Value};
use tracing::Level;

/// How long to wait for the next of the last lines on standard output to be taken.
const LAST_LINES: Duration = Duration::from_secs(1);

/// What the supervisor's own lines are marked with.
const SUPERVISOR: Source = Source { daemon: "gatewayworker", colour: 0 };

static OUTPUT: OnceLock<Output> = OnceLock::new();

struct Output {
    format: LogFormat,
    out: LineWriter,
    log: Log,
}

/// Who says a line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source {
    pub(super) daemon: &'static str,
    /// The terminal's number for its name's colour.
    pub(super) colour: u8,
}

/// Where a line goes.
#[derive(Debug, Clone, Copy)]
pub(super) enum To {
    Out,
    Err,
}

/// Starts the threads that write, and sends the supervisor's own events there.
///
/// # Errors
/// When the system has no thread left, or `RUST_LOG` is no filter.
pub(super) fn start(format: LogFormat) -> anyhow::Result<()> {
    let finish_line = move |line: Vec<u8>| SUPERVISOR.mark(format, Level::INFO, &line);
    let log = Log::start_with(format, finish_line).context("cannot start a thread")?;
    let errors = log.clone();
    let notice = move |dropped| {
        let message = format!("{dropped} lines were dropped because nobody read standard output");
        errors.write(format.line(Level::WARN, &message));
        Vec::new()
    };
    let out = LineWriter::start("output", io::stdout(), notice).context("cannot start a thread")?;
    log.set_up()?;
    let _ = OUTPUT.set(Output { format, out, log });
    Ok(())
}

/// Writes a line of a daemon, without its end, behind those that were to be written before.
pub(super) fn show(to: To, source: Source, line: &[u8]) {
    let Some(Output { format, out, log }) = OUTPUT.get() else { return };
    let level = if is_error(line) { Level::ERROR } else { Level::INFO };
    let line = source.mark(*format, level, line);
    match to {
        To::Out => out.write(line),
        To::Err => log.lines().write(line),
    }
}

/// Writes what a person at a terminal reads.
pub(super) fn print(text: impl Display) {
    if let Some(output) = OUTPUT.get() {
        output.out.write(format!("{text}\n").into_bytes());
    }
}

/// Says why the supervisor ends, and waits until all is written, but not for long.
pub(super) fn finish(error: Option<&anyhow::Error>) {
    let Some(Output { format, out, log }) = OUTPUT.get() else { return };
    match (error, format) {
        (None, _) => {}
        // Without a name before it: no daemon said that.
        (Some(error), LogFormat::Text) => log.lines().write(format!("error: {error:#}\n").into_bytes()),
        (Some(error), LogFormat::Json) => log.fail(format_args!("{error:#}")),
    }
    out.flush(LAST_LINES);
    log.finish();
}

/// Returns how many lines have found no reader.
pub(super) fn dropped() -> u64 {
    OUTPUT.get().map_or(0, |output| output.out.dropped() + output.log.lines().dropped())
}

/// Returns the error if that is the line with which a daemon ends.
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
    /// Makes a line that names its source out of one that does not, which may end with `\n`.
    /// In JSON, what is no JSON object becomes the message of one, of this `level`.
    fn mark(self, format: LogFormat, level: Level, line: &[u8]) -> Vec<u8> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        match format {
            LogFormat::Text => [self.prefix().as_bytes(), line, b"\n"].concat(),
            LogFormat::Json => self.json(level, line).into_bytes(),
        }
    }

    /// What stands before each of its lines.
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
        let said = object(line);
        let message = said.is_none().then(|| String::from_utf8_lossy(line));
        let mut marked = plain(message.as_deref().unwrap_or_default());
        if let Some(mut said) = said {
            marked.remove("message");
            for key in ["timestamp", "level"] {
                if let Some(value) = said.shift_remove(key) {
                    marked.insert(key.into(), value);
                }
            }
            marked.insert("daemon".into(), self.daemon.into());
            said.shift_remove("daemon");
            marked.extend(said);
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
