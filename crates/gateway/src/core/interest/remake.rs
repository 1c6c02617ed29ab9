//! [`Remake`]: making the filter anew, as nothing can be taken out of one.
//!
//! The owner calls [`begin_remake`](Interest::begin_remake), hands over the names of every shard with
//! [`remake_with`](Interest::remake_with), asked behind the commands that were handed to the shard before,
//! and then [`finish_remake`](Interest::finish_remake). Names that are joined meanwhile go into the new filter as well.
//! From then on a name counts as announced when the old and the new filter have it, until everybody has the new one.

use gatewayworker_protocol::interest::{Name, NameFilter};

use super::Interest;

/// Bits for each name when a filter is made,
const BITS_MADE: usize = 18;

/// and when it is full.
const BITS_FULL: usize = 12;

/// So many names that are gone do not matter.
const GONE: usize = 256;

/// How far it is.
#[derive(Debug)]
pub(super) enum Remake {
    No,
    /// Names are put in.
    Gathers {
        next: NameFilter,
        inserted: usize,
    },
    /// Subscribers are told, and not all have applied it.
    Sent {
        next: NameFilter,
        inserted: usize,
    },
}

impl Remake {
    /// Puts a name into the filter that is being made.
    pub(super) fn insert(&mut self, name: Name) {
        if let Self::Gathers { next, inserted } = self {
            *inserted += usize::from(!next.may_have(name));
            next.insert(name);
        }
    }

    /// The filter that subscribers are told of.
    pub(super) fn sent(&self) -> Option<&NameFilter> {
        match self {
            Self::Sent { next, .. } => Some(next),
            Self::No | Self::Gathers { .. } => None,
        }
    }

    /// Takes the filter that everybody has applied, and how many names were put in.
    pub(super) fn take_sent(&mut self) -> Option<(NameFilter, usize)> {
        match std::mem::replace(self, Self::No) {
            Self::Sent { next, inserted } => Some((next, inserted)),
            other => {
                *self = other;
                None
            }
        }
    }
}

impl Interest {
    /// Whether the filter should be made anew, where so many groups and uids have members.
    pub fn wants_remake(&self, live: usize, now_ms: u64) -> bool {
        if self.is_being_remade() {
            return false;
        }
        let capacity = self.filter.len() * 8 / BITS_FULL;
        let is_full = self.inserted > capacity
            && (live * 4 < self.inserted * 3 || self.filter.len() < NameFilter::MAX_BYTES);
        let gone = self.inserted.saturating_sub(live);
        is_full || (gone > GONE.max(live / 4) && self.made_ms + self.settings.remake_ms <= now_ms)
    }

    /// Whether the filter is being made anew, or is on its way to subscribers.
    pub fn is_being_remade(&self) -> bool {
        !matches!(self.remake, Remake::No)
    }

    /// Begins to make the filter anew, for so many names.
    pub fn begin_remake(&mut self, live: usize) {
        let names = live + self.holds.values().map(Vec::len).sum::<usize>();
        self.remake = Remake::Gathers { next: NameFilter::new(names * BITS_MADE / 8), inserted: 0 };
        for name in self.waiting.all_names().chain(self.holds.values().flatten().copied()) {
            self.remake.insert(name);
        }
    }

    /// Puts names that have members into the new filter.
    pub fn remake_with(&mut self, names: impl IntoIterator<Item = Name>) {
        names.into_iter().for_each(|name| self.remake.insert(name));
    }

    /// Tells subscribers of the new filter, which has the names of all shards now.
    pub fn finish_remake(&mut self, now_ms: u64) {
        // What is not sent goes first, so that the filter is behind all names in it.
        self.send(now_ms);
        let Remake::Gathers { next, inserted } = std::mem::replace(&mut self.remake, Remake::No) else {
            return;
        };
        self.waiting.send_filter(now_ms);
        self.made_ms = now_ms;
        let linked: Vec<_> = self.subscribers.linked().collect();
        self.tell_filter(&next, linked);
        self.remake = Remake::Sent { next, inserted };
        self.advance(now_ms);
    }
}
