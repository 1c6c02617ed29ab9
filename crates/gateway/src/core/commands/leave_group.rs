//! LEAVE_GROUP: takes a client out of a group.

use bytes::Bytes;

use super::{Routed, ShardCommand};
use crate::core::Shard;
use crate::core::ports::Ports;

/// The command.
#[derive(Debug, Clone)]
pub struct LeaveGroup {
    connection_id: u32,
    group: Bytes,
}

pub(super) fn route(connection_id: u32, group: Bytes) -> Routed {
    Routed::Connection(connection_id, ShardCommand::LeaveGroup(LeaveGroup { connection_id, group }))
}

impl LeaveGroup {
    pub(super) fn execute<P: Ports>(self, shard: &mut Shard<P>) {
        shard.table.leave_group(self.connection_id, &self.group);
    }
}
