//! RETURN: a worker that drains gives back events that it has not begun.

use gatewayworker_protocol::EventCounts;

use super::{Routed, ShardCommand};
use crate::core::Shard;
use crate::core::ports::Ports;

/// The command: the events of one shard's clients.
#[derive(Debug, Clone)]
pub struct Return {
    pub(in crate::core) epoch: u32,
    pub(in crate::core) counts: Vec<(u32, u32)>,
}

pub(super) fn route(epoch: u32, counts: EventCounts) -> Routed {
    Routed::Counts(counts.0, epoch, |epoch, counts| ShardCommand::Return(Return { epoch, counts }))
}

impl Return {
    pub(super) fn execute<P: Ports>(self, shard: &mut Shard<P>) {
        for (connection_id, events) in self.counts {
            shard.take_back_events(connection_id, self.epoch, events);
        }
    }
}
