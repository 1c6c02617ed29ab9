//! What waits to be written to a client.

use serde::{Deserialize, Serialize};

use super::{FrameKind, Preview};

/// How many frames of an outbox are listed at most.
pub const MAX_OUTBOX_FRAMES: usize = 50;

/// The most of a payload that a frame of an outbox shows, in bytes.
pub const MAX_OUTBOX_PAYLOAD: usize = 512;

/// A client's outbox. What the system has taken, to send it when the client reads, is not in it any more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OutboxReport {
    /// Bytes that wait, and what it costs to hold them.
    pub bytes: u64,
    /// How many frames there are, listed or not.
    pub total: u64,
    /// The socket is full: the client does not read, or its network does not carry it.
    pub is_blocked: bool,
    /// The first [`MAX_OUTBOX_FRAMES`], the next to be written first.
    pub frames: Vec<OutboxFrame>,
}

/// A frame that waits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OutboxFrame {
    /// What it is.
    pub kind: FrameKind,
    /// The length of its payload.
    pub bytes: u64,
    /// The code of a close frame, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// The first [`MAX_OUTBOX_PAYLOAD`] bytes of its payload.
    #[serde(flatten)]
    pub preview: Preview,
}
