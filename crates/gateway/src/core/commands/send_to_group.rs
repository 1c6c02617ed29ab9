//! SEND_TO_GROUP: a message to the members of some groups. A client that is in two of them gets it
//! twice, as in the original.

use std::sync::Arc;

use bytes::Bytes;
use gatewayworker_protocol::Payload;

use super::{Routed, ShardCommand, sorted};
use crate::core::Shard;
use crate::core::counters::DeliveryKind;
use crate::core::outgoing::Outgoing;
use crate::core::ports::Ports;

/// The command.
#[derive(Debug, Clone)]
pub struct SendToGroup {
    groups: Arc<[Bytes]>,
    except: Arc<[u32]>,
    message: Arc<Outgoing>,
}

pub(super) fn route(groups: Vec<Bytes>, except: Vec<u32>, message: Payload) -> Routed {
    let message = Arc::new(Outgoing::new(message));
    Routed::All(ShardCommand::SendToGroup(SendToGroup {
        groups: groups.into(),
        except: sorted(except),
        message,
    }))
}

impl SendToGroup {
    pub(super) fn execute<P: Ports>(self, shard: &mut Shard<P>) {
        for group in self.groups.iter() {
            let keys = shard.table.group(group).collect();
            shard.send_to_many(DeliveryKind::Group, keys, &self.except, &self.message);
        }
    }
}
