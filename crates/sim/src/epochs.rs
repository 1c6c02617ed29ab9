//! The epochs of a run, as an onlooker knows them: which are over, since when, and whose gateway is gone.
//!
//! A gateway that ends an epoch reports it here, and so does the death of a process. A worker may
//! hear of it later: [`Epochs::begins_late`] says for how long it may still begin events.

use std::collections::{BTreeMap, BTreeSet};

use crate::network::ProcessId;

/// One life of a process: another number after each start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Life {
    /// The process.
    pub process: ProcessId,
    /// How often it was started before.
    pub starts: u32,
}

impl Life {
    /// Returns the life as the random number that daemons draw at their start.
    pub fn id(self) -> u64 {
        (self.process as u64) << 32 | u64::from(self.starts)
    }

    /// Returns the life with an id.
    pub fn of_id(id: u64) -> Self {
        Self { process: (id >> 32) as ProcessId, starts: id as u32 }
    }
}

/// One pairing of a worker with a gateway, as the gateway has named it. 0 stands for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EpochName {
    /// The gateway.
    pub gateway: Life,
    /// Its number there.
    pub number: u32,
}

/// What is known of epochs.
#[derive(Debug, Default)]
pub struct Epochs {
    /// Since when they are over, in ms.
    over: BTreeMap<EpochName, u64>,
    /// Gateways that have died, with the time.
    dead: BTreeMap<Life, u64>,
    /// Gateways that registers did not list for a while though they live: they may be taken for lost.
    unlisted: BTreeSet<Life>,
    /// How long a worker may begin events of an epoch that is over, as it cannot know, in ms.
    late_ms: u64,
}

impl Epochs {
    /// None; a worker may begin events for `late_ms` after the end of their epoch.
    pub fn new(late_ms: u64) -> Self {
        Self { late_ms, ..Self::default() }
    }

    /// Hears that a gateway has ended an epoch.
    pub fn ends(&mut self, epoch: EpochName, now_ms: u64) {
        self.over.entry(epoch).or_insert(now_ms);
    }

    /// Hears that a gateway has died, and all of its epochs with it.
    pub fn gateway_dies(&mut self, gateway: Life, now_ms: u64) {
        self.dead.insert(gateway, now_ms);
    }

    /// Hears that no register lists a gateway that lives.
    pub fn is_unlisted(&mut self, gateway: Life) {
        self.unlisted.insert(gateway);
    }

    /// Returns since when an epoch is over. What belongs to none came before the run.
    fn over_since(&self, epoch: EpochName) -> Option<u64> {
        if epoch.number == 0 {
            return Some(0);
        }
        let dead = self.dead.get(&epoch.gateway).copied();
        self.over.get(&epoch).copied().into_iter().chain(dead).min()
    }

    /// Says whether an epoch is over.
    pub fn is_over(&self, epoch: EpochName) -> bool {
        self.over_since(epoch).is_some()
    }

    /// Says whether a gateway has died.
    pub fn is_dead(&self, gateway: Life) -> bool {
        self.dead.contains_key(&gateway)
    }

    /// Says whether a gateway may be taken for lost.
    pub fn may_be_lost(&self, gateway: Life) -> bool {
        self.is_dead(gateway) || self.unlisted.contains(&gateway)
    }

    /// Says whether a worker that begins an event of an epoch now cannot know yet that it is over.
    pub fn begins_late(&self, epoch: EpochName, now_ms: u64) -> bool {
        self.over_since(epoch).is_some_and(|since_ms| now_ms <= since_ms + self.late_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_over_with_its_gateway_and_a_worker_may_hear_of_it_later() {
        let mut epochs = Epochs::new(10);
        let gateway = Life { process: 1, starts: 2 };
        let [first, second] = [1, 2].map(|number| EpochName { gateway, number });
        epochs.ends(first, 100);
        epochs.ends(first, 200);
        assert!(epochs.is_over(first) && !epochs.is_over(second));
        assert!(epochs.begins_late(first, 110) && !epochs.begins_late(first, 111));
        assert!(!epochs.begins_late(second, 111), "it is not over");
        epochs.gateway_dies(gateway, 300);
        assert!(epochs.is_over(second) && epochs.may_be_lost(gateway));
        assert!(!epochs.may_be_lost(Life { starts: 3, ..gateway }));
        assert_eq!(Life::of_id(gateway.id()), gateway);
    }
}
