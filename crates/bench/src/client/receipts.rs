//! What a client of `gw.1` (docs/client-protocol.md) says to its gateway: that it is new, and what has arrived.
//!
//! Enough to measure what such a client costs. It never comes back, so it keeps nothing of what it sends.

use crate::wire::{self, opcode};

/// The first message of a new client.
pub(crate) const START: &[u8] = b"\x01{\"start\":{}}";

/// A client acknowledges after so many messages.
const ACK_EVERY: u64 = 32;

/// How many messages a client has received, and has said so.
#[derive(Debug, Default)]
pub(super) struct Receipts {
    received: u64,
    acknowledged: u64,
}

impl Receipts {
    /// Counts a message, and writes the acknowledgement to `out` where it is due. Returns whether it was the gateway's own,
    /// which is not for the case that is measured.
    pub(super) fn take(&mut self, payload: &[u8], out: &mut Vec<u8>) -> bool {
        let is_control = payload.first() == Some(&1) && payload.get(1) != Some(&1);
        if is_control {
            if payload[1..].starts_with(b"{\"ping\"") {
                self.acknowledge(out);
            }
            return true;
        }
        self.received += 1;
        if self.received - self.acknowledged >= ACK_EVERY {
            self.acknowledge(out);
        }
        false
    }

    fn acknowledge(&mut self, out: &mut Vec<u8>) {
        self.acknowledged = self.received;
        wire::encode(opcode::TEXT, format!("\x01{{\"ack\":{}}}", self.received).as_bytes(), out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        wire::encode(opcode::TEXT, text.as_bytes(), &mut out);
        out
    }

    #[test]
    fn every_32nd_message_is_acknowledged_and_so_is_what_came_before_a_ping() {
        let (mut receipts, mut out) = (Receipts::default(), Vec::new());
        assert!(receipts.take(b"\x01{\"hello\":{}}", &mut out));
        for _ in 0..31 {
            assert!(!receipts.take(b"hi", &mut out));
        }
        assert_eq!(out, b"");
        assert!(!receipts.take(b"\x01\x01 is data", &mut out));
        assert_eq!(out, encoded("\x01{\"ack\":32}"));
        out.clear();
        assert!(!receipts.take(b"hi", &mut out));
        assert!(receipts.take(b"\x01{\"ping\":{}}", &mut out));
        assert_eq!(out, encoded("\x01{\"ack\":33}"));
    }
}
