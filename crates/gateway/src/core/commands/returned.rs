//! RETURN: a worker that drains gives back events that it has not finished.

use gatewayworker_protocol::EventCounts;

use super::{Routed, ShardCommand};
use crate::core::Shard;
use crate::core::ports::Ports;

/// The command: the events of one shard's clients.
#[derive(Debug, Clone)]
pub struct Return {
    pub(in crate::core) epoch: u32,
    pub(in crate::core) counts: Vec<(u32, u32)>,
    /// The first event of each client may have been handled in part.
    pub(in crate::core) is_begun: bool,
}

pub(super) fn route(epoch: u32, counts: EventCounts, is_begun: bool) -> Routed {
    let command: fn(u32, Vec<(u32, u32)>) -> ShardCommand = match is_begun {
        true => |epoch, counts| ShardCommand::Return(Return { epoch, counts, is_begun: true }),
        false => |epoch, counts| ShardCommand::Return(Return { epoch, counts, is_begun: false }),
    };
    Routed::Counts(counts.0, epoch, command)
}

impl Return {
    pub(super) fn execute<P: Ports>(self, shard: &mut Shard<P>) {
        for (connection_id, events) in self.counts {
            shard.take_back_events(connection_id, self.epoch, events, self.is_begun);
        }
    }
}
