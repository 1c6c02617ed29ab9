//! SEND_TO_UID: a message to the clients of some uids.

use std::sync::Arc;

use bytes::Bytes;
use gatewayworker_protocol::Payload;

use super::{Routed, ShardCommand};
use crate::core::Shard;
use crate::core::counters::DeliveryKind;
use crate::core::outgoing::Outgoing;
use crate::core::ports::Ports;

/// The command.
#[derive(Debug, Clone)]
pub struct SendToUid {
    uids: Arc<[Bytes]>,
    message: Arc<Outgoing>,
}

pub(super) fn route(uids: Vec<Bytes>, message: Payload) -> Routed {
    let message = Arc::new(Outgoing::new(message));
    Routed::All(ShardCommand::SendToUid(SendToUid { uids: uids.into(), message }))
}

impl SendToUid {
    pub(super) fn execute<P: Ports>(self, shard: &mut Shard<P>) {
        for uid in self.uids.iter() {
            let keys = shard.table.uid(uid).collect();
            shard.send_to_many(DeliveryKind::Uid, keys, &[], &self.message);
        }
    }
}
