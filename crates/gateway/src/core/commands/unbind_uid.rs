//! UNBIND_UID: unbinds a client from its uid.

use super::{Routed, ShardCommand};
use crate::core::Shard;
use crate::core::ports::Ports;

/// The command.
#[derive(Debug, Clone)]
pub struct UnbindUid(u32);

pub(super) fn route(connection_id: u32) -> Routed {
    Routed::Connection(connection_id, ShardCommand::UnbindUid(UnbindUid(connection_id)))
}

impl UnbindUid {
    pub(super) fn execute<P: Ports>(self, shard: &mut Shard<P>) {
        shard.table.unbind_uid(self.0);
    }
}
