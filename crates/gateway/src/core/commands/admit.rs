//! ADMIT: the worker has admitted a client whose handshake the gateway asked about.

use super::{Routed, ShardCommand};
use crate::core::Shard;
use crate::core::ports::Ports;

/// The command.
#[derive(Debug, Clone)]
pub struct Admit(u32);

pub(super) fn route(connection_id: u32) -> Routed {
    Routed::Connection(connection_id, ShardCommand::Admit(Admit(connection_id)))
}

impl Admit {
    pub(super) fn execute<P: Ports>(self, shard: &mut Shard<P>) {
        shard.admit(self.0);
    }
}
