//! Waiting for a worker: a new client waits here, within its limits, until one is linked and
//! reads what it is sent.
//!
//! The handshake calls it before the 101 is written; a client that leaves meanwhile is noticed.

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

/// The most that is read of a client that waits for a worker, in bytes: so many may wait.
pub(super) const MAX_SAID: usize = 4 * 1024;

/// How often to look whether one has left that has said more than that.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// The worker for a new client. Where there is none, or none that reads what it
/// is sent, the client waits a while for one, before it is told that it is in: so
/// a cluster may start, and its workers restart, in any order, and what waits for
/// a worker that hangs stays bounded. What the client says meanwhile is added to `said`.
///
/// # Errors
/// When no worker comes in time, too many wait for one, or the client leaves: it holds no
/// place then, and no worker hears of it. Who ends only its own side has left, too, whatever
/// it speaks: nobody has promised it an answer yet.
pub(super) async fn find_worker(
    shard: &ShardThread,
    socket: &Socket,
    said: &mut Vec<u8>,
) -> Result<Arc<WorkerLink>, Rejection> {
    let shared = &shard.shared;
    if let Some(worker) = shared.workers.choose(None)
        && !worker.buffer.is_full()
    {
        return Ok(worker);
    }
    let busy = |reason| Rejection::of(RejectReason::NoWorker, reason);
    let _permit =
        shared.waiting.try_acquire().map_err(|_| busy("no worker is there, and too many wait for one"))?;
    let limit = Duration::from_millis(shared.config.worker_wait_ms);
    let coming = timeout(limit, async {
        loop {
            match shared.workers.choose(None) {
                Some(worker) if worker.buffer.is_full() => worker.buffer.wait_for_room().await,
                Some(worker) => return worker,
                None => shared.workers.wait_for_one().await,
            }
            // What was waited for may be there while its other half is not yet.
            tokio::task::yield_now().await;
        }
    });
    tokio::select! {
        biased;
        error = left(shard, socket, said) => Err(error.into()),
        worker = coming => worker.map_err(|_| busy("no worker is there")),
    }
}

/// Waits until a client leaves, and adds to `said` what it says meanwhile, as long as that
/// is little: the rest stays in its socket.
///
/// Cancel safe.
async fn left(shard: &ShardThread, socket: &Socket, said: &mut Vec<u8>) -> io::Error {
    let end = || io::Error::from(io::ErrorKind::UnexpectedEof);
    while said.len() < MAX_SAID {
        match fill(shard, socket, MAX_SAID - said.len()).await {
            Ok(ReadOutcome { bytes: 0, .. }) => return end(),
            Ok(fresh) => said.extend_from_slice(&shard.scratch.borrow()[..fresh.bytes]),
            Err(error) => return error,
        }
    }
    // What is unread stands before the end: that there is one shows in the socket's state.
    while !socket.is_half_closed().await {
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    end()
}
