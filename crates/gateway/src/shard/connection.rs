//! The ports of a shard's core in the gateway: clients' sockets, and the links of workers.
//!
//! The core calls them ([`crate::core::ports`]); none of them waits.

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
    /// The socket; `None` while the client may come back with another one.
    pub(crate) socket: Option<Socket>,
    /// The task that reads from it, once there is one.
    pub(crate) reader: Option<AbortHandle>,
    /// What waits for it. Boxed: few clients have it, and every client has the place for it.
    waiting: Option<Box<Waiting>>,
}

/// What waits for a client that is paused, or whose socket is full.
#[derive(Debug, Default)]
struct Waiting {
    /// Wakes the task that reads from it, while that waits for the core.
    resume: Option<Waker>,
    /// The task that waits for it to be writable, while there is one.
    unblocker: Option<AbortHandle>,
}

impl ClientConnection {
    pub(crate) fn new(permit: ConnectionPermit, socket: Socket) -> Self {
        Self { permit, socket: Some(socket), reader: None, waiting: None }
    }

    /// Sets what wakes the task that reads from it.
    pub(crate) fn set_resume(&mut self, waker: Waker) {
        self.waiting.get_or_insert_default().resume = Some(waker);
    }

    /// Wakes the task that reads from it, if that waits for the core.
    pub(crate) fn resume(&mut self) {
        let Some(waiting) = &mut self.waiting else { return };
        if let Some(waker) = waiting.resume.take() {
            waker.wake();
        }
        self.drop_waiting();
    }

    /// Sets the task that waits for it to be writable; `None` when that has ended, as the handle would keep its
    /// memory.
    pub(crate) fn set_unblocker(&mut self, task: Option<AbortHandle>) {
        self.waiting.get_or_insert_default().unblocker = task;
        self.drop_waiting();
    }

    fn drop_waiting(&mut self) {
        self.waiting.take_if(|waiting| waiting.resume.is_none() && waiting.unblocker.is_none());
    }

    /// Aborts its tasks, which would wait for a socket that is no more.
    pub(crate) fn abort_tasks(&mut self) {
        let unblocker = self.waiting.take().and_then(|waiting| waiting.unblocker);
        for task in [self.reader.take(), unblocker].into_iter().flatten() {
            task.abort();
        }
    }
}

impl Transmit for ClientConnection {
    fn flush(&self, outbox: &mut Outbox) -> Flushed {
        self.socket.as_ref().map_or(Flushed::Empty, |socket| socket.flush(outbox))
    }

    fn committed(&self) -> usize {
        self.socket.as_ref().map_or(0, Transmit::committed)
    }
}

impl Connection for ClientConnection {
    type Socket = Socket;

    fn policy(&self) -> &ListenerPolicy {
        &self.permit.policy
    }

    fn detach(&mut self) {
        self.abort_tasks();
        self.socket = None;
    }

    fn attach(&mut self, socket: Socket) {
        self.socket = Some(socket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::client::Client;

    #[test]
    fn a_client_fits_into_256_bytes() {
        // With debug assertions a socket of mio says which selector it belongs to.
        let debug = if cfg!(debug_assertions) { 8 } else { 0 };
        let bytes = size_of::<Client<GatewayPorts>>() - debug;
        assert!(bytes <= 256, "{bytes} bytes, of which {} are its connection", size_of::<ClientConnection>());
    }
}
