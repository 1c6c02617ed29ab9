//! Closing everybody as the gateway stops: evenly over a time, so that workers, and the gateways
//! that the clients turn to, are not run over.

use std::time::Duration;

use gatewayworker_protocol::CloseReason;
use gatewayworker_protocol::close_code::SERVICE_RESTART;

use super::Shard;
use super::ports::Ports;
use super::stop_schedule::Schedule;
use super::table::Key;

/// Clients that are closed before other inputs get a turn.
const AT_ONCE: usize = 100;

/// A stop under way.
pub(super) struct StopPlan {
    schedule: Schedule,
    began_ms: u64,
    keys: Vec<Key>,
    closed: usize,
}

impl StopPlan {
    /// When the next client is closed, in ms; `None` when all are.
    pub(super) fn next_ms(&self) -> Option<u64> {
        let next = self.schedule.at(self.closed).as_micros().div_ceil(1000) as u64;
        (self.closed < self.keys.len()).then(|| self.began_ms + next)
    }

    fn take_due(&mut self, now_ms: u64) -> Vec<Key> {
        let elapsed = Duration::from_millis(now_ms.saturating_sub(self.began_ms));
        let due = self.schedule.due(elapsed).clamp(self.closed, self.closed + AT_ONCE);
        let keys = self.keys[self.closed..due].to_vec();
        self.closed = due;
        keys
    }
}

impl<P: Ports> Shard<P> {
    /// Begins to close everybody over `spread`. No client may be inserted any more.
    pub fn begin_stop(&mut self, spread: Duration, now_ms: u64) {
        let keys: Vec<Key> = self.table.all().collect();
        let schedule = Schedule {
            spread,
            clients: keys.len(),
            shard: self.settings.index,
            shards: self.settings.shards,
        };
        self.stop = Some(StopPlan { schedule, began_ms: now_ms, keys, closed: 0 });
        self.effects.signals.deadline = true;
        self.advance_stop(now_ms);
    }

    /// Whether the gateway stops: no client may come in.
    pub fn is_stopping(&self) -> bool {
        self.stop.is_some()
    }

    /// Whether the gateway stops, and all clients that were to be closed are.
    pub fn has_closed_all(&self) -> bool {
        self.stop.as_ref().is_some_and(|stop| stop.next_ms().is_none())
    }

    /// Whether the gateway stops, all clients are closed, and each close is done: a worker has finished
    /// it. Where none does, the caller [gives up](Self::give_up_closes).
    pub fn has_stopped(&self) -> bool {
        self.has_closed_all() && self.unfinished_closes() == 0
    }

    pub(super) fn advance_stop(&mut self, now_ms: u64) {
        let Some(stop) = &mut self.stop else { return };
        for key in stop.take_due(now_ms) {
            let last = self.table.get(key).and_then(|client| match client.resumable {
                None => client.policy().stop_frame(),
                // One that knows what it says comes back, after a random time.
                Some(_) => client.policy().close_frame(SERVICE_RESTART, "the gateway stops"),
            });
            self.close(key, CloseReason::Shutdown, last);
        }
    }
}
