//! The acceptors of the clients' listeners, of the inner port, and of the Unix socket beside it.
//!
//! An acceptor takes a permit for each connection and gives both to the next shard. It never waits
//! for a client: over a limit it rejects the connection (`client::reject`), and a shard without
//! room is passed over. `server` starts the acceptors, on the first shard's thread.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gatewayworker_daemon::{accept_loop, accept_unix_links};
use gatewayworker_net::{LinkPeer, LinkSocket, UnixLinkListener};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::error::TrySendError;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::access::rejections::RejectReason;
use crate::client;
use crate::gateway_state::GatewayState;
use crate::listener::{LimitReached, Listener, Place};
use crate::shard::{NewConnection, ShardMessage, ShardThread};

/// Accepts clients of one listener, and gives them to the shards in turn.
pub(super) async fn accept_clients(
    socket: TcpListener,
    listener: Arc<Listener>,
    first: Rc<ShardThread>,
    shutdown: CancellationToken,
) {
    let shared = &first.shared;
    let mut next = 0;
    accept_loop(&socket, &shutdown, |stream, peer| {
        let place = match Place::acquire(&listener) {
            Ok(place) => place,
            Err(limit) => {
                let of = match limit {
                    LimitReached::Gateway => "the gateway",
                    LimitReached::Listener => "the listener",
                };
                let reason = RejectReason::from(limit);
                let port = listener.policy.port;
                shared.rejections.count_and_log(reason, move |times| {
                    warn!(port, times, "max_connections of {of} is reached: clients are rejected");
                });
                return client::reject_over_limit(&first, stream, &listener, reason);
            }
        };
        let new = NewConnection { peer, place };
        next = (next + 1) % shared.shards.len();
        if next == first.index {
            return first.spawn_client(stream, new);
        }
        let Ok(stream) = stream.into_std() else { return };
        if !dispatch(shared, next, ShardMessage::Client(stream, new)) {
            let log =
                move |times| warn!(client = %peer, times, "a client was closed: all shards are too busy");
            shared.logs.too_busy.log(log);
        }
    })
    .await;
}

/// Gives accepted links to the shards in turn, within `max_links`: those of the inner port and of the Unix
/// socket together.
pub(super) struct LinkAcceptor {
    shared: Arc<GatewayState>,
    permits: Arc<Semaphore>,
    next: AtomicUsize,
}

impl LinkAcceptor {
    pub(super) fn new(shared: Arc<GatewayState>) -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(shared.capacity.links.min(Semaphore::MAX_PERMITS)));
        Arc::new(Self { shared, permits, next: AtomicUsize::new(0) })
    }

    /// Accepts links at the inner port until the gateway has closed its clients.
    pub(super) async fn accept_tcp(self: Arc<Self>, listener: TcpListener) {
        let stopping = &self.shared.stopping;
        accept_loop(&listener, stopping, |stream, peer| self.dispatch(stream.into(), LinkPeer::Tcp(peer)))
            .await;
    }

    /// Accepts links of this host, as long.
    pub(super) async fn accept_unix(self: Arc<Self>, listener: UnixLinkListener) {
        let stopping = &self.shared.stopping;
        let handle = |socket: LinkSocket| {
            if let Ok(peer) = socket.by_ref().peer() {
                self.dispatch(socket, peer);
            }
        };
        accept_unix_links(&listener, stopping, handle).await;
    }

    fn dispatch(&self, socket: LinkSocket, peer: LinkPeer) {
        let shared = &self.shared;
        let Ok(permit) = self.permits.clone().try_acquire_owned() else {
            let limit = shared.capacity.links;
            let log = move |times| warn!(%peer, limit, times, "max_links is reached: a link was rejected");
            return shared.logs.link_rejected.log(log);
        };
        let Ok(socket) = socket.detach() else { return };
        let next = (self.next.fetch_add(1, Ordering::Relaxed) + 1) % shared.shards.len();
        if !dispatch(shared, next, ShardMessage::Link(socket, peer, permit)) {
            let log = move |times| warn!(%peer, times, "a link was closed: all shards are too busy");
            shared.logs.too_busy.log(log);
        }
    }
}

/// Sends a connection to the shard `first`, or to the next one that has room for a message.
/// Returns false, and drops the connection, where none has.
fn dispatch(shared: &GatewayState, first: usize, mut message: ShardMessage) -> bool {
    let (before, after) = shared.shards.split_at(first);
    for shard in after.iter().chain(before) {
        match shard.try_send(message) {
            Ok(()) => return true,
            Err(TrySendError::Full(back) | TrySendError::Closed(back)) => message = back,
        }
    }
    false
}
