//! The queue of a client that a link's reader runs inline: memory for one, used again for the next.
//!
//! The reader places queues here, and `event_queues` polls them. A queue that is not done at its first
//! poll leaves, and becomes a task.

use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tokio::task::coop::unconstrained;

/// A queue that a reader runs inline, in memory that is used again for the next one: a queue is as large
/// as all that a handler may hold.
#[derive(Debug)]
pub(crate) struct InlineQueue<Q>(Option<Pin<Box<Q>>>);

impl<Q> InlineQueue<Q> {
    pub(crate) fn new() -> Self {
        Self(None)
    }

    /// Puts a queue where the last one was, which has ended. Inlined, so that only the little is copied that
    /// a queue holds when it begins.
    #[inline(always)]
    pub(crate) fn place(&mut self, queue: Q) {
        match &mut self.0 {
            Some(ended) => ended.set(queue),
            None => self.0 = Some(Box::pin(queue)),
        }
    }

    /// Takes out the queue, which has not ended.
    pub(crate) fn take(&mut self) -> Option<Pin<Box<Q>>> {
        self.0.take()
    }
}

impl<Q: Future<Output = ()>> InlineQueue<Q> {
    /// Polls the queue within the application's runtime. `Ready` where it has ended, or there is none.
    #[inline(always)]
    pub(crate) fn poll(&mut self, runtime: &Handle, cx: &mut Context<'_>) -> Poll<()> {
        let Some(placed) = &mut self.0 else { return Poll::Ready(()) };
        let _entered = runtime.enter();
        // The link's own budget of the cooperative scheduler is not for handlers: it would
        // be used up after a hundred, and all others look unfinished.
        pin!(unconstrained(placed.as_mut())).poll(cx)
    }
}
