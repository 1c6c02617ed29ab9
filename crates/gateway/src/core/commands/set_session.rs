//! SET_SESSION: stores a client's session.

use bytes::Bytes;

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
    /// Stores a session. One that is longer than `max_session_bytes` is not stored, which is logged.
    pub(super) fn set_session(&mut self, connection_id: u32, session: &[u8]) {
        let Some(client) = self.table.by_id(connection_id) else { return };
        let (bytes, limit) = (session.len(), self.settings.max_session_bytes);
        if bytes <= limit {
            // A copy of its own, not a slice of the buffer that the command came in.
            client.session = Bytes::copy_from_slice(session);
            return;
        }
        let client = client.id(self.settings.address);
        self.effects.list.push_back(Effect::Log(Notice::SessionTooLarge { client, bytes, limit }));
    }
}
