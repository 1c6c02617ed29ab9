//! What is read of a history: messages, and whether the gap before them is whole. Plain data.
//!
//! A store answers with the [`Contents`] of a group; a [`Page`] is made of them here, for every store in the same way.

use bytes::Bytes;
use gatewayworker_client::OutMessage;

use crate::Position;

/// A message that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Where it stands.
    pub position: Position,
    /// When it was kept, in milliseconds since 1970: by the clock of Redis, or of the worker that published it.
    pub time_ms: u64,
    /// The message, as it was given to `publish`.
    pub message: Bytes,
    /// Whether it is a binary message.
    pub binary: bool,
}

impl Entry {
    /// The message as text; `None` where it is not UTF-8.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.message).ok()
    }

    /// The message as it was published, to be sent.
    pub fn to_message(&self) -> OutMessage {
        let message = OutMessage::from(self.message.clone());
        if self.binary { message.binary() } else { message }
    }
}

/// Messages of a group, the oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// The messages.
    pub messages: Vec<Entry>,
    /// Whether nothing is missing between the position that was asked for and these messages. It is false if messages were
    /// dropped as too many or too old, if the epoch has changed, and if nothing is kept of the group. Of `last`, it says
    /// whether these are all messages that the group has had in this epoch.
    pub whole: bool,
    /// Whether there are more messages after these, beyond the limit.
    pub more: bool,
    /// The position from which to go on: that of the last message, or of the group where there are none.
    pub position: Position,
}

/// Which messages are read: so many at most, at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Range {
    /// The first ones after a position.
    After(Position, u64),
    /// The last ones.
    Last(u64),
}

/// What a store says of a group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Contents {
    /// 0 where nothing is kept.
    pub(crate) epoch: u64,
    /// The offset of the last message, whether it is still kept or not.
    pub(crate) head: u64,
    /// The offset of the oldest message that is kept; one more than `head` where none is.
    pub(crate) first: u64,
    /// The messages from [`Range::start`] on, up to the limit at least.
    pub(crate) entries: Vec<Entry>,
}

impl Range {
    /// The first offset that belongs to the range, in a group with these numbers.
    pub(crate) fn start(self, epoch: u64, head: u64, first: u64) -> u64 {
        match self {
            Self::After(position, _) if position.epoch == epoch && position.offset <= head => {
                first.max(position.offset + 1)
            }
            Self::After(..) => first,
            Self::Last(n) => first.max((head + 1).saturating_sub(n)),
        }
    }

    pub(crate) fn limit(self) -> u64 {
        match self {
            Self::After(_, limit) | Self::Last(limit) => limit,
        }
    }
}

impl Contents {
    pub(crate) fn into_page(self, range: Range) -> Page {
        let Self { epoch, head, first, mut entries } = self;
        entries.truncate(range.limit() as usize);
        let whole = match range {
            Range::After(position, _) => {
                // A position beyond the end is of messages that the store has lost.
                let next = position.offset.saturating_add(1);
                epoch != 0 && position.epoch == epoch && (first..=head + 1).contains(&next)
            }
            Range::Last(_) => epoch != 0 && range.start(epoch, head, first) == 1,
        };
        let end = Position { offset: head, epoch };
        let position = entries.last().map_or(end, |last| last.position);
        Page { whole, more: position.offset < head, position, messages: entries }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: u64 = 7;

    /// What a store with the messages `first..=head` answers.
    fn read(first: u64, head: u64, range: Range) -> Page {
        let start = range.start(EPOCH, head, first);
        let entry = |offset| Entry {
            position: Position { offset, epoch: EPOCH },
            time_ms: 0,
            message: offset.to_string().into(),
            binary: false,
        };
        let entries = (start..=head).map(entry).take(range.limit() as usize).collect();
        Contents { epoch: EPOCH, head, first, entries }.into_page(range)
    }

    fn seen(page: &Page) -> (Vec<u64>, bool, bool, u64) {
        let offsets = page.messages.iter().map(|entry| entry.position.offset).collect();
        (offsets, page.whole, page.more, page.position.offset)
    }

    fn since(first: u64, head: u64, offset: u64, epoch: u64, limit: u64) -> (Vec<u64>, bool, bool, u64) {
        seen(&read(first, head, Range::After(Position { offset, epoch }, limit)))
    }

    #[test]
    fn a_gap_is_whole_if_the_next_message_is_kept() {
        assert_eq!(since(1, 4, 2, EPOCH, 10), (vec![3, 4], true, false, 4));
        assert_eq!(since(1, 4, 0, EPOCH, 10), (vec![1, 2, 3, 4], true, false, 4));
        assert_eq!(since(1, 4, 4, EPOCH, 10), (vec![], true, false, 4));
        assert_eq!(since(3, 4, 2, EPOCH, 10), (vec![3, 4], true, false, 4));
        assert_eq!(since(3, 4, 1, EPOCH, 10), (vec![3, 4], false, false, 4));
        // Nothing is kept any more.
        assert_eq!(since(5, 4, 4, EPOCH, 10), (vec![], true, false, 4));
        assert_eq!(since(5, 4, 3, EPOCH, 10), (vec![], false, false, 4));
    }

    #[test]
    fn with_another_epoch_or_a_position_beyond_the_end_it_is_not_whole() {
        assert_eq!(since(1, 4, 2, 8, 10), (vec![1, 2, 3, 4], false, false, 4));
        assert_eq!(since(1, 4, 5, EPOCH, 10), (vec![1, 2, 3, 4], false, false, 4));
        let max = Position { offset: u64::MAX, epoch: 8 };
        let nothing = Contents::default();
        assert!(!nothing.into_page(Range::After(max, 1)).whole);
    }

    #[test]
    fn a_page_that_is_cut_says_from_where_to_go_on() {
        assert_eq!(since(1, 4, 0, EPOCH, 3), (vec![1, 2, 3], true, true, 3));
        assert_eq!(since(1, 4, 3, EPOCH, 3), (vec![4], true, false, 4));
    }

    #[test]
    fn the_last_messages_are_whole_if_they_are_all() {
        assert_eq!(seen(&read(1, 4, Range::Last(2))), (vec![3, 4], false, false, 4));
        assert_eq!(seen(&read(1, 4, Range::Last(9))), (vec![1, 2, 3, 4], true, false, 4));
        assert_eq!(seen(&read(2, 4, Range::Last(9))), (vec![2, 3, 4], false, false, 4));
        assert_eq!(seen(&Contents::default().into_page(Range::Last(9))), (vec![], false, false, 0));
    }
}
