//! The last warnings and errors of a log, for those who look at it from elsewhere. `logging.rs` gives each line of a
//! daemon to it, the supervisor those of its daemons; the admin page shows them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::{Map, Value};

/// How many lines are kept.
const KEPT: usize = 200;

/// The longest text of a line, in bytes.
const MAX_BYTES: usize = 1024;

/// The last warnings and errors of a log. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Warnings(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    count: u64,
    lines: VecDeque<Warning>,
}

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// When it was logged, in milliseconds since 1970.
    pub at_ms: u64,
    /// `WARN` or `ERROR`.
    pub level: &'static str,
    /// The daemon that has logged it; `None` for the process itself.
    pub daemon: Option<&'static str>,
    /// What it says, without time and level.
    pub line: String,
}

impl Warnings {
    /// Keeps a line of the log, of either format, if it is a warning or an error. `daemon` is the one that has logged
    /// it, if that is another process.
    pub fn take(&self, daemon: Option<&'static str>, line: &[u8]) {
        let Some((level, line)) = parse(line) else { return };
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at_ms = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.count += 1;
        if kept.lines.len() == KEPT {
            kept.lines.pop_front();
        }
        kept.lines.push_back(Warning { at_ms, level, daemon, line });
    }

    /// Returns how many there were.
    pub fn count(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).count
    }

    /// Returns the last ones, the latest first.
    pub fn latest(&self) -> Vec<Warning> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).lines.iter().rev().cloned().collect()
    }
}

/// Returns the level and the text of a line that is a warning or an error.
fn parse(line: &[u8]) -> Option<(&'static str, String)> {
    if line.first() == Some(&b'{') {
        return parse_json(line);
    }
    // Other levels are the most: they are told without a copy.
    if !line.windows(4).take(64).any(|word| word == b"WARN" || word == b"ERRO" || word == b"erro") {
        return None;
    }
    let line = without_escapes(&String::from_utf8_lossy(line));
    let line = line.trim_end();
    if let Some(error) = line.strip_prefix("error: ") {
        return Some(("ERROR", cut(error)));
    }
    // Behind the time.
    let (_, rest) = line.split_once(' ')?;
    let (level, text) = rest.trim_start().split_once(' ')?;
    Some((level_of(level)?, cut(text.trim_start())))
}

fn parse_json(line: &[u8]) -> Option<(&'static str, String)> {
    let mut fields: Map<String, Value> = serde_json::from_slice(line).ok()?;
    let level = level_of(fields.get("level")?.as_str()?)?;
    let mut text = fields.get("message").and_then(Value::as_str).unwrap_or_default().to_owned();
    fields.retain(|name, _| !["timestamp", "level", "message", "target", "fatal"].contains(&name.as_str()));
    for (name, value) in &fields {
        text.push_str(&format!(" {name}={value}"));
    }
    Some((level, cut(&text)))
}

fn level_of(level: &str) -> Option<&'static str> {
    ["WARN", "ERROR"].into_iter().find(|known| *known == level)
}

fn cut(text: &str) -> String {
    if text.len() <= MAX_BYTES {
        return text.to_owned();
    }
    let end = (0..=MAX_BYTES).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    format!("{}…", &text[..end])
}

/// Returns a text without the terminal's sequences for colours.
fn without_escapes(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str(part.split_once(|c: char| c.is_ascii_alphabetic()).map_or("", |(_, rest)| rest));
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_and_errors_are_told_from_other_lines_in_either_format() {
        for (line, parsed) in [
            (
                "2026-01-01T00:00:00.1Z  WARN the disk is full times=3\n",
                Some(("WARN", "the disk is full times=3")),
            ),
            ("2026-01-01T00:00:00.1Z ERROR gone", Some(("ERROR", "gone"))),
            (
                "\x1b[2m2026-01-01T00:00:00.1Z\x1b[0m \x1b[33m WARN\x1b[0m slow \x1b[3mtimes\x1b[0m\x1b[2m=\x1b[0m3",
                Some(("WARN", "slow times=3")),
            ),
            ("error: port in use\n", Some(("ERROR", "port in use"))),
            (
                r#"{"timestamp":"t","level":"WARN","message":"m","times":3,"address":"a"}"#,
                Some(("WARN", r#"m times=3 address="a""#)),
            ),
            ("2026-01-01T00:00:00.1Z  INFO a WARNING of an application", None),
            (r#"{"timestamp":"t","level":"INFO","message":"WARN"}"#, None),
            ("what an application prints: WARN", None),
            ("{half", None),
            ("", None),
        ] {
            let expected = parsed.map(|(level, text)| (level, text.to_owned()));
            assert_eq!(parse(line.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn the_last_200_are_kept_and_all_are_counted_and_long_ones_are_cut() {
        let warnings = Warnings::default();
        for n in 0..201 {
            warnings.take(Some("gateway"), format!("t WARN {n}").as_bytes());
        }
        warnings.take(None, format!("t WARN {}", "é".repeat(1_000)).as_bytes());
        let latest = warnings.latest();
        assert_eq!((warnings.count(), latest.len()), (202, 200));
        assert_eq!((latest[0].daemon, latest[0].line.len()), (None, MAX_BYTES + "…".len()));
        assert_eq!((latest[1].line.as_str(), latest[1].daemon), ("200", Some("gateway")));
    }
}
