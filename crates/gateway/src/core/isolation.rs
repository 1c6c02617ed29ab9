//! Closing clients because of what became of their gateway: it was isolated, or taken for lost.

use gatewayworker_protocol::CloseReason;
use gatewayworker_protocol::close_code::SERVICE_RESTART;

use super::Shard;
use super::ports::Ports;
use super::table::Key;

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

    /// CLOSED: closes a client whose `on_close` has run in a worker that had taken this gateway for
    /// lost. No worker is told of the close; the one that has the client forgets it.
    pub(super) fn close_lost(&mut self, id: u32) {
        let Some(key) = self.table.key_of(id) else {
            if let Some(worker) = self.stubs.by_id.get(&id).map(|stub| stub.worker.clone()) {
                self.forget(id, &worker);
            }
            return self.drop_stub(id);
        };
        let Some(mut client) = self.table.remove(key) else { return };
        let log = client.log.take();
        // First: with the log, what holds a draining link may be gone.
        self.forget(id, &client.worker);
        self.drop_log(id, &client.worker, log);
        client.worker.unbind();
        let last = client.policy().close_frame(SERVICE_RESTART, CloseReason::GatewayLost.as_str());
        self.finish(*client, CloseReason::GatewayLost, last, None, true);
    }
}
