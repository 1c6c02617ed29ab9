//! The wait of a new client for a worker.
//!
//! `client` calls [`find_worker`] before it writes the 101. A client waits where no worker is
//! linked, or all links are full, for `worker_wait_ms` at most and among `max_waiting`. It must be
//! noticed at once when the client leaves meanwhile: then it holds nothing, and no worker hears of
//! it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::reading::fill;
use crate::access::rejections::RejectReason;
use crate::core::ports::Directory;
use crate::shard::ShardThread;
use crate::socket::{ReadOutcome, Socket};
use crate::websocket::rejection::Rejection;
use crate::workers::WorkerLink;

/// The most that is read from a client that waits, in bytes: `max_waiting` clients may hold as
/// much each.
pub(super) const MAX_RECEIVED: usize = 4 * 1024;

/// How often to check whether a client has left that has sent more than [`MAX_RECEIVED`].
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Returns the worker for a new client, waiting up to `worker_wait_ms` for one that is linked and
/// reads its events. So a cluster may start, and its workers restart, in any order. What the client
/// sends meanwhile is appended to `received`.
///
/// # Errors
/// When no worker is linked in time, `max_waiting` clients wait already, or the client leaves. A
/// client that ends only its side has left, too, whatever protocol it speaks: the gateway has not
/// promised it an answer yet.
pub(super) async fn find_worker(
    shard: &ShardThread,
    socket: &Socket,
    received: &mut Vec<u8>,
) -> Result<Arc<WorkerLink>, Rejection> {
    let shared = &shard.shared;
    if let Some(worker) = shared.workers.choose(None, false)
        && !worker.is_full()
    {
        return Ok(worker);
    }
    let no_worker = |sentence| Rejection::of(RejectReason::NoWorker, sentence);
    let _permit = shared
        .waiting
        .try_acquire()
        .map_err(|_| no_worker("no worker is linked, and too many clients wait for one"))?;
    let limit = Duration::from_millis(shared.config.worker_wait_ms);
    let choosing = timeout(limit, async {
        loop {
            match shared.workers.choose(None, false) {
                Some(worker) if worker.is_full() => shared.workers.wait_for_room(&worker).await,
                Some(worker) => return worker,
                None => shared.workers.wait_for_one().await,
            }
            // A link may have room but have left, or have joined but be full: let the other
            // tasks finish before the next look.
            tokio::task::yield_now().await;
        }
    });
    tokio::select! {
        biased;
        error = left(shard, socket, received) => Err(error.into()),
        worker = choosing => worker.map_err(|_| no_worker("no worker is linked; connect again later")),
    }
}

/// Waits until a client leaves. Appends to `received` what it sends meanwhile, up to
/// [`MAX_RECEIVED`]; the rest stays in its socket.
///
/// Cancel safe.
async fn left(shard: &ShardThread, socket: &Socket, received: &mut Vec<u8>) -> io::Error {
    let eof = || io::Error::from(io::ErrorKind::UnexpectedEof);
    while received.len() < MAX_RECEIVED {
        match fill(shard, socket, MAX_RECEIVED - received.len()).await {
            Ok(ReadOutcome { bytes: 0, .. }) => return eof(),
            Ok(read) => received.extend_from_slice(&shard.scratch.borrow()[..read.bytes]),
            Err(error) => return error,
        }
    }
    // Unread bytes stand before the end, so reading cannot show it; the socket's state does.
    while !socket.is_half_closed().await {
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    eof()
}
