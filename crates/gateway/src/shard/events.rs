//! What workers are told of a shard's clients.
//!
//! Events go straight into the outbox of the worker's link, which this shard
//! flushes at the end of its turn.

use std::sync::Arc;

use bytes::BytesMut;
use gatewayworker_protocol::command::code;
use gatewayworker_protocol::frame::{FLAG_BINARY, FLAG_PLAIN};
use gatewayworker_protocol::{CloseReason, Frame, HEADER_LEN, MAX_FRAME_LEN, Origin};
use tracing::warn;

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
    /// Nowhere before it is admitted: its worker takes no more, and others have not
    /// heard of it.
    Undecided,
    /// The client is not here any more.
    Gone,
}

impl Shard {
    /// Where a client's next event can go. A client whose worker is gone gets
    /// another.
    pub(crate) fn route(&self, key: Key) -> Route {
        let mut state = self.state.borrow_mut();
        let Some(client) = state.table.get(key) else { return Route::Gone };
        if client.is_undecided() && !client.worker.is_open() {
            return Route::Undecided;
        }
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
        // It is not undecided yet: there is nothing that this could fail with.
        let _ = self.tell(&mut state, key, code::ON_CONNECT, FLAG_PLAIN, &[]);
        if let Some(handshake) = handshake {
            self.tell_handshake(&mut state, key, handshake);
        }
        self.flush_later();
    }

    /// Passes a client's message on. Says why not, if it cannot be.
    pub(crate) fn tell_message(&self, key: Key, binary: bool, message: &[u8]) -> Result<(), CloseReason> {
        let mut state = self.state.borrow_mut();
        if let Some(client) = state.table.get(key)
            && HEADER_LEN + client.session.len() + message.len() > MAX_FRAME_LEN
        {
            self.check_worker_takes(client, message.len())?;
        }
        let flag = FLAG_PLAIN | if binary { FLAG_BINARY } else { 0 };
        let told = self.tell(&mut state, key, code::ON_MESSAGE, flag, message);
        self.flush_later();
        told
    }

    /// Checks that the client's worker takes a message of so many bytes.
    ///
    /// # Errors
    /// When it does not, which is logged, at most once a second.
    fn check_worker_takes(&self, client: &mut Client, message: usize) -> Result<(), CloseReason> {
        let len = HEADER_LEN + client.session.len() + message;
        // Without a worker the message is lost in any case.
        let Some(limit) = self.worker_of(client).map(|worker| worker.features.max_frame_len()) else {
            return Ok(());
        };
        if len <= limit {
            return Ok(());
        }
        let (id, worker) = (self.client_id(client), client.worker.key().to_owned());
        self.shared.logs.message_too_large.log(move |clients| {
            warn!(
                client = %id, bytes = message, worker, limit, clients,
                "a message with its session is too long for a frame to its worker: the client was closed with 1009; \
                 set max_message_bytes lower, or use workers that take larger frames"
            );
        });
        Err(CloseReason::TooLarge)
    }

    fn tell(&self, state: &mut State, key: Key, cmd: u8, flag: u8, body: &[u8]) -> Result<(), CloseReason> {
        let Some(client) = state.table.get(key) else { return Ok(()) };
        let frame = Frame { flag, ..self.origin(client).frame(cmd) };
        let link = if client.is_undecided() {
            // To that worker or none: another would take it for one that is in.
            let link = client.worker.clone();
            let pushed = link.writer.push_over(|out| frame.encode_with(out, &client.session, body));
            pushed.map_err(|_| CloseReason::NotAdmitted)?;
            Some(link)
        } else {
            // With no worker left since `route`, the event is lost with the worker.
            self.push(client, |client, link, out| {
                // It may be another worker than the one that was asked about a moment ago.
                if HEADER_LEN + client.session.len() + body.len() <= link.features.max_frame_len() {
                    frame.encode_with(out, &client.session, body);
                }
            })
        };
        if let Some(link) = link {
            note(&mut state.links, link);
        }
        Ok(())
    }

    /// Tells the worker that a client is gone; where no worker is, the next one
    /// will hear of it.
    pub(super) fn tell_closed(&self, state: &mut State, client: &mut Client, reason: CloseReason) {
        let frame = self.origin(client).frame(code::ON_CLOSE);
        let write = |client: &Client, link: &WorkerLink, out: &mut BytesMut| {
            let reason = if link.features.close_reason { reason.as_str() } else { "" };
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
    pub(super) fn push(
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

    pub(super) fn origin(&self, client: &Client) -> Origin {
        Origin {
            gateway: self.shared.address,
            client: client.address,
            connection_id: client.connection_id,
            gateway_port: client.door.port,
        }
    }
}

/// There are a handful of workers, and mostly one at a time.
pub(super) fn note(links: &mut Vec<Arc<WorkerLink>>, link: Arc<WorkerLink>) {
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
    async fn what_a_client_says_that_is_not_admitted_goes_to_no_other_worker() {
        let shard = testing::shard(Config::default());
        let (asked, _first) = testing::worker(&shard.shared, 1000).await;
        let (key, _client) = testing::client(&shard, 1, &asked).await;
        shard.state.borrow_mut().table.undecided(key);
        assert_eq!(shard.tell_message(key, false, b"to the first"), Ok(()));
        shard.shared.workers.leave(&asked);
        let (other, _second) = testing::worker(&shard.shared, 1000).await;
        assert!(matches!(shard.route(key), Route::Undecided));
        // It has left since it was asked where to, which another thread may see to.
        asked.writer.close(std::io::ErrorKind::ConnectionReset);
        assert_eq!(shard.tell_message(key, false, b"too late"), Err(CloseReason::NotAdmitted));
        other.writer.push(|out| assert!(out.is_empty())).unwrap();
        shard.state.borrow_mut().table.decided(key);
        assert_eq!(shard.tell_message(key, false, b"to the other"), Ok(()));
        other.writer.push(|out| assert!(!out.is_empty())).unwrap();
    }

    #[tokio::test]
    async fn nobody_waits_for_room_on_a_link_that_has_failed() {
        let shard = testing::shard(Config::default());
        let (worker, _peer) = testing::worker(&shard.shared, 1000).await;
        let (key, _client) = testing::client(&shard, 1, &worker).await;
        assert!(matches!(shard.route(key), Route::Open));
        worker.writer.push(|out| out.resize(1000, 0)).unwrap();
        assert!(matches!(shard.route(key), Route::Full(_)));
        worker.writer.close(std::io::ErrorKind::ConnectionReset);
        assert!(matches!(shard.route(key), Route::NoWorker));
    }
}
