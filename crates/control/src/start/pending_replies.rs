//! The questions to a child that have no answer yet. `child.rs` adds them, `child_reader.rs` answers them. Answers
//! have no ids: each goes to all who asked before it came.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gatewayworker_daemon::child_protocol::ChildStatus;
use tokio::sync::oneshot;

use super::child_event::Reloaded;

/// The questions of one child, by their kind. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct PendingReplies(Arc<Mutex<Pending>>);

#[derive(Debug, Default)]
struct Pending {
    statuses: Vec<oneshot::Sender<ChildStatus>>,
    reloads: Vec<oneshot::Sender<Reloaded>>,
}

impl PendingReplies {
    /// Waits for the next status.
    pub(super) fn status(&self) -> oneshot::Receiver<ChildStatus> {
        add(&mut self.pending().statuses)
    }

    /// Waits for the end of the next reload.
    pub(super) fn reload(&self) -> oneshot::Receiver<Reloaded> {
        add(&mut self.pending().reloads)
    }

    /// Passes a status on; returns whether anybody had asked for it.
    pub(super) fn answer_status(&self, status: &ChildStatus) -> bool {
        answer(&mut self.pending().statuses, status)
    }

    /// Passes the result of a reload on; returns whether anybody had asked for it.
    pub(super) fn answer_reload(&self, result: &Reloaded) -> bool {
        answer(&mut self.pending().reloads, result)
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        // A panic leaves nothing half done in there.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add<T>(pending: &mut Vec<oneshot::Sender<T>>) -> oneshot::Receiver<T> {
    // Questions which nobody waits for any more must not gather while a child does not answer.
    pending.retain(|one| !one.is_closed());
    let (sender, answer) = oneshot::channel();
    pending.push(sender);
    answer
}

fn answer<T: Clone>(pending: &mut Vec<oneshot::Sender<T>>, value: &T) -> bool {
    let any = !pending.is_empty();
    for one in pending.drain(..) {
        let _ = one.send(value.clone());
    }
    any
}
