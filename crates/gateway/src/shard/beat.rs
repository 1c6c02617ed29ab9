//! Heartbeats: pinging the silent, closing the dead.

use std::rc::Rc;

use bytes::Bytes;
use gatewayworker_protocol::{CloseReason, Payload};

use super::table::Key;
use super::{Shard, State};
use crate::heartbeat::{Due, Heartbeat};
use crate::outgoing::Outgoing;
use crate::websocket::encode;

impl Shard {
    pub(super) async fn beat_for_ever(self: Rc<Self>) {
        let Some(heartbeat) = self.heartbeat else { return };
        let ping = Outgoing::new(Payload::plain(self.shared.config.ping_data.clone()));
        let mut ticks = tokio::time::interval(heartbeat.tick());
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let now_ms = self.now_ms();
            let mut state = self.state.borrow_mut();
            while let Some(keys) = state.wheel.pop_due(now_ms) {
                for key in keys {
                    self.beat(&mut state, heartbeat, key, now_ms, &ping);
                }
            }
            self.close_doomed(&mut state);
            drop(state);
            self.flush_later();
        }
    }

    fn beat(
        self: &Rc<Self>,
        state: &mut State,
        heartbeat: Heartbeat,
        key: Key,
        now_ms: u64,
        ping: &Outgoing,
    ) {
        let Some(client) = state.table.get(key) else { return };
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
                    let frame: Bytes =
                        if self.shared.config.ping_frame { encode::ping() } else { client.door.encode(ping) };
                    self.send_frame_in(state, key, frame);
                }
            }
        }
        state.wheel.insert(due.at_ms(), key);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use crate::config::Config;

    #[tokio::test]
    async fn a_client_has_its_time_to_answer_a_ping_however_late_that_was() {
        let shard = testing::shard(Config { ping_interval: 10.0, ..Config::default() });
        let (worker, _peer) = testing::worker(&shard, 1000).await;
        let (key, _client) = testing::client(&shard, 1, &worker).await;
        let ping = Outgoing::new(Payload::plain("ping"));
        // The thread, or the whole machine, stood still for a while.
        for (now_ms, is_there) in [(60_000, true), (64_999, true), (65_000, false)] {
            let mut state = shard.state.borrow_mut();
            shard.beat(&mut state, shard.heartbeat.unwrap(), key, now_ms, &ping);
            assert_eq!(state.table.get(key).is_some(), is_there, "{now_ms}");
        }
    }
}
