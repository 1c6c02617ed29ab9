//! [`Stats`]: what a process has sent and heard over NATS.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::core::{Dropped, Rejection};

/// A counter that many tasks increase.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add_one(&self) {
        self.add(1);
    }

    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters of a process.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) published: Counter,
    pub(crate) left_out: Counter,
    pub(crate) published_late: Counter,
    pub(crate) not_published: Counter,
    pub(crate) received: Counter,
    pub(crate) undelivered: Counter,
    pub(crate) unsigned: Counter,
    pub(crate) unreadable: Counter,
    pub(crate) stale: Counter,
    pub(crate) replayed: Counter,
    pub(crate) misplaced: Counter,
    pub(crate) overlapping: Counter,
    pub(crate) slow: Counter,
    pub(crate) questions: Counter,
    pub(crate) acknowledged: Counter,
    pub(crate) published_again: Counter,
    pub(crate) given_up: Counter,
}

impl Counts {
    pub(crate) fn note(&self, rejection: Rejection) {
        match rejection {
            // Duplicates are counted by their calls.
            Rejection::Own | Rejection::ForAnother | Rejection::Duplicate => {}
            Rejection::Overlapping => self.overlapping.add_one(),
            Rejection::Time => self.stale.add_one(),
            Rejection::Replayed => self.replayed.add_one(),
            Rejection::Misplaced => self.misplaced.add_one(),
        }
    }

    /// The messages that were dropped, by the reason that a log line gives. Those of clusters that have a gateway of the own cluster, or may have, are
    /// not among them: that is a problem which `status` names.
    pub(crate) fn dropped(&self) -> Dropped<6> {
        [
            ("received too slowly", self.slow.get()),
            ("not signed with the key", self.unsigned.get()),
            ("unreadable", self.unreadable.get()),
            ("too old or too new", self.stale.get()),
            ("seen before", self.replayed.get()),
            ("misplaced", self.misplaced.get()),
        ]
    }

    pub(crate) fn read(
        &self,
        is_connected: bool,
        (missed, late): (u64, u64),
        clusters: Vec<String>,
    ) -> Stats {
        Stats {
            is_connected,
            clusters,
            published: self.published.get(),
            left_out: self.left_out.get(),
            published_late: self.published_late.get(),
            not_published: self.not_published.get(),
            received: self.received.get(),
            undelivered: self.undelivered.get(),
            missed,
            late,
            rejected_unsigned: self.unsigned.get(),
            rejected_unreadable: self.unreadable.get(),
            rejected_stale: self.stale.get(),
            rejected_replayed: self.replayed.get(),
            rejected_misplaced: self.misplaced.get(),
            rejected_overlapping: self.overlapping.get(),
            problems: Vec::new(),
            slow: self.slow.get(),
            questions: self.questions.get(),
            durable_acknowledged: self.acknowledged.get(),
            durable_published_again: self.published_again.get(),
            durable_given_up: self.given_up.get(),
            durable_kept: 0,
            durable_duplicates: 0,
        }
    }
}

/// What a process has sent and heard over NATS since it joined.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Whether NATS is connected.
    pub is_connected: bool,
    /// The other clusters that are known, in the order of their names.
    pub clusters: Vec<String>,
    /// Calls that NATS has taken.
    pub published: u64,
    /// Calls that were not published: no other cluster has one of the groups or uids.
    pub left_out: u64,
    /// Calls that were published for a cluster a moment later, when it was known to have one of the groups or uids.
    pub published_late: u64,
    /// Calls that NATS has not taken, or that were not kept for it: the sender was told.
    pub not_published: u64,
    /// Calls of other clusters that were obeyed.
    pub received: u64,
    /// Of these, calls that not all gateways concerned have got.
    pub undelivered: u64,
    /// Calls for this cluster that were not there when a later one of their process came.
    pub missed: u64,
    /// Of these, calls that have come after all: the others were lost.
    pub late: u64,
    /// Messages that are not signed with the key.
    pub rejected_unsigned: u64,
    /// Signed messages that no version of this program makes.
    pub rejected_unreadable: u64,
    /// Messages that are too old, or too new: by more than 30 s, and through JetStream by more than a message in the stream may be old.
    pub rejected_stale: u64,
    /// Messages that were seen before.
    pub rejected_replayed: u64,
    /// Messages on a subject where they do not belong.
    pub rejected_misplaced: u64,
    /// Messages of clusters that have a gateway of the own cluster, or may have.
    pub rejected_overlapping: u64,
    /// What an operator has to mend, each in a sentence.
    pub problems: Vec<String>,
    /// How often a subscription's queue was full: a message was lost each time.
    pub slow: u64,
    /// Questions of other clusters that were answered.
    pub questions: u64,
    /// Calls that wait for JetStream's acknowledgement now; this and what follows is 0 unless sends are durable.
    pub durable_kept: u64,
    /// Calls that JetStream has stored.
    pub durable_acknowledged: u64,
    /// How often calls that JetStream has not acknowledged in time were published again, together.
    pub durable_published_again: u64,
    /// Calls that became too old before JetStream had them. They are lost.
    pub durable_given_up: u64,
    /// Calls of other clusters that came again and were dropped.
    pub durable_duplicates: u64,
}
