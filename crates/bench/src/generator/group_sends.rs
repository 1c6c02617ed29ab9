//! The job that sends messages to groups: it keeps some under way, groups take turns, and each delivery is checked.
//!
//! Plain data. A group has at most one message under way, so a member that gets another number has lost one, or got one
//! twice.

use std::collections::BTreeMap;
use std::time::Duration;

use super::job::{Action, Job, frames, number_after};
use super::joining::group_name;
use super::protocol::Outcome;

/// How long the job waits for a delivery after the last one, before it counts the rest as lost.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);

/// Messages to groups.
pub(super) struct GroupSends {
    generator: u32,
    size: u32,
    bytes: usize,
    in_flight: usize,
    end: Duration,
    /// The group whose turn is next, and the number of groups.
    next: u32,
    groups: u32,
    /// The number of the next message.
    number: u64,
    /// Messages under way by group.
    under_way: BTreeMap<u32, Message>,
    /// The number of the last message that each client got. Numbers begin at 1.
    seen: Vec<u64>,
    last_delivery: Duration,
    sending: bool,
    outcome: Outcome,
}

struct Message {
    /// How it begins, up to its number.
    head: Vec<u8>,
    number: u64,
    sent: Duration,
    missing: u32,
}

impl GroupSends {
    /// Messages to the full groups of clients 0 to `clients`, until `end`.
    pub(super) fn new(
        generator: u32,
        clients: u32,
        size: u32,
        in_flight: u32,
        bytes: u32,
        end: Duration,
    ) -> Self {
        GroupSends {
            generator,
            size,
            bytes: bytes as usize,
            in_flight: in_flight as usize,
            end,
            next: 0,
            groups: clients / size,
            number: 1,
            under_way: BTreeMap::new(),
            seen: vec![0; clients as usize],
            last_delivery: Duration::ZERO,
            sending: true,
            outcome: Outcome::new(),
        }
    }

    fn send(&mut self, now: Duration) -> Action {
        while self.under_way.contains_key(&self.next) {
            self.next = (self.next + 1) % self.groups;
        }
        let (group, number) = (self.next, self.number);
        self.next = (self.next + 1) % self.groups;
        self.number += 1;
        let head = format!("G{} ", group_name(self.generator, group));
        let text = format!("{head}{number} ");
        self.under_way.insert(group, Message { head: head.into(), number, sent: now, missing: self.size });
        Action::Send { client: group * self.size, frames: frames(&[&format!("{text:x<0$}", self.bytes)]) }
    }
}

impl Job for GroupSends {
    fn tick(&mut self, now: Duration, actions: &mut Vec<Action>) -> Result<(), String> {
        if self.last_delivery.is_zero() {
            self.last_delivery = now;
        }
        self.sending &= now < self.end && self.groups > 0;
        while self.sending && self.under_way.len() < self.in_flight.min(self.groups as usize) {
            actions.push(self.send(now));
        }
        if now.saturating_sub(self.last_delivery) > DRAIN_LIMIT {
            self.sending = false;
            self.outcome.missing +=
                std::mem::take(&mut self.under_way).values().map(|m| u64::from(m.missing)).sum::<u64>();
        }
        Ok(())
    }

    fn on_message(&mut self, client: u32, payload: &[u8], now: Duration, _: &mut Vec<Action>) {
        if payload.first() != Some(&b'G') {
            return;
        }
        let group = client / self.size;
        self.last_delivery = now;
        self.outcome.deliveries += 1;
        let message = self.under_way.get_mut(&group);
        let message = message.filter(|sent| number_after(payload, &sent.head) == Some(sent.number));
        let seen = self.seen.get_mut(client as usize);
        let (Some(message), Some(seen)) = (message, seen) else {
            self.outcome.unexpected += 1;
            return;
        };
        if std::mem::replace(seen, message.number) == message.number {
            self.outcome.unexpected += 1;
            return;
        }
        message.missing -= 1;
        if message.missing == 0 {
            self.outcome.times.record(now.saturating_sub(message.sent));
            self.outcome.count += 1;
            self.under_way.remove(&group);
        }
    }

    fn next_deadline(&self) -> Option<Duration> {
        Some(if self.sending { self.end } else { self.last_delivery + DRAIN_LIMIT })
    }

    fn progress(&self) -> u64 {
        self.outcome.count
    }

    fn outcome(&mut self) -> Option<Outcome> {
        (!self.sending && self.under_way.is_empty()).then(|| self.outcome.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: Duration = Duration::from_secs(5);

    fn tick(job: &mut GroupSends, now: Duration) -> Vec<u32> {
        let mut actions = Vec::new();
        job.tick(now, &mut actions).unwrap();
        let client = |action| match action {
            Action::Send { client, .. } => client,
            other => panic!("{other:?}"),
        };
        actions.into_iter().map(client).collect()
    }

    fn deliver(job: &mut GroupSends, client: u32, text: &str, millis: u64) {
        job.on_message(client, text.as_bytes(), Duration::from_millis(millis), &mut Vec::new());
    }

    #[test]
    fn groups_take_turns_and_a_message_is_done_with_its_last_delivery() {
        let mut job = GroupSends::new(1, 7, 2, 2, 64, END);
        let start = Duration::from_millis(1);
        assert_eq!(tick(&mut job, start), [0, 2], "the first members of two groups");
        deliver(&mut job, 0, "Gg1.0 1 xx", 2);
        assert!(tick(&mut job, start).is_empty());
        deliver(&mut job, 1, "Gg1.0 1 xx", 4);
        assert_eq!(tick(&mut job, start), [4]);
        deliver(&mut job, 2, "Gg1.1 2 xx", 4);
        deliver(&mut job, 3, "Gg1.1 2 xx", 4);
        assert_eq!(tick(&mut job, start), [0], "the seventh client is in no full group");
        assert_eq!((job.outcome.count, job.outcome.deliveries, job.outcome.fault()), (2, 4, None));
        assert_eq!(job.outcome.times.max(), 3000.0);
    }

    #[test]
    fn the_job_ends_when_what_it_sent_is_there() {
        let mut job = GroupSends::new(1, 2, 2, 5, 64, END);
        assert_eq!(tick(&mut job, Duration::from_millis(1)), [0]);
        assert!(tick(&mut job, END).is_empty());
        assert!(job.outcome().is_none());
        deliver(&mut job, 0, "Gg1.0 1 xx", 5001);
        deliver(&mut job, 1, "Gg1.0 1 xx", 5001);
        assert_eq!(job.outcome().unwrap().count, 1);
    }

    #[test]
    fn lost_duplicate_and_wrong_deliveries_are_faults() {
        let mut job = GroupSends::new(1, 4, 2, 1, 64, END);
        tick(&mut job, Duration::from_millis(1));
        deliver(&mut job, 0, "Gg1.0 1 xx", 2);
        deliver(&mut job, 0, "Gg1.0 1 xx", 2);
        assert_eq!(job.outcome.unexpected, 1, "twice");
        deliver(&mut job, 2, "Gg1.0 1 xx", 2);
        assert_eq!(job.outcome.unexpected, 2, "a client of another group");
        tick(&mut job, END + DRAIN_LIMIT);
        assert_eq!(job.outcome().unwrap().missing, 1, "one member has nothing");
    }
}
