//! What a worker is told of a client's connections: that one is cut, and that the client has another one.
//!
//! Only workers that list `detached-events` are told. The events stand in the client's log as all others do, so they come
//! in order with its messages, and are given again when a worker dies. While nobody takes them the newest one replaces the one
//! before: a client that comes and goes does not make its log longer.

use gatewayworker_protocol::command::code;
use gatewayworker_protocol::frame::FLAG_PLAIN;

use super::super::Shard;
use super::super::event_spans::{self, SpanEnd};
use super::super::ports::Ports;
use super::super::table::Key;

impl<P: Ports> Shard<P> {
    /// Tells that the client's connection is cut.
    pub(super) fn tell_detached(&mut self, key: Key) {
        self.tell_of_connection(key, code::ON_DETACHED, &[]);
    }

    /// Tells that the client has a new connection, with this handshake.
    pub(super) fn tell_resumed(&mut self, key: Key, handshake: &[u8]) {
        self.tell_of_connection(key, code::ON_RESUMED, handshake);
    }

    fn tell_of_connection(&mut self, key: Key, cmd: u8, body: &[u8]) {
        let Some(client) = self.table.get(key).filter(|client| client.worker.features.detached_events) else {
            return;
        };
        let replaced = client.log.as_mut().and_then(|log| log.take_last_waiting(is_of_connection));
        if let Some((event, body)) = replaced
            && let (Some(trace), _) = event_spans::split(event.flag, &body)
        {
            let worker = client.worker.clone();
            self.end_span(trace, &worker, SpanEnd::Dropped, false);
        }
        self.tell(key, cmd, FLAG_PLAIN, body);
        self.close_pending();
    }
}

/// Whether an event says what became of a client's connection.
pub(in crate::core) fn is_of_connection(cmd: u8) -> bool {
    matches!(cmd, code::ON_DETACHED | code::ON_RESUMED)
}
