//! What a steady load has sent to a group of all clients, what the sends said, and which client has received it. Plain data.
//!
//! A time is since the start of the load. `fault` enters what happens, and reads the report.

use std::ops::Range;
use std::time::Duration;

use crate::histogram::Histogram;

/// A message that takes longer than this to the last member of a cluster counts as disturbed.
const SLOW: Duration = Duration::from_secs(1);

/// The messages of a load.
pub(super) struct Deliveries {
    /// The cluster of each client, and how many clients each cluster has.
    clusters: Vec<usize>,
    members: Vec<u32>,
    senders: Vec<Sender>,
    twice: u64,
    out_of_order: u64,
    /// Deliveries so far.
    pub(super) count: u64,
}

struct Sender {
    cluster: usize,
    sent: Vec<Message>,
    /// The number after the highest that each client has received.
    next: Vec<u32>,
}

struct Message {
    at: Duration,
    /// How many clusters the send said were not reached; `None` until it is answered.
    unreached: Option<u32>,
    /// Whether each client has it, a bit for each.
    received: Vec<u64>,
    /// For each cluster, how many members lack it, and when the last one got it.
    clusters: Vec<(u32, Duration)>,
}

/// Times from sending until the last member of a cluster has a message: before the fault, while it lasts, and after.
pub(super) type Phases = [Histogram; 3];

/// What has become of the messages.
pub(super) struct Report {
    pub(super) sent: u64,
    /// Sends that said a cluster was not reached.
    pub(super) said_unreached: u64,
    /// Sends that were not answered.
    pub(super) unanswered: u64,
    /// Deliveries that members in the sender's own cluster lack.
    pub(super) own_missing: u64,
    /// How often a message did not reach all members of another cluster, though its send did not say so.
    pub(super) lost: u64,
    /// How often a message reached some members of another cluster and not all.
    pub(super) partly: u64,
    pub(super) twice: u64,
    pub(super) out_of_order: u64,
    /// To members in the sender's own cluster.
    pub(super) own: Phases,
    /// To members in each other cluster.
    pub(super) others: Phases,
    /// The first and last time of sending a message that did not reach another cluster within a second.
    pub(super) disturbed: Option<(Duration, Duration)>,
}

impl Deliveries {
    /// No messages yet. `clusters` has the cluster of each client, `senders` the cluster of each sender.
    pub(super) fn new(clusters: Vec<usize>, senders: &[usize]) -> Self {
        let count = clusters.iter().max().map_or(0, |last| last + 1);
        let mut members = vec![0; count];
        clusters.iter().for_each(|&cluster| members[cluster] += 1);
        let sender = |&cluster| Sender { cluster, sent: Vec::new(), next: vec![0; clusters.len()] };
        let senders = senders.iter().map(sender).collect();
        Deliveries { clusters, members, senders, twice: 0, out_of_order: 0, count: 0 }
    }

    /// Enters a sent message. Returns its number.
    pub(super) fn sent(&mut self, sender: usize, at: Duration) -> u32 {
        let clusters = self.members.iter().map(|members| (*members, at)).collect();
        let received = vec![0; self.clusters.len().div_ceil(64)];
        let sender = &mut self.senders[sender];
        sender.sent.push(Message { at, unreached: None, received, clusters });
        sender.sent.len() as u32 - 1
    }

    /// Enters the answer of a send: how many clusters were not reached. Returns `None` if there is no such message.
    pub(super) fn answered(&mut self, sender: usize, number: u32, unreached: u32) -> Option<()> {
        self.senders.get_mut(sender)?.sent.get_mut(number as usize)?.unreached = Some(unreached);
        Some(())
    }

    /// Enters a received message. Returns `None` if there is no such message.
    pub(super) fn delivered(
        &mut self,
        client: usize,
        sender: usize,
        number: u32,
        now: Duration,
    ) -> Option<()> {
        let sender = self.senders.get_mut(sender)?;
        let message = sender.sent.get_mut(number as usize)?;
        let (word, bit) = (&mut message.received[client / 64], 1 << (client % 64));
        if *word & bit != 0 {
            self.twice += 1;
            return Some(());
        }
        *word |= bit;
        self.count += 1;
        let (missing, last) = &mut message.clusters[self.clusters[client]];
        *missing -= 1;
        *last = now;
        let next = &mut sender.next[client];
        if number < *next {
            self.out_of_order += 1;
        } else {
            *next = number + 1;
        }
        Some(())
    }

    /// The deliveries of all messages that were sent.
    pub(super) fn expected(&self) -> u64 {
        self.senders.iter().map(|sender| sender.sent.len() as u64).sum::<u64>() * self.clusters.len() as u64
    }

    /// What has become of the messages, of which none is under way any more. The fault lasted for the time `fault`.
    pub(super) fn report(&self, fault: &Range<Duration>) -> Report {
        let phases = || [(); 3].map(|()| Histogram::new());
        let (twice, out_of_order) = (self.twice, self.out_of_order);
        let mut report = Report {
            sent: 0,
            said_unreached: 0,
            unanswered: 0,
            own_missing: 0,
            lost: 0,
            partly: 0,
            twice,
            out_of_order,
            own: phases(),
            others: phases(),
            disturbed: None,
        };
        for sender in &self.senders {
            for message in &sender.sent {
                self.add(sender.cluster, message, fault, &mut report);
            }
        }
        report
    }

    fn add(&self, own: usize, message: &Message, fault: &Range<Duration>, report: &mut Report) {
        let at = message.at;
        let phase = usize::from(at >= fault.start) + usize::from(at >= fault.end);
        let unreached = u64::from(message.unreached.unwrap_or(0));
        report.sent += 1;
        report.said_unreached += u64::from(unreached > 0);
        report.unanswered += u64::from(message.unreached.is_none());
        let (mut incomplete, mut is_slow) = (0u64, false);
        for (cluster, &(missing, last)) in message.clusters.iter().enumerate() {
            let time = last.saturating_sub(at);
            if cluster == own {
                report.own_missing += u64::from(missing);
                if missing == 0 {
                    report.own[phase].record(time);
                }
            } else if missing == 0 {
                report.others[phase].record(time);
                is_slow |= time > SLOW;
            } else {
                incomplete += 1;
                report.partly += u64::from(missing < self.members[cluster]);
            }
        }
        report.lost += incomplete.saturating_sub(unreached);
        if incomplete > 0 || is_slow {
            let (first, last) = report.disturbed.get_or_insert((at, at));
            *first = at.min(*first);
            *last = at.max(*last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Two clients in each of two clusters, and a sender in the first.
    fn deliveries() -> Deliveries {
        Deliveries::new(vec![0, 0, 1, 1], &[0])
    }

    fn deliver(deliveries: &mut Deliveries, number: u32, clients: &[usize], at: Duration) {
        clients.iter().for_each(|client| deliveries.delivered(*client, 0, number, at).unwrap());
    }

    #[test]
    fn a_message_that_nobody_in_another_cluster_has_is_lost_unless_its_send_said_so() {
        let mut all = deliveries();
        for number in 0..3 {
            assert_eq!(all.sent(0, 10 * MS * number), number);
            deliver(&mut all, number, &[0, 1], 11 * MS * number);
        }
        all.answered(0, 0, 0).unwrap();
        all.answered(0, 1, 1).unwrap();
        deliver(&mut all, 2, &[2], 25 * MS);
        let report = all.report(&(5 * MS..15 * MS));
        assert_eq!((report.sent, report.said_unreached, report.unanswered), (3, 1, 1));
        assert_eq!((report.lost, report.partly, report.own_missing), (2, 1, 0));
        assert_eq!(report.disturbed, Some((Duration::ZERO, 20 * MS)));
        assert_eq!((all.count, all.expected()), (7, 12));
    }

    #[test]
    fn times_count_by_the_phase_of_sending_and_until_the_last_member_of_a_cluster() {
        let mut all = deliveries();
        for at in [0, 10, 20] {
            let number = all.sent(0, MS * at);
            deliver(&mut all, number, &[0, 1, 2], MS * (at + 1));
            deliver(&mut all, number, &[3], MS * (at + 5 + at));
        }
        let report = all.report(&(10 * MS..20 * MS));
        assert_eq!(report.own.map(|times| times.max()), [1000.0; 3]);
        assert_eq!(report.others.map(|times| times.max()), [5000.0, 15_000.0, 25_000.0]);
        assert_eq!((report.disturbed, report.lost), (None, 0));
    }

    #[test]
    fn a_late_message_is_no_loss_and_disturbs() {
        let mut all = deliveries();
        all.sent(0, MS);
        deliver(&mut all, 0, &[0, 1, 2, 3], Duration::from_secs(2));
        let report = all.report(&(Duration::ZERO..MS));
        assert_eq!((report.lost, report.disturbed), (0, Some((MS, MS))));
    }

    #[test]
    fn what_comes_twice_or_late_behind_another_is_counted() {
        let mut all = deliveries();
        (0..3).for_each(|_| _ = all.sent(0, MS));
        for number in [0, 2, 1, 2] {
            deliver(&mut all, number, &[3], MS);
        }
        let report = all.report(&(MS..MS));
        assert_eq!((report.twice, report.out_of_order), (1, 1));
        assert_eq!(all.delivered(0, 0, 3, MS), None);
        assert_eq!(all.delivered(0, 1, 0, MS), None);
    }
}
