//! Clients that have shaken hands and are not admitted yet.
//!
//! A worker that answers is asked about each handshake. Until it has admitted the client, the
//! client gets what is for itself alone. Broadcasts, and messages to its groups and uids, are
//! deferred until then, and it is not listed. The wait is bounded: a client that is not admitted
//! in time is closed, and so is one whose worker has died.
//!
//! The listener has let the client in as far as this: see `access`.

use gatewayworker_protocol::CloseReason;
use gatewayworker_protocol::close_code::TRY_AGAIN_LATER;
use gatewayworker_protocol::command::code;
use tracing::debug;

use super::Shard;
use super::client::{Client, Waits};
use super::effects::Effect;
use super::event_contexts;
use super::ports::Ports;
use super::table::Key;
use super::websocket::encode;

impl<P: Ports> Shard<P> {
    /// Tells the worker how a client has come, and asks whether it is admitted, if that is
    /// a worker that answers. Where no worker is, the one that comes is told, and asked.
    pub(super) fn tell_handshake(&mut self, key: Key, handshake: &[u8], now_ms: u64) {
        let context = self.context_for_worker(key);
        let (flag, handshake) = event_contexts::join(context, 0, handshake);
        let Some(client) = self.table.get(key) else { return };
        if self.event_spans.is_on() {
            let (id, mut log) = (client.id(self.settings.address), client.log.take());
            self.push_sampled(&mut log, id, (code::ON_WEBSOCKET_CONNECT, flag), &handshake);
            if let Some(client) = self.table.get(key) {
                client.log = log;
            }
        } else {
            let log = self.free_logs.log(&mut client.log, self.now_ms);
            log.push(code::ON_WEBSOCKET_CONNECT, flag, &handshake);
        }
        self.go_on(key.connection_id());
        let Some(client) = self.table.get(key) else { return };
        if client.log.as_ref().is_some_and(|log| log.is_handshake_waiting()) {
            self.table.begin_admission(key);
        }
        if let Some(pending) = self.table.pending(key) {
            pending.asked_ms = now_ms;
            self.admissions.push_back((now_ms + self.settings.admission_timeout_ms, key));
            self.effects.signals.deadline |= self.admissions.len() == 1;
        }
    }

    /// Admits a client: it gets what was deferred.
    pub(super) fn admit(&mut self, id: u32) {
        let Some(key) = self.table.key_of(id) else { return };
        let asked_ms = self.table.pending(key).map(|pending| pending.asked_ms);
        let Some(frames) = self.table.end_admission(key) else { return };
        self.effects.list.extend(asked_ms.map(Effect::Admitted));
        for frame in frames {
            self.enqueue_deferred(key, frame);
        }
        self.forget_admissions();
        if self.table.get(key).is_some_and(|client| client.waits != Waits::No) {
            self.go_on(id);
        }
    }

    /// Closes the clients that were not admitted in time.
    pub(super) fn close_late(&mut self, now_ms: u64) {
        while let Some((until_ms, key)) = self.admissions.front().copied()
            && until_ms <= now_ms
        {
            self.admissions.pop_front();
            self.close_not_admitted(key, "no worker decided on your connection in time; connect again");
        }
        self.forget_admissions();
    }

    /// Closes the clients whose worker has died and whose handshake is given to no other: nobody will
    /// say whether they are admitted.
    pub(super) fn close_orphans(&mut self) {
        let keys: Vec<Key> = self.admissions.iter().map(|(_, key)| *key).collect();
        for key in keys {
            let is_orphan = |client: &mut Client<P>| {
                let is_asked_again = client.log.as_ref().is_some_and(|log| log.has_handshake());
                !client.worker.may_answer() && !is_asked_again
            };
            if self.table.get(key).is_some_and(is_orphan) {
                self.close_not_admitted(
                    key,
                    "the worker that decides on your connection has left; connect again",
                );
            }
        }
        self.forget_admissions();
    }

    fn close_not_admitted(&mut self, key: Key, why: &str) {
        if self.table.get(key).is_some_and(|client| client.is_pending()) {
            debug!(client = key.connection_id(), why, "not admitted");
            let last = encode::close(Some(TRY_AGAIN_LATER), why);
            self.close(key, CloseReason::NotAdmitted, Some(last));
        }
    }

    /// Removes those at the front that wait no more.
    fn forget_admissions(&mut self) {
        while let Some((_, key)) = self.admissions.front()
            && !self.table.get(*key).is_some_and(|client| client.is_pending())
        {
            self.admissions.pop_front();
        }
        if self.admissions.is_empty() {
            // There may have been a crowd.
            self.admissions.shrink_to(64);
        }
    }
}
