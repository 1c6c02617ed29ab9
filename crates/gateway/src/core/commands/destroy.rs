//! DESTROY: the end of a client at once. What waits for it is dropped where its socket is full.

use gatewayworker_protocol::CloseReason;

use super::{Routed, ShardCommand};
use crate::core::Shard;
use crate::core::close::{Close, Closer};
use crate::core::ports::Ports;

/// The command.
#[derive(Debug, Clone)]
pub struct Destroy(u32, Closer);

pub(super) fn route(connection_id: u32, closer: &Closer) -> Routed {
    Routed::Connection(connection_id, ShardCommand::Destroy(Destroy(connection_id, closer.clone())))
}

impl Destroy {
    pub(super) fn execute<P: Ports>(self, shard: &mut Shard<P>) {
        if let Some(key) = shard.table.key_of(self.0) {
            let closer = Some(self.1);
            shard.close_with(key, Close { closer, ..Close::new(CloseReason::Destroyed, None) });
        }
    }
}
