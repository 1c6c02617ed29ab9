//! The registers, as far as gateways and workers of this scenario see them: which gateways are listed.
//!
//! It stands for registers that work: it lists a gateway while its process lives, and hears of a death at once.
//! A script may cut a gateway off from it. `registers` beside `cluster` simulates the registers themselves.

use std::collections::BTreeMap;

use crate::network::ProcessId;

/// The registers.
#[derive(Debug, Default)]
pub(super) struct Witness {
    /// The gateways that are not listed, and until when.
    unlisted: BTreeMap<ProcessId, Unlisted>,
}

#[derive(Debug, Clone, Copy)]
enum Unlisted {
    Dead,
    CutOffUntil(u64),
}

impl Witness {
    /// A gateway has started.
    pub(super) fn starts(&mut self, gateway: ProcessId) {
        self.unlisted.remove(&gateway);
    }

    /// A gateway is gone, or has stopped.
    pub(super) fn ends(&mut self, gateway: ProcessId) {
        self.unlisted.insert(gateway, Unlisted::Dead);
    }

    /// A gateway is cut off from the registers for a while.
    pub(super) fn cut_off(&mut self, gateway: ProcessId, until_ms: u64) {
        self.unlisted.entry(gateway).or_insert(Unlisted::CutOffUntil(until_ms));
    }

    /// Everything is mended.
    pub(super) fn heal(&mut self) {
        self.unlisted.retain(|_, unlisted| matches!(unlisted, Unlisted::Dead));
    }

    /// Says whether the registers bear witness that a gateway is gone. It is the gateway's own question, too:
    /// whether it is in touch with a register.
    pub(super) fn is_absent(&self, gateway: ProcessId, now_ms: u64) -> bool {
        match self.unlisted.get(&gateway) {
            None => false,
            Some(Unlisted::Dead) => true,
            Some(Unlisted::CutOffUntil(until_ms)) => now_ms < *until_ms,
        }
    }
}
