//! What becomes of clients whose gateway was isolated, or may have been taken for lost.
//!
//! A worker takes this gateway for lost when its link is gone and no register lists the gateway for a while. It
//! runs `on_close` for the clients in its books, and says which those are when it links again (CLOSED). A
//! worker that was replaced meanwhile says nothing. So the gateway notes which clients were left behind in the
//! books of a worker, and marks their `on_close` when it was unheard for long (`unheard_timer`).

use std::sync::Arc;

use gatewayworker_protocol::CloseReason;
use gatewayworker_protocol::close_code::SERVICE_RESTART;

use super::Shard;
use super::client::LeftBehind;
use super::close::Close;
use super::ports::Ports;
use super::source::{self, Source};
use super::table::Key;
use super::worker_link::WorkerLink;

/// Clients that are closed before other inputs get a turn.
const AT_ONCE: usize = 100;

/// Which clients of an isolated gateway are closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolated {
    /// Those that came from a worker of which merely nothing was heard: it may have them in its books,
    /// and run `on_close` for them.
    TakenOver,
    /// All.
    All,
}

impl<P: Ports> Shard<P> {
    /// Closes clients with 1012 as the gateway has had neither a register nor a worker for too long: a
    /// hundred in each input.
    pub fn close_isolated(&mut self, which: Isolated) {
        let is_meant = |shard: &mut Self, key: &Key| {
            which == Isolated::All || shard.table.get(*key).is_some_and(|client| client.is_taken_over)
        };
        let keys: Vec<Key> = self.table.all().collect();
        self.isolated = keys.into_iter().filter(|key| is_meant(self, key)).collect();
        self.effects.signals.deadline |= !self.isolated.is_empty();
        self.advance_isolation();
    }

    /// Closes the next ones.
    pub(super) fn advance_isolation(&mut self) {
        for _ in 0..AT_ONCE {
            let Some(key) = self.isolated.pop_front() else { return };
            let Some(client) = self.table.get(key) else { continue };
            let last = client.policy().close_frame(SERVICE_RESTART, CloseReason::Isolated.as_str());
            self.close(key, CloseReason::Isolated, last);
        }
        if self.isolated.is_empty() {
            self.isolated.shrink_to(64);
        }
    }

    /// Notes whether the gateway is unheard: workers that are gone may have taken it for lost. The `on_close` of
    /// clients that they may have in their books is marked from then on.
    pub fn set_unheard(&mut self, is_unheard: bool) {
        self.is_unheard = is_unheard;
        if !is_unheard {
            return;
        }
        let note = |left_behind: &mut LeftBehind| {
            if *left_behind == LeftBehind::Books {
                *left_behind = LeftBehind::PerhapsClosed;
            }
        };
        for slot in 0..self.table.slots() {
            if let Some(client) = self.table.at_mut(slot as u32) {
                note(&mut client.left_behind);
            }
        }
        self.stubs.by_id.values_mut().for_each(|stub| note(&mut stub.left_behind));
    }

    /// A client goes to another worker, and the one before cannot be told to forget it. The same process with
    /// a newer link has dropped its older books, or says which clients it has closed.
    pub(super) fn leave_behind(&mut self, id: u32, link: &Arc<WorkerLink<P::Buffer>>) {
        let found = source::find(&mut self.table, &mut self.stubs, self.settings.address, id);
        let Some(Source { worker, left_behind, .. }) = found else { return };
        if !link.was_let_go() && worker.process() != link.process() {
            let left = if self.is_unheard { LeftBehind::PerhapsClosed } else { LeftBehind::Books };
            *left_behind = left.max(*left_behind);
        }
    }

    /// CLOSED: closes a client whose `on_close` has run in a worker that had taken this gateway for
    /// lost. No worker is told of the close; the one that has the client forgets it.
    pub(super) fn close_lost(&mut self, id: u32) {
        let Some(key) = self.table.key_of(id) else {
            if let Some(worker) = self.stubs.by_id.get(&id).map(|stub| stub.worker.clone()) {
                self.forget(id, &worker);
            }
            return self.drop_stub(id);
        };
        let uid = self.uid_of(key);
        let Some(mut client) = self.table.remove(key) else { return };
        let log = client.log.take();
        // First: with the log, what holds a draining link may be gone.
        self.forget(id, &client.worker);
        self.drop_log(id, &client.worker, log);
        client.worker.unbind();
        let last = client.policy().close_frame(SERVICE_RESTART, CloseReason::GatewayLost.as_str());
        self.finish(*client, uid, Close::new(CloseReason::GatewayLost, last));
    }
}
