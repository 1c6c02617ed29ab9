//! [`OwnNames`]: names that this process has joined, and that the gateway may not have announced yet.
//!
//! A join is certainly executed when the gateway has answered a question that was asked behind it on the same link: the
//! barrier. Until then the view says nothing about the name, in either direction.

use std::collections::BTreeSet;

use gatewayworker_protocol::interest::Name;

/// So many names are told apart. Beyond that every name counts as joined until the next barrier.
const MAX: usize = 64 * 1024;

/// The names joined here.
#[derive(Debug, Default)]
pub(super) struct OwnNames {
    /// Joined since the barrier under way began, or since there was one.
    recent: Names,
    /// The barrier under way, and what was joined before it.
    before: Option<(BarrierId, Names)>,
    last: u64,
}

/// A question that is asked behind joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BarrierId(u64);

#[derive(Debug, Default)]
struct Names {
    names: BTreeSet<Name>,
    /// There were too many, or it is not known which there were.
    is_everything: bool,
}

impl Names {
    fn add(&mut self, name: Name) {
        if !self.is_everything && self.names.insert(name) && self.names.len() > MAX {
            *self = Self::everything();
        }
    }

    fn everything() -> Self {
        Self { names: BTreeSet::new(), is_everything: true }
    }

    fn has(&self, name: Name) -> bool {
        self.is_everything || self.names.contains(&name)
    }

    fn is_empty(&self) -> bool {
        self.names.is_empty() && !self.is_everything
    }
}

impl OwnNames {
    /// Counts every name as joined until the next barrier.
    pub(super) fn add_everything(&mut self) {
        (self.recent, self.before) = (Names::everything(), None);
    }

    /// Forgets all. A barrier under way ends nothing any more.
    pub(super) fn clear(&mut self) {
        (self.recent, self.before) = (Names::default(), None);
    }

    pub(super) fn add(&mut self, name: Name) {
        self.recent.add(name);
    }

    pub(super) fn has(&self, name: Name) -> bool {
        self.recent.has(name) || self.before.as_ref().is_some_and(|(_, before)| before.has(name))
    }

    /// Begins a barrier, if there is anything to learn from one and none is under way.
    pub(super) fn begin_barrier(&mut self) -> Option<BarrierId> {
        if self.before.is_some() || self.recent.is_empty() {
            return None;
        }
        self.last += 1;
        let id = BarrierId(self.last);
        self.before = Some((id, std::mem::take(&mut self.recent)));
        Some(id)
    }

    /// Ends a barrier. Where it is not answered, nothing is known of the joins before it.
    pub(super) fn end_barrier(&mut self, barrier: BarrierId, is_answered: bool) {
        let Some((_, before)) = self.before.take_if(|(id, _)| *id == barrier) else { return };
        if is_answered {
            return;
        }
        if before.is_everything {
            self.recent = before;
        } else {
            before.names.into_iter().for_each(|name| self.recent.add(name));
        }
    }
}
