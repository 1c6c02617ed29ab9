//! UNGROUP: takes everybody out of a group.

use bytes::Bytes;

use super::{Routed, ShardCommand};
use crate::core::Shard;
use crate::core::ports::Ports;

/// The command.
#[derive(Debug, Clone)]
pub struct Ungroup(Bytes);

pub(super) fn route(group: Bytes) -> Routed {
    Routed::All(ShardCommand::Ungroup(Ungroup(group)))
}

impl Ungroup {
    pub(super) fn execute<P: Ports>(self, shard: &mut Shard<P>) {
        shard.table.ungroup(&self.0);
    }
}
