//! [`Acknowledging`]: what a worker has taken from JetStream and not acknowledged yet.
//!
//! `receiving.rs` adds each message that it has done, and takes no more while there is no room. A message is acknowledged when the links have
//! written what it said to the own gateways. An acknowledgement is also one of all messages before.

/// So many bytes may wait for the links: less than a gateway's link holds before it refuses calls (10 MiB at least), which would be lost here.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Messages that are done. `A` acknowledges one; `T` says whether the links have written.
#[derive(Debug)]
pub(super) struct Acknowledging<A, T> {
    /// Those that came after the links were last asked.
    taken: Option<Taken<A>>,
    /// Those before, and what the links are to write first.
    writing: Option<(Taken<A>, T)>,
    /// The last message that was acknowledged. JetStream may not know it yet.
    acknowledged: Option<A>,
}

/// Messages up to one, which acknowledges all of them.
#[derive(Debug)]
struct Taken<A> {
    /// The number of the last one in the stream.
    number: u64,
    /// How long they are together.
    bytes: usize,
    last: A,
}

impl<A, T> Acknowledging<A, T> {
    pub(super) fn new() -> Self {
        Self { taken: None, writing: None, acknowledged: None }
    }

    /// Whether one more message may be taken.
    pub(super) fn has_room(&self) -> bool {
        let taken = self.taken.as_ref().map_or(0, |taken| taken.bytes);
        let writing = self.writing.as_ref().map_or(0, |(taken, _)| taken.bytes);
        taken + writing < MAX_BYTES
    }

    /// Whether [`advance`](Self::advance) may have something to do.
    pub(super) fn is_due(&self) -> bool {
        self.taken.is_some() || self.writing.is_some()
    }

    /// Notes that a message is done: its number in the stream, and its length.
    pub(super) fn took(&mut self, number: u64, len: usize, acker: A) {
        let before = self.taken.as_ref().map_or(0, |taken| taken.bytes);
        self.taken = Some(Taken { number, bytes: before + len, last: acker });
    }

    /// Acknowledges what is written. Returns the number up to which everything is acknowledged, if it is another than before.
    pub(super) fn advance(
        &mut self,
        told: impl FnOnce() -> T,
        is_written: impl FnOnce(&T) -> bool,
        acknowledge: impl FnOnce(&A) -> bool,
    ) -> Option<u64> {
        if self.writing.is_none() {
            self.writing = self.taken.take().map(|taken| (taken, told()));
        }
        let (taken, told) = self.writing.as_ref()?;
        if !is_written(told) || !acknowledge(&taken.last) {
            return None;
        }
        let (Taken { number, last, .. }, _) = self.writing.take()?;
        self.acknowledged = Some(last);
        Some(number)
    }

    /// What acknowledges everything, also again; `None` if nothing has come.
    pub(super) fn into_last(self) -> Option<A> {
        let taken = self.taken.or(self.writing.map(|(taken, _)| taken));
        taken.map(|taken| taken.last).or(self.acknowledged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Acknowledges by the number; the links have written what was told before `written`.
    fn advance(acknowledging: &mut Acknowledging<u64, u64>, told: u64, written: u64) -> Option<u64> {
        acknowledging.advance(|| told, |told| *told <= written, |_| true)
    }

    #[test]
    fn a_message_is_acknowledged_when_the_links_have_written_what_it_said() {
        let mut acknowledging = Acknowledging::new();
        assert_eq!(advance(&mut acknowledging, 0, 0), None);
        acknowledging.took(5, 1, 5);
        assert_eq!(advance(&mut acknowledging, 1, 0), None);
        acknowledging.took(6, 1, 6);
        acknowledging.took(8, 1, 8);
        assert_eq!(advance(&mut acknowledging, 3, 1), Some(5), "and not what came after it");
        assert_eq!(advance(&mut acknowledging, 3, 2), None);
        assert_eq!(acknowledging.advance(|| 3, |_| true, |_| false), None, "NATS has no room");
        assert!(acknowledging.is_due());
        assert_eq!(advance(&mut acknowledging, 3, 3), Some(8), "and all before it");
        assert!(!acknowledging.is_due());
        assert_eq!(acknowledging.into_last(), Some(8));
    }

    #[test]
    fn no_more_is_taken_while_the_links_have_much_to_write() {
        let mut acknowledging = Acknowledging::new();
        acknowledging.took(1, MAX_BYTES / 2, 1);
        assert!(acknowledging.has_room());
        assert_eq!(advance(&mut acknowledging, 1, 0), None);
        acknowledging.took(2, MAX_BYTES / 4, 2);
        assert!(acknowledging.has_room());
        acknowledging.took(3, MAX_BYTES / 4, 3);
        assert!(!acknowledging.has_room());
        assert_eq!(advance(&mut acknowledging, 3, 1), Some(1));
        assert!(acknowledging.has_room());
        acknowledging.took(4, MAX_BYTES, 4);
        assert!(!acknowledging.has_room(), "one long message goes, and none behind it");
        assert_eq!(advance(&mut acknowledging, 4, 4), Some(4));
        assert!(acknowledging.has_room());
    }

    #[test]
    fn the_last_message_acknowledges_everything() {
        let mut acknowledging = Acknowledging::new();
        assert_eq!(Acknowledging::<u64, u64>::new().into_last(), None);
        acknowledging.took(1, 1, 1);
        advance(&mut acknowledging, 1, 0);
        acknowledging.took(2, 1, 2);
        assert_eq!(acknowledging.into_last(), Some(2));
    }
}
