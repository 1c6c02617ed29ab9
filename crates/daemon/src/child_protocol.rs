//! The messages between a supervisor and a daemon that runs as its child process (`--supervised`), one line of
//! text each. Both ends use this file: `supervised.rs` is the child's end, `child_reader.rs` of the control tool
//! the supervisor's. It makes and parses lines, and touches no stream: `supervisor_link.rs` does that for a child.
//!
//! | supervisor | child | meaning |
//! |---|---|---|
//! | | `ready ADDRESS…` | the daemon listens on these addresses |
//! | `status` | `status {"clients":3,…,"problems":["…"],"notices":["…"]}` | asks for the daemon's stats, problems and notices |
//! | `reload` | `reloaded`, or `failed REASON` | asks the daemon to read its files again |
//! | `listener KEY` with a socket, or `refused KEY REASON` | `listen KEY ADDRESS` | asks for a listener which the supervisor holds, so that it stays open when another process takes this one's place |
//! | end of the stream | | tells the daemon to drain and end; the system says it for a supervisor that has died |
//!
//! On Unix the stream is a socket which the child finds as its standard input. Elsewhere, and where a program
//! starts a daemon with a pipe, it is standard input and standard output; there the application may print lines of
//! its own. A message that one end does not know is ignored: the two may be of different builds.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The longest line of either end, in bytes. What is longer comes in pieces, which are no messages.
pub const MAX_LINE_BYTES: usize = 64 * 1024;

/// A message from a daemon to its supervisor.
#[derive(Debug, Clone, PartialEq)]
pub enum ChildMessage {
    /// The daemon listens on these addresses. A child says it once.
    Ready {
        /// As the daemon shows them: `websocket://127.0.0.1:8289`. None of them has a space.
        addresses: Vec<String>,
    },
    /// The answer to [`SupervisorMessage::Status`].
    Status(ChildStatus),
    /// The answer to [`SupervisorMessage::Reload`]: the files are read, or there are none.
    Reloaded,
    /// The answer to [`SupervisorMessage::Reload`]: what the daemon had before stays in use.
    ReloadFailed {
        /// A sentence for people.
        reason: String,
    },
    /// Asks for a listener.
    Listen {
        /// The name of the setting that has the address, `http.listen`. It has no space.
        key: String,
        /// Where to listen. With port 0 the system chooses a port.
        address: SocketAddr,
    },
}

/// A message from a supervisor to a daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SupervisorMessage {
    /// Asks for a [`ChildMessage::Status`].
    Status,
    /// Asks the daemon to read its files again.
    Reload,
    /// The answer to [`ChildMessage::Listen`]; the socket comes with the line's bytes, as ancillary data.
    Listener {
        /// The key of the question.
        key: String,
    },
    /// The answer to [`ChildMessage::Listen`]: the supervisor could not open the listener.
    ListenerRefused {
        /// The key of the question.
        key: String,
        /// A sentence for people.
        reason: String,
    },
}

/// How the problem of a gateway begins that has no worker. A supervisor that starts no worker does not wait for the end of
/// it.
pub const NO_WORKER: &str = "the gateway has no worker";

/// What a daemon says about itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ChildStatus {
    /// What it counts, by name, in the order in which to show it.
    #[serde(flatten)]
    pub stats: Map<String, Value>,
    /// What keeps the daemon from its work, each a sentence that says what to do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
    /// What an operator has to mend though the daemon does its work, each a sentence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}

impl ChildMessage {
    /// Parses a line without its end. Returns `None` for a line which is no message.
    pub fn parse(line: &str) -> Option<Self> {
        let (word, rest) = split(line);
        Some(match word {
            "ready" => Self::Ready { addresses: rest.split_whitespace().map(str::to_owned).collect() },
            "status" => Self::Status(serde_json::from_str(rest).ok()?),
            "reloaded" => Self::Reloaded,
            "failed" => Self::ReloadFailed { reason: rest.to_owned() },
            "listen" => {
                let (key, address) = rest.split_once(' ')?;
                Self::Listen { key: key.to_owned(), address: address.parse().ok()? }
            }
            _ => return None,
        })
    }

    /// Makes the line, with its end.
    pub fn to_line(&self) -> String {
        line(match self {
            Self::Ready { addresses } => {
                addresses.iter().fold("ready".to_owned(), |line, address| line + " " + address)
            }
            Self::Status(status) => format!("status {status}"),
            Self::Reloaded => "reloaded".to_owned(),
            Self::ReloadFailed { reason } => format!("failed {reason}"),
            Self::Listen { key, address } => format!("listen {key} {address}"),
        })
    }
}

impl SupervisorMessage {
    /// Parses a line without its end. Returns `None` for a line which is no message.
    pub fn parse(line: &str) -> Option<Self> {
        let (word, rest) = split(line);
        Some(match word {
            "status" => Self::Status,
            "reload" => Self::Reload,
            "listener" => Self::Listener { key: rest.to_owned() },
            "refused" => {
                let (key, reason) = split(rest);
                Self::ListenerRefused { key: key.to_owned(), reason: reason.to_owned() }
            }
            _ => return None,
        })
    }

    /// Makes the line, with its end.
    pub fn to_line(&self) -> String {
        line(match self {
            Self::Status => "status".to_owned(),
            Self::Reload => "reload".to_owned(),
            Self::Listener { key } => format!("listener {key}"),
            Self::ListenerRefused { key, reason } => format!("refused {key} {reason}"),
        })
    }
}

impl fmt::Display for ChildStatus {
    /// As JSON, in one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        serde_json::to_value(self).unwrap_or_default().fmt(f)
    }
}

/// Splits a line into its first word and the rest.
fn split(line: &str) -> (&str, &str) {
    line.split_once(' ').unwrap_or((line, ""))
}

/// Ends the line. A sentence of several lines becomes one line.
fn line(text: String) -> String {
    text.replace('\n', ", ") + "\n"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(status: Value) -> ChildStatus {
        serde_json::from_value(status).unwrap()
    }

    #[test]
    fn each_message_is_a_line_and_back() {
        let key = || "http.listen".to_owned();
        let of_child = [
            (ChildMessage::Ready { addresses: vec![] }, "ready\n"),
            (ChildMessage::Ready { addresses: vec!["a:1".into(), "b:2".into()] }, "ready a:1 b:2\n"),
            (ChildMessage::Status(ChildStatus::default()), "status {}\n"),
            (
                ChildMessage::Status(status(
                    json!({"workers": 2, "clients": 7, "problems": ["no \"register\""]}),
                )),
                "status {\"workers\":2,\"clients\":7,\"problems\":[\"no \\\"register\\\"\"]}\n",
            ),
            (ChildMessage::Reloaded, "reloaded\n"),
            (ChildMessage::ReloadFailed { reason: "no such file".into() }, "failed no such file\n"),
            (
                ChildMessage::Listen { key: key(), address: "[::1]:80".parse().unwrap() },
                "listen http.listen [::1]:80\n",
            ),
        ];
        for (message, line) in of_child {
            assert_eq!(message.to_line(), line);
            assert_eq!(ChildMessage::parse(line.trim_end()), Some(message));
        }
        let of_supervisor = [
            (SupervisorMessage::Status, "status\n"),
            (SupervisorMessage::Reload, "reload\n"),
            (SupervisorMessage::Listener { key: key() }, "listener http.listen\n"),
            (
                SupervisorMessage::ListenerRefused { key: key(), reason: "port in use".into() },
                "refused http.listen port in use\n",
            ),
        ];
        for (message, line) in of_supervisor {
            assert_eq!(message.to_line(), line);
            assert_eq!(SupervisorMessage::parse(line.trim_end()), Some(message));
        }
    }

    #[test]
    fn a_reason_of_several_lines_becomes_one_line() {
        let message = ChildMessage::ReloadFailed { reason: "one\ntwo".into() };
        assert_eq!(message.to_line(), "failed one, two\n");
    }

    #[test]
    fn a_line_that_is_no_message_is_ignored() {
        for line in ["", "already", "status 3", "the status {}", "listen", "listen carefully", "listen a b"] {
            assert_eq!(ChildMessage::parse(line), None, "{line}");
        }
        for line in ["", "relist", "a reload"] {
            assert_eq!(SupervisorMessage::parse(line), None, "{line}");
        }
    }
}
