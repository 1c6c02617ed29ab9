//! SET_SESSION: stores a client's session.

use bytes::Bytes;
use gatewayworker_protocol::ClientId;

use super::{Routed, ShardCommand};
use crate::core::Shard;
use crate::core::effects::{Effect, Notice};
use crate::core::ports::Ports;

/// The command.
#[derive(Debug, Clone)]
pub struct SetSession {
    connection_id: u32,
    session: Bytes,
}

pub(super) fn route(connection_id: u32, session: Bytes) -> Routed {
    Routed::Connection(connection_id, ShardCommand::SetSession(SetSession { connection_id, session }))
}

impl SetSession {
    pub(super) fn execute<P: Ports>(self, shard: &mut Shard<P>) {
        shard.set_session(self.connection_id, &self.session);
    }
}

impl<P: Ports> Shard<P> {
    /// The session of a client, or of one that is closed and whose `on_close` is not done.
    pub(super) fn session(&mut self, connection_id: u32) -> Option<&mut Box<[u8]>> {
        match self.table.by_id(connection_id) {
            Some(client) => Some(&mut client.session),
            None => self.stubs.by_id.get_mut(&connection_id).map(|stub| &mut stub.session),
        }
    }

    /// Stores a session. One that is longer than `max_session_bytes` is not stored, which is logged.
    pub(in crate::core) fn set_session(&mut self, connection_id: u32, session: &[u8]) {
        let (bytes, limit) = (session.len(), self.settings.max_session_bytes);
        let Some(stored) = self.session(connection_id) else { return };
        if bytes <= limit {
            *stored = session.into();
            self.table.session_changed(connection_id);
            return;
        }
        let client = ClientId::new(self.settings.address, connection_id);
        self.effects.list.push_back(Effect::Log(Notice::SessionTooLarge { client, bytes, limit }));
    }
}
