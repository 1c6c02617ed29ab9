//! [`Collected`]: makes the contents of a group of its messages, as they are read one by one. Plain data.
//!
//! `nats` uses it: JetStream can only be read from the first message on, and trims by the limits of the stream, which may be wider
//! than those of the group.

use crate::Entry;
use crate::page::{Contents, Range};
use crate::settings::Limits;

#[derive(Debug)]
pub(crate) struct Collected {
    range: Range,
    limits: Limits,
    oldest_ms: u64,
    contents: Contents,
    /// Where the range begins, once the first message is known.
    start: Option<u64>,
    /// The offset of the message that was taken last.
    taken: u64,
}

impl Collected {
    /// Begins with the last message of the group.
    pub(crate) fn new(last: &Entry, limits: Limits, now_ms: u64, range: Range) -> Self {
        let contents = Contents {
            epoch: last.position.epoch,
            head: last.position.offset,
            first: last.position.offset + 1,
            entries: Vec::new(),
        };
        let oldest_ms = now_ms.saturating_sub(limits.max_age_ms);
        Self { range, limits, oldest_ms, contents, start: None, taken: 0 }
    }

    /// Takes the next message, the oldest first. It may be after the one that was the last.
    pub(crate) fn push(&mut self, mut entry: Entry) {
        let contents = &mut self.contents;
        let offset = entry.position.offset;
        self.taken = offset;
        if offset > contents.head {
            (contents.head, contents.epoch) = (offset, entry.position.epoch);
        }
        if entry.time_ms < self.oldest_ms || offset + self.limits.max_messages <= contents.head {
            return;
        }
        let start = *self.start.get_or_insert_with(|| {
            contents.first = offset;
            self.range.start(contents.epoch, contents.head, offset)
        });
        let is_cut = matches!(self.range, Range::After(_, limit) if contents.entries.len() as u64 >= limit);
        if offset >= start && !is_cut {
            entry.position.epoch = contents.epoch;
            contents.entries.push(entry);
        }
    }

    /// Returns the contents when all messages were taken. `None` if it is to be read again: the message that was the last has not come, or a
    /// later one has another epoch.
    pub(crate) fn finish(self, last: &Entry) -> Option<Contents> {
        let Self { range, limits, mut contents, start, taken, .. } = self;
        if taken < last.position.offset || contents.epoch != last.position.epoch {
            return None;
        }
        if start.is_none() {
            return Some(Contents { first: 1, ..Contents::default() });
        }
        // Messages that came meanwhile may have made the first ones too many.
        contents.first = contents.first.max((contents.head + 1).saturating_sub(limits.max_messages));
        let start = range.start(contents.epoch, contents.head, contents.first);
        contents.entries.retain(|entry| entry.position.offset >= start);
        Some(contents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Position;

    fn entry(offset: u64, time_ms: u64) -> Entry {
        Entry { position: Position { offset, epoch: 7 }, time_ms, message: "text".into(), binary: false }
    }

    /// What is read of the messages `first..=end` at 1000 ms, where `head` was the last.
    fn read(first: u64, head: u64, end: u64, limits: Limits, range: Range) -> (Vec<u64>, u64, u64) {
        let last = entry(head, head);
        let mut collected = Collected::new(&last, limits, 1000, range);
        (first..=end).for_each(|offset| collected.push(entry(offset, offset)));
        let contents = collected.finish(&last).unwrap();
        let offsets = contents.entries.iter().map(|entry| entry.position.offset).collect();
        (offsets, contents.first, contents.head)
    }

    #[test]
    fn takes_what_the_range_wants_within_the_limits_of_the_group() {
        let wide = Limits { max_messages: 100, max_age_ms: 1000 };
        let after = |offset| Range::After(Position { offset, epoch: 7 }, 2);
        assert_eq!(read(3, 9, 9, wide, Range::Last(3)), (vec![7, 8, 9], 3, 9));
        assert_eq!(read(3, 9, 9, wide, after(4)), (vec![5, 6], 3, 9));
        assert_eq!(read(3, 9, 9, wide, after(1)), (vec![3, 4], 3, 9));
        let four = Limits { max_messages: 4, ..wide };
        assert_eq!(read(3, 9, 9, four, Range::Last(9)), (vec![6, 7, 8, 9], 6, 9));
        let young = Limits { max_age_ms: 995, ..wide };
        assert_eq!(read(3, 9, 9, young, Range::Last(9)), (vec![5, 6, 7, 8, 9], 5, 9));
        let none = Limits { max_messages: 0, ..wide };
        assert_eq!(read(3, 9, 9, none, Range::Last(9)), (vec![], 1, 0));
    }

    #[test]
    fn messages_that_come_meanwhile_are_the_last_ones() {
        let four = Limits { max_messages: 4, max_age_ms: 1000 };
        assert_eq!(read(1, 5, 7, four, Range::Last(9)), (vec![4, 5, 6, 7], 4, 7));
        assert_eq!(read(1, 5, 7, four, Range::Last(2)), (vec![6, 7], 4, 7));
        let last = entry(5, 5);
        let mut collected = Collected::new(&last, four, 1000, Range::Last(2));
        collected.push(Entry { position: Position { offset: 6, epoch: 8 }, ..entry(6, 6) });
        assert_eq!(collected.finish(&last), None);
        let mut collected = Collected::new(&last, four, 1000, Range::Last(2));
        collected.push(entry(4, 4));
        assert_eq!(collected.finish(&last), None, "the last message is missing");
    }
}
