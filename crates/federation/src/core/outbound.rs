//! [`Outbound`]: numbers what a process says, and counts what it says to each slot.

use super::slots::{Slot, Slots};

/// The numbers of a process.
#[derive(Debug)]
pub(crate) struct Outbound {
    next: u64,
    counters: [u32; Slots::COUNT as usize],
}

impl Outbound {
    pub(crate) fn new() -> Self {
        // 0 is never used, so that a window that begins there is empty.
        Self { next: 1, counters: [0; Slots::COUNT as usize] }
    }

    /// A number for something that is not counted by slots, and whose loss nobody looks for.
    pub(crate) fn next_number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// The number that the next send gets, and the counters of the `counted` slots that it is for. It is used by
    /// [`commit`](Self::commit), when NATS has taken the send.
    pub(crate) fn prepare(&self, slots: Slots, counted: Slots) -> (u64, Vec<(Slot, u32)>) {
        let counters = slots.iter().filter(|slot| counted.has(*slot));
        let counters = counters.map(|slot| (slot, self.counters[slot.number()].wrapping_add(1))).collect();
        (self.next, counters)
    }

    /// Notes that the send that was prepared is on its way.
    pub(crate) fn commit(&mut self, slots: Slots) {
        self.next += 1;
        for slot in slots.iter() {
            let counter = &mut self.counters[slot.number()];
            *counter = counter.wrapping_add(1);
        }
    }
}
