//! The ports of a shard's core in the gateway: clients' sockets, and the links of workers.
//!
//! The core calls them ([`crate::core::ports`]); none of them waits.

use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use gatewayworker_net::LinkWriter;
use tokio::task::AbortHandle;

use crate::core;
use crate::core::listener_policy::ListenerPolicy;
use crate::core::outbox::{Flushed, Outbox};
use crate::core::ports::{Connection, Ports, Transmit};
use crate::listener::ConnectionPermit;
use crate::socket::Socket;
use crate::workers::Workers;

/// A shard's core in the gateway.
pub(crate) type Core = core::Shard<GatewayPorts>;

/// The gateway's ports.
pub(crate) struct GatewayPorts;

impl Ports for GatewayPorts {
    type Connection = ClientConnection;
    type Directory = Arc<Workers>;
    type Buffer = Arc<LinkWriter>;
}

/// A client's connection, and the tasks that wait for it.
#[derive(Debug)]
pub(crate) struct ClientConnection {
    /// Its permit, held until the connection has ended.
    pub(crate) permit: ConnectionPermit,
    pub(crate) socket: Rc<Socket>,
    /// The task that reads from it, once there is one.
    pub(crate) reader: Option<AbortHandle>,
    /// Wakes the task that reads from it, while that waits for the core.
    pub(crate) resume: Option<Waker>,
    /// The task that waits for it to be writable, while there is one.
    pub(crate) unblocker: Option<AbortHandle>,
}

impl ClientConnection {
    pub(crate) fn new(permit: ConnectionPermit, socket: Rc<Socket>) -> Self {
        Self { permit, socket, reader: None, resume: None, unblocker: None }
    }

    /// Aborts its tasks. Each holds the socket, and the one that waits to write would hold it until
    /// the peer reads.
    pub(crate) fn abort_tasks(&mut self) {
        for task in [self.reader.take(), self.unblocker.take()].into_iter().flatten() {
            task.abort();
        }
    }
}

impl Transmit for ClientConnection {
    fn flush(&self, outbox: &mut Outbox) -> Flushed {
        self.socket.flush(outbox)
    }

    fn committed(&self) -> usize {
        self.socket.committed()
    }
}

impl Connection for ClientConnection {
    fn policy(&self) -> &ListenerPolicy {
        &self.permit.policy
    }
}
