//! [`Waiting`]: the announcements that not everybody has applied, by version.

use std::collections::{BTreeSet, VecDeque};

use gatewayworker_protocol::interest::{InterestUpdate, Name};

/// Names that are announced, or about to be.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// All names that wait, sent or not.
    names: BTreeSet<Name>,
    unsent: Vec<Name>,
    batches: VecDeque<SentBatch>,
    /// The version that was sent last.
    sent: u64,
    /// When that was.
    sent_ms: u64,
}

#[derive(Debug)]
struct SentBatch {
    version: u64,
    sent_ms: u64,
    batch: Batch,
}

/// What was sent as one version.
#[derive(Debug)]
pub(super) enum Batch {
    /// New names.
    Names(Vec<Name>),
    /// A filter that was made anew.
    Filter,
}

impl Waiting {
    /// Adds a name to the next announcement, unless it waits already.
    pub(super) fn add(&mut self, name: Name) {
        if self.names.insert(name) {
            self.unsent.push(name);
        }
    }

    pub(super) fn has(&self, name: Name) -> bool {
        self.names.contains(&name)
    }

    /// All names that wait, sent or not.
    pub(super) fn all_names(&self) -> impl Iterator<Item = Name> {
        self.names.iter().copied()
    }

    /// The names that were sent.
    pub(super) fn sent_names(&self) -> impl Iterator<Item = Name> {
        self.batches
            .iter()
            .flat_map(|sent| match &sent.batch {
                Batch::Names(names) => names.as_slice(),
                Batch::Filter => &[],
            })
            .copied()
    }

    /// The version that was sent last; 0 before the first.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// When something was sent last, if anything is to be sent.
    pub(super) fn unsent_since(&self) -> Option<u64> {
        (!self.unsent.is_empty()).then_some(self.sent_ms)
    }

    /// Makes announcements of all that is not sent: each with its version.
    pub(super) fn send(&mut self, now_ms: u64) -> Vec<(u64, Vec<Name>)> {
        let unsent = std::mem::take(&mut self.unsent);
        let chunks = unsent.chunks(InterestUpdate::MAX_NAMES).map(<[Name]>::to_vec);
        chunks.map(|names| (self.push(Batch::Names(names.clone()), now_ms), names)).collect()
    }

    /// Notes that a filter is sent that was made anew. Everything before it is.
    pub(super) fn send_filter(&mut self, now_ms: u64) {
        self.push(Batch::Filter, now_ms);
    }

    fn push(&mut self, batch: Batch, now_ms: u64) -> u64 {
        self.sent += 1;
        self.sent_ms = now_ms;
        self.batches.push_back(SentBatch { version: self.sent, sent_ms: now_ms, batch });
        self.sent
    }

    /// The oldest version that waits, and when it was sent.
    pub(super) fn oldest(&self) -> Option<(u64, u64)> {
        self.batches.front().map(|sent| (sent.version, sent.sent_ms))
    }

    /// Takes the oldest version out, if it is `applied` or older.
    pub(super) fn pop_applied(&mut self, applied: u64) -> Option<Batch> {
        self.batches.front().filter(|sent| sent.version <= applied)?;
        let sent = self.batches.pop_front()?;
        if let Batch::Names(names) = &sent.batch {
            names.iter().for_each(|name| {
                self.names.remove(name);
            });
        }
        Some(sent.batch)
    }
}
