//! What workers are told of a shard's clients.
//!
//! An event goes straight into the buffer of the worker's link, which this shard flushes at
//! the end of its turn. Which worker that is was decided when the client came; only where that
//! worker has left is another one chosen.

use std::net::SocketAddrV4;
use std::sync::Arc;

use bytes::BytesMut;
use gatewayworker_protocol::command::code;
use gatewayworker_protocol::frame::{FLAG_BINARY, FLAG_PLAIN};
use gatewayworker_protocol::{CloseReason, Frame, HEADER_LEN, MAX_FRAME_LEN, Origin};

use super::Shard;
use super::client::Client;
use super::effects::{Effect, Notice};
use super::link_buffer::LinkBuffer;
use super::ports::{Directory, Ports};
use super::table::Key;
use super::worker_link::WorkerLink;

/// Where a client's events can go.
#[derive(Debug)]
pub enum Route<B> {
    /// To its worker.
    Open,
    /// To its worker, once its link has room.
    Full(Arc<WorkerLink<B>>),
    /// Nowhere: no worker is linked.
    NoWorker,
    /// Nowhere before the client is admitted: its worker takes no more, and others have not
    /// heard of it.
    Pending,
    /// The client is not here any more.
    Gone,
}

impl<P: Ports> Shard<P> {
    /// Where a client's next event can go. A client whose worker is gone gets another.
    pub(super) fn route(&mut self, key: Key) -> Route<P::Buffer> {
        let Some(client) = self.table.get(key) else { return Route::Gone };
        if client.is_pending() && !client.worker.is_open() {
            return Route::Pending;
        }
        loop {
            match client.worker(&self.directory) {
                None => return Route::NoWorker,
                Some(link) if !link.is_full() => return Route::Open,
                Some(link) if !link.buffer.is_closed() => return Route::Full(link.clone()),
                // It will never have room: its task has not noticed yet.
                Some(link) => self.directory.close(link),
            }
        }
    }

    /// Tells the worker that a client has come, and with what handshake, if any: the body of
    /// ON_WEBSOCKET_CONNECT.
    pub fn tell_connected(&mut self, key: Key, handshake: Option<&[u8]>, now_ms: u64) {
        // No admission is pending yet: there is nothing that this could fail with.
        let _ = self.tell(key, code::ON_CONNECT, FLAG_PLAIN, &[]);
        if let Some(handshake) = handshake {
            self.tell_handshake(key, handshake, now_ms);
        }
    }

    /// Passes a client's message on.
    ///
    /// # Errors
    /// With why the client has to be closed.
    pub(super) fn tell_message(
        &mut self,
        key: Key,
        is_binary: bool,
        message: &[u8],
    ) -> Result<(), CloseReason> {
        if let Some(client) = self.table.get(key)
            && HEADER_LEN + client.session.len() + message.len() > MAX_FRAME_LEN
        {
            self.check_worker_takes(key, message.len())?;
        }
        let flag = FLAG_PLAIN | if is_binary { FLAG_BINARY } else { 0 };
        self.tell(key, code::ON_MESSAGE, flag, message)
    }

    /// Checks that the client's worker takes a message of so many bytes.
    ///
    /// # Errors
    /// When it does not, which is logged.
    fn check_worker_takes(&mut self, key: Key, bytes: usize) -> Result<(), CloseReason> {
        let Some(client) = self.table.get(key) else { return Ok(()) };
        let len = HEADER_LEN + client.session.len() + bytes;
        // Without a worker the message is lost in any case.
        let Some(worker) = client.worker(&self.directory) else { return Ok(()) };
        let (limit, worker) = (worker.features.max_frame_len(), worker.key().to_string());
        if len <= limit {
            return Ok(());
        }
        let client = client.id(self.settings.address);
        self.effects.list.push_back(Effect::Log(Notice::MessageTooLarge { client, bytes, worker, limit }));
        Err(CloseReason::TooLarge)
    }

    fn tell(&mut self, key: Key, cmd: u8, flag: u8, body: &[u8]) -> Result<(), CloseReason> {
        let Some(client) = self.table.get(key) else { return Ok(()) };
        let frame = Frame { flag, ..client.origin(self.settings.address).frame(cmd) };
        let link = if client.is_pending() {
            // To that worker or none: another would take it for a client that is admitted.
            let link = client.worker.clone();
            let pushed = link.buffer.append(|out| frame.encode_with(out, &client.session, body));
            pushed.map_err(|_| CloseReason::NotAdmitted)?;
            Some(link)
        } else {
            // With no worker left since `route`, the event is lost with the worker.
            client.push_event(&self.directory, |client, link, out| {
                // It may be another worker than the one that was asked about a moment ago.
                if HEADER_LEN + client.session.len() + body.len() <= link.features.max_frame_len() {
                    frame.encode_with(out, &client.session, body);
                }
            })
        };
        if let Some(link) = link {
            self.flush_link(link);
        }
        Ok(())
    }

    /// Tells the worker that a client is gone; where no worker is, the next one hears of it.
    pub(super) fn tell_closed(&mut self, client: &mut Client<P>, reason: CloseReason) {
        let frame = client.origin(self.settings.address).frame(code::ON_CLOSE);
        let link = client.push_event(&self.directory, |client, link, out| {
            let reason = if link.features.close_reason { reason.as_str() } else { "" };
            frame.encode_with(out, &client.session, reason.as_bytes());
        });
        match link {
            Some(link) => self.flush_link(link),
            None => self.directory.keep_close(|out| frame.encode_with(out, &client.session, b"")),
        }
    }

    /// Has a link flushed at the end of this turn.
    pub(super) fn flush_link(&mut self, link: Arc<WorkerLink<P::Buffer>>) {
        self.effects.signals.flush = true;
        // There are a handful of workers, and mostly one at a time.
        if !self.links.iter().any(|known| Arc::ptr_eq(known, &link)) {
            self.links.push(link);
        }
    }
}

impl<P: Ports> Client<P> {
    /// The worker that the client's events go to, which is another one if the last has left.
    fn worker(&mut self, directory: &P::Directory) -> Option<&Arc<WorkerLink<P::Buffer>>> {
        if !self.worker.is_open() {
            let link = directory.choose(Some(self.worker.key()), false)?;
            link.bind();
            std::mem::replace(&mut self.worker, link).unbind();
        }
        Some(&self.worker)
    }

    /// Lets `write` append a frame to the link of the client's worker, and returns the link. A
    /// full link takes it too: readers stop before it comes to that, no client is accepted for
    /// a worker whose link is full, and what remains is one close a client.
    pub(super) fn push_event(
        &mut self,
        directory: &P::Directory,
        write: impl Fn(&Self, &WorkerLink<P::Buffer>, &mut BytesMut),
    ) -> Option<Arc<WorkerLink<P::Buffer>>> {
        loop {
            let link = self.worker(directory)?.clone();
            match link.buffer.append(|out| write(self, &link, out)) {
                Ok(()) => return Some(link),
                // It has just failed; its task may not have noticed yet.
                Err(_) => directory.close(&link),
            }
        }
    }

    pub(super) fn origin(&self, gateway: SocketAddrV4) -> Origin {
        Origin {
            gateway,
            client: self.address,
            connection_id: self.connection_id,
            gateway_port: self.policy().port,
        }
    }
}

#[cfg(test)]
mod tests {
    use gatewayworker_protocol::Features;

    use super::super::testing;
    use super::*;

    #[test]
    fn what_a_client_says_that_is_not_admitted_goes_to_no_other_worker() {
        let (mut shard, workers) = testing::shard();
        let asked = workers.join("first", 1000, Features::default());
        let (key, _) = testing::client(&mut shard, 1, &asked, testing::policy());
        shard.table.begin_admission(key);
        assert_eq!(shard.tell_message(key, false, b"to the first"), Ok(()));
        workers.leave(&asked);
        let other = workers.join("second", 1000, Features::default());
        assert!(matches!(shard.route(key), Route::Pending));
        // It has left since it was asked where to, which another thread may see to.
        asked.buffer.finish();
        assert_eq!(shard.tell_message(key, false, b"too late"), Err(CloseReason::NotAdmitted));
        assert!(other.buffer.written.borrow().is_empty());
        shard.table.end_admission(key);
        assert_eq!(shard.tell_message(key, false, b"to the other"), Ok(()));
        assert!(!other.buffer.written.borrow().is_empty());
    }

    #[test]
    fn nobody_waits_for_room_on_a_link_that_has_failed() {
        let (mut shard, workers) = testing::shard();
        let worker = workers.join("worker", 1000, Features::default());
        let (key, _) = testing::client(&mut shard, 1, &worker, testing::policy());
        assert!(matches!(shard.route(key), Route::Open));
        worker.buffer.append(|out| out.resize(1000, 0)).unwrap();
        assert!(matches!(shard.route(key), Route::Full(_)));
        worker.buffer.finish();
        assert!(matches!(shard.route(key), Route::NoWorker));
    }
}
