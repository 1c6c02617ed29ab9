//! BIND_UID: binds a client to a uid, in place of the one that it was bound to.

use bytes::Bytes;

use super::{Routed, ShardCommand, is_name};
use crate::core::Shard;
use crate::core::ports::Ports;

/// The command.
#[derive(Debug, Clone)]
pub struct BindUid {
    connection_id: u32,
    uid: Bytes,
    /// Its place in the order of binding.
    bound: u64,
}

pub(super) fn route(connection_id: u32, uid: Bytes, number: impl FnOnce() -> u64) -> Option<Routed> {
    let bind = |bound| ShardCommand::BindUid(BindUid { connection_id, uid: uid.clone(), bound });
    is_name(&uid).then(|| Routed::Connection(connection_id, bind(number())))
}

impl BindUid {
    pub(super) fn execute<P: Ports>(self, shard: &mut Shard<P>) {
        let bound = shard.table.bind_uid(self.connection_id, &self.uid, self.bound);
        shard.note_refused(self.connection_id, bound);
    }
}
