//! KICK: a last message, and the end of a client. With a close code, the application has refused
//! the client.

use std::sync::Arc;

use gatewayworker_protocol::close_code::{NORMAL, POLICY_VIOLATION};
use gatewayworker_protocol::{CloseReason, Payload, may_close_with};

use super::{Routed, ShardCommand};
use crate::core::Shard;
use crate::core::client::Client;
use crate::core::close::{Close, Closer};
use crate::core::outgoing::Outgoing;
use crate::core::ports::Ports;

/// The command.
#[derive(Debug, Clone)]
pub struct Kick {
    connection_id: u32,
    message: Option<Arc<Outgoing>>,
    /// The close code of a refusal.
    refusal: Option<u16>,
    closer: Closer,
}

pub(super) fn route(
    connection_id: u32,
    message: Option<Payload>,
    refusal: Option<u16>,
    closer: &Closer,
) -> Routed {
    let message = message.map(|message| Arc::new(Outgoing::new(message)));
    let kick = Kick { connection_id, message, refusal, closer: closer.clone() };
    Routed::Connection(connection_id, ShardCommand::Kick(kick))
}

impl Kick {
    pub(super) fn execute<P: Ports>(self, shard: &mut Shard<P>) {
        let Some(key) = shard.table.key_of(self.connection_id) else {
            if self.refusal.is_some() {
                shard.cut_stub_short(self.connection_id);
            }
            return;
        };
        let Some(client) = shard.table.get(key) else { return };
        let policy = client.policy();
        // The last message is sent however much waits before it.
        let mut last = self.message.map(|message| last_message(client, &message)).unwrap_or_default();
        let (reason, code) = match self.refusal {
            None => (CloseReason::Kicked, NORMAL),
            Some(code) if may_close_with(code) => (CloseReason::Refused, code),
            Some(_) => (CloseReason::Refused, POLICY_VIOLATION),
        };
        last.extend_from_slice(&policy.close_frame(code, "").unwrap_or_default());
        let closer = Some(self.closer);
        shard.close_with(key, Close { closer, ..Close::new(reason, Some(last.into())) });
    }
}

/// Returns what a client gets for its last message. One that may come back may get it on another connection, with another
/// agreement about compression.
fn last_message<P: Ports>(client: &Client<P>, message: &Outgoing) -> Vec<u8> {
    let (policy, compression) = (client.policy(), client.compression);
    if client.resumable.is_some() {
        let counted = policy.encode_counted(message, compression);
        return counted.map(|counted| counted.kept.to_vec()).unwrap_or_default();
    }
    policy.encode(message, compression).frame.to_vec()
}
