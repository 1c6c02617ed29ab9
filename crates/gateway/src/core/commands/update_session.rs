//! UPDATE_SESSION: merges an array into a client's session.

use bytes::Bytes;
use gatewayworker_protocol::{ClientId, php};

use super::{Routed, ShardCommand};
use crate::core::Shard;
use crate::core::effects::{Effect, Notice};
use crate::core::ports::Ports;

/// The command.
#[derive(Debug, Clone)]
pub struct UpdateSession {
    connection_id: u32,
    update: Bytes,
}

pub(super) fn route(connection_id: u32, update: Bytes) -> Routed {
    Routed::Connection(connection_id, ShardCommand::UpdateSession(UpdateSession { connection_id, update }))
}

impl UpdateSession {
    pub(super) fn execute<P: Ports>(self, shard: &mut Shard<P>) {
        let limit = shard.settings.max_session_bytes;
        let Some(session) = shard.session(self.connection_id) else { return };
        match php::merge_sessions(session, &self.update, limit) {
            Ok(merged) => shard.set_session(self.connection_id, &merged),
            Err(error) => {
                let notice = Notice::SessionNotMerged {
                    client: ClientId::new(shard.settings.address, self.connection_id),
                    error: error.to_string(),
                };
                shard.effects.list.push_back(Effect::Log(notice));
            }
        }
    }
}
