//! The counts of a run: what its row of the table shows.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::handled::Violations;
use super::observed::Observer;
use super::{Audience, Connection, Ending, Ledger};

/// What became of the messages and the connections of a run.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Messages that clients have sent.
    pub messages: u64,
    /// Messages that no handler has handled to its end, on a connection whose gateway has not been harmed, or followed
    /// by a message that was handled; also connects and handshakes before a message that was handled.
    pub lost: u64,
    /// Messages that were with a gateway, or on the way to it, when it was harmed. Their clients have seen the
    /// connection end without an answer.
    pub gone_with_gateway: u64,
    /// Messages without an answer, on a connection that waited for it.
    pub unanswered: u64,
    /// Events that were handled again, closes excepted.
    pub doubled: u64,
    /// Those of them without the mark.
    pub doubled_unmarked: u64,
    /// Events that were handled behind a later one of their client, or behind its close.
    pub reordered: u64,
    /// Events that were begun for the first time behind the close of a client whose gateway was harmed. They do not
    /// count as reordered: a gateway that was taken for lost may come back.
    pub behind_close_with_gateway: u64,
    /// Handlers that have begun while another of their client ran.
    pub overlapped: u64,
    /// Handlers that ran when their worker was frozen or cut off, and still ran when their successor began.
    pub overlapped_at_the_cut: u64,
    /// Events of clients of a harmed gateway that two workers have had, with the mark: out of order, or handled while
    /// another event of their client was. They count neither as reordered nor as overlapped.
    pub in_two_workers: u64,
    /// Messages whose handler has found an older session than an earlier handler had left.
    pub stale: u64,
    /// The same for clients of a harmed gateway, which stores their sessions.
    pub stale_with_gateway: u64,
    /// Connections whose close a handler has handled.
    pub closes: u64,
    /// Connections that have ended, and whose `on_connect` has run, without an `on_close`.
    pub closes_missing: u64,
    /// Closes that were handled again.
    pub closes_doubled: u64,
    /// Those of them without the mark.
    pub closes_doubled_unmarked: u64,
    /// Connections to gateways that were not harmed, and that ended by no wish of the client.
    pub cut_off: u64,
    /// Connections that were open and that no worker has admitted in time. They do not count as cut off.
    pub not_admitted: u64,
    /// The time until the fault was noticed, in milliseconds, where the row has such a sign and it was seen.
    pub detection_ms: Option<u64>,
    /// Attempts to connect that a gateway refused, or did not answer.
    pub refused: u64,
    /// The longest time that a message has waited for its answer, or a client for a connection, in milliseconds. A
    /// client that was refused does not count.
    pub longest_stall_ms: u64,
    /// What became of what handlers have said to observers, if there are any.
    pub said: Option<SaidCounts>,
}

/// What became of what handlers have said to clients of others: for each message that was handled to its end, and each
/// observer in its audience.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaidCounts {
    /// How much was to arrive.
    pub owed: u64,
    /// What has arrived, once or more often.
    pub arrived: u64,
    /// What has not arrived, for no reason that is known here.
    pub lost: u64,
    /// What has not arrived at an observer whose gateway was harmed, behind all that has arrived there.
    pub gone_with_gateway: u64,
    /// What has not arrived, and was said on a call link that was cut.
    pub gone_with_link: u64,
    /// What has not arrived, and whose handler was told so.
    pub unreached: u64,
    /// What has not arrived, and whose handler was told that it says nothing any more, as the gateway of its own client
    /// was gone.
    pub fenced: u64,
    /// What has arrived again.
    pub doubled: u64,
    /// What has arrived more often than handlers have begun with its message.
    pub doubled_unsaid: u64,
    /// What has arrived behind something later that the same worker has said about the same client.
    pub reordered: u64,
    /// The same, said by two workers.
    pub reordered_between_workers: u64,
}

impl Counts {
    /// Whether nothing is owed any more.
    pub(super) fn is_complete(&self) -> bool {
        let nothing_said_is_owed = self.said.as_ref().is_none_or(|said| said.lost == 0);
        self.lost == 0 && self.closes_missing == 0 && self.unanswered == 0 && nothing_said_is_owed
    }
}

impl Ledger {
    /// Returns the counts as they are now. What is still under way counts as lost, or missing.
    pub fn counts(&self, now: Duration) -> Counts {
        let mut counts = Counts { refused: self.refused, ..Counts::default() };
        let mut longest_stall = self.longest_opening;
        for (connection, sent) in &self.sent {
            let handled = self.client_ids.get(connection).and_then(|id| self.handled.get(id));
            let is_poisoned = self.poisoned.contains(connection);
            let harmed = self.was_harmed(sent) || is_poisoned;
            let not_admitted = sent.was_not_admitted() && !harmed;
            counts.not_admitted += u64::from(not_admitted);
            let ending = sent.ended.map(|(ending, _)| ending);
            counts.messages += u64::from(sent.messages);
            let owed = self.owed(*connection, sent);
            if !is_poisoned && !not_admitted {
                counts.gone_with_gateway += u64::from(sent.messages - owed);
            }
            let has_handled = |number| handled.is_some_and(|handled| handled.has_handled(number));
            counts.lost += (1..=owed).filter(|number| !has_handled(*number)).count() as u64;
            if !harmed && !not_admitted {
                if !matches!(ending, Some(Ending::Left)) {
                    counts.unanswered += sent.unanswered.len() as u64;
                }
                if !sent.was_ended_by_client() {
                    counts.cut_off += 1;
                }
                longest_stall = longest_stall.max(sent.longest_stall(now));
            } else {
                longest_stall = longest_stall.max(sent.longest_stall);
            }
        }
        for handled in self.handled.values() {
            counts.lost += handled.connects_missing();
            counts.doubled += handled.doubled();
            counts.doubled_unmarked += handled.doubled_unmarked();
            counts.closes += u64::from(handled.close.ended > 0);
            counts.closes_doubled += handled.close.doubled();
            counts.closes_doubled_unmarked += handled.close.doubled_unmarked();
            let sent = handled.connection.and_then(|connection| self.sent.get(&connection));
            let Violations { behind_close, reordered_marked, overlapped_marked, stale, .. } =
                handled.violations;
            counts.reordered += handled.violations.reordered;
            counts.overlapped += handled.violations.overlapped;
            counts.overlapped_at_the_cut += handled.violations.overlapped_at_the_cut;
            match sent.is_some_and(|sent| self.was_harmed(sent)) {
                true => counts.stale_with_gateway += stale,
                false => counts.stale += stale,
            }
            // Events of clients that have left before may be with the gateway still.
            if sent.is_some_and(|sent| self.harmed_gateways.contains_key(&sent.gateway)) {
                counts.behind_close_with_gateway += behind_close;
                counts.in_two_workers += reordered_marked + overlapped_marked;
            } else {
                counts.reordered += behind_close + reordered_marked;
                counts.overlapped += overlapped_marked;
            }
            // A client that was never admitted is known to no one here, and gone.
            let has_ended = sent.is_none_or(|sent| sent.ended.is_some());
            counts.closes_missing +=
                u64::from(has_ended && handled.was_connected() && handled.close.ended == 0);
        }
        counts.detection_ms =
            self.watch.as_ref().and_then(|watch| watch.detected).map(|time| time.as_millis() as u64);
        counts.longest_stall_ms = longest_stall.as_millis() as u64;
        counts.said = (!self.observers.is_empty()).then(|| self.said());
        counts
    }

    fn said(&self) -> SaidCounts {
        let mut counts = SaidCounts::default();
        for (index, observer) in self.observers.iter().enumerate() {
            for arrived in observer.all_arrived() {
                counts.reordered += arrived.reordered;
                counts.reordered_between_workers += arrived.reordered_between_workers;
            }
            for connection in self.sent.keys() {
                let arrived = observer.arrived(*connection);
                for (number, begun) in self.said_to(observer, index, *connection) {
                    let times = arrived.map_or(0, |arrived| arrived.times(number));
                    counts.owed += 1;
                    counts.arrived += u64::from(times > 0);
                    counts.doubled += u64::from(times.saturating_sub(1));
                    counts.doubled_unsaid += u64::from(times.saturating_sub(begun));
                    if times == 0 {
                        match self.why_unheard(observer, *connection, number) {
                            Some(Unheard::GoneWithGateway) => counts.gone_with_gateway += 1,
                            Some(Unheard::Unreached) => counts.unreached += 1,
                            Some(Unheard::Fenced) => counts.fenced += 1,
                            Some(Unheard::GoneWithLink) => counts.gone_with_link += 1,
                            None => counts.lost += 1,
                        }
                    }
                }
            }
        }
        counts
    }

    /// Returns the messages of a connection that are owed to an observer, and how often handlers have begun with each.
    fn said_to(
        &self,
        observer: &Observer,
        index: usize,
        connection: Connection,
    ) -> impl Iterator<Item = (u32, u16)> {
        let handled = self.client_ids.get(&connection).and_then(|id| self.handled.get(id));
        let said =
            self.sent.get(&connection).map_or(0, |sent| observer.present_for(connection, sent.messages));
        let observers = self.observers.len();
        (1..=said).filter_map(move |number| {
            let handled = handled.filter(|handled| handled.has_handled(number))?;
            Audience::of(number, observers).includes(index).then(|| (number, handled.times_begun(number)))
        })
    }

    /// Returns why an observer has not heard of a message; `None` if there is no reason.
    fn why_unheard(&self, observer: &Observer, connection: Connection, number: u32) -> Option<Unheard> {
        let message = (observer.gateway, connection, number);
        let arrived = observer.arrived(connection);
        let is_harmed = self.sent.get(&observer.connection).is_some_and(|sent| self.was_harmed(sent));
        if is_harmed && arrived.is_none_or(|arrived| number > arrived.highest()) {
            Some(Unheard::GoneWithGateway)
        } else if self.unreached.contains(&message) {
            Some(Unheard::Unreached)
        } else if self.fenced.contains(&(connection, number)) {
            Some(Unheard::Fenced)
        } else {
            self.said_on_cut_links.contains(&message).then_some(Unheard::GoneWithLink)
        }
    }

    /// Returns the messages of a connection that an observer has not heard of, for no reason.
    pub(super) fn lost_to(&self, observer: &Observer, index: usize, connection: Connection) -> Vec<u32> {
        let arrived = observer.arrived(connection);
        let said = self.said_to(observer, index, connection).map(|(number, _)| number);
        let unheard = said.filter(|number| arrived.is_none_or(|arrived| arrived.times(*number) == 0));
        unheard.filter(|number| self.why_unheard(observer, connection, *number).is_none()).collect()
    }
}

/// Why an observer has not heard of a message: fields of [`SaidCounts`].
enum Unheard {
    GoneWithGateway,
    Unreached,
    Fenced,
    GoneWithLink,
}
