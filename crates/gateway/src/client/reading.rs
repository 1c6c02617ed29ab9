//! The task that reads from a client, from its insertion into the shard to its end.
//!
//! It is all that an idle client costs, so it is kept small. It reads into the shard's one buffer
//! and gives the bytes to the core, which takes the messages out of them.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, ready};

use gatewayworker_net::LinkWriter;

use crate::core::events::Route;
use crate::core::inbox::Inbox;
use crate::core::reading::Reading;
use crate::core::table::Key;
use crate::shard::{SCRATCH, ShardThread};
use crate::socket::{ReadOutcome, Socket, is_transient};

/// Passes a client's bytes on until it is gone; aborted when somebody else closes the client.
pub(super) async fn read(shard: Rc<ShardThread>, socket: Rc<Socket>, key: Key, mut inbox: Inbox) {
    let mut fresh = ReadOutcome::default();
    loop {
        let now_ms = shard.now_ms();
        let reading = match fresh.bytes {
            // It begins, or goes on behind a pause.
            0 => shard.input(|core| core.resume(key, &mut inbox, now_ms)),
            bytes => {
                let scratch = &mut shard.scratch.borrow_mut()[..bytes];
                shard.input(|core| core.receive(key, &mut inbox, scratch, now_ms))
            }
        };
        if fresh.more {
            // It has more to say than fits: first the others, and what it said on its way.
            tokio::task::yield_now().await;
        }
        fresh = ReadOutcome::default();
        match reading {
            Reading::More => match fill(&shard, &socket, SCRATCH).await {
                Ok(read @ ReadOutcome { bytes: 1.., .. }) => fresh = read,
                _ => return shard.input(|core| core.read_ended(key)),
            },
            // Boxed, as every idle client would have the place for it.
            Reading::Paused(route) => Box::pin(wait(&shard, route)).await,
            Reading::Closed => return,
        }
    }
}

/// Reads into the shard's buffer, `most` bytes at most. What is there has to be dealt with
/// before the next await: then another client's bytes may stand there.
///
/// Cancel safe.
pub(super) async fn fill(shard: &ShardThread, socket: &Socket, most: usize) -> io::Result<ReadOutcome> {
    poll_fn(|cx| {
        loop {
            ready!(socket.poll_readable(cx))?;
            match socket.try_read(&mut shard.scratch.borrow_mut()[..most]) {
                Err(error) if is_transient(&error) => {}
                read => return Poll::Ready(read),
            }
        }
    })
    .await
}

/// Waits until a client's events can go somewhere again. It is not read from meanwhile: the client
/// feels that as a socket that takes no more.
async fn wait(shard: &ShardThread, route: Route<Arc<LinkWriter>>) {
    match route {
        Route::Full(link) => link.buffer.wait_for_room().await,
        Route::NoWorker => shard.shared.workers.wait_for_one().await,
        Route::Pending => shard.admission_resolved().await,
        Route::Open | Route::Gone => {}
    }
    // A link is woken for when it fails, too: let its own task hear of that.
    tokio::task::yield_now().await;
}
