//! CLOSED: a worker that had taken this gateway for lost has run `on_close` for these clients.

use super::Routed;
use crate::core::Shard;
use crate::core::ports::Ports;

/// The command: those of one shard.
#[derive(Debug, Clone)]
pub struct Closed {
    pub(in crate::core) connection_ids: Vec<u32>,
}

pub(super) fn route(connection_ids: Vec<u32>) -> Routed {
    Routed::Closed(connection_ids)
}

impl Closed {
    pub(super) fn execute<P: Ports>(self, shard: &mut Shard<P>) {
        for connection_id in self.connection_ids {
            shard.close_lost(connection_id);
        }
    }
}
