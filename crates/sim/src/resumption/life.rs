//! [`Life`]: a client from its `hello` to its end, as the ledger knows it.

use std::collections::BTreeSet;

use super::message::{Message, Name};

/// A client.
#[derive(Debug, Default)]
pub(super) struct Life {
    pub(super) name: Name,
    /// The numbers of the messages that it is to get, in order,
    pub(super) expected: Vec<u32>,
    /// and of those that wait until it is admitted.
    pub(super) deferred: Vec<u32>,
    /// How many of these it has got.
    pub(super) got: usize,
    /// How many of its messages were handled.
    pub(super) handled: u64,
    pub(super) uid: Option<u8>,
    pub(super) groups: BTreeSet<u8>,
    /// How often the handlers of its beginning and its end have run.
    pub(super) connects: u32,
    pub(super) closes: u32,
    /// The application knows it to be away.
    pub(super) is_known_away: bool,
    pub(super) is_admitted: bool,
    /// The gateway has it in its table.
    pub(super) is_there: bool,
    /// The highest attempt that the gateway has seen.
    pub(super) attempt: u64,
    /// The application has closed it with this code.
    pub(super) closed_by: Option<u16>,
    /// So long it is to be told that, as it was detached then.
    pub(super) told_until_ms: Option<u64>,
    /// It has sent a close frame that means that it leaves.
    pub(super) has_left: bool,
    /// It has acknowledged what it was never sent, behind so many of its own messages.
    pub(super) has_lied_behind: Option<u64>,
    /// It has said on coming back that it has got what it was never sent.
    pub(super) has_lied: bool,
    /// More was waiting for it than is kept.
    pub(super) is_behind: bool,
}

impl Life {
    /// What it costs to keep what it is to get behind number `got`, in bytes.
    pub(super) fn waiting_bytes(&self, got: usize) -> usize {
        let waiting = self.expected.iter().skip(got);
        waiting.map(|number| Message::to_clients(*number).cost()).sum()
    }

    /// Whether it has got all that it was to get.
    pub(super) fn has_got_all(&self) -> bool {
        self.got == self.expected.len()
    }
}
