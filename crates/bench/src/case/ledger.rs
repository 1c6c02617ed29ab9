//! The ledger of a fan-out: which client has received which message of which sender, in order.
//!
//! Plain data without sockets. `fanout` enters each sent and each received message; the ledger tells a sender when it
//! may send again, and finds messages that are lost, duplicate or out of order.

use std::collections::VecDeque;
use std::task::{Context, Waker};
use std::time::Instant;

use crate::histogram::Histogram;

/// Clients in groups of equal size (the last may be smaller). Senders are dealt to the groups in turns. A broadcast is a
/// message to one group of all clients.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Groups {
    pub(crate) clients: u32,
    /// The members of each group.
    pub(crate) size: u32,
    pub(crate) senders: u32,
}

impl Groups {
    /// The number of groups.
    pub(crate) fn count(self) -> u32 {
        self.clients.div_ceil(self.size)
    }

    /// The group of a client.
    pub(crate) fn of_client(self, client: usize) -> u32 {
        client as u32 / self.size
    }

    /// The group of a sender, to which it sends.
    fn of_sender(self, sender: usize) -> u32 {
        sender as u32 % self.count()
    }

    /// The sender number of a client, if it sends. The senders of a group are its first members.
    pub(crate) fn sender(self, client: usize) -> Option<usize> {
        let member = client as u32 % self.size;
        let sender = member * self.count() + self.of_client(client);
        (sender < self.senders).then_some(sender as usize)
    }

    /// The number of members of a group.
    fn members(self, group: u32) -> u32 {
        self.size.min(self.clients - group * self.size)
    }

    /// The most senders of one group.
    fn slots(self) -> usize {
        self.senders.div_ceil(self.count()) as usize
    }
}

/// The sent and received messages of one round.
pub(crate) struct Ledger {
    groups: Groups,
    senders: Vec<Sender>,
    /// The number of the next message, by client and then by sender of its group.
    next_number: Vec<u32>,
    /// The deliveries of all messages that were sent.
    expected: u64,
    pub(crate) deliveries: u64,
    /// Messages that all members have received.
    pub(crate) done: u64,
    /// Deliveries that were duplicate, or out of their sender's order.
    pub(crate) misplaced: u64,
    stop: bool,
    /// The latency of messages that were sent earlier does not count.
    pub(crate) since: Instant,
    pub(crate) delivery_times: Histogram,
    /// The times until the last member has a message.
    pub(crate) message_times: Histogram,
}

struct Sender {
    /// How many messages it may send now, in a closed loop.
    credit: u32,
    /// The number of the first message in `in_flight`.
    first: u32,
    /// The messages that are not done: their time, and how many members miss them.
    in_flight: VecDeque<(Instant, u32)>,
    waker: Option<Waker>,
}

impl Ledger {
    /// A ledger of senders that keep `in_flight` messages in flight; 0 for senders at a fixed rate.
    pub(crate) fn new(groups: Groups, in_flight: u32) -> Self {
        let sender = || Sender { credit: in_flight, first: 0, in_flight: VecDeque::new(), waker: None };
        Ledger {
            groups,
            senders: (0..groups.senders).map(|_| sender()).collect(),
            next_number: vec![0; groups.clients as usize * groups.slots()],
            expected: 0,
            deliveries: 0,
            done: 0,
            misplaced: 0,
            stop: in_flight == 0,
            since: Instant::now(),
            delivery_times: Histogram::new(),
            message_times: Histogram::new(),
        }
    }

    /// Takes a credit: whether the sender may send a message now. If not, the task of `cx` is woken when it may.
    pub(crate) fn credit(&mut self, sender: usize, cx: &Context<'_>) -> bool {
        let sender = &mut self.senders[sender];
        if let Some(left) = sender.credit.checked_sub(1) {
            sender.credit = left;
            return true;
        }
        if !sender.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            sender.waker = Some(cx.waker().clone());
        }
        false
    }

    /// Enters a sent message, whose latency counts from `at`. Returns its number.
    pub(crate) fn sent(&mut self, sender: usize, at: Instant) -> u32 {
        let members = self.groups.members(self.groups.of_sender(sender));
        self.expected += u64::from(members);
        let sender = &mut self.senders[sender];
        sender.in_flight.push_back((at, members));
        sender.first + sender.in_flight.len() as u32 - 1
    }

    /// Enters a received message. Returns `None` if no sender has sent it to this client.
    pub(crate) fn delivered(&mut self, client: usize, from: usize, number: u32, now: Instant) -> Option<()> {
        let sender = self.senders.get_mut(from)?;
        let count = self.groups.count() as usize;
        if number >= sender.first + sender.in_flight.len() as u32
            || self.groups.of_client(client) != self.groups.of_sender(from)
        {
            return None;
        }
        let next_number = &mut self.next_number[client * self.groups.slots() + from / count];
        if number != *next_number {
            self.misplaced += 1;
            if number < *next_number {
                return Some(());
            }
        }
        *next_number = number + 1;
        self.deliveries += 1;
        // This client has not received it before, so the message is not done and in the queue.
        let (at, missing) = sender.in_flight.get_mut((number - sender.first) as usize)?;
        let time = (*at >= self.since).then(|| now.saturating_duration_since(*at));
        time.iter().for_each(|time| self.delivery_times.record(*time));
        *missing -= 1;
        if *missing == 0 {
            time.iter().for_each(|time| self.message_times.record(*time));
            self.done += 1;
            while sender.in_flight.front().is_some_and(|(_, missing)| *missing == 0) {
                sender.in_flight.pop_front();
                sender.first += 1;
            }
            if !self.stop {
                sender.credit += 1;
                sender.waker.iter().for_each(Waker::wake_by_ref);
            }
        }
        Some(())
    }

    /// Lets each sender keep `in_flight` messages in flight, after a time without any.
    pub(crate) fn start(&mut self, in_flight: u32) {
        self.stop = false;
        for sender in &mut self.senders {
            sender.credit = in_flight;
            sender.waker.iter().for_each(Waker::wake_by_ref);
        }
    }

    /// Gives no more credit.
    pub(crate) fn stop(&mut self) {
        self.stop = true;
        self.senders.iter_mut().for_each(|sender| sender.credit = 0);
    }

    /// The deliveries of all messages that were sent.
    pub(crate) fn expected(&self) -> u64 {
        self.expected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(clients: u32, size: u32, senders: u32, in_flight: u32) -> Ledger {
        Ledger::new(Groups { clients, size, senders }, in_flight)
    }

    fn credit(ledger: &mut Ledger, sender: usize) -> bool {
        ledger.credit(sender, &Context::from_waker(Waker::noop()))
    }

    #[test]
    fn senders_are_the_first_members_of_groups_that_take_turns() {
        let groups = Groups { clients: 7, size: 3, senders: 4 };
        assert_eq!(groups.count(), 3);
        let senders: Vec<_> = (0..7).map(|client| groups.sender(client)).collect();
        assert_eq!(senders, [Some(0), Some(3), None, Some(1), None, None, Some(2)]);
        assert_eq!([0, 1, 2].map(|group| groups.members(group)), [3, 3, 1]);
        for (client, sender) in senders.iter().enumerate().filter_map(|(c, s)| Some((c, (*s)?))) {
            assert_eq!(groups.of_client(client), groups.of_sender(sender));
        }
        let all = Groups { clients: 5, size: 5, senders: 2 };
        assert_eq!([0, 1, 2].map(|client| all.sender(client)), [Some(0), Some(1), None]);
    }

    #[test]
    fn a_message_is_done_when_the_last_member_has_it() {
        let now = Instant::now();
        let mut ledger = ledger(3, 3, 1, 1);
        assert!(credit(&mut ledger, 0) && !credit(&mut ledger, 0));
        assert_eq!(ledger.sent(0, now), 0);
        ledger.delivered(0, 0, 0, now).unwrap();
        ledger.delivered(2, 0, 0, now).unwrap();
        assert!(!credit(&mut ledger, 0));
        ledger.delivered(1, 0, 0, now).unwrap();
        assert!(credit(&mut ledger, 0));
        assert_eq!((ledger.sent(0, now), ledger.done), (1, 1));
        assert_eq!((ledger.expected(), ledger.deliveries, ledger.misplaced), (6, 3, 0));
    }

    #[test]
    fn a_message_is_expected_by_its_group_alone() {
        let now = Instant::now();
        let mut ledger = ledger(5, 2, 3, 1);
        assert_eq!([0, 1, 2].map(|sender| ledger.sent(sender, now)), [0, 0, 0]);
        assert_eq!(ledger.expected(), 5);
        ledger.delivered(2, 1, 0, now).unwrap();
        assert_eq!(ledger.delivered(0, 1, 0, now), None);
        assert_eq!(ledger.done, 0);
        ledger.delivered(3, 1, 0, now).unwrap();
        ledger.delivered(4, 2, 0, now).unwrap();
        assert_eq!((ledger.done, ledger.misplaced), (2, 0));
    }

    #[test]
    fn messages_in_flight_may_be_done_in_any_order() {
        let now = Instant::now();
        let mut ledger = ledger(1, 1, 1, 2);
        assert_eq!([0, 0].map(|sender| ledger.sent(sender, now)), [0, 1]);
        ledger.delivered(0, 0, 0, now).unwrap();
        ledger.delivered(0, 0, 1, now).unwrap();
        assert_eq!((ledger.expected(), ledger.deliveries, ledger.misplaced), (2, 2, 0));
        assert_eq!(ledger.sent(0, now), 2);
    }

    #[test]
    fn duplicate_skipped_and_unsent_messages_are_different_errors() {
        let now = Instant::now();
        let mut ledger = ledger(2, 2, 1, 3);
        (0..3).for_each(|_| _ = ledger.sent(0, now));
        ledger.delivered(0, 0, 0, now).unwrap();
        ledger.delivered(0, 0, 0, now).unwrap();
        assert_eq!((ledger.deliveries, ledger.misplaced), (1, 1));
        ledger.delivered(0, 0, 2, now).unwrap();
        assert_eq!((ledger.deliveries, ledger.misplaced), (2, 2));
        assert_eq!(ledger.delivered(0, 0, 3, now), None);
        assert_eq!(ledger.delivered(0, 1, 0, now), None);
    }

    #[test]
    fn messages_due_before_the_measurement_do_not_count() {
        let mut ledger = ledger(1, 1, 1, 0);
        let (before, now) = (ledger.since, ledger.since + std::time::Duration::from_secs(1));
        ledger.since = now;
        ledger.sent(0, before);
        ledger.sent(0, now);
        ledger.delivered(0, 0, 0, now + std::time::Duration::from_secs(9)).unwrap();
        ledger.delivered(0, 0, 1, now + std::time::Duration::from_micros(5)).unwrap();
        assert_eq!((ledger.message_times.max(), ledger.deliveries), (5.0, 2));
    }

    #[test]
    fn an_empty_ledger_gives_credit_after_its_start() {
        let now = Instant::now();
        let mut ledger = ledger(1, 1, 1, 0);
        assert!(!credit(&mut ledger, 0));
        ledger.start(1);
        assert!(credit(&mut ledger, 0) && !credit(&mut ledger, 0));
        ledger.sent(0, now);
        ledger.delivered(0, 0, 0, now).unwrap();
        assert!(credit(&mut ledger, 0));
    }

    #[test]
    fn a_stopped_ledger_gives_no_credit() {
        let now = Instant::now();
        let mut ledger = ledger(1, 1, 1, 2);
        ledger.sent(0, now);
        ledger.stop();
        ledger.delivered(0, 0, 0, now).unwrap();
        assert!(!credit(&mut ledger, 0));
    }
}
