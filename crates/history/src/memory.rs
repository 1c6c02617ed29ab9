//! [`Rooms`]: the history of all groups in the memory of one worker.
//!
//! Plain data: times are given to it. Bounds: messages of a group, their age, groups, and bytes in all. Of more groups or
//! bytes, the groups to which nothing was published for longest are forgotten; so are those whose messages are all too
//! old. A group that begins anew has an epoch that no group had before.

use std::collections::{BTreeMap, HashMap, VecDeque};

use gatewayworker_protocol::GroupId;

use crate::page::{Contents, Range};
use crate::settings::Limits;
use crate::stats::Kept;
use crate::{Entry, Position};

/// What an entry takes beside its message, and a group beside its entries; about.
const OVERHEAD: u64 = 128;

#[derive(Debug)]
pub(crate) struct Rooms {
    rooms: HashMap<GroupId, Room>,
    /// The groups by their last `publish`: the number of its turn.
    by_turn: BTreeMap<u64, GroupId>,
    turns: u64,
    next_epoch: u64,
    messages: u64,
    bytes: u64,
    max_groups: usize,
    max_bytes: u64,
}

#[derive(Debug)]
struct Room {
    epoch: u64,
    head: u64,
    turn: u64,
    entries: VecDeque<Entry>,
    limits: Limits,
}

impl Rooms {
    /// No groups. `first_epoch` is drawn at random, so that epochs differ from those of another process.
    pub(crate) fn new(first_epoch: u64, max_groups: u64, max_bytes: u64) -> Self {
        Self {
            rooms: HashMap::new(),
            by_turn: BTreeMap::new(),
            turns: 0,
            next_epoch: first_epoch.max(1),
            messages: 0,
            bytes: 0,
            max_groups: usize::try_from(max_groups).unwrap_or(usize::MAX),
            max_bytes,
        }
    }

    /// Keeps a message, and returns it with its position.
    pub(crate) fn append(
        &mut self,
        group: &GroupId,
        limits: Limits,
        now_ms: u64,
        message: bytes::Bytes,
        binary: bool,
    ) -> Entry {
        self.turns += 1;
        if !self.rooms.contains_key(group) {
            let epoch = self.next_epoch;
            self.next_epoch = epoch.wrapping_add(1).max(1);
            let room = Room { epoch, head: 0, turn: self.turns, entries: VecDeque::new(), limits };
            self.rooms.insert(group.clone(), room);
            self.bytes += OVERHEAD;
        }
        let room = self.rooms.get_mut(group).expect("it was inserted");
        self.by_turn.remove(&room.turn);
        (room.turn, room.limits) = (self.turns, limits);
        self.by_turn.insert(self.turns, group.clone());
        room.head += 1;
        let position = Position { offset: room.head, epoch: room.epoch };
        let entry = Entry { position, time_ms: now_ms, message, binary };
        self.messages += 1;
        self.bytes += cost(&entry);
        room.entries.push_back(entry.clone());
        let freed = room.trim(now_ms);
        self.subtract(freed);
        self.forget(group, now_ms);
        entry
    }

    /// Reads a group.
    pub(crate) fn read(&mut self, group: &GroupId, now_ms: u64, range: Range) -> Contents {
        let Some(room) = self.rooms.get_mut(group) else {
            return Contents { first: 1, ..Contents::default() };
        };
        let freed = room.trim(now_ms);
        self.subtract(freed);
        let Some(room) = self.rooms.get(group).filter(|room| !room.entries.is_empty()) else {
            // Stores on a server forget such a group, too.
            self.remove(group);
            return Contents { first: 1, ..Contents::default() };
        };
        let (epoch, head, first) = (room.epoch, room.head, room.first());
        let skipped = range.start(epoch, head, first) - first;
        let entries = room.entries.iter().skip(skipped as usize).take(range.limit() as usize);
        Contents { epoch, head, first, entries: entries.cloned().collect() }
    }

    /// Returns how much is kept.
    pub(crate) fn kept(&self) -> Kept {
        Kept { groups: self.rooms.len() as u64, messages: self.messages, bytes: self.bytes }
    }

    /// Forgets the groups that are too many, those that take too much, and a few whose messages are too old.
    fn forget(&mut self, not: &GroupId, now_ms: u64) {
        while self.rooms.len() > self.max_groups || self.bytes > self.max_bytes {
            let Some(group) = self.by_turn.values().next().filter(|group| *group != not).cloned() else {
                break;
            };
            self.remove(&group);
        }
        // Each publish adds one group at most, and looks at two.
        let oldest: Vec<_> = self.by_turn.values().take(2).filter(|group| *group != not).cloned().collect();
        for group in oldest {
            let Some(room) = self.rooms.get_mut(&group) else { continue };
            let freed = room.trim(now_ms);
            let is_empty = room.entries.is_empty();
            self.subtract(freed);
            if is_empty {
                self.remove(&group);
            }
        }
    }

    fn remove(&mut self, group: &GroupId) {
        if let Some(room) = self.rooms.remove(group) {
            self.by_turn.remove(&room.turn);
            let bytes = OVERHEAD + room.entries.iter().map(cost).sum::<u64>();
            self.subtract(Freed { messages: room.entries.len() as u64, bytes });
        }
    }

    fn subtract(&mut self, freed: Freed) {
        self.messages -= freed.messages;
        self.bytes -= freed.bytes;
    }
}

impl Room {
    fn first(&self) -> u64 {
        self.head + 1 - self.entries.len() as u64
    }

    /// Drops what is too much or too old, and returns how much that was.
    fn trim(&mut self, now_ms: u64) -> Freed {
        let oldest_ms = now_ms.saturating_sub(self.limits.max_age_ms);
        let mut freed = Freed::default();
        while let Some(entry) = self.entries.front() {
            if self.entries.len() as u64 <= self.limits.max_messages && entry.time_ms >= oldest_ms {
                break;
            }
            freed.messages += 1;
            freed.bytes += cost(entry);
            self.entries.pop_front();
        }
        freed
    }
}

/// How much was dropped.
#[derive(Debug, Default)]
struct Freed {
    messages: u64,
    bytes: u64,
}

fn cost(entry: &Entry) -> u64 {
    OVERHEAD + entry.message.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { max_messages: 3, max_age_ms: 100 };

    fn group(name: &str) -> GroupId {
        GroupId::try_from(name).unwrap()
    }

    fn say(rooms: &mut Rooms, name: &str, now_ms: u64) -> Position {
        rooms.append(&group(name), LIMITS, now_ms, "text".into(), false).position
    }

    fn all(rooms: &mut Rooms, name: &str, now_ms: u64) -> (u64, Vec<u64>) {
        let contents = rooms.read(&group(name), now_ms, Range::Last(100));
        (contents.epoch, contents.entries.iter().map(|entry| entry.position.offset).collect())
    }

    #[test]
    fn a_group_keeps_the_last_messages_and_only_young_ones() {
        let mut rooms = Rooms::new(5, 10, 1 << 20);
        for now_ms in 1..=4 {
            assert_eq!(say(&mut rooms, "a", now_ms), Position { offset: now_ms, epoch: 5 });
        }
        assert_eq!(all(&mut rooms, "a", 4), (5, vec![2, 3, 4]));
        assert_eq!(all(&mut rooms, "a", 103), (5, vec![3, 4]));
        say(&mut rooms, "a", 200);
        assert_eq!(all(&mut rooms, "a", 200), (5, vec![5]));
    }

    #[test]
    fn a_group_of_which_nothing_is_kept_begins_anew_with_another_epoch() {
        let mut rooms = Rooms::new(5, 10, 1 << 20);
        say(&mut rooms, "a", 1);
        assert_eq!(all(&mut rooms, "a", 102), (0, vec![]));
        assert_eq!(say(&mut rooms, "a", 103), Position { offset: 1, epoch: 6 });
        assert_eq!(all(&mut rooms, "b", 103), (0, vec![]));
    }

    #[test]
    fn of_too_many_groups_those_without_a_message_for_longest_are_forgotten() {
        let mut rooms = Rooms::new(5, 2, 1 << 20);
        for name in ["a", "b", "a", "c"] {
            say(&mut rooms, name, 1);
        }
        assert_eq!(rooms.kept().groups, 2);
        assert_eq!(all(&mut rooms, "b", 1), (0, vec![]));
        assert_eq!(all(&mut rooms, "a", 1), (5, vec![1, 2]));
    }

    #[test]
    fn so_they_are_when_they_take_too_much_memory_and_its_count_is_right() {
        let mut rooms = Rooms::new(5, 1000, 4000);
        for n in 0..100 {
            say(&mut rooms, &format!("room-{}", n % 30), 1);
            let Kept { groups, messages, bytes } = rooms.kept();
            assert!(bytes <= 4000);
            assert_eq!(bytes, groups * OVERHEAD + messages * (OVERHEAD + 4));
        }
        assert!(rooms.kept().groups > 5);
        for n in 0..30 {
            let _ = all(&mut rooms, &format!("room-{n}"), 1000);
        }
        assert_eq!(rooms.kept(), Kept::default());
    }

    #[test]
    fn groups_whose_messages_are_too_old_go_while_others_publish() {
        let mut rooms = Rooms::new(5, 1000, 1 << 20);
        for n in 0..50 {
            say(&mut rooms, &format!("room-{n}"), 1);
        }
        for _ in 0..26 {
            say(&mut rooms, "b", 200);
        }
        assert_eq!(rooms.kept().groups, 1);
    }

    #[test]
    fn a_prefix_without_messages_keeps_none() {
        let mut rooms = Rooms::new(5, 10, 1 << 20);
        let none = Limits { max_messages: 0, ..LIMITS };
        assert_eq!(rooms.append(&group("a"), none, 1, "text".into(), false).position.offset, 1);
        assert_eq!(rooms.append(&group("a"), none, 1, "text".into(), false).position.offset, 2);
        assert_eq!(all(&mut rooms, "a", 1), (0, vec![]));
    }
}
