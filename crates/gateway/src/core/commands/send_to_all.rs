//! SEND_TO_ALL: a message to everybody, to everybody but some, or to some.

use std::sync::Arc;

use gatewayworker_protocol::{Audience, Payload};

use super::{Routed, ShardCommand, sorted};
use crate::core::Shard;
use crate::core::counters::DeliveryKind;
use crate::core::outgoing::Outgoing;
use crate::core::ports::Ports;
use crate::core::table::Key;

/// To everybody but some.
#[derive(Debug, Clone)]
pub struct SendToAll {
    except: Arc<[u32]>,
    message: Arc<Outgoing>,
}

/// To the connections of a list that are this shard's.
#[derive(Debug, Clone)]
pub struct SendToSome {
    pub(in crate::core) connection_ids: Vec<u32>,
    pub(in crate::core) message: Arc<Outgoing>,
}

pub(super) fn route(to: Audience, message: Payload) -> Routed {
    let message = Arc::new(Outgoing::new(message));
    let except = match to {
        Audience::Only(connection_ids) => return Routed::Split(connection_ids, message),
        Audience::Everyone => Arc::default(),
        Audience::Except(connection_ids) => sorted(connection_ids),
    };
    Routed::All(ShardCommand::SendToAll(SendToAll { except, message }))
}

impl SendToAll {
    pub(super) fn execute<P: Ports>(self, shard: &mut Shard<P>) {
        let mut keys = Vec::with_capacity(shard.table.slots());
        keys.extend(shard.table.all());
        shard.send_to_many(DeliveryKind::All, keys, &self.except, &self.message);
    }
}

impl SendToSome {
    pub(super) fn execute<P: Ports>(self, shard: &mut Shard<P>) {
        let keys: Vec<Key> = self.connection_ids.iter().filter_map(|id| shard.table.key_of(*id)).collect();
        shard.send_to_many(DeliveryKind::Client, keys, &[], &self.message);
    }
}
