//! Writing to clients and workers, at the end of a turn.
//!
//! What an input queues stays queued until the shell calls [`Shard::flush`], so that all that
//! one turn queued leaves together. Links go first, then replies to single clients, then a
//! slice of the broadcast: an echo does not wait behind 18,000 writes. The answer to a handshake is
//! written a turn later, as what the worker says to a new client may leave with it.

use bytes::Bytes;
use gatewayworker_protocol::{CloseReason, Payload};
use tracing::debug;

use super::Shard;
use super::client::Client;
use super::effects::Effect;
use super::link_buffer::LinkBuffer;
use super::listener_policy::SlowConsumer;
use super::outbox::Flushed;
use super::outgoing::{Counted, Encoding, Outgoing};
use super::ports::Ports;
use super::send_queue::{Limits, Priority, Queued};
use super::shared_frames::{LastShared, SharedFrames};
use super::table::Key;
use super::websocket::compression::CompressedSizes;

/// Clients of a broadcast that are written to before others get a turn.
const SLICE: usize = 256;

/// Which clients a message is for: when one that is not admitted yet gets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recipients {
    /// This client: at once.
    One,
    /// Everybody, a group, a uid: once the client is admitted.
    Many,
}

/// Whether a client takes bytes again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writable {
    /// It has taken everything, or is gone.
    Done,
    /// Its socket is full again.
    Blocked,
}

impl<P: Ports> Shard<P> {
    /// Queues a frame at a client, and the client to be flushed, or to be closed if it does
    /// not read. Returns whether the frame is queued.
    pub(super) fn enqueue(
        &mut self,
        key: Key,
        priority: Priority,
        frame: impl FnOnce(&Client<P>) -> Bytes,
    ) -> bool {
        let Some(client) = self.table.get(key).filter(|client| !client.is_detached()) else { return false };
        let frame = frame(client);
        let bytes = frame.len();
        let limits = limits(client, self.settings.outbox_budget);
        let queued = client.queue.push(frame, priority, limits, &mut self.blocked_bytes, &client.connection);
        self.note_queued(key, queued, bytes)
    }

    /// Queues a message for many at one of its clients, as [`enqueue`](Self::enqueue) does. Returns whether it is
    /// queued, or deferred.
    pub(super) fn enqueue_shared(
        &mut self,
        key: Key,
        recipients: Recipients,
        frames: &mut SharedFrames<'_>,
    ) -> bool {
        let Some(client) = self.table.get(key) else { return false };
        if client.resumable.is_some() {
            return self.enqueue_shared_kept(key, recipients, frames);
        }
        let Encoding { frame: encoding, compressed } = frames.encoding(client.policy(), client.compression);
        if client.is_pending() && recipients == Recipients::Many {
            return self.defer(key, encoding.clone());
        }
        let limits = limits(client, self.settings.outbox_budget);
        let blocked_bytes = &mut self.blocked_bytes;
        let queued = client.queue.push_shared(encoding, frames, limits, blocked_bytes, &client.connection);
        let is_queued = self.note_queued(key, queued, encoding.len());
        self.note_compressed(is_queued, compressed);
        is_queued
    }

    /// Queues a message for a single client, as [`enqueue`](Self::enqueue) does. Returns whether it is queued.
    pub(super) fn enqueue_only(&mut self, key: Key, message: Payload) -> bool {
        let Some(client) = self.table.get(key) else { return false };
        if client.resumable.is_some() {
            let message = Outgoing::new(message);
            let counted = client.policy().encode_counted(&message, client.compression).map(Counted::cloned);
            return self.enqueue_kept(key, counted);
        }
        let mut compressed = None;
        let is_queued = self.enqueue(key, Priority::Urgent, |client| {
            let encoding = client.policy().encode_only(message, client.compression);
            compressed = encoding.compressed;
            encoding.frame
        });
        self.note_compressed(is_queued, compressed);
        is_queued
    }

    /// Counts a frame that was queued, or not, if it is a compressed one.
    #[inline]
    pub(super) fn note_compressed(&mut self, is_queued: bool, compressed: Option<CompressedSizes>) {
        if let (true, Some(sizes)) = (is_queued, compressed) {
            self.settings.counters.compressed.add(sizes);
        }
    }

    /// Does the same as [`enqueue_shared`](Self::enqueue_shared) for a client that may come back.
    fn enqueue_shared_kept(
        &mut self,
        key: Key,
        recipients: Recipients,
        frames: &mut SharedFrames<'_>,
    ) -> bool {
        let Some(client) = self.table.get(key) else { return false };
        let counted = frames.counted(client.policy(), client.compression);
        let Some(Counted { kept, sent }) = counted.filter(|counted| !counted.kept.is_empty()) else {
            self.settings.counters.deliveries_dropped.add(1);
            return false;
        };
        if client.is_pending() && recipients == Recipients::Many {
            return self.defer(key, kept.clone());
        }
        let Encoding { frame: encoding, compressed } = sent;
        let kept = if compressed.is_some() { kept.clone() } else { frames.alone(encoding) };
        let (together, budget) = (&mut self.resumption, self.settings.outbox_budget);
        if let Some(resumable) = &mut client.resumable
            && !resumable.keep(kept, together, budget, self.now_ms)
        {
            return true;
        }
        let limits = limits(client, self.settings.outbox_budget);
        let blocked_bytes = &mut self.blocked_bytes;
        let queued = client.queue.push_shared(encoding, frames, limits, blocked_bytes, &client.connection);
        let is_queued = self.note_queued(key, queued, encoding.len());
        self.note_compressed(is_queued, compressed);
        true
    }

    /// Queues a frame for many that was deferred until the client was admitted.
    pub(super) fn enqueue_deferred(&mut self, key: Key, frame: Bytes) {
        match self.table.get(key) {
            Some(client) if client.resumable.is_some() => {
                self.enqueue_kept(key, Some(Counted::plain(frame)));
            }
            _ => {
                self.enqueue(key, Priority::Urgent, |_| frame);
            }
        }
    }

    /// Has a client flushed that was sent something of its own.
    pub(super) fn list_urgent(&mut self, key: Key) {
        self.list(key, Priority::Urgent);
    }

    /// Defers a frame for a client that is not admitted yet.
    fn defer(&mut self, key: Key, frame: Bytes) -> bool {
        let Some(client) = self.table.get(key) else { return false };
        let (limit, slow_consumer) = (client.policy().outbox_bytes, client.slow_consumer());
        let is_deferred = self.table.pending(key).is_some_and(|pending| pending.defer(frame, limit));
        if !is_deferred {
            match slow_consumer {
                SlowConsumer::Close => self.pending_close.push((key, CloseReason::SlowConsumer)),
                SlowConsumer::DropNewest => self.settings.counters.deliveries_dropped.add(1),
            }
        }
        is_deferred
    }

    /// Does what follows for a client at which a frame of so many bytes was queued, or not.
    #[inline]
    fn note_queued(&mut self, key: Key, queued: Queued, bytes: usize) -> bool {
        match queued {
            Queued::List(priority) => self.list(key, priority),
            Queued::Waits => {}
            Queued::Traced(priority) => {
                priority.into_iter().for_each(|priority| self.list(key, priority));
                self.trace_queued(key);
            }
            // Its next flush, or its reader, finds that out.
            Queued::Broken => return false,
            Queued::Full => return self.note_full(key, bytes),
        }
        self.settings.counters.bytes_sent.add(bytes as u64);
        true
    }

    /// Closes a client that does not read, or drops what it was to be sent.
    #[cold]
    fn note_full(&mut self, key: Key, bytes: usize) -> bool {
        let Some(client) = self.table.get(key) else { return false };
        if client.slow_consumer() == SlowConsumer::Close {
            self.pending_close.push((key, CloseReason::SlowConsumer));
        } else {
            self.settings.counters.deliveries_dropped.add(1);
            debug!(client = client.connection_id, bytes, "a message to a slow client was dropped");
        }
        false
    }

    #[inline]
    fn list(&mut self, key: Key, priority: Priority) {
        match priority {
            Priority::Bulk => self.bulk.push_back(key),
            Priority::Urgent => self.urgent.push(key),
        }
        self.effects.signals.flush = true;
    }

    /// Sends a frame that no worker asked for: a pong, a heartbeat.
    pub(super) fn send_own_frame(&mut self, key: Key, frame: Bytes) {
        self.enqueue(key, Priority::Bulk, |_| frame);
    }

    /// Flushes links, replies, and a slice of the broadcast. Returns whether there is more to
    /// flush: of that, or of what has come up meanwhile.
    pub fn flush(&mut self) -> bool {
        for link in self.links.drain(..) {
            link.buffer.flush();
        }
        let mut urgent = std::mem::take(&mut self.urgent);
        for key in urgent.drain(..) {
            self.flush_client(key);
        }
        self.urgent = urgent;
        for _ in 0..SLICE {
            let Some(key) = self.bulk.pop_front() else { break };
            self.flush_client(key);
        }
        self.answer_handshakes();
        if self.bulk.is_empty() {
            // No outbox has it any more.
            self.last_shared = LastShared::default();
            // A broadcast to a crowd may have been the last for long.
            self.bulk.shrink_to(1024);
        }
        !self.bulk.is_empty() || !self.links.is_empty() || self.waited > 0
    }

    /// Writes to the new clients that have waited for a turn since their worker was told of them. Where that has said
    /// something to them meanwhile, both have left in one write.
    fn answer_handshakes(&mut self) {
        for _ in 0..std::mem::take(&mut self.waited) {
            let Some(key) = self.unanswered.pop_front() else { break };
            self.flush_client(key);
        }
        self.waited = self.unanswered.len();
        if self.waited == 0 {
            self.unanswered.shrink_to(1024);
        }
    }

    fn flush_client(&mut self, key: Key) {
        let Some(client) = self.table.get(key).filter(|client| !client.is_detached()) else { return };
        match client.queue.flush(&mut self.blocked_bytes, &client.connection) {
            Flushed::Empty => {}
            Flushed::Blocked => self.effects.list.push_back(Effect::WaitWritable(key)),
            Flushed::Broken => self.read_ended(key),
        }
    }

    /// Writes to a client whose socket was full and takes bytes again.
    pub fn writable(&mut self, key: Key) -> Writable {
        let Some(client) = self.table.get(key) else { return Writable::Done };
        match client.queue.writable(&mut self.blocked_bytes, &client.connection) {
            Flushed::Empty => Writable::Done,
            Flushed::Blocked => Writable::Blocked,
            Flushed::Broken => {
                self.read_ended(key);
                Writable::Done
            }
        }
    }
}

/// How much may wait for a client.
#[inline]
fn limits<P: Ports>(client: &Client<P>, shard: usize) -> Limits {
    Limits { client: client.policy().outbox_bytes, shard }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use gatewayworker_protocol::command::code;
    use gatewayworker_protocol::{Features, Frame, MAX_FRAME_LEN};

    use super::super::client::NewClient;
    use super::super::testing::{self, MemoryConnection, MemoryPorts};
    use super::*;

    #[test]
    fn the_close_of_a_client_that_is_found_gone_while_flushing_is_told_at_once() {
        let (mut shard, workers) = testing::shard();
        let worker = workers.join("worker", 1000, Features::default());
        let (key, connection) = testing::client(&mut shard, 1, &worker, testing::policy());
        connection.is_broken.set(true);
        shard.send_own_frame(key, Bytes::from_static(b"x"));
        assert!(shard.flush(), "the worker's link is to be flushed next");
        let mut written = BytesMut::from(&worker.buffer.written.borrow()[..]);
        let frame = Frame::parse(&mut written, MAX_FRAME_LEN).unwrap().unwrap();
        assert_eq!(frame.cmd, code::ON_CLOSE);
        assert!(!shard.flush());
    }

    #[test]
    fn a_client_whose_socket_is_full_is_written_to_as_it_takes_it() {
        let (mut shard, workers) = testing::shard();
        let worker = workers.join("worker", 1000, Features::default());
        let (key, connection) = testing::client(&mut shard, 1, &worker, testing::policy());
        connection.room.set(3);
        shard.send_own_frame(key, Bytes::from_static(b"12345"));
        assert!(!shard.flush());
        assert!(matches!(shard.next_effect(), Some(Effect::WaitWritable(waits)) if waits == key));
        assert!(shard.blocked_bytes() > 0);
        shard.send_own_frame(key, Bytes::from_static(b"678"));
        connection.room.set(1);
        assert_eq!(shard.writable(key), Writable::Blocked);
        connection.room.set(10);
        assert_eq!(shard.writable(key), Writable::Done);
        assert_eq!((&connection.written.borrow()[..], shard.blocked_bytes()), (&b"12345678"[..], 0));
    }

    /// A client whose handshake is not answered yet.
    fn unanswered() -> (Shard<MemoryPorts>, Key, MemoryConnection) {
        let (mut shard, workers) = testing::shard();
        let worker = workers.join("worker", 1000, Features::default());
        let connection = MemoryConnection::new(testing::policy());
        let new = testing::new_client(1, &worker, connection.clone());
        let key = shard.insert(NewClient { response: Bytes::from_static(b"101 "), ..new }, 0);
        (shard, key, connection)
    }

    #[test]
    fn the_answer_to_a_handshake_is_written_one_turn_later() {
        let (mut shard, _, connection) = unanswered();
        assert!(shard.take_signals().flush);
        assert!(shard.flush());
        assert!(connection.written.borrow().is_empty());
        assert!(!shard.flush());
        assert_eq!(connection.written.borrow()[..], *b"101 ");
    }

    #[test]
    fn what_a_worker_says_at_once_leaves_with_the_answer_to_the_handshake() {
        let (mut shard, key, connection) = unanswered();
        assert!(shard.flush());
        shard.send_own_frame(key, Bytes::from_static(b"welcome"));
        assert!(!shard.flush());
        assert_eq!(connection.written.borrow()[..], *b"101 welcome");
    }

    #[test]
    fn a_client_that_is_closed_at_once_gets_the_answer_to_its_handshake_first() {
        let (mut shard, key, _) = unanswered();
        shard.close(key, CloseReason::NotAdmitted, Some(Bytes::from_static(b"bye")));
        let Some(Effect::Finish(finished)) = shard.next_effect() else { panic!("it is not closed") };
        assert_eq!(
            finished.outbox.frames().map(|frame| &frame[..]).collect::<Vec<_>>(),
            [&b"101 "[..], b"bye"]
        );
        while shard.flush() {}
    }
}
