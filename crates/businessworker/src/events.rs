//! The one trait that an application writes.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use gatewayworker_client::{Gateway, OutMessage};

use crate::{Client, Handshake, Message};

/// Any error: a handler may return what its libraries do.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What a handler returns. An `Err` is logged with the client's id and counted.
pub type Result<T = ()> = std::result::Result<T, BoxError>;

/// What an application does when something happens: the original's `Events` class,
/// in Rust's spelling. Implementations write `async fn`.
///
/// The events of one client run one after the other, in the order in which they
/// left its gateway; those of different clients side by side. An `Err` or a panic takes
/// nobody else down. Every method does nothing unless written.
///
/// A session that the handler changed is written back when it returns, with `Ok`
/// or `Err`; when it panicked or was cancelled, what it had done by then is not.
pub trait Events: Send + Sync + 'static {
    /// Once, before the first event. The handle is cheap to clone: background tasks
    /// that send begin here. An `Err` keeps the worker from starting.
    fn on_worker_start(&self, gateway: &Gateway) -> impl Future<Output = Result> + Send {
        let _ = gateway;
        async { Ok(()) }
    }

    /// A client has arrived.
    fn on_connect(&self, client: &Client) -> impl Future<Output = Result> + Send {
        let _ = client;
        async { Ok(()) }
    }

    /// A WebSocket client's handshake, after `on_connect`. Refused, or with an `Err`
    /// or a panic, the client is closed and none of its messages is handled.
    fn on_websocket_connect(
        &self,
        client: &Client,
        handshake: &Handshake,
    ) -> impl Future<Output = Result<Admission>> + Send {
        let _ = (client, handshake);
        async { Ok(Admission::Admit) }
    }

    /// A client has said something.
    fn on_message(&self, client: &Client, message: Message) -> impl Future<Output = Result> + Send {
        let _ = (client, message);
        async { Ok(()) }
    }

    /// A client is gone. Its session can be read; changes to it are not kept.
    fn on_close(&self, client: &Client, reason: CloseReason) -> impl Future<Output = Result> + Send {
        let _ = (client, reason);
        async { Ok(()) }
    }

    /// Once, before a clean exit, after the last handler has returned.
    fn on_worker_stop(&self, gateway: &Gateway) -> impl Future<Output = Result> + Send {
        let _ = gateway;
        async { Ok(()) }
    }
}

impl<E: Events> Events for std::sync::Arc<E> {
    fn on_worker_start(&self, gateway: &Gateway) -> impl Future<Output = Result> + Send {
        (**self).on_worker_start(gateway)
    }

    fn on_connect(&self, client: &Client) -> impl Future<Output = Result> + Send {
        (**self).on_connect(client)
    }

    fn on_websocket_connect(
        &self,
        client: &Client,
        handshake: &Handshake,
    ) -> impl Future<Output = Result<Admission>> + Send {
        (**self).on_websocket_connect(client, handshake)
    }

    fn on_message(&self, client: &Client, message: Message) -> impl Future<Output = Result> + Send {
        (**self).on_message(client, message)
    }

    fn on_close(&self, client: &Client, reason: CloseReason) -> impl Future<Output = Result> + Send {
        (**self).on_close(client, reason)
    }

    fn on_worker_stop(&self, gateway: &Gateway) -> impl Future<Output = Result> + Send {
        (**self).on_worker_stop(gateway)
    }
}

/// Whether a WebSocket client may stay.
///
/// The original has no such answer: its handler closes the client. So does this:
/// the refused client gets the last message and is closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Admit,
    /// It is closed.
    Refuse {
        /// What it is sent before that.
        message: Option<OutMessage>,
        /// The WebSocket close code (RFC 6455, section 7.4). The protocol between gateway
        /// and worker has no room for it yet: the gateway chooses its own.
        code: u16,
    },
}

impl Admission {
    /// Refused without a word, for "policy violation" (1008).
    pub fn refuse() -> Self {
        Self::Refuse { message: None, code: 1008 }
    }

    /// Refused with a last message, for "policy violation" (1008).
    pub fn refuse_with(message: impl Into<OutMessage>) -> Self {
        Self::Refuse { message: Some(message.into()), code: 1008 }
    }
}

/// Why a client is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// It closed, or its connection broke.
    ClientLeft,
    /// It said nothing for too long.
    TimedOut,
    /// An application closed it, perhaps with a last message.
    Kicked,
    /// An application destroyed it.
    Destroyed,
    /// It did not read what it was sent.
    SlowConsumer,
    /// Its gateway stops.
    Shutdown,
    /// It broke its protocol.
    ProtocolError,
    /// It sent a message over the limit.
    TooLarge,
    /// The gateway does not say: it is one of the original's, or knows more
    /// reasons than this.
    Unknown,
}

impl CloseReason {
    const NAMES: [(Self, &'static str); 9] = [
        (Self::ClientLeft, "client-left"),
        (Self::TimedOut, "timed-out"),
        (Self::Kicked, "kicked"),
        (Self::Destroyed, "destroyed"),
        (Self::SlowConsumer, "slow-consumer"),
        (Self::Shutdown, "shutdown"),
        (Self::ProtocolError, "protocol-error"),
        (Self::TooLarge, "too-large"),
        (Self::Unknown, "unknown"),
    ];

    /// The word for it in logs and on the wire.
    pub fn as_str(self) -> &'static str {
        Self::NAMES.iter().find(|(reason, _)| *reason == self).map_or("unknown", |(_, name)| name)
    }

    pub(crate) fn from_wire(reason: &[u8]) -> Self {
        std::str::from_utf8(reason)
            .unwrap_or_default()
            .parse()
            .unwrap_or_else(|never: Infallible| match never {})
    }
}

/// What is no reason known here is [`CloseReason::Unknown`].
impl FromStr for CloseReason {
    type Err = Infallible;

    fn from_str(name: &str) -> std::result::Result<Self, Infallible> {
        let known = Self::NAMES.iter().find(|(_, known)| *known == name);
        Ok(known.map_or(Self::Unknown, |(reason, _)| *reason))
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_known_by_its_word_and_none_is_unknown() {
        for (reason, name) in CloseReason::NAMES {
            assert_eq!(CloseReason::from_wire(name.as_bytes()), reason);
            assert_eq!(reason.to_string(), name);
        }
        for other in [&b""[..], b"a reason of tomorrow", b"\xff"] {
            assert_eq!(CloseReason::from_wire(other), CloseReason::Unknown);
        }
    }
}
