//! JOIN_GROUP: puts a client into a group.

use bytes::Bytes;

use super::{Routed, ShardCommand, is_name};
use crate::core::Shard;
use crate::core::ports::Ports;

/// The command.
#[derive(Debug, Clone)]
pub struct JoinGroup {
    connection_id: u32,
    group: Bytes,
    /// Its place in the order of joining.
    joined: u64,
}

pub(super) fn route(connection_id: u32, group: Bytes, number: impl FnOnce() -> u64) -> Option<Routed> {
    let join = |joined| ShardCommand::JoinGroup(JoinGroup { connection_id, group: group.clone(), joined });
    is_name(&group).then(|| Routed::Connection(connection_id, join(number())))
}

impl JoinGroup {
    pub(super) fn execute<P: Ports>(self, shard: &mut Shard<P>) {
        let joined = shard.table.join_group(self.connection_id, &self.group, self.joined);
        shard.note_refused(self.connection_id, joined);
    }
}
