//! [`Inbound`]: which messages of other clusters are accepted, and how many were missed.

use std::collections::BTreeMap;
use std::time::Duration;

use gatewayworker_client::ClusterName;

use super::envelope::{Content, Envelope, SendContent};
use super::partitions::Partition;
use super::slots::Slot;

/// How far the wall clocks of two hosts may differ, the way of a message included, in ms.
pub(super) const MAX_AGE_MS: u64 = 30_000;

/// So many numbers of a process are told apart behind the highest one, as IPsec does (RFC 4303).
const WINDOW: u64 = 128;

/// Why a message is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rejection {
    /// The own cluster has said it.
    Own,
    /// It is for another cluster in the same slot.
    ForAnother,
    /// Its cluster has a gateway of the own cluster, or may have.
    Overlapping,
    /// It is too old, or its time has not come yet.
    Time,
    /// It was seen before, or is so late that nobody can tell.
    Replayed,
    /// It came on the subject of another partition, or is no message of that kind.
    Misplaced,
    /// A bundle that has come before, as may happen with what is durable.
    Duplicate,
}

/// A question that is to be answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// Where the answer goes.
    pub(crate) reply: String,
    /// In which time it is to be there.
    pub(crate) within: Duration,
    /// The question.
    pub(crate) question: bytes::Bytes,
}

/// What was heard of the processes of other clusters.
#[derive(Debug)]
pub(crate) struct Inbound {
    own: ClusterName,
    slot: Slot,
    processes: BTreeMap<u64, Heard>,
    /// The questions of processes.
    askers: BTreeMap<u64, Heard>,
    missed: u64,
    late: u64,
    pruned_at_ms: u64,
}

#[derive(Debug, Default)]
struct Heard {
    at_ms: u64,
    /// The highest number.
    highest: u64,
    /// Bit n: the number `highest - n` was seen.
    seen: u128,
    /// The highest counter of the own slot, where it says something.
    counter: Option<u32>,
}

impl Inbound {
    pub(crate) fn new(own: ClusterName) -> Self {
        let slot = Slot::of(&own);
        Self {
            own,
            slot,
            processes: BTreeMap::new(),
            askers: BTreeMap::new(),
            missed: 0,
            late: 0,
            pruned_at_ms: 0,
        }
    }

    /// How many messages for this cluster were not there when a later one of their process came.
    pub(crate) fn missed(&self) -> u64 {
        self.missed
    }

    /// How many of these have come after all.
    pub(crate) fn late(&self) -> u64 {
        self.late
    }

    /// Takes a signed message that came on a partition. `is_alone` says that no other worker hears this partition, so that a gap is a loss.
    ///
    /// # Errors
    /// When the message is to be dropped.
    pub(crate) fn accept_send(
        &mut self,
        envelope: Envelope,
        partition: Partition,
        is_alone: bool,
        unix_ms: u64,
    ) -> Result<SendContent, Rejection> {
        if envelope.cluster == self.own {
            return Err(Rejection::Own);
        }
        envelope.check_age(unix_ms)?;
        let Envelope { content: Content::Send(content), process, number, .. } = envelope else {
            return Err(Rejection::Misplaced);
        };
        if Partition::of(process) != partition {
            return Err(Rejection::Misplaced);
        }
        self.prune(unix_ms);
        let heard = self.processes.entry(process).or_default();
        heard.note(number, unix_ms)?;
        let counter =
            content.counters.iter().find(|(slot, _)| *slot == self.slot).map(|(_, counter)| *counter);
        match heard.count(counter.filter(|_| is_alone)) {
            Place::Next { missed } => self.missed += missed,
            Place::Late => self.late += 1,
        }
        if content.to.as_ref().is_some_and(|to| *to != self.own) {
            return Err(Rejection::ForAnother);
        }
        Ok(content)
    }

    /// Takes a signed question.
    ///
    /// # Errors
    /// When the message is to be dropped.
    pub(crate) fn accept_question(
        &mut self,
        envelope: Envelope,
        unix_ms: u64,
    ) -> Result<Accepted, Rejection> {
        envelope.check_age(unix_ms)?;
        let Content::Question { reply, within_ms, question } = envelope.content else {
            return Err(Rejection::Misplaced);
        };
        self.prune(unix_ms);
        self.askers.entry(envelope.process).or_default().note(envelope.number, unix_ms)?;
        // The answer needs a part of the time for its way.
        let within = Duration::from_millis((u64::from(within_ms) * 3 / 4).max(1));
        Ok(Accepted { reply, within, question })
    }

    /// Forgets how far the counters of a partition are, as somebody else hears it from now on.
    pub(crate) fn stop_counting(&mut self, partition: Partition) {
        let heard = self.processes.iter_mut().filter(|(process, _)| Partition::of(**process) == partition);
        heard.for_each(|(_, heard)| heard.counter = None);
    }

    /// Forgets processes of which anything that could be played again is too old.
    fn prune(&mut self, unix_ms: u64) {
        if unix_ms < self.pruned_at_ms.saturating_add(MAX_AGE_MS) && self.pruned_at_ms <= unix_ms {
            return;
        }
        self.pruned_at_ms = unix_ms;
        for heard in [&mut self.processes, &mut self.askers] {
            heard.retain(|_, heard| unix_ms.saturating_sub(heard.at_ms) <= 3 * MAX_AGE_MS);
        }
    }
}

impl Envelope {
    /// Checks the time of a message.
    pub(crate) fn check_age(&self, unix_ms: u64) -> Result<(), Rejection> {
        if self.unix_ms.abs_diff(unix_ms) > MAX_AGE_MS { Err(Rejection::Time) } else { Ok(()) }
    }
}

/// Where a message stands among those of its process.
enum Place {
    /// Behind all before, of which so many are missing.
    Next { missed: u64 },
    /// Before others that have come: it was counted as missing.
    Late,
}

impl Heard {
    fn note(&mut self, number: u64, unix_ms: u64) -> Result<(), Rejection> {
        if number > self.highest {
            let by = number - self.highest;
            self.seen = if by < WINDOW { self.seen << by } else { 0 };
            self.seen |= 1;
            self.highest = number;
        } else {
            let behind = self.highest - number;
            if behind >= WINDOW || self.seen & (1 << behind) != 0 {
                return Err(Rejection::Replayed);
            }
            self.seen |= 1 << behind;
        }
        self.at_ms = unix_ms;
        Ok(())
    }

    /// Where a message with this counter stands among those of its process.
    fn count(&mut self, counter: Option<u32>) -> Place {
        let (Some(counter), Some(highest)) = (counter, self.counter) else {
            self.counter = counter;
            return Place::Next { missed: 0 };
        };
        // It may have gone round.
        match counter.wrapping_sub(highest).cast_signed() {
            ahead @ 1.. => {
                self.counter = Some(counter);
                Place::Next { missed: u64::from(ahead.unsigned_abs()) - 1 }
            }
            _ => Place::Late,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const NOW: u64 = 1_700_000_000_000;
    const PROCESS: u64 = 7;

    fn inbound() -> Inbound {
        Inbound::new("own".parse().unwrap())
    }

    fn send(number: u64, counter: u32) -> Envelope {
        let own = "own".parse().unwrap();
        Envelope {
            unix_ms: NOW,
            process: PROCESS,
            number,
            cluster: "a".parse().unwrap(),
            content: Content::Send(SendContent {
                to: None,
                counters: vec![(Slot::of(&own), counter)],
                call: Bytes::from_static(b"call"),
            }),
        }
    }

    fn accept(inbound: &mut Inbound, envelope: Envelope) -> Result<SendContent, Rejection> {
        inbound.accept_send(envelope, Partition::of(PROCESS), true, NOW)
    }

    #[test]
    fn a_message_is_accepted_once_in_whatever_order() {
        let mut inbound = inbound();
        for number in [3, 1, 2, 200, 199, 73] {
            assert!(accept(&mut inbound, send(number, 1)).is_ok(), "{number}");
            assert_eq!(accept(&mut inbound, send(number, 1)), Err(Rejection::Replayed), "{number}");
        }
        assert_eq!(accept(&mut inbound, send(72, 1)), Err(Rejection::Replayed), "nobody can tell any more");
        assert!(accept(&mut inbound, Envelope { process: 8, ..send(3, 1) }).is_err(), "another partition");
    }

    #[test]
    fn an_old_message_is_rejected_and_so_is_one_of_the_future() {
        let mut inbound = inbound();
        for (unix_ms, outcome) in
            [(NOW - MAX_AGE_MS - 1, false), (NOW - MAX_AGE_MS, true), (NOW + MAX_AGE_MS + 1, false)]
        {
            let envelope = Envelope { unix_ms, ..send(unix_ms, 1) };
            assert_eq!(accept(&mut inbound, envelope) != Err(Rejection::Time), outcome, "{unix_ms}");
        }
    }

    #[test]
    fn a_process_is_remembered_for_as_long_as_its_messages_could_be_played_again() {
        let mut inbound = inbound();
        accept(&mut inbound, send(1, 1)).unwrap();
        let later = NOW + MAX_AGE_MS;
        let again = inbound.accept_send(send(1, 1), Partition::of(PROCESS), true, later);
        assert_eq!(again, Err(Rejection::Replayed));
        let much_later = NOW + 10 * MAX_AGE_MS;
        let other = Envelope { unix_ms: much_later, ..send(5, 1) };
        inbound.accept_send(other, Partition::of(PROCESS), true, much_later).unwrap();
        let again = inbound.accept_send(send(1, 1), Partition::of(PROCESS), true, much_later);
        assert_eq!(again, Err(Rejection::Time));
    }

    #[test]
    fn the_own_cluster_and_other_clusters_of_the_slot_are_not_heard() {
        let mut inbound = inbound();
        let own = Envelope { cluster: "own".parse().unwrap(), ..send(1, 1) };
        assert_eq!(accept(&mut inbound, own), Err(Rejection::Own));
        let mut other = send(2, 1);
        let Content::Send(content) = &mut other.content else { panic!() };
        content.to = Some("b".parse().unwrap());
        assert_eq!(accept(&mut inbound, other), Err(Rejection::ForAnother));
        let question = Content::Question { reply: "r".into(), within_ms: 1, question: Bytes::new() };
        let question = Envelope { content: question, ..send(3, 1) };
        assert_eq!(accept(&mut inbound, question), Err(Rejection::Misplaced));
    }

    #[test]
    fn a_question_is_accepted_once_and_is_to_be_answered_before_its_asker_gives_up() {
        let mut inbound = inbound();
        let question = |number| {
            let content = Content::Question { reply: "r".into(), within_ms: 4_000, question: Bytes::new() };
            Envelope { content, ..send(number, 1) }
        };
        for number in [700, 650, 2_000] {
            let accepted = inbound.accept_question(question(number), NOW).unwrap();
            assert_eq!(accepted.within, Duration::from_secs(3));
            assert_eq!(inbound.accept_question(question(number), NOW), Err(Rejection::Replayed));
        }
        assert_eq!(inbound.accept_question(send(3_000, 1), NOW), Err(Rejection::Misplaced));
    }

    #[test]
    fn gaps_are_counted_and_so_are_messages_that_come_late() {
        let mut inbound = inbound();
        for (number, counter, missed, late) in [
            (10, 5, 0, 0),
            (11, 6, 0, 0),
            (14, 9, 2, 0),
            (13, 8, 2, 1),
            (12, 7, 2, 2),
            (15, 10, 2, 2),
            (20, 20, 11, 2),
        ] {
            accept(&mut inbound, send(number, counter)).unwrap();
            assert_eq!((inbound.missed(), inbound.late()), (missed, late), "{counter}");
        }
    }

    #[test]
    fn a_counter_may_go_round() {
        let mut inbound = inbound();
        for (number, counter) in [(1, u32::MAX - 1), (2, u32::MAX), (3, 0), (4, 1)] {
            accept(&mut inbound, send(number, counter)).unwrap();
        }
        assert_eq!(inbound.missed(), 0);
    }

    #[test]
    fn what_another_worker_has_heard_is_not_missed() {
        let mut inbound = inbound();
        accept(&mut inbound, send(1, 1)).unwrap();
        inbound.stop_counting(Partition::of(PROCESS));
        accept(&mut inbound, send(50, 50)).unwrap();
        inbound.accept_send(send(60, 60), Partition::of(PROCESS), false, NOW).unwrap();
        accept(&mut inbound, send(70, 70)).unwrap();
        assert_eq!(inbound.missed(), 0);
    }
}
