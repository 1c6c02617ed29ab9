//! Heartbeats: silent clients are pinged, and those that do not answer are closed.

use gatewayworker_protocol::CloseReason;
use gatewayworker_protocol::close_code::GOING_AWAY;

use super::Shard;
use super::close::Close;
use super::heartbeat::Due;
use super::ports::Ports;
use super::table::Key;

impl<P: Ports> Shard<P> {
    /// Pings and closes the clients whose time has come.
    pub(super) fn ping_silent(&mut self, now_ms: u64) {
        while let Some(keys) = self.timers.pop_due(now_ms) {
            for key in keys {
                self.check_silence(key, now_ms);
            }
        }
    }

    fn check_silence(&mut self, key: Key, now_ms: u64) {
        let Some(client) = self.table.get(key) else { return };
        if client.resumable.is_some() {
            return self.check_line(key, now_ms);
        }
        let Some(heartbeat) = client.policy().heartbeat else { return };
        if client.is_paused {
            // Its silence is ours: it is not being read from.
            client.silent_since_ms = now_ms;
            client.pings = 0;
        }
        if client.pings == u16::MAX {
            // It is pinged for ever: the count begins anew.
            client.silent_since_ms = now_ms;
            client.pings = 0;
        }
        let mut due = heartbeat.due(client.silent_since_ms, client.pings.into());
        if due.at_ms() <= now_ms {
            match due {
                Due::Close(_) => return self.close_silent(key, now_ms),
                Due::Ping(at_ms) => {
                    // However late the ping is, the client has its time from now.
                    client.silent_since_ms += now_ms - at_ms;
                    client.pings += 1;
                    due = heartbeat.due(client.silent_since_ms, client.pings.into());
                    let ping = client.policy().ping.clone();
                    self.send_own_frame(key, ping);
                }
            }
        }
        self.timers.insert(due.at_ms(), key);
    }

    pub(super) fn close_silent(&mut self, key: Key, now_ms: u64) {
        let Some(client) = self.table.get(key) else { return };
        let silent_s = now_ms.saturating_sub(client.silent_since_ms).div_ceil(1000);
        let reason = match client.pings {
            0 => format!("nothing heard for {silent_s} s"),
            _ => format!("no answer to pings for {silent_s} s"),
        };
        let last = client.policy().close_frame(GOING_AWAY, &reason);
        self.close_with(key, Close { detail: Some(reason), ..Close::new(CloseReason::TimedOut, last) });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use gatewayworker_protocol::Features;

    use super::super::effects::Effect;
    use super::super::heartbeat::Heartbeat;
    use super::super::listener_policy::ListenerPolicy;
    use super::super::testing;
    use super::super::websocket::encode;

    fn policy(pings: bool) -> ListenerPolicy {
        let heartbeat = Heartbeat::new(Duration::from_secs(10), 1, pings);
        ListenerPolicy { heartbeat, ping: encode::ping(), ..testing::policy() }
    }

    #[test]
    fn a_client_has_its_time_to_answer_a_ping_however_late_that_was() {
        let (mut shard, workers) = testing::shard();
        let worker = workers.join("worker", 1000, Features::default());
        let (key, _) = testing::client(&mut shard, 1, &worker, policy(true));
        // The thread, or the whole machine, stood still for a while.
        for (now_ms, is_there) in [(60_000, true), (64_999, true), (65_000, false)] {
            shard.advance(now_ms);
            assert_eq!(shard.table.get(key).is_some(), is_there, "{now_ms}");
        }
    }

    #[test]
    fn a_silent_client_is_told_why_it_is_closed() {
        for (pings, reason) in [(true, "no answer to pings for 15 s"), (false, "nothing heard for 15 s")] {
            let (mut shard, workers) = testing::shard();
            let worker = workers.join("worker", 1000, Features::default());
            testing::client(&mut shard, 1, &worker, policy(pings));
            for now_ms in [10_000, 15_000] {
                shard.advance(now_ms);
            }
            let Some(Effect::Finish(finished)) = shard.next_effect() else { panic!("it is not closed") };
            assert_eq!(finished.outbox.frames().last(), Some(&encode::close(Some(1001), reason)));
            assert_eq!(finished.detail.as_deref(), Some(reason));
        }
    }

    #[test]
    fn the_next_deadline_is_that_of_the_client_that_is_due_first() {
        let (mut shard, workers) = testing::shard();
        assert_eq!(shard.next_deadline(), None);
        let worker = workers.join("worker", 1000, Features::default());
        testing::client(&mut shard, 1, &worker, policy(true));
        assert!(shard.take_signals().deadline);
        assert_eq!(shard.next_deadline(), Some(10_000));
        testing::client(&mut shard, 2, &worker, policy(true));
        assert!(!shard.take_signals().deadline, "it is not earlier");
        shard.advance(10_000);
        assert_eq!(shard.next_deadline(), Some(15_000));
    }
}
