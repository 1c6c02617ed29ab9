//! Heartbeats: pinging the silent, closing the dead.

use std::rc::Rc;
use std::time::Duration;

use gatewayworker_protocol::CloseReason;

use super::table::Key;
use super::{Shard, State};
use crate::heartbeat::Due;

impl Shard {
    pub(super) async fn beat_for_ever(self: Rc<Self>, tick: Duration) {
        let mut ticks = tokio::time::interval(tick);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let now_ms = self.now_ms();
            let mut state = self.state.borrow_mut();
            while let Some(keys) = state.wheel.pop_due(now_ms) {
                for key in keys {
                    self.beat(&mut state, key, now_ms);
                }
            }
            self.close_doomed(&mut state);
            drop(state);
            self.flush_later();
        }
    }

    fn beat(self: &Rc<Self>, state: &mut State, key: Key, now_ms: u64) {
        let Some(client) = state.table.get(key) else { return };
        let Some(heartbeat) = client.door.heartbeat else { return };
        if client.paused {
            // Its silence is ours: it is not being read from.
            client.heard_ms = now_ms;
            client.pings = 0;
        }
        let mut due = heartbeat.due(client.heard_ms, client.pings);
        if due.at_ms() <= now_ms {
            match due {
                Due::Close(_) => return self.close_in(state, key, CloseReason::TimedOut, None),
                Due::Ping(at_ms) => {
                    // However late it is: the client has its time from now.
                    client.heard_ms += now_ms - at_ms;
                    client.pings += 1;
                    due = heartbeat.due(client.heard_ms, client.pings);
                    let ping = client.door.ping.clone();
                    self.send_frame_in(state, key, ping);
                }
            }
        }
        state.wheel.insert(due.at_ms(), key);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use crate::config::Config;

    #[tokio::test]
    async fn a_client_has_its_time_to_answer_a_ping_however_late_that_was() {
        let shard = testing::shard(Config { ping_interval: 10.0, ..Config::default() });
        let (worker, _peer) = testing::worker(&shard.shared, 1000).await;
        let (key, _client) = testing::client(&shard, 1, &worker).await;
        // The thread, or the whole machine, stood still for a while.
        for (now_ms, is_there) in [(60_000, true), (64_999, true), (65_000, false)] {
            let mut state = shard.state.borrow_mut();
            shard.beat(&mut state, key, now_ms);
            assert_eq!(state.table.get(key).is_some(), is_there, "{now_ms}");
        }
    }
}
