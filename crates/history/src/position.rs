//! [`Position`]: where a message stands in the history of its group. [`Seen`]: drops what came twice.
//!
//! Stores give positions; clients keep the last one that they have seen and come back with it. Plain data.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Where a message stands in the history of its group.
///
/// As text, which is also its JSON form, it is `OFFSET-EPOCH`: `17-5f3a9c0d11223344`. Clients take it as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Position {
    /// The number of the message in its group: 1 for the first, and one more for each. 0 stands before the first.
    pub offset: u64,
    /// Which numbering the offset belongs to. It changes when the store has lost, or may have lost, what it knew of the group. 0
    /// is the epoch of a group of which nothing is kept.
    pub epoch: u64,
}

/// The text is not a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a position: it is OFFSET-EPOCH, as 17-5f3a9c0d11223344")]
pub struct PositionError;

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:x}", self.offset, self.epoch)
    }
}

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        let (offset, epoch) = text.split_once('-').ok_or(PositionError)?;
        // Rust's own parsing takes a sign.
        let digits = |part: &str| part.bytes().all(|digit| digit.is_ascii_hexdigit());
        if !digits(offset) || !digits(epoch) {
            return Err(PositionError);
        }
        let offset = offset.parse().map_err(|_| PositionError)?;
        let epoch = u64::from_str_radix(epoch, 16).map_err(|_| PositionError)?;
        Ok(Self { offset, epoch })
    }
}

impl Serialize for Position {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Drops what came twice: the messages of one group, as one client receives them.
///
/// For clients in Rust; those in other languages do the same in a few lines. A client gives it each message, kept or live.
/// It is 16 bytes, and looks at the last position alone: a message that comes after a later one is dropped, too. The client
/// may ask for it by `since` when a number is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    last: Position,
}

/// What a message is to a client that has [`Seen`] others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// The next one.
    New,
    /// It has come already.
    Twice,
    /// A new one, and others between it and the last one have not come; or the epoch is another: ask by `since`.
    Gap,
}

impl Seen {
    /// Begins after a position: that of a page, or the last one of another connection.
    pub fn after(position: Position) -> Self {
        Self { last: position }
    }

    /// The last position, from which to go on.
    pub fn last(&self) -> Position {
        self.last
    }

    /// Says what a message is, and notes its position unless it came twice.
    pub fn note(&mut self, position: Position) -> Sight {
        let sight = if position.epoch != self.last.epoch {
            // From nothing to the first message there is no gap.
            if self.last.epoch == 0 && position.offset == 1 { Sight::New } else { Sight::Gap }
        } else if position.offset <= self.last.offset {
            return Sight::Twice;
        } else if position.offset == self.last.offset + 1 {
            Sight::New
        } else {
            Sight::Gap
        };
        self.last = position;
        sight
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_a_text_and_no_other_text_is_one() {
        let position = Position { offset: 17, epoch: 0x5f3a_9c0d_1122_3344 };
        assert_eq!(position.to_string(), "17-5f3a9c0d11223344");
        assert_eq!("17-5f3a9c0d11223344".parse(), Ok(position));
        let longest = Position { offset: u64::MAX, epoch: u64::MAX };
        assert_eq!(longest.to_string().parse(), Ok(longest));
        for text in ["", "17", "-1", "17-", "a-1", "+1-1", "1-+1", "1--1", "1-g", "18446744073709551616-1"] {
            assert_eq!(text.parse::<Position>(), Err(PositionError), "{text}");
        }
    }

    #[test]
    fn what_came_twice_is_told_from_what_is_new_and_what_is_missing() {
        let at = |offset, epoch| Position { offset, epoch };
        let mut seen = Seen::after(at(3, 7));
        for (position, sight) in [
            (at(3, 7), Sight::Twice),
            (at(4, 7), Sight::New),
            (at(2, 7), Sight::Twice),
            (at(6, 7), Sight::Gap),
            (at(7, 7), Sight::New),
            (at(1, 8), Sight::Gap),
            (at(2, 8), Sight::New),
        ] {
            assert_eq!(seen.note(position), sight, "{position}");
        }
        assert_eq!(seen.last(), at(2, 8));
        assert_eq!(Seen::default().note(at(1, 9)), Sight::New);
        assert_eq!(Seen::default().note(at(2, 9)), Sight::Gap);
    }
}
