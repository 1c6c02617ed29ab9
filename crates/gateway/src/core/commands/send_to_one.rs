//! SEND_TO_ONE: a message to one client, before all that many are sent.

use gatewayworker_protocol::Payload;

use super::{Routed, ShardCommand};
use crate::core::Shard;
use crate::core::counters::DeliveryKind;
use crate::core::ports::Ports;

/// The command.
#[derive(Debug, Clone)]
pub struct SendToOne {
    to: u32,
    message: Payload,
}

pub(super) fn route(to: u32, message: Payload) -> Routed {
    Routed::Connection(to, ShardCommand::SendToOne(SendToOne { to, message }))
}

impl SendToOne {
    pub(super) fn execute<P: Ports>(self, shard: &mut Shard<P>) {
        if let Some(key) = shard.table.key_of(self.to)
            && shard.enqueue_only(key, self.message)
        {
            shard.settings.counters.count_deliveries(DeliveryKind::Client, 1);
        }
    }
}
