//! The messages of other threads to a shard.
//!
//! `server` sends connections and the stop; links on other shards send commands and questions.
//! `run` serves them.

use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use gatewayworker_net::{DetachedLinkSocket, LinkPeer};
use gatewayworker_protocol::relayed_resume::RelayedResume;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::connection::Core;
use crate::client::Opening;
use crate::core::commands::ShardCommand;
use crate::core::isolation::Isolated;
use crate::core::resumption::control::Resume;
use crate::core::source::ClosesGivenUp;
use crate::core::trace::TraceId;
use crate::core::worker_link::{Gone, TakenBack};
use crate::listener::Place;
use crate::resume_token::ResumeToken;
use crate::socket::{DetachedSocket, Socket};
use crate::trace_queue::TraceQueue;
use crate::workers::WorkerLink;

/// A message to a shard.
pub(crate) enum ShardMessage {
    /// A connection that a listener has accepted.
    Client(std::net::TcpStream, NewConnection),
    /// A connection of a client of this shard that comes back.
    Returning(Box<ReturningConnection<DetachedSocket>>),
    /// A connection to another gateway, of a client of this shard that comes back.
    Relayed(Box<RelayedConnection<DetachedSocket>>),
    /// A connection to the inner port, or to the Unix socket beside it.
    Link(DetachedLinkSocket, LinkPeer, OwnedSemaphorePermit),
    /// The commands of one link, in order.
    Commands(Vec<ShardCommand>),
    /// A question: it is called with the shard's core, at the shard's time, and sends its part of the answer itself.
    Ask(Question),
    /// A worker drains: its clients go to others as soon as they may.
    WorkerDrains(Arc<WorkerLink>),
    /// A worker is gone, and all that has come from it stands before this message. The shard reports what
    /// becomes of its events.
    WorkerGone(Arc<WorkerLink>, Gone, oneshot::Sender<TakenBack>),
    /// The gateway is cut off: close these clients.
    CloseIsolated(Isolated),
    /// Workers may have taken the gateway for lost, or may not any more.
    Unheard(bool),
    /// Close all clients evenly over a time, and report when their workers have handled the
    /// closes.
    Stop {
        spread: Duration,
        /// How long to wait for the workers at most.
        timeout: Duration,
        done: oneshot::Sender<ClosesGivenUp>,
    },
    /// End the shard.
    End,
    /// Begin to trace a client.
    Trace(NewTrace),
    /// End a trace.
    Untrace(TraceId),
}

/// A trace that an operator has asked for.
pub(crate) struct NewTrace {
    pub(crate) id: TraceId,
    pub(crate) connection_id: u32,
    /// Show what is in the frames.
    pub(crate) payloads: bool,
    /// Where its lines go.
    pub(crate) queue: Arc<TraceQueue>,
    /// Whether there is such a client.
    pub(crate) begun: oneshot::Sender<bool>,
}

/// A connection whose client was cut off and comes back.
pub(crate) struct ReturningConnection<S = Socket> {
    pub(crate) socket: S,
    pub(crate) place: Place,
    pub(crate) address: SocketAddrV4,
    pub(crate) resume: Resume,
    pub(crate) client: Opening,
}

impl<S> ReturningConnection<S> {
    /// Does something with the socket that may fail.
    pub(crate) fn try_map<T>(
        self,
        map: impl FnOnce(S) -> io::Result<T>,
    ) -> io::Result<ReturningConnection<T>> {
        let Self { socket, place, address, resume, client } = self;
        Ok(ReturningConnection { socket: map(socket)?, place, address, resume, client })
    }
}

/// A connection of another gateway's whose client is this one's and comes back.
pub(crate) struct RelayedConnection<S = Socket> {
    /// The socket of the other gateway.
    pub(crate) socket: S,
    pub(crate) token: ResumeToken,
    pub(crate) request: RelayedResume,
}

/// A question to a shard.
pub(crate) type Question = Box<dyn FnOnce(&Core) + Send>;

/// A connection that a listener has accepted.
pub(crate) struct NewConnection {
    pub(crate) peer: SocketAddr,
    pub(crate) place: Place,
}
