//! The messages of other threads to a shard.
//!
//! `server` sends connections and the stop; links on other shards send commands and questions.
//! `run` serves them.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::connection::Core;
use crate::core::commands::ShardCommand;
use crate::listener::ConnectionPermit;

/// A message to a shard.
pub(crate) enum ShardMessage {
    /// A connection that a listener has accepted.
    Client(std::net::TcpStream, NewConnection),
    /// A connection to the inner port.
    Link(std::net::TcpStream, SocketAddr, OwnedSemaphorePermit),
    /// The commands of one link, in order.
    Commands(Vec<ShardCommand>),
    /// A question: it is called with the shard's core, and sends its part of the answer itself.
    Ask(Question),
    /// Close all clients evenly over this time, and report when all are closed.
    Stop(Duration, oneshot::Sender<()>),
    /// End the shard.
    End,
}

/// A question to a shard.
pub(crate) type Question = Box<dyn FnOnce(&Core) + Send>;

/// A connection that a listener has accepted.
pub(crate) struct NewConnection {
    pub(crate) peer: SocketAddr,
    pub(crate) permit: ConnectionPermit,
}
