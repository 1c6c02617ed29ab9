//! What a client of `gw.1` sends: control messages are for the gateway, all others are counted and go to its worker.

use gatewayworker_protocol::CloseReason;

use super::super::Shard;
use super::super::ports::Ports;
use super::super::table::Key;
use super::control::{self, ClientControl, MARK};
use super::{ACK_EVERY, Resumable};

impl<P: Ports> Shard<P> {
    /// Takes the message of such a client. Returns what its worker is to be told; `None` if that is nothing.
    ///
    /// # Errors
    /// With why the client has to be closed.
    pub(in crate::core) fn take_resumable<'m>(
        &mut self,
        key: Key,
        is_binary: bool,
        message: &'m [u8],
    ) -> Result<Option<&'m [u8]>, CloseReason> {
        let message = match message {
            _ if is_binary => message,
            [MARK, MARK, ..] => &message[1..],
            [MARK, json @ ..] => return self.obey_control(key, json).map(|()| None),
            _ => message,
        };
        self.count_received(key, message.len());
        Ok(Some(message))
    }

    fn obey_control(&mut self, key: Key, json: &[u8]) -> Result<(), CloseReason> {
        match control::read(json).map_err(|_| CloseReason::ProtocolError)? {
            ClientControl::Ack(number) => {
                if !self.acknowledged(key, number) {
                    return Err(CloseReason::ProtocolError);
                }
            }
            ClientControl::Ping {} => self.acknowledge(key),
            ClientControl::Token { auth } => self.take_token(key, &auth),
            // The first message of a connection alone is one of these: the shell has had it.
            ClientControl::Start {} | ClientControl::Resume(_) => return Err(CloseReason::ProtocolError),
            ClientControl::Unknown(_) => {}
        }
        Ok(())
    }

    /// Counts a message that its worker is given.
    fn count_received(&mut self, key: Key, bytes: usize) {
        let Some(resumable) = self.table.get(key).and_then(|client| client.resumable.as_mut()) else {
            return;
        };
        resumable.received += 1;
        resumable.unacknowledged_bytes += bytes;
        if resumable.is_ack_due() {
            self.acknowledge(key);
        }
    }

    /// Tells a client how many of its messages have arrived.
    pub(super) fn acknowledge(&mut self, key: Key) {
        let now_ms = self.now_ms;
        let Some(resumable) = self.table.get(key).and_then(|client| client.resumable.as_mut()) else {
            return;
        };
        (resumable.acknowledged, resumable.unacknowledged_bytes) = (resumable.received, 0);
        resumable.sent_ms = now_ms;
        let ack = control::ack(resumable.received);
        self.send_own_frame(key, ack);
    }
}

impl Resumable {
    /// Whether the client has to be told what has arrived, so that it does not keep it any longer.
    fn is_ack_due(&self) -> bool {
        self.received - self.acknowledged >= ACK_EVERY
            || self.unacknowledged_bytes >= self.policy.resume_bytes / 2
    }
}
