//! The task that reads from a client, from its insertion into the shard to its end.
//!
//! It is all that an idle client costs, so it must stay small. It reads into the shard's one
//! buffer and gives the bytes to the core (`core::reading`), which takes the messages out of them
//! and sends them to the client's worker. `client` starts it; the shard aborts it when the client
//! is closed.

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

/// Gives a client's bytes to the core until the client is gone.
pub(super) async fn read(shard: Rc<ShardThread>, socket: Rc<Socket>, key: Key, mut inbox: Inbox) {
    let mut outcome = ReadOutcome::default();
    loop {
        let now_ms = shard.now_ms();
        let reading = match outcome.bytes {
            // At the start, and after a pause.
            0 => shard.input(|core| core.resume(key, &mut inbox, now_ms)),
            bytes => {
                let scratch = &mut shard.scratch.borrow_mut()[..bytes];
                shard.input(|core| core.receive(key, &mut inbox, scratch, now_ms))
            }
        };
        if outcome.more {
            // The client has sent more than fits: let other tasks run before the next read.
            tokio::task::yield_now().await;
        }
        outcome = ReadOutcome::default();
        match reading {
            Reading::More => match fill(&shard, &socket, inbox.max_read(SCRATCH)).await {
                Ok(read @ ReadOutcome { bytes: 1.., .. }) => outcome = read,
                _ => return shard.input(|core| core.read_ended(key)),
            },
            // Boxed: the future of every idle client would have the size of this one.
            Reading::Paused(route) => Box::pin(wait(&shard, key, route)).await,
            Reading::Delayed(until_ms) => Box::pin(shard.sleep_until_ms(until_ms)).await,
            Reading::Closed => return,
        }
    }
}

/// Reads up to `most` bytes into the shard's buffer. The caller has to process them before its
/// next await, when another client's bytes may replace them.
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

/// Waits until a client's events have a worker that takes them. The client is not read from
/// meanwhile: its socket fills up, and TCP slows it down.
async fn wait(shard: &ShardThread, key: Key, route: Route<Arc<LinkWriter>>) {
    match route {
        Route::Full(link) => link.buffer.wait_for_room().await,
        Route::Wait => shard.resumed(key).await,
        Route::Open | Route::Gone => {}
    }
    // A failed link ends the wait, too: let its own task notice the failure first.
    tokio::task::yield_now().await;
}
