//! Events that end one worker after another.
//!
//! Suspect is the first event that a client's worker had when its connection ended: a crash. How
//! often that may be is `max_deliveries`; then the event is dropped and its client closed. The last
//! try of a suspect is made while no other suspect is with a worker (`suspects`), so that a crash
//! beside it does not cost an innocent one. A worker that merely fell silent casts no suspicion.

use gatewayworker_protocol::close_code::INTERNAL_ERROR;
use gatewayworker_protocol::{CloseReason, code};

use super::Shard;
use super::effects::{Effect, Notice};
use super::event_log::EventLog;
use super::moving::{SWEEP_BYTES, SWEEP_CLIENTS};
use super::ports::{Directory, Ports};
use super::source::{self, Source};

impl<P: Ports> Shard<P> {
    /// Gives suspects that have waited for their turn, the first ones first, until one has to wait on: a
    /// slice in each input.
    pub(super) fn give_suspects(&mut self) {
        if !std::mem::take(&mut self.gives_suspects) {
            return;
        }
        self.appended = 0;
        for _ in 0..SWEEP_CLIENTS {
            let Some(id) = self.waiting_suspects.pop_front() else { return };
            if let Some(log) = self.log_of(id) {
                log.is_suspect_waiting = false;
            }
            self.go_on(id);
            if self.log_of(id).is_some_and(|log| log.is_suspect_waiting) {
                // The next turn is its own.
                self.waiting_suspects.rotate_right(1);
                return;
            }
            if self.appended >= SWEEP_BYTES {
                break;
            }
        }
        self.gives_suspects = true;
        self.effects.signals.deadline = true;
    }

    fn log_of(&mut self, id: u32) -> Option<&mut EventLog<P::Buffer>> {
        let found = source::find(&mut self.table, &mut self.stubs, self.settings.address, id);
        found.and_then(|source| source.log.as_deref_mut())
    }

    /// Drops the first event of a client or stub, which no worker has, and closes the client.
    pub(super) fn drop_undeliverable(&mut self, id: u32) {
        let found = source::find(&mut self.table, &mut self.stubs, self.settings.address, id);
        let Some(Source { origin, log: Some(log), key, .. }) = found else { return };
        let Some(event) = log.remove_first() else { return };
        self.directory.counts().count_undeliverable();
        let client = super::delivery::client_id(&origin);
        let command = name(event.cmd);
        let tries = event.tries;
        self.effects.list.push_back(Effect::Log(Notice::Undeliverable { client, command, tries }));
        let Some(key) = key else {
            log.cut_short();
            // It may have been the close itself.
            return if log.has_waiting() { self.go_on(id) } else { self.drop_stub(id) };
        };
        let Some(client) = self.table.get(key) else { return };
        let last = client.policy().close_frame(INTERNAL_ERROR, CloseReason::Undeliverable.as_str());
        self.close(key, CloseReason::Undeliverable, last);
    }
}

/// The name of an event's command, for the log.
fn name(cmd: u8) -> &'static str {
    match cmd {
        code::ON_CONNECT => "ON_CONNECT",
        code::ON_WEBSOCKET_CONNECT => "ON_WEBSOCKET_CONNECT",
        code::ON_MESSAGE => "ON_MESSAGE",
        code::ON_CLOSE => "ON_CLOSE",
        code::ON_DETACHED => "ON_DETACHED",
        code::ON_RESUMED => "ON_RESUMED",
        _ => "an event",
    }
}
