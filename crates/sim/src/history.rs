//! What the applications of workers have seen of one client, and whether that is a legal sequence.
//!
//! on_connect comes first, then on_websocket_connect, the messages in their order without a gap, and
//! on_close last, each begun when the one before has ended. An event comes again only when the epoch in
//! which a worker had it is over, and then it is marked. A worker cannot know at once that an
//! epoch is over: what it begins in this time may be begun elsewhere too ([`Epochs::begins_late`]).

use std::collections::BTreeMap;

use crate::epochs::{EpochName, Epochs, Life};
use crate::violation::{Violation, ensure};

/// What an application sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientEvent {
    /// on_connect begins.
    Connect,
    /// on_websocket_connect begins.
    WebSocketConnect,
    /// on_message begins, with the number that the client has given its message, from 0.
    Message(u64),
    /// on_close begins.
    Close(CloseKind),
}

/// What on_close says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseKind {
    /// The client is gone, and all that it has said was handled.
    Complete,
    /// The client was refused, or not admitted, or one of its events cannot be handled: what it has said
    /// behind that is dropped.
    CutShort,
    /// Its gateway is lost.
    GatewayLost,
}

/// Where a handler runs, and for which delivery of its event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handling {
    /// The worker.
    pub worker: Life,
    /// The epoch in which the event came.
    pub epoch: EpochName,
    /// The event is marked as redelivered.
    pub is_marked: bool,
}

/// What is asserted.
#[derive(Debug, Clone, Copy, Default)]
pub struct HistoryOptions {
    /// Events are given out once: where an epoch was over, some may be missing, and none but a close comes
    /// again.
    pub at_most_once: bool,
}

/// One client's events.
#[derive(Debug, Clone, Default)]
pub struct ClientHistory {
    /// The epoch in which each event was begun last: on_connect, on_websocket_connect, messages.
    begun: Vec<EpochName>,
    /// Messages that the gateway has taken.
    accepted: u64,
    /// How often an event was begun again.
    repeats: u32,
    /// The last event that was begun in each epoch.
    last: BTreeMap<EpochName, usize>,
    /// Closes that the gateway has sent, as they were begun.
    closes: u32,
    last_close: Option<EpochName>,
    /// Closes as the gateway is lost.
    lost_closes: u32,
    /// Its client was refused, or a message of it cannot be handled.
    is_cut_short: bool,
    /// Its on_close is dropped, as it has ended one worker after another.
    is_close_dropped: bool,
    under_way: Vec<Handling>,
}

impl ClientHistory {
    /// Hears that the gateway has taken so many messages of the client by now.
    pub fn accepts(&mut self, messages: u64) {
        self.accepted = messages;
    }

    /// Adds an event of the client `client` that begins at `now_ms`.
    ///
    /// # Errors
    /// When it may not.
    pub fn begin(
        &mut self,
        client: u64,
        event: ClientEvent,
        handling: Handling,
        epochs: &Epochs,
        now_ms: u64,
        options: HistoryOptions,
    ) -> Result<(), Violation> {
        let details = || format!("client {client:x}: {event:?} by {handling:?}, after {self:?}");
        let Handling { worker, epoch, is_marked } = handling;
        let is_late = epochs.begins_late(epoch, now_ms);
        let is_held = is_marked && epochs.may_be_lost(epoch.gateway);
        let is_current = !epochs.is_over(epoch);
        ensure(is_current || is_late || is_held, "nothing-begins-in-an-epoch-that-is-over", details)?;
        for running in &self.under_way {
            let may_overlap = running.worker != worker && (epochs.is_over(running.epoch) || !is_current);
            ensure(may_overlap, "events-do-not-overlap", details)?;
        }
        // What a worker holds of a gateway that it takes for lost may have been handled elsewhere, by a
        // worker whose epoch lives, and closed.
        let is_held = is_held && !is_current;
        let is_late_close = is_late || (is_held && (self.is_closed() || self.is_cut_short));
        let is_late = is_late || is_held;
        match event {
            ClientEvent::Connect => self.begin_in_order(0, handling, epochs, is_late, options, details)?,
            ClientEvent::WebSocketConnect => {
                self.begin_in_order(1, handling, epochs, is_late, options, details)?;
            }
            ClientEvent::Message(_) if is_held && self.is_cut_short => {}
            ClientEvent::Message(number) => {
                let index = number as usize + 2;
                self.begin_in_order(index, handling, epochs, is_late, options, details)?;
            }
            ClientEvent::Close(kind) => {
                self.check_close(kind, handling, epochs, is_late_close, options, details)?;
            }
        }
        match event {
            ClientEvent::Connect => self.note(0, epoch),
            ClientEvent::WebSocketConnect => self.note(1, epoch),
            ClientEvent::Message(number) => self.note(number as usize + 2, epoch),
            ClientEvent::Close(CloseKind::GatewayLost) => self.lost_closes += 1,
            ClientEvent::Close(kind) => {
                self.closes += 1;
                self.is_cut_short |= kind == CloseKind::CutShort;
                self.last_close = Some(epoch);
            }
        }
        self.under_way.push(handling);
        Ok(())
    }

    fn note(&mut self, index: usize, epoch: EpochName) {
        if index >= self.begun.len() {
            self.begun.resize(index + 1, epoch);
        } else {
            self.repeats += 1;
        }
        self.begun[index] = epoch;
        self.last.insert(epoch, index);
    }

    fn begin_in_order(
        &self,
        index: usize,
        handling: Handling,
        epochs: &Epochs,
        is_late: bool,
        options: HistoryOptions,
        details: impl Fn() -> String,
    ) -> Result<(), Violation> {
        let Handling { epoch, is_marked, .. } = handling;
        if let Some(last) = self.last.get(&epoch) {
            // A handler that its fence has refused runs again, if its gateway is lost.
            let is_next = index == last + 1
                || (options.at_most_once && index > *last)
                || (index == *last && is_marked && epochs.may_be_lost(epoch.gateway));
            ensure(is_next, "events-in-order", &details)?;
        }
        let Some(before) = self.begun.get(index) else {
            // What follows on_close follows on a close that was not the gateway's.
            ensure(self.closes == 0 || is_late, "nothing-comes-after-the-close", &details)?;
            let is_next = index == self.begun.len();
            let may_miss = options.at_most_once && self.begun.iter().any(|epoch| epochs.is_over(*epoch));
            return ensure(is_next || may_miss, "events-in-order", details);
        };
        ensure(is_marked || is_late, "repeats-are-marked", &details)?;
        let has_reason = (epochs.is_over(*before) && !options.at_most_once) || is_late;
        ensure(has_reason, "nothing-comes-twice-without-a-reason", details)
    }

    fn check_close(
        &self,
        kind: CloseKind,
        handling: Handling,
        epochs: &Epochs,
        is_late: bool,
        options: HistoryOptions,
        details: impl Fn() -> String,
    ) -> Result<(), Violation> {
        // An on_connect that has ended one worker after another, before it began, is dropped.
        ensure(!self.begun.is_empty() || self.is_cut_short, "events-in-order", &details)?;
        if kind == CloseKind::GatewayLost {
            ensure(handling.is_marked, "repeats-are-marked", &details)?;
            return ensure(
                epochs.may_be_lost(handling.epoch.gateway),
                "no-gateway-that-lives-is-lost",
                details,
            );
        }
        if kind == CloseKind::Complete {
            let all = self.accepted as usize + 2;
            let may_miss = options.at_most_once && self.begun.iter().any(|epoch| epochs.is_over(*epoch));
            ensure(self.begun.len() == all || may_miss || is_late, "events-in-order", &details)?;
        }
        let is_second = self.lost_closes > 0;
        ensure(handling.is_marked || is_late || !is_second, "repeats-are-marked", &details)?;
        let Some(before) = self.last_close else { return Ok(()) };
        ensure(handling.is_marked || is_late, "repeats-are-marked", &details)?;
        ensure(epochs.is_over(before) || is_late, "nothing-comes-twice-without-a-reason", details)
    }

    /// Says whether an event was begun more than once.
    pub fn has_repeats(&self) -> bool {
        self.repeats > 0
    }

    /// Hears that the handler of the last event that this worker has begun has ended.
    pub fn returned(&mut self, worker: Life) {
        self.under_way.retain(|running| running.worker != worker);
    }

    /// Says whether a handler of this event has begun.
    pub fn has_begun(&self, event: ClientEvent) -> bool {
        match event {
            ClientEvent::Connect => !self.begun.is_empty(),
            ClientEvent::WebSocketConnect => self.begun.len() > 1,
            ClientEvent::Message(number) => self.begun.len() > number as usize + 2,
            ClientEvent::Close(_) => self.is_closed(),
        }
    }

    /// Says whether on_connect has begun.
    pub fn is_connected(&self) -> bool {
        !self.begun.is_empty()
    }

    /// Says whether on_close has begun.
    pub fn is_closed(&self) -> bool {
        self.closes + self.lost_closes > 0
    }

    /// Hears that its on_close cannot be handled.
    pub fn drops_close(&mut self) {
        self.is_close_dropped = true;
    }

    /// Says whether what the client has said is dropped from some event on.
    pub fn has_lost_events(&self) -> bool {
        self.is_cut_short
    }

    /// Hears that an event of the client cannot be handled, and what is behind it is dropped.
    pub fn is_cut_short(&mut self) {
        self.is_cut_short = true;
    }

    /// Checks the history of a client that is gone and whose gateway has lived on, when all is quiet.
    ///
    /// # Errors
    /// `closes-are-told`, `accepted-events-are-handled` or `handlers-return`.
    pub fn check_end(&self, client: u64, epochs: &Epochs, options: HistoryOptions) -> Result<(), Violation> {
        let details = || format!("client {client:x}: {self:?}");
        if self.begun.is_empty() && self.accepted == 0 {
            // It has left before a worker had a look at it, and has said nothing.
            return Ok(());
        }
        let is_told = self.is_closed() || self.begun.is_empty() || self.is_close_dropped;
        ensure(is_told, "closes-are-told", details)?;
        let has_missed = options.at_most_once && self.begun.iter().any(|epoch| epochs.is_over(*epoch));
        // A gateway that comes back drops what is left of a client that was closed as its own.
        let may_miss = self.is_cut_short || has_missed || self.lost_closes > 0;
        let all = self.accepted as usize + 2;
        ensure(may_miss || self.begun.len() >= all, "accepted-events-are-handled", details)?;
        ensure(self.under_way.is_empty(), "handlers-return", details)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ClientEvent::*;

    const GATEWAY: Life = Life { process: 0, starts: 1 };

    fn epoch(number: u32) -> EpochName {
        EpochName { gateway: GATEWAY, number }
    }

    /// Begins and ends these events, each in an epoch, marked or not, at 100 ms.
    fn add(epochs: &Epochs, events: &[(ClientEvent, u32, bool)]) -> Result<ClientHistory, &'static str> {
        let mut history = ClientHistory::default();
        let options = HistoryOptions::default();
        let messages = events.iter().filter_map(|(event, ..)| match event {
            Message(number) => Some(number + 1),
            _ => None,
        });
        history.accepts(messages.max().unwrap_or(0));
        for (event, number, is_marked) in events {
            let worker = Life { process: *number as usize, starts: 1 };
            let handling = Handling { worker, epoch: epoch(*number), is_marked: *is_marked };
            let begun = history.begin(1, *event, handling, epochs, 100, options);
            begun.map_err(|violation| violation.invariant)?;
            history.returned(worker);
        }
        history.check_end(1, epochs, options).map_err(|violation| violation.invariant)?;
        Ok(history)
    }

    const CLOSED: ClientEvent = Close(CloseKind::Complete);

    #[test]
    fn a_whole_life_is_legal() {
        let life = [Connect, WebSocketConnect, Message(0), Message(1), CLOSED].map(|event| (event, 1, false));
        assert!(add(&Epochs::default(), &life).unwrap().is_closed());
    }

    #[test]
    fn events_that_come_again_are_marked_and_their_epoch_is_over() {
        let life = |is_marked| {
            let first = [Connect, WebSocketConnect, Message(0), Message(1)].map(|event| (event, 1, false));
            let again = [(Message(0), 2, is_marked), (Message(1), 2, is_marked), (CLOSED, 2, false)];
            [&first[..], &again].concat()
        };
        let mut epochs = Epochs::new(99);
        let twice = "nothing-comes-twice-without-a-reason";
        assert_eq!(add(&epochs, &life(true)).unwrap_err(), twice);
        let mut known = Epochs::new(100);
        known.ends(epoch(1), 0);
        assert!(add(&known, &life(true)).is_ok());
        assert_eq!(add(&known, &life(false)).unwrap_err(), "repeats-are-marked");
        epochs.ends(epoch(1), 0);
        assert_eq!(add(&epochs, &life(true)).unwrap_err(), "nothing-begins-in-an-epoch-that-is-over");
    }

    #[test]
    fn illegal_sequences_are_found() {
        let epochs = Epochs::default();
        let found = |events: &[ClientEvent]| {
            let events: Vec<_> = events.iter().map(|event| (*event, 1, false)).collect();
            add(&epochs, &events).unwrap_err()
        };
        assert_eq!(found(&[Message(0)]), "events-in-order");
        assert_eq!(found(&[Connect, Message(1)]), "events-in-order");
        assert_eq!(found(&[Connect, WebSocketConnect, CLOSED, CLOSED]), "repeats-are-marked");
        assert_eq!(found(&[Connect, WebSocketConnect]), "closes-are-told");
        assert_eq!(found(&[Connect, WebSocketConnect, Close(CloseKind::GatewayLost)]), "repeats-are-marked");
        let mut missing = ClientHistory::default();
        missing.accepts(1);
        let handling = Handling { worker: GATEWAY, epoch: epoch(1), is_marked: false };
        let begin = |history: &mut ClientHistory, event| {
            history.begin(1, event, handling, &epochs, 0, HistoryOptions::default())
        };
        begin(&mut missing, Connect).unwrap();
        let overlaps = begin(&mut missing, WebSocketConnect).unwrap_err();
        assert_eq!(overlaps.invariant, "events-do-not-overlap");
        missing.returned(GATEWAY);
        begin(&mut missing, WebSocketConnect).unwrap();
        missing.returned(GATEWAY);
        assert_eq!(begin(&mut missing, CLOSED).unwrap_err().invariant, "events-in-order");
    }
}
