//! DONE: a worker has handled events of these clients, and all that their handlers said stands before
//! this command.

use gatewayworker_protocol::EventCounts;

use super::{Routed, ShardCommand};
use crate::core::Shard;
use crate::core::ports::Ports;

/// The command: the events of one shard's clients.
#[derive(Debug, Clone)]
pub struct Done {
    pub(in crate::core) epoch: u32,
    pub(in crate::core) counts: Vec<(u32, u32)>,
}

pub(super) fn route(epoch: u32, counts: EventCounts) -> Routed {
    Routed::Counts(counts.0, epoch, |epoch, counts| ShardCommand::Done(Done { epoch, counts }))
}

impl Done {
    pub(super) fn execute<P: Ports>(self, shard: &mut Shard<P>) {
        shard.end_events(self.epoch, &self.counts);
    }
}
