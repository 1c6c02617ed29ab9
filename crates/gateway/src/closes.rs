//! The last closes of the gateway, for the question INSPECT.
//!
//! `shard::ending` adds each client that ends; `inspect` reads them. They are shared by all shards and behind one short
//! lock: a close has system calls to make, beside which it is nothing.

use std::collections::VecDeque;
use std::net::SocketAddrV4;
use std::sync::{Mutex, PoisonError};

use gatewayworker_protocol::inspect::MAX_CLOSES;
use gatewayworker_protocol::{ClientId, CloseReason};

use crate::core::close::CloseRecord;

/// The end of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Closed {
    pub(crate) id: ClientId,
    /// Unspecified where it came over IPv6.
    pub(crate) address: SocketAddrV4,
    pub(crate) reason: CloseReason,
    pub(crate) record: CloseRecord,
    /// In milliseconds since 1970.
    pub(crate) at_ms: u64,
    /// How long it had been connected.
    pub(crate) age_ms: u64,
}

/// The last closes.
#[derive(Debug, Default)]
pub(crate) struct LastCloses(Mutex<VecDeque<Closed>>);

impl LastCloses {
    /// Adds a close, in the place of the oldest where there are [`MAX_CLOSES`].
    pub(crate) fn push(&self, closed: Closed) {
        let mut closes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if closes.len() >= MAX_CLOSES as usize {
            closes.pop_front();
        }
        closes.push_back(closed);
    }

    /// Returns the last closes, the latest first.
    pub(crate) fn latest(&self, limit: usize) -> Vec<Closed> {
        let closes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        closes.iter().rev().take(limit).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::close::Closer;

    #[test]
    fn the_latest_come_first_and_so_many_are_kept() {
        let closes = LastCloses::default();
        for at_ms in 0..250 {
            let record = CloseRecord {
                uid: None,
                port: 8289,
                connected_ms: 0,
                code: None,
                frame: None,
                closer: Closer::default(),
            };
            let address = "127.0.0.1:1".parse().unwrap();
            let id = ClientId::new(address, at_ms as u32);
            closes.push(Closed { id, address, reason: CloseReason::Kicked, record, at_ms, age_ms: 0 });
        }
        let times = |limit| closes.latest(limit).iter().map(|closed| closed.at_ms).collect::<Vec<_>>();
        assert_eq!(times(3), [249, 248, 247]);
        assert_eq!((times(1000).len(), times(1000).last().copied()), (200, Some(50)));
    }
}
