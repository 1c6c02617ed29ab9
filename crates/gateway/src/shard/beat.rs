//! Heartbeats: pinging the silent, closing the dead.

use std::rc::Rc;

use bytes::Bytes;
use gatewayworker_protocol::Payload;

use super::table::Key;
use super::{Shard, State};
use crate::close_reason::CloseReason;
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
                Due::Ping(_) => {
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
