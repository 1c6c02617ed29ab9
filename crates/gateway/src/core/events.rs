//! What workers are told of a shard's clients.
//!
//! An event goes straight into the buffer of the worker's link, which this shard flushes at
//! the end of its turn. Which worker that is was decided when the client came; only where that
//! worker has left is another one chosen. `delivery` gives the events.

use std::net::SocketAddrV4;
use std::sync::Arc;

use gatewayworker_protocol::command::code;
use gatewayworker_protocol::frame::{FLAG_BINARY, FLAG_PLAIN};
use gatewayworker_protocol::{ClientCloseFrame, CloseReason, HEADER_LEN, MAX_FRAME_LEN, Origin};

use super::Shard;
use super::client::{Client, Waits};
use super::effects::{Effect, Notice};
use super::link_buffer::LinkBuffer;
use super::ports::{Directory, Ports};
use super::table::Key;
use super::tokens;
use super::worker_link::WorkerLink;
use super::{event_contexts, event_spans};

/// Where a client's next event can go.
#[derive(Debug)]
pub enum Route<B> {
    /// To its worker.
    Open,
    /// To its worker, once the buffer of its link has room.
    Full(Arc<WorkerLink<B>>),
    /// Nowhere now: no worker is linked, the client's worker drains or is gone, or too much of the
    /// client is unfinished. [`Effect::Resume`] ends the wait.
    Wait,
    /// The client is not here any more.
    Gone,
}

impl<P: Ports> Shard<P> {
    /// Where a client's next event can go. A client whose worker is gone gets another.
    pub(super) fn route(&mut self, key: Key) -> Route<P::Buffer> {
        let settings = self.settings.delivery;
        loop {
            let Some(client) = self.table.get(key) else { return Route::Gone };
            let link = &client.worker;
            let must_wait = |client: &Client<P>| {
                client.log.as_ref().is_some_and(|log| log.has_waiting() || log.is_window_full(&settings))
            };
            if !link.is_open() {
                let id = key.connection_id();
                if !self.has_open_worker(id) {
                    return self.wait(key, Waits::ForTurn);
                }
                // It has moved, and its new worker is told so.
                self.go_on(id);
                continue;
            }
            if must_wait(client) {
                return self.wait(key, Waits::ForTurn);
            }
            if !link.is_full() {
                return Route::Open;
            }
            if link.acknowledges() {
                if link.want_room() {
                    return self.wait(key, Waits::ForRoom);
                }
            } else if !link.buffer.is_closed() {
                return Route::Full(link.clone());
            } else {
                // It will never have room: its task has not noticed yet.
                self.directory.close(link);
            }
        }
    }

    /// Whether a client's reader waits ([`Route::Wait`]) and [`Effect::Resume`] has not come yet.
    pub fn is_waiting(&mut self, key: Key) -> bool {
        self.table.get(key).is_some_and(|client| client.waits != Waits::No)
    }

    fn wait(&mut self, key: Key, waits: Waits) -> Route<P::Buffer> {
        if let Some(client) = self.table.get(key) {
            client.waits = waits;
        }
        if waits == Waits::ForRoom {
            self.wait_for_room.push(key);
        }
        Route::Wait
    }

    /// Tells the worker that a client has come, and with what handshake, if any: the body of
    /// ON_WEBSOCKET_CONNECT.
    pub fn tell_connected(&mut self, key: Key, handshake: Option<&[u8]>, now_ms: u64) {
        self.set_now(now_ms);
        self.tell(key, code::ON_CONNECT, FLAG_PLAIN, &[]);
        if let Some(handshake) = handshake {
            self.tell_handshake(key, handshake, now_ms);
        }
        self.close_pending();
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
        if let Some(client) = self.table.get(key) {
            self.settings.counters.listener(client.policy().index).messages.add(1);
            client.messages = client.messages.saturating_add(1);
            if client.resumable.is_some() {
                return self.tell_counted(key, is_binary, message);
            }
            if client.has_token && !is_binary && message.starts_with(tokens::PREFIX) {
                self.take_new_token(key, message);
                return Ok(());
            }
            if client.is_looked_at(message) {
                self.look_at_message(key, is_binary, message)?;
            }
        }
        self.pass_message(key, is_binary, message);
        Ok(())
    }

    /// Does the same for a client that may come back: what it says to the gateway itself is not passed on.
    ///
    /// # Errors
    /// With why the client has to be closed.
    fn tell_counted(&mut self, key: Key, is_binary: bool, message: &[u8]) -> Result<(), CloseReason> {
        let Some(message) = self.take_resumable(key, is_binary, message)? else { return Ok(()) };
        if self.table.get(key).is_some_and(|client| client.is_looked_at(message)) {
            self.look_at_message(key, is_binary, message)?;
        }
        self.pass_message(key, is_binary, message);
        Ok(())
    }

    fn pass_message(&mut self, key: Key, is_binary: bool, message: &[u8]) {
        let flag = FLAG_PLAIN | if is_binary { FLAG_BINARY } else { 0 };
        self.tell(key, code::ON_MESSAGE, flag, message);
    }

    /// Looks at a message that is long, or that a trace is to see.
    ///
    /// # Errors
    /// When it is too long for the client's worker.
    #[cold]
    fn look_at_message(&mut self, key: Key, is_binary: bool, message: &[u8]) -> Result<(), CloseReason> {
        self.trace_message(key, is_binary, message);
        self.check_worker_takes(key, message.len())
    }

    /// Checks that the client's worker takes a message of so many bytes.
    ///
    /// # Errors
    /// When it does not, which is logged.
    fn check_worker_takes(&mut self, key: Key, bytes: usize) -> Result<(), CloseReason> {
        let Some(client) = self.table.get(key) else { return Ok(()) };
        let len = HEADER_LEN + client.session.len() + bytes;
        let worker = &client.worker;
        let (limit, worker) = (worker.features.max_frame_len(), worker.key().to_string());
        if len <= limit {
            return Ok(());
        }
        let client = client.id(self.settings.address);
        self.effects.list.push_back(Effect::Log(Notice::MessageTooLarge { client, bytes, worker, limit }));
        Err(CloseReason::TooLarge)
    }

    /// Tells the worker that a client is gone, and with which close frame, if it sent one, behind all
    /// that the client has said. The client leaves a stub until that is done. `context` is what the worker is told
    /// beside that, if it asks.
    pub(super) fn tell_closed(
        &mut self,
        client: &mut Client<P>,
        reason: CloseReason,
        close_frame: Option<&ClientCloseFrame>,
        context: Option<Vec<u8>>,
    ) {
        let id = client.connection_id;
        let mut log = client.log.take();
        if matches!(reason, CloseReason::Refused | CloseReason::NotAdmitted | CloseReason::Undeliverable) {
            // All that waits is dropped; the spans of what its worker has end with that.
            let has_spans = self.event_spans.has_open();
            let before = log.as_deref().filter(|_| has_spans).map(event_spans::contexts);
            self.free_logs.log(&mut log, self.now_ms).cut_short();
            if let Some(before) = before {
                let after = log.as_deref().map(event_spans::contexts).unwrap_or_default();
                self.end_spans_missing(before, &after, &client.worker);
            }
        }
        if log.as_ref().is_some_and(|log| log.is_unheard_of()) {
            // No worker has begun on it, and it has said nothing: there is nothing to close. A worker that drains
            // and has given it back has it in its books, and would close it if this gateway were lost.
            self.forget(id, &client.worker);
            return self.drop_log(id, &client.worker, log);
        }
        // In full: which worker will be told, and how much it reads, is known when it is given.
        let body = close_frame.map_or_else(|| reason.as_str().into(), |said| said.to_wire(reason));
        let (flag, body) = event_contexts::join(context, FLAG_PLAIN, &body);
        self.push_sampled(&mut log, client.id(self.settings.address), (code::ON_CLOSE, flag), &body);
        let origin = client.origin(self.settings.address);
        let session = std::mem::take(&mut client.session);
        self.stubs.insert(origin, session, client.worker.clone(), log, client.left_behind);
        self.go_on(id);
    }
}

impl<P: Ports> Client<P> {
    /// Whether a message is long, or a trace is to see it.
    #[inline]
    fn is_looked_at(&self, message: &[u8]) -> bool {
        HEADER_LEN + self.session.len() + message.len() > MAX_FRAME_LEN || self.queue.is_traced()
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
    use bytes::Bytes;
    use gatewayworker_protocol::{Features, Frame};

    use super::super::testing::{self, MemoryLink};
    use super::super::worker_link::{Gone, Peer};
    use super::*;

    #[test]
    fn what_a_client_says_that_is_not_admitted_goes_to_no_other_worker() {
        let (mut shard, workers) = testing::shard();
        let asked = workers.join("first", 1000, Features { admission: true, ..Features::default() });
        let (key, _) = testing::client(&mut shard, 1, &asked, testing::policy());
        shard.tell_connected(key, Some(b"handshake"), 0);
        assert_eq!(shard.tell_message(key, false, b"to the first"), Ok(()));
        let other = workers.join("second", 1000, Features::default());
        // It has left since it was asked where to, which another thread may see to.
        asked.buffer.finish();
        assert_eq!(shard.tell_message(key, false, b"too late"), Ok(()));
        assert!(matches!(shard.route(key), Route::Wait));
        assert!(other.buffer.written.borrow().is_empty());
        shard.workers_changed();
        let Some(Effect::Finish(finished)) = shard.next_effect() else { panic!("nobody will admit it") };
        assert_eq!(finished.reason, CloseReason::NotAdmitted);
        assert_eq!(testing::told(&other), ["close 1"]);
    }

    /// What a worker was told of a close: the body of ON_CLOSE.
    fn told_of_close(link: &WorkerLink<MemoryLink>) -> Option<Bytes> {
        let mut written = std::mem::take(&mut *link.buffer.written.borrow_mut());
        let mut frames = std::iter::from_fn(|| Frame::parse(&mut written, MAX_FRAME_LEN).unwrap());
        frames.find(|frame| frame.cmd == code::ON_CLOSE).map(|frame| frame.body)
    }

    #[test]
    fn a_worker_is_told_as_much_of_a_close_as_its_features_say() {
        let bye = ClientCloseFrame::new(4001, "bye");
        for (features, close_frame, told) in [
            (testing::OURS, Some(&bye), "client-left 4001 bye"),
            (testing::OURS, None, "client-left"),
            (Features { close_detail: false, ..testing::OURS }, Some(&bye), "client-left"),
            (Features::default(), Some(&bye), ""),
        ] {
            let (mut shard, workers) = testing::shard();
            let worker = workers.join("worker", 1000, features);
            let (key, _) = testing::client(&mut shard, 1, &worker, testing::policy());
            shard.close_by_client(key, CloseReason::ClientLeft, close_frame, Bytes::new());
            assert_eq!(told_of_close(&worker).unwrap(), told);
        }
    }

    #[test]
    fn a_close_that_waits_or_is_given_again_keeps_its_close_frame() {
        let (mut shard, workers) = testing::shard();
        let mut worker = workers.join_paired("first", 1);
        let (key, _) = testing::client(&mut shard, 1, &worker, testing::policy());
        let bye = ClientCloseFrame::new(4001, "bye");
        shard.close_by_client(key, CloseReason::ClientLeft, Some(&bye), Bytes::new());
        assert_eq!(told_of_close(&worker).unwrap(), "client-left 4001 bye");
        for (epoch, close_detail, told) in [(2, false, "client-left"), (3, true, "client-left 4001 bye")] {
            worker.buffer.finish();
            workers.leave(&worker);
            shard.worker_gone(&worker, Gone::Silent);
            testing::settle(std::slice::from_mut(&mut shard), &workers);
            let features = Features { close_detail, ..testing::OURS };
            worker = workers.join("next", 1000, Peer { features, epoch, process: Some(epoch.into()) });
            testing::settle(std::slice::from_mut(&mut shard), &workers);
            assert_eq!(told_of_close(&worker).unwrap(), told);
        }
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
        assert!(matches!(shard.route(key), Route::Wait));
        workers.join("worker", 1000, Features::default());
        shard.workers_changed();
        assert!(matches!(shard.next_effect(), Some(Effect::Resume(resumed)) if resumed == key));
        assert!(matches!(shard.route(key), Route::Open));
    }
}
