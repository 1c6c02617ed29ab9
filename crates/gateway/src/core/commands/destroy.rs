//! DESTROY: the end of a client at once. What waits for it is dropped where its socket is full.

use gatewayworker_protocol::CloseReason;

use super::{Routed, ShardCommand};
use crate::core::Shard;
use crate::core::ports::Ports;

/// The command.
#[derive(Debug, Clone)]
pub struct Destroy(u32);

pub(super) fn route(connection_id: u32) -> Routed {
    Routed::Connection(connection_id, ShardCommand::Destroy(Destroy(connection_id)))
}

impl Destroy {
    pub(super) fn execute<P: Ports>(self, shard: &mut Shard<P>) {
        if let Some(key) = shard.table.key_of(self.0) {
            shard.close(key, CloseReason::Destroyed, None);
        }
    }
}
