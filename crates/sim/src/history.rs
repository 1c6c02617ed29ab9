//! What a worker's application has seen of one client, and whether that is a legal sequence.
//!
//! on_connect comes first, then on_websocket_connect, the messages in their order without a gap, and
//! on_close last, each begun when the one before has ended. A run in which a worker drains, freezes or
//! dies may promise less: [`HistoryOptions`].

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
    Close,
    /// What has begun last has ended.
    Returned,
}

/// What is asserted.
#[derive(Debug, Clone, Copy)]
pub struct HistoryOptions {
    /// No event comes out of order, twice, or not at all.
    pub complete: bool,
    /// No event begins while another one of the same client is under way.
    pub no_overlap: bool,
}

/// One client's events.
#[derive(Debug, Clone, Default)]
pub struct ClientHistory {
    connected: bool,
    handshake: bool,
    messages: u64,
    closed: bool,
    under_way: u32,
}

impl ClientHistory {
    /// Adds an event of the client `client`.
    ///
    /// # Errors
    /// `events-in-order` or `events-do-not-overlap`.
    pub fn add(&mut self, client: u64, event: ClientEvent, options: HistoryOptions) -> Result<(), Violation> {
        if event == ClientEvent::Returned {
            self.under_way = self.under_way.saturating_sub(1);
            return Ok(());
        }
        let details = || format!("client {client}: {event:?} after {self:?}");
        ensure(!options.no_overlap || self.under_way == 0, "events-do-not-overlap", details)?;
        let legal = match event {
            ClientEvent::Connect => !self.connected,
            ClientEvent::WebSocketConnect => {
                self.connected && !self.handshake && self.messages == 0 && !self.closed
            }
            ClientEvent::Message(number) => self.connected && !self.closed && number == self.messages,
            ClientEvent::Close => self.connected && !self.closed,
            ClientEvent::Returned => true,
        };
        ensure(legal || !options.complete, "events-in-order", details)?;
        self.under_way += 1;
        match event {
            ClientEvent::Connect => self.connected = true,
            ClientEvent::WebSocketConnect => self.handshake = true,
            ClientEvent::Message(number) => self.messages = self.messages.max(number + 1),
            ClientEvent::Close => self.closed = true,
            ClientEvent::Returned => {}
        }
        Ok(())
    }

    /// Says whether on_close has come.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Checks the history of a client that is gone, when all is quiet.
    ///
    /// # Errors
    /// `closes-are-told`, if on_connect was seen and on_close was not; `handlers-return`.
    pub fn check_end(&self, client: u64, options: HistoryOptions) -> Result<(), Violation> {
        let told = !self.connected || self.closed || !options.complete;
        ensure(told, "closes-are-told", || format!("client {client}: {self:?}"))?;
        let returned = self.under_way == 0 || !options.no_overlap;
        ensure(returned, "handlers-return", || format!("client {client}: {self:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ClientEvent::*;

    const ALL: HistoryOptions = HistoryOptions { complete: true, no_overlap: true };

    fn add(events: &[ClientEvent]) -> Result<ClientHistory, &'static str> {
        let mut history = ClientHistory::default();
        for event in events {
            history.add(1, *event, ALL).map_err(|violation| violation.invariant)?;
        }
        history.check_end(1, ALL).map_err(|violation| violation.invariant)?;
        Ok(history)
    }

    #[test]
    fn a_whole_life_is_legal() {
        let life =
            [Connect, Returned, WebSocketConnect, Returned, Message(0), Returned, Message(1), Returned];
        assert!(add(&[&life[..], &[Close, Returned]].concat()).unwrap().is_closed());
    }

    #[test]
    fn illegal_sequences_are_found() {
        assert_eq!(add(&[Message(0)]).unwrap_err(), "events-in-order");
        assert_eq!(add(&[Connect, Returned, Message(1)]).unwrap_err(), "events-in-order");
        assert_eq!(add(&[Connect, Returned, Close, Returned, Close]).unwrap_err(), "events-in-order");
        assert_eq!(add(&[Connect, Message(0)]).unwrap_err(), "events-do-not-overlap");
        assert_eq!(add(&[Connect, Returned]).unwrap_err(), "closes-are-told");
        assert_eq!(add(&[Connect, Returned, Close]).unwrap_err(), "handlers-return");
    }
}
