//! How a client ends: what is done about it, and what an operator is told later.
//!
//! [`Shard::close`](super::Shard::close) and its kin take a [`Close`]. The [`CloseRecord`] goes to the shell with the
//! connection, which keeps the last ones (`crate::closes`) for the question INSPECT. A close costs a few fields more, a
//! message nothing.

use std::sync::Arc;

use bytes::Bytes;
use gatewayworker_protocol::inspect::ClosedBy;
use gatewayworker_protocol::{ClientCloseFrame, CloseReason};

/// At whose wish a client is closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closer {
    /// What it is.
    pub by: ClosedBy,
    /// The key of a worker, or the address of another peer.
    pub name: Option<Arc<str>>,
}

/// How a client ends.
pub(super) struct Close<'c> {
    pub(super) reason: CloseReason,
    /// What it is sent before the end.
    pub(super) last: Option<Bytes>,
    /// What was noticed about it, for the log.
    pub(super) detail: Option<String>,
    pub(super) sent: SentClose<'c>,
    /// Who has asked for it; `None` where the reason says it.
    pub(super) closer: Option<Closer>,
}

/// Whether a client has sent a close frame before it is closed.
#[derive(Clone, Copy)]
pub(super) enum SentClose<'c> {
    /// It has not, and answers ours.
    No,
    /// It has, with this code and reason where it gave some and they are valid.
    Yes(Option<&'c ClientCloseFrame>),
}

/// A close, as an operator is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseRecord {
    /// The uid that the client was bound to.
    pub uid: Option<Bytes>,
    /// The port of its listener.
    pub port: u16,
    /// When it connected, in ms of the shard's clock, to a second.
    pub connected_ms: u64,
    /// The code of the close frame that it is sent.
    pub code: Option<u16>,
    /// The close frame that it sent.
    pub frame: Option<ClientCloseFrame>,
    /// At whose wish it was closed.
    pub closer: Closer,
}

impl Closer {
    /// A worker with this key.
    pub fn worker(key: &str) -> Self {
        Self { by: ClosedBy::Worker, name: Some(key.into()) }
    }

    /// A client library at this address.
    pub fn call(address: &str) -> Self {
        Self { by: ClosedBy::Call, name: Some(address.into()) }
    }

    /// The closer where nobody has asked: the reason says it.
    fn of(reason: CloseReason) -> Self {
        let by = match reason {
            CloseReason::ClientLeft => ClosedBy::Client,
            CloseReason::TimedOut => ClosedBy::Heartbeat,
            CloseReason::SlowConsumer | CloseReason::TooLarge | CloseReason::RateLimited => ClosedBy::Limit,
            _ => ClosedBy::Gateway,
        };
        Self { by, name: None }
    }
}

/// A peer of which nothing is known.
impl Default for Closer {
    fn default() -> Self {
        Self { by: ClosedBy::Call, name: None }
    }
}

impl<'c> Close<'c> {
    /// A close for this reason.
    pub(super) fn new(reason: CloseReason, last: Option<Bytes>) -> Self {
        Self { reason, last, detail: None, sent: SentClose::No, closer: None }
    }

    /// The close frame of the client, where it has sent one that is valid.
    pub(super) fn client_frame(&self) -> Option<&'c ClientCloseFrame> {
        if let SentClose::Yes(frame) = self.sent { frame } else { None }
    }

    /// At whose wish it is.
    pub(super) fn closer(&self) -> Closer {
        self.closer.clone().unwrap_or_else(|| Closer::of(self.reason))
    }
}
