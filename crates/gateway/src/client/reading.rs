//! The task that reads from a client, from its insertion into the shard to its end.
//!
//! An idle client costs a [`Reader`], so it must stay small: with 24 bytes the task fits into 128. It reads into the
//! shard's one buffer and gives the bytes to the core (`core::reading`), which takes the messages out of them and sends
//! them to the client's worker. The socket is the core's. `client` starts the task; the shard aborts it when the client
//! is closed.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use gatewayworker_net::LinkWriter;

use crate::core::events::Route;
use crate::core::inbox::Inbox;
use crate::core::reading::Reading;
use crate::core::table::Key;
use crate::shard::{SCRATCH, ShardThread};
use crate::socket::{ReadOutcome, Socket, is_transient};

/// Gives a client's bytes to the core until the client is gone.
pub(super) struct Reader {
    shard: Rc<ShardThread>,
    key: Key,
    /// What hardly any client has. Boxed, so that the others do not have the room for it.
    kept: Option<Box<Kept>>,
}

/// What a reader keeps between two reads.
#[derive(Default)]
struct Kept {
    /// A part of a message, or the client's rate.
    inbox: Inbox,
    /// The end of a pause in which the client is not read from.
    pause: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl Reader {
    /// The reader of a client that was just inserted, whose inbox may hold bytes already.
    pub(super) fn new(shard: Rc<ShardThread>, key: Key, inbox: Inbox) -> Self {
        // It begins as if a pause had ended.
        let pause: Option<Pin<Box<dyn Future<Output = ()>>>> = Some(Box::pin(std::future::ready(())));
        Self { shard, key, kept: Some(Box::new(Kept { inbox, pause })) }
    }

    /// Reads once into the shard's buffer, from a client that is in the core's table.
    fn poll_read(&self, cx: &mut Context<'_>) -> Poll<io::Result<ReadOutcome>> {
        let most = self.kept.as_ref().map_or(SCRATCH, |kept| kept.inbox.max_read(SCRATCH));
        self.shard.with_socket(self.key, |socket| match socket {
            Some(socket) => poll_fill(&self.shard, socket, most, cx),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        })
    }

    /// Gives bytes to the core that are in the shard's buffer; none after a pause.
    fn give(&mut self, bytes: usize) -> Reading<Arc<LinkWriter>> {
        let (key, now_ms) = (self.key, self.shard.now_ms());
        let mut kept = self.kept.take();
        let mut empty = Inbox::default();
        let inbox = kept.as_mut().map_or(&mut empty, |kept| &mut kept.inbox);
        let reading = match bytes {
            0 => self.shard.input(|core| core.resume(key, inbox, now_ms)),
            bytes => {
                let scratch = &mut self.shard.scratch.borrow_mut()[..bytes];
                self.shard.input(|core| core.receive(key, inbox, scratch, now_ms))
            }
        };
        match kept {
            Some(kept) if kept.inbox.is_idle() => {}
            Some(kept) => self.kept = Some(kept),
            None if empty.is_idle() => {}
            None => self.kept = Some(Box::new(Kept { inbox: empty, pause: None })),
        }
        reading
    }

    /// Reads no more before `pause` has ended.
    fn pause(&mut self, pause: impl Future<Output = ()> + 'static) {
        self.kept.get_or_insert_default().pause = Some(Box::pin(pause));
    }
}

impl Future for Reader {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            let (reading, more) = match this.kept.as_mut().and_then(|kept| kept.pause.as_mut()) {
                Some(pause) => {
                    ready!(pause.as_mut().poll(cx));
                    if let Some(kept) = &mut this.kept {
                        kept.pause = None;
                    }
                    (this.give(0), false)
                }
                None => match ready!(this.poll_read(cx)) {
                    Ok(ReadOutcome { bytes: bytes @ 1.., more }) => (this.give(bytes), more),
                    _ => {
                        let key = this.key;
                        this.shard.input(|core| core.read_ended(key));
                        return Poll::Ready(());
                    }
                },
            };
            match reading {
                // The client has sent more than fits: let other tasks run before the next read.
                Reading::More if more => this.pause(tokio::task::yield_now()),
                Reading::More => {}
                Reading::Paused(route) => this.pause(wait(this.shard.clone(), this.key, route)),
                Reading::Delayed(until_ms) => {
                    let shard = this.shard.clone();
                    this.pause(async move { shard.sleep_until_ms(until_ms).await });
                }
                Reading::Closed => return Poll::Ready(()),
            }
        }
    }
}

/// Reads up to `most` bytes into the shard's buffer. The caller has to process them before its
/// next await, when another client's bytes may replace them.
///
/// Cancel safe.
pub(super) async fn fill(shard: &ShardThread, socket: &Socket, most: usize) -> io::Result<ReadOutcome> {
    poll_fn(|cx| poll_fill(shard, socket, most, cx)).await
}

/// Does the same as [`fill`] within a poll.
fn poll_fill(
    shard: &ShardThread,
    socket: &Socket,
    most: usize,
    cx: &mut Context<'_>,
) -> Poll<io::Result<ReadOutcome>> {
    loop {
        ready!(socket.poll_readable(cx))?;
        match socket.try_read(&mut shard.scratch.borrow_mut()[..most]) {
            Err(error) if is_transient(&error) => {}
            read => return Poll::Ready(read),
        }
    }
}

/// Waits until a client's events have a worker that takes them. The client is not read from
/// meanwhile: its socket fills up, and TCP slows it down.
async fn wait(shard: Rc<ShardThread>, key: Key, route: Route<Arc<LinkWriter>>) {
    match route {
        Route::Full(link) => link.buffer.wait_for_room().await,
        Route::Wait => shard.resumed(key).await,
        Route::Open | Route::Gone => {}
    }
    // A failed link ends the wait, too: let its own task notice the failure first.
    tokio::task::yield_now().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reader_of_an_idle_client_is_small() {
        assert!(size_of::<Reader>() <= 24, "{} bytes", size_of::<Reader>());
    }
}
