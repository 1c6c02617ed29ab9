//! A trace: one client's frames as they come and go, each an answer of its own, until the last line says why it ends.
//!
//! The question has a connection of its own. An answer without a byte is a sign of life, each
//! [`TRACE_SILENCE`] in which no line is written.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Preview;

/// How long a trace lasts at most, in seconds.
pub const MAX_TRACE_SECONDS: u32 = 300;

/// How long a trace lasts where the request does not say it, in seconds.
pub const TRACE_SECONDS: u32 = 60;

/// The most of a payload that a line of a trace shows, in bytes.
pub const MAX_TRACE_PAYLOAD: usize = 4 * 1024;

/// After a silence of this length a trace says an answer without a byte.
pub const TRACE_SILENCE: Duration = Duration::from_secs(10);

/// A line of a trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum TraceLine {
    /// A frame.
    Frame(TracedFrame),
    /// Frames that are left out here: they came faster than they were read.
    Missed {
        /// How many.
        missed: u64,
    },
    /// The last line.
    End {
        /// Why the trace ends, in a few words: `client closed: kicked`, `time is over`.
        end: String,
    },
}

/// A frame of the client, or one that was queued for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracedFrame {
    /// When the gateway read or queued it, in milliseconds since 1970.
    pub at_ms: u64,
    /// The way that it goes.
    pub direction: Direction,
    /// What it is.
    pub kind: FrameKind,
    /// The length of its payload: of the message, not of the frame around it.
    pub bytes: u64,
    /// The code of a close frame, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// The first [`MAX_TRACE_PAYLOAD`] bytes of its payload; of a close frame the reason.
    #[serde(flatten)]
    pub preview: Preview,
}

/// Which way a frame goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From the client.
    In,
    /// To the client.
    Out,
}

/// What a frame is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FrameKind {
    /// A text message.
    Text,
    /// A binary message.
    Binary,
    /// A ping.
    Ping,
    /// A pong.
    Pong,
    /// A close frame.
    Close,
    /// A message of a listener that does not speak WebSocket.
    Message,
    /// Bytes that a worker sent as they are, and that are no whole frame; or what is left of a frame that is written in
    /// part.
    Raw,
    /// A kind of another version.
    #[default]
    #[serde(other)]
    Unknown,
}

impl FrameKind {
    /// The name, as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Binary => "binary",
            Self::Ping => "ping",
            Self::Pong => "pong",
            Self::Close => "close",
            Self::Message => "message",
            Self::Raw => "raw",
            Self::Unknown => "unknown",
        }
    }
}

impl TraceLine {
    /// Whether it is the last line.
    pub fn is_end(&self) -> bool {
        matches!(self, Self::End { .. })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_is_what_it_was_when_it_is_read_again() {
        let frame = TracedFrame {
            at_ms: 7,
            direction: Direction::Out,
            kind: FrameKind::Text,
            bytes: 2,
            code: None,
            preview: Preview::new(b"hi", 10),
        };
        for (line, wire) in [
            (
                TraceLine::Frame(frame.clone()),
                json!({"at_ms": 7, "direction": "out", "kind": "text", "bytes": 2, "payload": "hi",
                       "payload_base64": null, "cut": false}),
            ),
            (
                TraceLine::Frame(TracedFrame {
                    kind: FrameKind::Close,
                    direction: Direction::In,
                    code: Some(4001),
                    preview: Preview::default(),
                    ..frame
                }),
                json!({"at_ms": 7, "direction": "in", "kind": "close", "bytes": 2, "code": 4001,
                       "payload": null, "payload_base64": null, "cut": false}),
            ),
            (TraceLine::Missed { missed: 3 }, json!({"missed": 3})),
            (TraceLine::End { end: "time is over".into() }, json!({"end": "time is over"})),
        ] {
            assert_eq!(serde_json::to_value(&line).unwrap(), wire);
            assert_eq!(serde_json::from_value::<TraceLine>(wire).unwrap(), line);
        }
    }

    #[test]
    fn a_line_of_another_version_is_read_as_far_as_it_is_known() {
        let line = json!({"at_ms": 1, "direction": "in", "kind": "continuation", "bytes": 9, "more": true});
        let TraceLine::Frame(frame) = serde_json::from_value(line).unwrap() else { panic!("no frame") };
        assert_eq!((frame.kind, frame.preview), (FrameKind::Unknown, Preview::default()));
    }

    #[test]
    fn every_kind_has_its_name() {
        for kind in [
            FrameKind::Text,
            FrameKind::Binary,
            FrameKind::Ping,
            FrameKind::Pong,
            FrameKind::Close,
            FrameKind::Message,
            FrameKind::Raw,
            FrameKind::Unknown,
        ] {
            assert_eq!(serde_json::to_value(kind).unwrap(), json!(kind.as_str()));
        }
    }
}
