//! What workers are told of a shard's clients.
//!
//! Events go straight into the outbox of the worker's link, which this shard
//! flushes at the end of its turn.

use std::sync::Arc;

use bytes::BytesMut;
use gatewayworker_protocol::command::code;
use gatewayworker_protocol::frame::{FLAG_BINARY, FLAG_PLAIN};
use gatewayworker_protocol::{CloseReason, Frame, HEADER_LEN, MAX_FRAME_LEN, Origin};

use super::table::{Client, Key};
use super::{Shard, State};
use crate::workers::WorkerLink;

/// Where a client's events can go.
#[derive(Debug)]
pub(crate) enum Route {
    /// To its worker.
    Open,
    /// To its worker, once its link has room.
    Full(Arc<WorkerLink>),
    /// Nowhere: no worker is linked.
    NoWorker,
    /// The client is not here any more.
    Gone,
}

impl Shard {
    /// Where a client's next event can go. A client whose worker is gone gets
    /// another.
    pub(crate) fn route(&self, key: Key) -> Route {
        let mut state = self.state.borrow_mut();
        let Some(client) = state.table.get(key) else { return Route::Gone };
        loop {
            match self.worker_of(client) {
                None => return Route::NoWorker,
                Some(link) if !link.writer.is_full() => return Route::Open,
                Some(link) if !link.writer.is_closed() => return Route::Full(link.clone()),
                // It will never have room: its task has not noticed yet.
                Some(link) => self.shared.workers.leave(link),
            }
        }
    }

    /// Tells the worker that a client has come, and with what handshake, if any.
    pub(crate) fn tell_arrived(&self, key: Key, handshake: Option<&[u8]>) {
        let mut state = self.state.borrow_mut();
        self.tell(&mut state, key, code::ON_CONNECT, FLAG_PLAIN, &[]);
        if let Some(handshake) = handshake {
            self.tell(&mut state, key, code::ON_WEBSOCKET_CONNECT, 0, handshake);
        }
        self.flush_later();
    }

    /// Passes a client's message on. Says why not, if it cannot be.
    pub(crate) fn tell_message(&self, key: Key, binary: bool, message: &[u8]) -> Result<(), CloseReason> {
        let mut state = self.state.borrow_mut();
        let session = state.table.get(key).map_or(0, |client| client.session.len());
        if HEADER_LEN + session + message.len() > MAX_FRAME_LEN {
            return Err(CloseReason::TooLarge);
        }
        let flag = FLAG_PLAIN | if binary { FLAG_BINARY } else { 0 };
        self.tell(&mut state, key, code::ON_MESSAGE, flag, message);
        self.flush_later();
        Ok(())
    }

    fn tell(&self, state: &mut State, key: Key, cmd: u8, flag: u8, body: &[u8]) {
        let Some(client) = state.table.get(key) else { return };
        let frame = Frame { flag, ..self.origin(client).frame(cmd) };
        // With no worker left since `route`, the event is lost with the worker.
        if let Some(link) = self.push(client, |client, _, out| frame.encode_with(out, &client.session, body))
        {
            note(&mut state.links, link);
        }
    }

    /// Tells the worker that a client is gone; where no worker is, the next one
    /// will hear of it.
    pub(super) fn tell_closed(&self, state: &mut State, client: &mut Client, reason: CloseReason) {
        let frame = self.origin(client).frame(code::ON_CLOSE);
        let write = |client: &Client, link: &WorkerLink, out: &mut BytesMut| {
            let reason = if link.wants_close_reason { reason.as_str() } else { "" };
            frame.encode_with(out, &client.session, reason.as_bytes());
        };
        match self.push(client, write) {
            Some(link) => note(&mut state.links, link),
            None => self.shared.workers.keep_close(|out| frame.encode_with(out, &client.session, b"")),
        }
    }

    /// Lets `write` append to the link of the client's worker. A full link takes
    /// it too: readers stop before it comes to that, nobody is let in to a worker
    /// whose link is full, and what remains is one close a client.
    fn push(
        &self,
        client: &mut Client,
        write: impl Fn(&Client, &WorkerLink, &mut BytesMut),
    ) -> Option<Arc<WorkerLink>> {
        loop {
            let link = self.worker_of(client)?.clone();
            match link.writer.push_over(|out| write(client, &link, out)) {
                Ok(()) => return Some(link),
                // It has just failed; its task may not have noticed yet.
                Err(_) => self.shared.workers.leave(&link),
            }
        }
    }

    fn worker_of<'c>(&self, client: &'c mut Client) -> Option<&'c Arc<WorkerLink>> {
        if !client.worker.is_open() {
            let link = self.shared.workers.choose(Some(client.worker.key()))?;
            link.bind();
            std::mem::replace(&mut client.worker, link).unbind();
        }
        Some(&client.worker)
    }

    fn origin(&self, client: &Client) -> Origin {
        Origin {
            gateway: self.shared.address,
            client: client.address,
            connection_id: client.connection_id,
            gateway_port: client.door.port,
        }
    }
}

/// There are a handful of workers, and mostly one at a time.
fn note(links: &mut Vec<Arc<WorkerLink>>, link: Arc<WorkerLink>) {
    if !links.iter().any(|known| Arc::ptr_eq(known, &link)) {
        links.push(link);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use crate::config::Config;

    #[tokio::test]
    async fn nobody_waits_for_room_on_a_link_that_has_failed() {
        let shard = testing::shard(Config::default());
        let (worker, _peer) = testing::worker(&shard, 1000).await;
        let (key, _client) = testing::client(&shard, 1, &worker).await;
        assert!(matches!(shard.route(key), Route::Open));
        worker.writer.push(|out| out.resize(1000, 0)).unwrap();
        assert!(matches!(shard.route(key), Route::Full(_)));
        worker.writer.close(std::io::ErrorKind::ConnectionReset);
        assert!(matches!(shard.route(key), Route::NoWorker));
    }
}
