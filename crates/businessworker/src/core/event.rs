//! An event: something that happened to a client, as its gateway told the worker.
//!
//! The event link turns each `Command::On…` of the gateway into an event. The client's event
//! queue holds it until its handler can run.

use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::Bytes;
use gatewayworker_client::ClientId;
use gatewayworker_protocol::{Body, CloseReason, Command, EventContext, Origin, Payload};

use super::epoch::{Epoch, Phase};
#[cfg(feature = "otel")]
use super::event_trace::EventTrace;

/// What an event costs in the budget, in bytes, in addition to its session and body. With it,
/// the budget also limits how many small events can wait.
pub(crate) const EVENT_COST: usize = 256;

/// Something that happened to a client.
#[derive(Debug)]
pub struct Event {
    /// The client: its gateway, connection and address.
    pub origin: Origin,
    /// The client's session as it was when the event left the gateway, serialized.
    pub session: Bytes,
    /// What happened.
    pub kind: EventKind,
    /// The epoch in which it came; `None` from a gateway that does not acknowledge events, and for the
    /// close of a client whose gateway is lost.
    pub epoch: Option<Arc<Epoch>>,
    /// It was given to a worker before, which may have handled it: so the gateway says, or the handler here has given it
    /// back begun.
    pub redelivered: bool,
    /// When it came, in ms of the worker's clock; 0 where nobody asks for that.
    pub received_ms: u64,
    /// What the gateway knew of it, where this worker asks and the gateway says it.
    pub context: Option<Arc<EventContext>>,
    /// Its trace, where a gateway has decided that it is traced.
    #[cfg(feature = "otel")]
    pub trace: Option<Box<EventTrace>>,
    /// The worker made it, as the client's gateway is lost.
    pub(super) is_loss: bool,
    pub(super) standing: Standing,
}

/// How an event stands in its client's queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is charged to the budget, and begins when it is its turn.
    #[default]
    Charged,
    /// Its gateway is missing: it is not charged to the budget.
    Held,
    /// It was given back to its gateway, and is kept in case that dies beside the drain. Not charged to the
    /// budget, nor begun unless the gateway is lost.
    Returned,
}

/// What happened to a client.
#[derive(Debug)]
pub enum EventKind {
    /// The client has connected.
    Connect,
    /// The client has sent a WebSocket handshake.
    WebSocketConnect {
        /// The unparsed handshake; [`Handshake::parse`](crate::Handshake::parse) parses it.
        handshake: Bytes,
        /// Whether the gateway waits for the worker to admit or refuse the client.
        gateway_asks: bool,
    },
    /// The client has sent a message.
    Message(Payload),
    /// The client's connection is cut, and the client is kept.
    Detached,
    /// The client has another connection, with this unparsed handshake.
    Resumed(Bytes),
    /// The client is gone. The bytes are the body of ON_CLOSE, which
    /// [`CloseReason`](crate::CloseReason) and [`ClientCloseFrame`](crate::ClientCloseFrame) parse.
    Close(Bytes),
}

impl Event {
    /// Converts a gateway's command into an event.
    ///
    /// # Errors
    /// Returns the command unchanged if it is not an event.
    // The large `Err` is intended: the caller goes on with the command.
    #[allow(clippy::result_large_err)]
    pub fn from_command(command: Command) -> Result<Self, Command> {
        Self::from_link(command, None, false)
    }

    /// Converts a command that came on a link of this epoch into an event; `redelivered` is its frame's flag.
    ///
    /// # Errors
    /// Returns the command unchanged if it is not an event.
    #[allow(clippy::result_large_err)]
    #[inline]
    pub(super) fn from_link(
        command: Command,
        epoch: Option<&Arc<Epoch>>,
        redelivered: bool,
    ) -> Result<Self, Command> {
        let (origin, session, kind) = match command {
            Command::OnConnect { origin, session } => (origin, session, EventKind::Connect),
            Command::OnWebSocketConnect { origin, session, handshake, asks } => {
                (origin, session, EventKind::WebSocketConnect { handshake, gateway_asks: asks })
            }
            Command::OnMessage { origin, session, message } => (origin, session, EventKind::Message(message)),
            Command::OnDetached { origin, session } => (origin, session, EventKind::Detached),
            Command::OnResumed { origin, session, handshake } => {
                (origin, session, EventKind::Resumed(handshake))
            }
            Command::OnClose { origin, session, reason } => (origin, session, EventKind::Close(reason)),
            other => return Err(other),
        };
        Ok(Self {
            origin,
            session,
            kind,
            epoch: epoch.cloned(),
            redelivered,
            received_ms: 0,
            context: None,
            #[cfg(feature = "otel")]
            trace: None,
            is_loss: false,
            standing: Standing::Charged,
        })
    }

    /// The close of a client whose gateway is lost, with its session as it was last seen.
    pub(super) fn loss(origin: Origin, session: Bytes) -> Self {
        let kind = EventKind::Close(CloseReason::GatewayLost.as_str().into());
        Self {
            origin,
            session,
            kind,
            epoch: None,
            redelivered: true,
            received_ms: 0,
            context: None,
            #[cfg(feature = "otel")]
            trace: None,
            is_loss: true,
            standing: Standing::Charged,
        }
    }

    /// Whether the client's gateway is lost: it is asked and told nothing.
    pub fn has_lost_gateway(&self) -> bool {
        self.is_loss || self.epoch.as_ref().is_some_and(|epoch| epoch.phase() == Phase::Lost)
    }

    /// Whether another handler may have run for it before: the gateway says so, or the gateway is lost
    /// and may have given it to another worker.
    pub fn is_redelivered(&self) -> bool {
        self.redelivered || self.has_lost_gateway()
    }

    /// Whether it came in the epoch with this number of the worker's.
    pub(super) fn is_of(&self, epoch: NonZeroU32) -> bool {
        self.epoch.as_ref().is_some_and(|of| of.serial() == epoch)
    }

    /// What it has taken of the budget, in bytes.
    pub(super) fn charged(&self) -> usize {
        if self.standing == Standing::Charged { self.cost() } else { 0 }
    }

    pub(super) fn is_close(&self) -> bool {
        matches!(self.kind, EventKind::Close(_))
    }

    /// Returns the client's id.
    pub fn client_id(&self) -> ClientId {
        ClientId::new(self.origin.gateway, self.origin.connection_id)
    }

    /// Returns what the event costs in the [budget](super::EventBudget), in bytes. The closes of a lost
    /// gateway cost nothing, as they are made a few at a time.
    pub fn cost(&self) -> usize {
        if self.is_loss {
            return 0;
        }
        let body = match &self.kind {
            EventKind::Connect | EventKind::Detached => 0,
            EventKind::WebSocketConnect { handshake: body, .. }
            | EventKind::Resumed(body)
            | EventKind::Close(body) => body.len(),
            EventKind::Message(Payload { body: Body::Plain(body) | Body::Php(body), .. }) => body.len(),
        };
        EVENT_COST + self.session.len() + body + self.context.as_deref().map_or(0, cost_of_context)
    }
}

/// What a context takes, in bytes.
fn cost_of_context(context: &EventContext) -> usize {
    let names = context.uid.iter().chain(&context.groups);
    size_of::<EventContext>() + names.map(|name| size_of::<Bytes>() + name.len()).sum::<usize>()
}
