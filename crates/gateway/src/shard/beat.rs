//! Heartbeats: pinging the silent, closing the dead.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use gatewayworker_protocol::CloseReason;
use tracing::info;

use super::table::{Client, Key};
use super::{Shard, State};
use crate::heartbeat::Due;

/// The close code for a client that the gateway gives up: RFC 6455 section 7.4.1.
const GOING_AWAY: u16 = 1001;

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
                Due::Close(_) => {
                    let last = self.note_silent(client, now_ms);
                    return self.close_in(state, key, CloseReason::TimedOut, last);
                }
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

    /// Logs that a client is closed for its silence, at most once a second, and returns the
    /// frame that says so to a client that can still be told.
    fn note_silent(&self, client: &Client, now_ms: u64) -> Option<Bytes> {
        let silent_s = now_ms.saturating_sub(client.heard_ms).div_ceil(1000);
        let reason = match client.pings {
            0 => format!("nothing heard for {silent_s} s"),
            _ => format!("no answer to pings for {silent_s} s"),
        };
        let last = client.door.close_frame(GOING_AWAY, &reason);
        let (id, address) = (self.client_id(client), client_address(client));
        self.shared.logs.client_silent.log(move |clients| {
            info!(client = %id, %address, reason, clients, "a silent client was closed");
        });
        last
    }
}

/// Where a client comes from, as far as the gateway keeps it: for IPv6 the address of its
/// connection, which may be a proxy's.
fn client_address(client: &Client) -> SocketAddr {
    let known = SocketAddr::V4(client.address);
    if !client.address.ip().is_unspecified() {
        return known;
    }
    client.socket.tcp().peer_addr().unwrap_or(known)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::task::LocalSet;

    use super::super::testing;
    use crate::config::Config;
    use crate::websocket::encode;

    #[tokio::test]
    async fn a_client_has_its_time_to_answer_a_ping_however_late_that_was() {
        let test = async {
            let shard = testing::shard(Config { ping_interval: 10.0, ..Config::default() });
            let (worker, _peer) = testing::worker(&shard.shared, 1000).await;
            let (key, _client) = testing::client(&shard, 1, &worker).await;
            // The thread, or the whole machine, stood still for a while.
            for (now_ms, is_there) in [(60_000, true), (64_999, true), (65_000, false)] {
                let mut state = shard.state.borrow_mut();
                shard.beat(&mut state, key, now_ms);
                assert_eq!(state.table.get(key).is_some(), is_there, "{now_ms}");
            }
        };
        LocalSet::new().run_until(test).await;
    }

    #[tokio::test]
    async fn a_silent_client_is_told_why_it_is_closed() {
        for (ping_data, reason) in [("ping", "no answer to pings for 15 s"), ("", "nothing heard for 15 s")] {
            let config = Config { ping_interval: 10.0, ping_data: ping_data.into(), ..Config::default() };
            let test = async {
                let shard = testing::shard(config);
                let (worker, _peer) = testing::worker(&shard.shared, 1000).await;
                let (key, mut client) = testing::client(&shard, 1, &worker).await;
                for now_ms in [10_000, 15_000] {
                    shard.beat(&mut shard.state.borrow_mut(), key, now_ms);
                }
                let mut heard = Vec::new();
                client.read_to_end(&mut heard).await.unwrap();
                let close = encode::close(Some(1001), reason);
                assert!(heard.ends_with(&close), "{}", heard.escape_ascii());
            };
            LocalSet::new().run_until(test).await;
        }
    }
}
