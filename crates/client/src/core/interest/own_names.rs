//! [`OwnNames`]: names that this process has joined, and that the gateway may not have announced yet.
//!
//! A join is certainly executed when the gateway has answered a question that was asked behind it on the same link: the
//! barrier. Until then the view says nothing about the name, in either direction.

use std::collections::BTreeSet;

use gatewayworker_protocol::interest::Name;

/// So many names are told apart. Beyond that every name counts as joined until the next barrier.
const MAX: usize = 64 * 1024;

#[derive(Debug, Default)]
pub(super) struct OwnNames {
    /// Joined since the barrier under way began, or ever.
    recent: Names,
    /// Joined before it.
    before: Option<Names>,
}

#[derive(Debug, Default)]
struct Names {
    names: BTreeSet<Name>,
    /// There were too many.
    is_everything: bool,
}

impl Names {
    fn add(&mut self, name: Name) {
        if self.is_everything {
            return;
        }
        self.names.insert(name);
        if self.names.len() > MAX {
            *self = Self { names: BTreeSet::new(), is_everything: true };
        }
    }

    fn has(&self, name: Name) -> bool {
        self.is_everything || self.names.contains(&name)
    }

    fn is_empty(&self) -> bool {
        self.names.is_empty() && !self.is_everything
    }
}

impl OwnNames {
    pub(super) fn add(&mut self, name: Name) {
        self.recent.add(name);
    }

    pub(super) fn has(&self, name: Name) -> bool {
        self.recent.has(name) || self.before.as_ref().is_some_and(|before| before.has(name))
    }

    /// Begins a barrier, if there is anything to learn from one and none is under way.
    pub(super) fn begin_barrier(&mut self) -> bool {
        if self.before.is_some() || self.recent.is_empty() {
            return false;
        }
        self.before = Some(std::mem::take(&mut self.recent));
        true
    }

    /// Ends the barrier. Where it is not answered, nothing is known of the joins before it.
    pub(super) fn end_barrier(&mut self, is_answered: bool) {
        let Some(before) = self.before.take().filter(|_| !is_answered) else { return };
        self.recent.is_everything |= before.is_everything;
        before.names.into_iter().for_each(|name| self.recent.add(name));
    }
}
