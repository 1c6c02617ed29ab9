//! The acceptors of the clients' listeners and of the inner port. Each takes a permit for a
//! connection and gives it to a shard.

use std::rc::Rc;
use std::sync::Arc;

use gatewayworker_daemon::accept_loop;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::error::TrySendError;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::access::rejections::RejectReason;
use crate::client;
use crate::listener::{ConnectionPermit, LimitReached, Listener};
use crate::shard::{NewConnection, ShardMessage, ShardThread, Shared};

/// Deals clients out to the shards, in turn.
pub(super) async fn accept_clients(
    socket: TcpListener,
    listener: Arc<Listener>,
    first: Rc<ShardThread>,
    shutdown: CancellationToken,
) {
    let shared = &first.shared;
    let mut turn = 0;
    accept_loop(&socket, &shutdown, |stream, peer| {
        let permit = match ConnectionPermit::take(&listener) {
            Ok(permit) => permit,
            Err(taken) => {
                let (of, why) = match taken {
                    LimitReached::All => ("the gateway", RejectReason::Full),
                    LimitReached::Here => ("the listener", RejectReason::ListenerFull),
                };
                let port = listener.policy.port;
                shared.refusals.count_and_log(why, move |times| {
                    warn!(port, times, "max_connections of {of} is reached: clients are refused");
                });
                return client::reject_over_limit(&first, stream, &listener, why);
            }
        };
        let new = NewConnection { peer, permit };
        turn = (turn + 1) % shared.shards.len();
        if turn == first.index {
            return first.spawn_client(stream, new);
        }
        let Ok(stream) = stream.into_std() else { return };
        if !deal(shared, turn, ShardMessage::Client(stream, new)) {
            let log =
                move |times| warn!(client = %peer, times, "all shards are too busy to take a client in");
            shared.logs.too_busy.log(log);
        }
    })
    .await;
}

pub(super) async fn accept_links(listener: TcpListener, shared: Arc<Shared>, shutdown: CancellationToken) {
    let limit = shared.capacity.links;
    let permits = Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS)));
    let mut turn = 0;
    accept_loop(&listener, &shutdown, |stream, peer| {
        let Ok(permit) = permits.clone().try_acquire_owned() else {
            let log = move |times| warn!(%peer, limit, times, "max_links is reached: a link is refused");
            return shared.logs.link_refused.log(log);
        };
        let Ok(stream) = stream.into_std() else { return };
        turn = (turn + 1) % shared.shards.len();
        if !deal(&shared, turn, ShardMessage::Link(stream, peer, permit)) {
            let log = move |times| warn!(%peer, times, "all shards are too busy to take a link in");
            shared.logs.too_busy.log(log);
        }
    })
    .await;
}

/// Gives a connection to the shard whose turn it is, or to the next that has room
/// in its messages; closes it where none has.
fn deal(shared: &Shared, turn: usize, mut message: ShardMessage) -> bool {
    let (before, from) = shared.shards.split_at(turn);
    for shard in from.iter().chain(before) {
        match shard.try_send(message) {
            Ok(()) => return true,
            Err(TrySendError::Full(back) | TrySendError::Closed(back)) => message = back,
        }
    }
    false
}
